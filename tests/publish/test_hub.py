"""A published run is the run: its files to the byte, in one commit, read again from the Hub; its card is true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.errors import ConfigError, StorageError
from pager_ray.publish import publish_run
from pager_ray.publish.card import MARK
from tests.datasets.fake_hub import FakeHub, serving
from tests.export.runs import scene_maps, scene_run
from tests.reader.runs import SmallRun

REPOSITORY, TARGET = "people/rooms", "hf://datasets/people/rooms"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """An empty Hub that this process's client asks and sends to."""
    from huggingface_hub import HfFileSystem, constants

    with serving() as fake:
        monkeypatch.setattr(constants, "ENDPOINT", fake.url)
        template = fake.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # Its own servers and protocol, which are not here.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        HfFileSystem.clear_instance_cache()
        yield fake
    HfFileSystem.clear_instance_cache()


def finished(folder: Path, ids: tuple[str, ...] = ("a", "b")) -> SmallRun:
    """A run with a reject, beside things that are not its own."""
    run = scene_run(folder, ids)
    run.manifest["checkpoint"] |= {"name": "embedded", "licence": "Apache-2.0", "sha256": "ab" * 32}
    run.write("0123456789ab-00000009-abcdef", run.reject("c"))
    run.write("0123456789ab-00000008-abcdef", run.prediction("dead"), committed=False)
    (run.folder / "exports" / "glb").mkdir(parents=True, exist_ok=True)
    (run.folder / "exports" / "glb" / "a.glb").write_bytes(b"glTF")
    run.complete()
    return run


def files_of(hub: FakeHub) -> dict[str, bytes]:
    found = hub.resolve(REPOSITORY, "main")
    assert found is not None
    return found[1]


def test_the_runs_files_are_there_as_they_are(hub: FakeHub, tmp_path: Path) -> None:
    """What counts of a run, to the byte; nothing of dead writers, of others, of leases; in one commit."""
    run = finished(tmp_path)
    published = publish_run(str(run.folder), TARGET)
    there = files_of(hub)
    assert published.files == len(there) - 2
    for name, content in there.items():
        if name not in ("README.md", ".gitattributes"):
            assert content == (run.folder / name).read_bytes()
    names = {name.rpartition("/")[0] for name in there}
    assert {"predictions", "rejects", "state/ledger"} <= {name.split("/0")[0] for name in names}
    assert not any(name.startswith(("exports/", "state/lease")) for name in there)
    assert "predictions/0123456789ab-00000008-abcdef.parquet" not in there
    assert len(hub.commits[REPOSITORY]) == 2


def test_it_is_read_from_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    """open_run takes the dataset's own URI: ids, rejects, maps."""
    run = finished(tmp_path)
    publish_run(str(run.folder), TARGET)
    opened = pager_ray.open_run(TARGET)
    assert opened.ids() == ["a", "b"]
    assert opened.rejects().column("id").to_pylist() == ["c"]
    np.testing.assert_allclose(opened["a"].depth, scene_maps()["depth"], rtol=2e-3)


def test_the_card_is_true(hub: FakeHub, tmp_path: Path) -> None:
    """YAML that the Hub reads, the licence of the weights, counts, figures of columns, and every column."""
    run = finished(tmp_path)
    publish_run(str(run.folder), TARGET)
    card = files_of(hub)["README.md"].decode()
    _, front, body = card.split("---\n", 2)
    values = yaml.safe_load(front)
    assert (values["license"], values["size_categories"]) == ("apache-2.0", ["n<1K"])
    (config,) = values["configs"]
    assert config["data_files"] == [{"split": "train", "path": "predictions/*.parquet"}]
    assert "depth-estimation" in values["task_categories"]
    assert "ab" * 32 in body
    assert "| panoramas predicted | 2 |" in body
    assert "| rejected | 1 (missing 1) |" in body
    schema = pq.read_schema(run.folder / "predictions" / "0123456789ab-00000000-abcdef.parquet")
    assert all(f"| `{name}` | " in body for name in schema.names)
    median = float(np.median([0.0, 0.1]))
    assert f"| `sky_fraction` | {0.005:.3g} | {median:.3g} | {0.095:.3g} |" in body
    assert 'pager_ray.open_run("hf://datasets/people/rooms")' in body


