from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from pager_ray.errors import CheckpointError
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.model.checkpoint import CONFIG, WEIGHTS
from tests.model.conftest import GOLDEN, random_faces

URL = "memory://bucket/checkpoints/normals"


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """An in-memory store with one checkpoint."""
    memory = fsspec.filesystem("memory")
    for file in (WEIGHTS, CONFIG):
        memory.pipe_file(f"/bucket/checkpoints/normals/{file}", (GOLDEN / "tiny_normals" / file).read_bytes())
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAGER_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_checkpoint_on_a_store_is_copied_once(store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch):
    """A URL gives the model of its files, and a second load copies nothing."""
    faces = random_faces(1)
    expected = load_model(GOLDEN / "tiny_normals", device="cpu")(faces)["normals"]
    assert torch.equal(load_model(URL, device="cpu")(faces)["normals"], expected)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("copied again")

    monkeypatch.setattr(type(store), "get_file", refuse)
    found = resolve_checkpoint(URL + "/")
    assert found.weights.read_bytes() == (GOLDEN / "tiny_normals" / WEIGHTS).read_bytes()
    assert (found.source, found.name) == (URL + "/", URL)


def test_replaced_checkpoint_is_copied_anew(store: fsspec.AbstractFileSystem):
    """When the files behind a URL change, the old copy is not taken for the new."""
    before = resolve_checkpoint(URL)
    changed = (GOLDEN / "tiny_normals" / CONFIG).read_bytes() + b"note: new\n"
    store.pipe_file(f"/bucket/checkpoints/normals/{CONFIG}", changed)
    after = resolve_checkpoint(URL)
    assert after.config != before.config
    assert after.config.read_bytes() == changed


def test_interrupted_copy_is_not_taken_for_a_checkpoint(
    store: fsspec.AbstractFileSystem, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    """A copy that broke off leaves nothing that a later load takes for complete; the next load starts over."""
    original = type(store).get_file

    def broken(self: fsspec.AbstractFileSystem, source: str, target: str, **options: object) -> None:
        if source.endswith(WEIGHTS):
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        original(self, source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "get_file", broken)
        with pytest.raises(
            CheckpointError, match=r"^memory://bucket/.*copied to .*cache/checkpoints \(No space .*PAGER_RAY_CACHE$"
        ):
            resolve_checkpoint(URL)
    assert not list(cache.glob("checkpoints/*/" + WEIGHTS)) or list(cache.glob("checkpoints/*.partial"))
    assert resolve_checkpoint(URL).weights.stat().st_size > 1000
    assert not list(cache.glob("checkpoints/*.partial"))


@pytest.mark.parametrize("missing", [WEIGHTS, CONFIG])
def test_missing_file_on_a_store_is_named(store: fsspec.AbstractFileSystem, missing: str):
    """A URL that lacks a file is an error that names it."""
    store.rm(f"/bucket/checkpoints/normals/{missing}")
    with pytest.raises(
        CheckpointError, match=rf"^{URL}: holds no {missing}; a checkpoint takes {WEIGHTS} beside {CONFIG}"
    ):
        resolve_checkpoint(URL)


def test_unknown_protocol_is_an_error():
    """A URL that no file system serves is an error that names it."""
    with pytest.raises(
        CheckpointError, match=r"^nowhere://bucket/x: no file system serves this URL .*; takes one that"
    ):
        resolve_checkpoint("nowhere://bucket/x")


def test_file_url_is_used_where_it_lies(cache: Path):
    """A file:// URL is the folder itself; nothing is copied."""
    found = resolve_checkpoint((GOLDEN / "tiny_normals").as_uri())
    assert found.weights == GOLDEN / "tiny_normals" / WEIGHTS
    assert not cache.exists()


def test_secrets_of_a_url_reach_no_error_and_no_name(store: fsspec.AbstractFileSystem):
    """Credentials in a URL appear in no message and no name."""
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint("nowhere://user:hunter2@bucket/x?X-Amz-Signature=deadbeef")
    assert "bucket/x" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "deadbeef" not in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint("memory://bucket/x?token=deadbeef")
    assert "deadbeef" not in str(caught.value)


def test_processes_of_a_node_share_one_copy(tmp_path: Path, cache: Path):
    """Of several processes that load the same URL at once, one copies and the others wait for it."""
    script = """
        import sys
        from pathlib import Path
        import fsspec
        from pager_ray.model import resolve_checkpoint

        folder, log = Path(sys.argv[1]), Path(sys.argv[2])

        class Slow(fsspec.get_filesystem_class("dir")):
            protocol = "slow"

            def __init__(self, **options):
                super().__init__(path=str(folder), fs=fsspec.filesystem("file"))

            @classmethod
            def _strip_protocol(cls, path):
                return path.removeprefix("slow://")

            def get_file(self, source, target, **options):
                import time
                with log.open("a") as file:
                    file.write(source + "\\n")
                time.sleep(0.3)
                super().get_file(source, target, **options)

        fsspec.register_implementation("slow", Slow)
        print(resolve_checkpoint("slow://tiny_normals").weights)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(GOLDEN), str(tmp_path / "log")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    finished = [process.communicate() for process in running]
    assert all(process.returncode == 0 for process in running), finished
    assert len({out for out, _ in finished}) == 1
    assert sorted((tmp_path / "log").read_text().split()) == sorted(
        [f"tiny_normals/{CONFIG}", f"tiny_normals/{WEIGHTS}"]
    )


def test_stores_that_cannot_be_read_are_named(store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch):
    """A store that answers nothing is one line with the URL, the system's reason and what to check."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(store), "size", fail)
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint(URL)
    assert str(caught.value) == f"{URL}: cannot be read (Input/output error); check its store and the right to read it"
