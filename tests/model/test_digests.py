from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pager_ray.errors import CheckpointError
from pager_ray.model import digests, file_sha256, load_model, resolve_checkpoint
from pager_ray.model.checkpoint import WEIGHTS
from tests.model.conftest import GOLDEN


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAGER_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_SMALLEST_REMEMBERED", 1)
    return tmp_path / "cache"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are hashed, in order."""
    names: list[str] = []
    original = digests._hash

    def counting(file):
        names.append(file.name)
        return original(file)

    monkeypatch.setattr(digests, "_hash", counting)
    return names


def settled_file(path: Path, content: bytes = b"weights", age: float = 60) -> Path:
    """A file that was written a while ago."""
    path.write_bytes(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_file_is_hashed_once_while_it_stays_as_it_is(tmp_path: Path, cache: Path, hashed: list[str]):
    """Whatever path leads to it; the remembered digest lies in the cache folder."""
    path = settled_file(tmp_path / "w")
    (tmp_path / "link").symlink_to(path)
    expected = hashlib.sha256(b"weights").hexdigest()
    assert [file_sha256(path), file_sha256(str(path)), file_sha256(tmp_path / "link")] == [expected] * 3
    assert len(hashed) == 1
    (note,) = cache.glob("digests/*.json")
    assert json.loads(note.read_text())["sha256"] == expected
    assert not list(cache.glob("digests/*.partial"))


def test_changed_or_replaced_file_is_hashed_anew(tmp_path: Path):
    """Another content of the same size, in place or by a rename with the old file's time, has its own digest."""
    path = settled_file(tmp_path / "w", b"one")
    assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest()
    other = settled_file(tmp_path / "other", b"six")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert file_sha256(path) == hashlib.sha256(b"six").hexdigest()


def test_file_that_was_just_written_is_not_remembered(tmp_path: Path, cache: Path, hashed: list[str]):
    """Its time may stay the same when it is written again at once."""
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    assert file_sha256(path) == file_sha256(path)
    assert len(hashed) == 2
    assert not list(cache.glob("digests/*.json"))


def test_small_file_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """A file that is hashed in no time is not remembered."""
    monkeypatch.setattr(digests, "_SMALLEST_REMEMBERED", 100)
    assert file_sha256(settled_file(tmp_path / "w")) == hashlib.sha256(b"weights").hexdigest()
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sha256": 5}', '{"sha256": "short"}'])
def test_damaged_note_is_no_digest(tmp_path: Path, cache: Path, hashed: list[str], content: str):
    """A note that is empty or holds something else is written anew."""
    path = settled_file(tmp_path / "w")
    digest = file_sha256(path)
    (note,) = cache.glob("digests/*.json")
    note.write_text(content)
    assert file_sha256(path) == digest
    assert file_sha256(path) == digest
    assert len(hashed) == 2


def test_cache_that_cannot_be_written_is_no_failure(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """A file in the cache folder's place, or no home folder, and the digest is computed all the same."""
    path = settled_file(tmp_path / "w")
    cache.write_text("in the way")
    assert file_sha256(path) == hashlib.sha256(b"weights").hexdigest()

    def homeless(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert file_sha256(path) == hashlib.sha256(b"weights").hexdigest()


def test_of_several_processes_one_hashes(tmp_path: Path):
    """Four processes want the same digest at once: one computes it, the others wait and read it."""
    path = settled_file(tmp_path / "w")
    script = """
        import sys, time
        from pathlib import Path
        from pager_ray.model import digests

        digests._SMALLEST_REMEMBERED = 1
        original = digests._hash

        def slow(file):
            with Path(sys.argv[2]).open("a") as log:
                log.write("hashed\\n")
            time.sleep(1)
            return original(file)

        digests._hash = slow
        while not Path(sys.argv[3]).exists():
            time.sleep(0.01)
        print(digests.file_sha256(sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), *(str(tmp_path / name) for name in ("w", "log", "go"))]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    (tmp_path / "go").touch()
    answers = {process.communicate()[0].strip() for process in running}
    assert answers == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert (tmp_path / "log").read_text() == "hashed\n"


def test_missing_file_is_an_error(tmp_path: Path):
    """Digesting a file that is not there is a CheckpointError."""
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS}: cannot be read \(No such file .*; check the file"):
        file_sha256(tmp_path / WEIGHTS)


def test_model_of_the_wanted_digest_loads():
    """The digest that the checkpoint has is let through."""
    folder = GOLDEN / "tiny_normals"
    digest = resolve_checkpoint(folder).sha256
    assert load_model(folder, device="cpu", sha256=digest).identity.sha256 == digest


def test_other_weights_are_refused_before_they_are_loaded(monkeypatch: pytest.MonkeyPatch):
    """A file of another digest is one line: file, both digests, what to do."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("pager_ray.model.serving.load_network", refuse)
    folder = GOLDEN / "tiny_normals"
    found = resolve_checkpoint(folder).sha256[:12]
    with pytest.raises(
        CheckpointError,
        match=rf"^{folder}/{WEIGHTS}: its SHA-256 is {found}… on .*, but must be {'0' * 12}…; every node must load the "
        "same file: copy it there again",
    ) as caught:
        load_model(folder, device="cpu", sha256="0" * 64)
    assert "0" * 13 not in str(caught.value)