@pytest.mark.parametrize("branch", ["v2", "drafts/v2", "drafts%2Fv2"])
def test_a_branch_is_one_of_its_own(hub: FakeHub, tmp_path: Path, branch: str) -> None:
    """Made where there is none; what says how it is read reads that branch, main stays as it was."""
    run = finished(tmp_path / "one")
    publish_run(str(run.folder), TARGET)
    other = finished(tmp_path / "two", ("x",))
    for _ in range(2):
        published = publish_run(str(other.folder), f"{TARGET}@{branch}")
    name = branch.replace("%2F", "/")
    assert set(hub.branches[REPOSITORY]) == {"main", name}
    assert pager_ray.open_run(TARGET).ids() == ["a", "b"]
    assert pager_ray.open_run(published.target).ids() == ["x"]
    found = hub.resolve(REPOSITORY, name)
    assert found is not None
    card = found[1]["README.md"].decode()
    assert f'pager_ray.open_run("{published.target}")' in card
    assert f'datasets.load_dataset("{REPOSITORY}", revision="{name}", split="train", streaming=True)' in card


@pytest.mark.parametrize(
    ("licence", "told"), [("CC BY-NC 4.0", {"license": "cc-by-nc-4.0"}), (None, {"license_name": "unknown"})]
)
def test_every_licence_is_told(hub: FakeHub, tmp_path: Path, licence: str | None, told: dict[str, str]) -> None:
    """That of the released weights; one that nobody told is no licence to guess."""
    run = finished(tmp_path)
    run.manifest["checkpoint"]["licence"] = licence
    run.save()
    publish_run(str(run.folder), TARGET)
    values = yaml.safe_load(files_of(hub)["README.md"].decode().split("---\n")[1])
    assert told.items() <= values.items()


def test_again_sends_what_changed(hub: FakeHub, tmp_path: Path) -> None:
    """Large files are sent once; what an earlier run left goes; other people's files and words stay."""
    run = finished(tmp_path / "one")
    publish_run(str(run.folder), TARGET)
    sent = sum(line.startswith("PUT") for line in hub.asked)
    assert sent >= 3
    publish_run(str(run.folder), TARGET)
    assert sum(line.startswith("PUT") for line in hub.asked) == sent
    hub.commit(REPOSITORY, files_of(hub) | {"notes.txt": b"mine", "README.md": b"# My words"})
    other = finished(tmp_path / "two", ("x",))
    published = publish_run(str(other.folder), TARGET)
    assert published.kept_card
    assert published.removed >= 1
    there = files_of(hub)
    assert (there["notes.txt"], there["README.md"]) == (b"mine", b"# My words")
    assert pager_ray.open_run(TARGET).ids() == ["x"]


def test_our_own_card_is_written_anew(hub: FakeHub, tmp_path: Path) -> None:
    """As its first line says."""
    run = finished(tmp_path)
    publish_run(str(run.folder), TARGET)
    hub.commit(REPOSITORY, files_of(hub) | {"README.md": f"old {MARK}".encode()})
    publish_run(str(run.folder), TARGET)
    assert files_of(hub)["README.md"].startswith(b"---\npretty_name")


def test_what_cannot_be_published_is_said(hub: FakeHub, tmp_path: Path) -> None:
    """Another target, a run that is not finished, a token that may not write, a Hub in trouble."""
    run = finished(tmp_path)
    for target in ("hf://people/rooms", "s3://bucket/x", "hf://datasets/rooms", "hf://datasets/a/b/c"):
        with pytest.raises(ConfigError, match="takes hf://datasets/OWNER/NAME"):
            publish_run(str(run.folder), target)
    hub.refusing = 403
    with pytest.raises(ConfigError, match=r"does not let this account write to people/rooms \(403\); log in with"):
        publish_run(str(run.folder), TARGET)
    hub.refusing = 400
    with pytest.raises(StorageError, match="people/rooms cannot be written"):
        publish_run(str(run.folder), TARGET)
    hub.refusing = None
    run.manifest["state"] = "failed"
    run.save()
    with pytest.raises(ConfigError, match="is failed; finish it with the command that began it"):
        publish_run(str(run.folder), TARGET)
    assert REPOSITORY not in hub.commits


def test_the_command(hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Says what was sent and how it is read."""
    run = finished(tmp_path)
    assert exit_code(["publish", str(run.folder), TARGET]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == 'read it   pager_ray.open_run("hf://datasets/people/rooms")'
    assert exit_code(["publish", str(run.folder), "rooms"]) == 2
