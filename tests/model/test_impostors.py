"""What stands in the place of weights or configuration is called by its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pager_ray.errors import CheckpointError
from pager_ray.model import load_model
from pager_ray.model.impostors import check_is_no_impostor

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5600000000\n"
PAGES = (
    b"<!DOCTYPE html><html><body>Sign in</body></html>",
    b"\xef\xbb\xbf\n <HTML>",
    b"<?xml version='1.0'?><Error/>",
)


@pytest.mark.parametrize("file", ["model.safetensors", "config.yaml"])
@pytest.mark.parametrize(
    ("content", "name"), [(POINTER, "a Git LFS pointer"), *((page, "a web page") for page in PAGES)]
)
def test_impostors_are_named(tiny_unified: Path, tmp_path: Path, file: str, content: bytes, name: str) -> None:
    """A pointer says to pull, a page to fetch with rights, whichever of the two files it stands for."""
    shutil.copytree(tiny_unified, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{file}: is {name}, not the file itself"):
        load_model(tmp_path / "checkpoint")


def test_others_pass(tiny_unified: Path, tmp_path: Path) -> None:
    """Real files, damaged ones and none at all are left to those who read them."""
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    for path in (tiny_unified / "model.safetensors", tiny_unified / "config.yaml", tmp_path / "noise", tmp_path / "no"):
        check_is_no_impostor(path)
