"""Tests of pager_ray.datasets.hub, and of datasets on the Hub: a server on loopback behind ``HF_ENDPOINT``."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pager_ray.datasets import open_dataset
from pager_ray.datasets.hub import hub_revision, hub_url
from pager_ray.datasets.parquet import close_cursors
from pager_ray.errors import ConfigError, InputError
from tests.datasets.fake_hub import FakeHub, serving
from tests.datasets.folders import infinigen_bytes, picture_bytes, write_tree, zuripano_bytes, zuripano_rows

FILE = "data/test-00000-of-00001.parquet"
ZURIPANO = "prs-eth/ZuriPano"

pytestmark = pytest.mark.usefixtures("small_protocols")


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Do what ``HF_ENDPOINT`` does before the client is imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A Hub that this process's client asks, with a first commit of ZuriPano."""
    from huggingface_hub import HfFileSystem, constants

    with serving() as fake:
        use_endpoint(monkeypatch, fake.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
        fake.commit(ZURIPANO, {FILE: zuripano_bytes(), "README.md": b"# ZuriPano"})
        HfFileSystem.clear_instance_cache()
        yield fake
    HfFileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("data_path", "revision"),
    [
        (None, "main"),
        ("hub", "main"),
        ("hub@v1", "v1"),
        ("hub@a/b", "a/b"),
        ("hub@", None),
        ("/hub", None),
        ("x", None),
    ],
)
def test_data_paths_that_name_the_hub(data_path: str | None, revision: str | None) -> None:
    """Nothing and ``hub`` are the main branch, ``hub@REV`` a revision; all else is a folder."""
    assert hub_revision(data_path) == revision


@pytest.mark.parametrize("data_path", [None, "hub"])
def test_rows_of_the_hub(hub: FakeHub, data_path: str | None, tmp_path: Path) -> None:
    """Samples, pictures and ground truth of the Hub are those of its files in a folder, at the listed commit."""
    dataset = open_dataset("ZuriPano", data_path)
    write_tree(f"{tmp_path}/ZuriPano", {FILE: zuripano_bytes()})
    folder = open_dataset("ZuriPano", str(tmp_path))
    samples, expected = dataset.samples(), folder.samples()
    sha = hub.branches[ZURIPANO]["main"]
    assert [sample.id for sample in samples] == [sample.id for sample in expected] == ["Place_0", "Place_1"]
    for ours, theirs in zip(samples, expected, strict=True):
        assert ours.uri == f"hf://datasets/{ZURIPANO}@{sha}/{FILE}#{theirs.source['row']}"
        assert ours.source == theirs.source | {"revision": sha}
        np.testing.assert_array_equal(dataset.read_rgb(ours), folder.read_rgb(theirs))
        truth, other = dataset.read_ground_truth(ours), folder.read_ground_truth(theirs)
        np.testing.assert_array_equal(truth.depth, other.depth)
        np.testing.assert_array_equal(truth.mask, other.mask)


def test_every_process_reads_the_listed_commit(hub: FakeHub) -> None:
    """When the branch moves on after the listing, workers still read what was listed."""
    dataset = open_dataset("ZuriPano", "hub")
    sample = dataset.samples()[1]
    before = dataset.cell(sample, "rgb", "bad_image")
    assert before == picture_bytes(seed=1)
    rows = [row | {"rgb": picture_bytes(seed=9)} for row in zuripano_rows()]
    hub.commit(ZURIPANO, {FILE: zuripano_bytes(rows)})
    close_cursors()
    for worker in (pickle.loads(pickle.dumps(dataset)), open_dataset("ZuriPano", "hub")):  # noqa: S301
        assert worker.cell(sample, "rgb", "bad_image") == before
    moved = open_dataset("ZuriPano", "hub")
    assert moved.cell(moved.samples()[1], "rgb", "bad_image") == picture_bytes(seed=9)


