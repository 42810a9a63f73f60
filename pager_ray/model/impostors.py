"""What is found in the place of a checkpoint's files when a download went wrong."""

from __future__ import annotations

from pathlib import Path

from pager_ray.errors import CheckpointError

_HEAD_BYTES = 512
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def check_is_no_impostor(path: Path) -> None:
    """Call a Git LFS pointer and a web page by their names, instead of damage that they are not.

    Raises:
        CheckpointError: the file is one.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        # Whoever reads it says why it cannot be read.
        return
    if head.startswith(_LFS):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull` there")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        raise CheckpointError(
            f"{path}: is a web page, not the file itself, most likely a login or an error page that was saved in its "
            "place; fetch it again with the rights that it needs"
        )