def test_a_revision_can_be_named(hub: FakeHub) -> None:
    """``hub@REV`` takes a branch, also one with a slash, and a commit."""
    sha = hub.commit(ZURIPANO, {FILE: zuripano_bytes(zuripano_rows(3))}, "refs/convert/parquet")
    for revision in ("refs/convert/parquet", sha):
        dataset = open_dataset("ZuriPano", f"hub@{revision}")
        assert [sample.source["revision"] for sample in dataset.samples()] == [sha] * 3
    assert len(open_dataset("ZuriPano", "hub").samples()) == 2
    assert hub_url(ZURIPANO, "a/b") == f"hf://datasets/{ZURIPANO}@a%2Fb"


def test_wrong_repositories_and_revisions(hub: FakeHub) -> None:
    """What the Hub does not have is a ConfigError of one line that says what to do."""
    with pytest.raises(
        ConfigError, match=f"ZuriPano: the Hub dataset {ZURIPANO} has no revision 'v9'; takes hub, or hub@ and a"
    ):
        open_dataset("ZuriPano", "hub@v9")
    with pytest.raises(
        ConfigError, match=r"PanoInfinigen/urban: no such Hub dataset as prs-eth/PanoInfinigen.*HF_TOKEN"
    ):
        open_dataset("PanoInfinigen/urban", "hub")
    sha = hub.commit("prs-eth/PanoInfinigen", {"data/indoor/train-0.parquet": infinigen_bytes()})
    message = (
        f"prs-eth/PanoInfinigen@{sha} does not hold the dataset; expected data/urban/train-.*; give another revision"
    )
    with pytest.raises(ConfigError, match=message):
        open_dataset("PanoInfinigen/urban", "hub")
    dataset = open_dataset("PanoInfinigen/indoor", None)
    assert [sample.id for sample in dataset.samples()] == ["train-0_0000", "train-0_0001"]
    assert dataset.read_rgb(dataset.samples()[1]).shape == (8, 16, 3)


def check_unreachable(error: ConfigError) -> None:
    message = str(error)
    assert message.startswith("ZuriPano: the Hugging Face Hub cannot be reached (")
    assert f"`hf download {ZURIPANO} --repo-type dataset --local-dir FOLDER/ZuriPano`" in message
    assert "data_path" in message
    assert "\n" not in message


def test_a_hub_that_cannot_be_reached(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, with the offline switch or at a failing Hub: a ConfigError that says what to do instead."""
    from huggingface_hub import constants

    hub.failing = 500
    with pytest.raises(ConfigError) as caught:
        open_dataset("ZuriPano", None)
    check_unreachable(caught.value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        use_endpoint(monkeypatch, f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(ConfigError) as caught:
            open_dataset("ZuriPano", "hub")
        check_unreachable(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError) as caught:
        open_dataset("ZuriPano", "hub@v1")
    assert "HF_HUB_OFFLINE is set" in str(caught.value)
    check_unreachable(caught.value)


def test_files_that_fail_later(hub: FakeHub) -> None:
    """A Hub that refuses a file after the listing is no damaged picture: the class says that it can be tried again."""
    dataset = open_dataset("ZuriPano", "hub")
    sample = dataset.samples()[0]
    close_cursors()
    hub.failing = 403
    for read in (dataset.read_rgb, dataset.read_ground_truth):
        with pytest.raises(InputError) as caught:
            read(sample)
        assert caught.value.error_class in ("read_failed", "permission_denied")
        assert sample.uri.partition("#")[0] in str(caught.value)
    hub.failing = None
    assert dataset.read_rgb(sample).shape == (32, 64, 3)


def test_endpoint_of_the_environment(hub: FakeHub) -> None:
    """A process of its own, told by ``HF_ENDPOINT`` alone, lists and reads the Hub's rows."""
    code = """
        import json
        from pager_ray.datasets import open_dataset
        dataset = open_dataset("ZuriPano", None)
        samples = dataset.samples()
        truth = dataset.read_ground_truth(samples[1])
        ids = [sample.id for sample in samples]
        print(json.dumps([ids, int(truth.mask.sum()), dataset.read_rgb(samples[0]).shape]))
    """
    hub.asked.clear()
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["Place_0", "Place_1"], 2048 * 4096, [2048, 4096, 3]]
    sha = hub.branches[ZURIPANO]["main"]
    files = [path for path in hub.asked if "/resolve/" in path]
    assert files
    assert all(f"/resolve/{sha}/" in path for path in files)
