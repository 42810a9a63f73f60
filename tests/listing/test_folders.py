"""Folders as they really lie: linked, with what tools left behind, with files that are no images."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pager_ray.errors import ConfigError
from pager_ray.listing import list_inputs


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def ids(folder: Path) -> list[str]:
    return [item.id for item in list_inputs([str(folder)])]


def test_links_are_what_they_lead_to(tmp_path: Path) -> None:
    """A linked file is a file, a linked folder a folder, under the links' names; a link to nothing is listed."""
    touch(tmp_path, "blobs/0a", "other/deep/b.jpg", "tour/a.jpg")
    (tmp_path / "tour" / "linked.jpg").symlink_to(tmp_path / "blobs" / "0a")
    (tmp_path / "tour" / "more").symlink_to(tmp_path / "other")
    (tmp_path / "tour" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert ids(tmp_path / "tour") == ["a", "gone", "linked", "more/deep/b"]


def test_a_loop_is_one_error(tmp_path: Path) -> None:
    """A link that leads back to where it lies is named, with where it leads; nothing is listed for ever."""
    touch(tmp_path, "tour/in/a.jpg")
    (tmp_path / "tour" / "in" / "back").symlink_to(tmp_path / "tour")
    with pytest.raises(ConfigError, match=r"^input\.uris\[0\]: .*/in/back: is a link back to .*/tour, in"):
        list_inputs([str(tmp_path / "tour")])


def test_two_links_to_one_folder_are_no_loop(tmp_path: Path) -> None:
    """The same folder under two names is listed under both: ids differ, and nobody asked to have it once."""
    touch(tmp_path, "real/a.jpg", "tour/b.jpg")
    for name in ("x", "y"):
        (tmp_path / "tour" / name).symlink_to(tmp_path / "real")
    assert ids(tmp_path / "tour") == ["b", "x/a", "y/a"]


@pytest.mark.parametrize("folder", ["@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found", ".cache"])
def test_what_tools_leave_behind_is_left_out(tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture) -> None:
    """Thumbnails and deleted pictures are none of the collection; how many is told."""
    touch(tmp_path, "a.jpg", f"{folder}/a.jpg", f"sub/{folder}/deep/b.jpg", "sub/c.jpg")
    with caplog.at_level(logging.INFO):
        assert ids(tmp_path) == ["a", "sub/c"]
    assert "left out: 2 that tools leave behind" in caplog.text


def test_a_folder_that_is_itself_hidden_is_listed(tmp_path: Path) -> None:
    """Only what lies below the source is judged by its names: caches are hidden folders."""
    touch(tmp_path, ".cache/hub/a.jpg")
    assert ids(tmp_path / ".cache" / "hub") == ["a"]


def test_what_is_left_out_is_named_by_suffix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Numbers by suffix say at a glance whether something is missing."""
    touch(tmp_path, "a.jpg", *(f"{number}.txt" for number in range(12)), "x.psd", "y.PSD", "README")
    with caplog.at_level(logging.INFO):
        assert ids(tmp_path) == ["a"]
    assert "left out: 12 .txt, 2 .psd, 1 without a suffix" in caplog.text


def test_videos_that_are_not_read_say_what_helps(tmp_path: Path) -> None:
    """Those in other containers, and those that no panorama was made of yet."""
    for name in ("a.insv", "b.mkv"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"\.insv, \.mkv files are not read: bring equirectangular video into MP4"):
        list_inputs([str(tmp_path)])


def test_a_folder_of_pictures_that_are_not_read_says_what_helps(tmp_path: Path) -> None:
    """Only .psd and .dng: an error with the suffixes, their numbers and the conversion."""
    touch(tmp_path, "a.psd", "b.dng", "c.dng")
    with pytest.raises(ConfigError, match=r"no image \(2 \.dng, 1 \.psd\); \.dng, \.psd files are not read: convert"):
        list_inputs([str(tmp_path)])


def test_a_folder_that_an_extra_reads_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only .heic and .exr, and no decoder for them: an error that says what to install and where."""
    touch(tmp_path, "a.heic", "b.exr", "c.txt")
    assert ids(tmp_path) == ["a", "b"]
    monkeypatch.setattr("pager_ray.read.formats._is_installed", lambda module: False)
    with pytest.raises(
        ConfigError, match=r"no image .*\.exr, \.heic files are read by an extra: pip install 'pager_ray"
    ):
        list_inputs([str(tmp_path)])
    with pytest.raises(ConfigError, match=r"neither an image .*; \.exr files are read by an extra: pip install"):
        list_inputs([str(tmp_path / "b.exr")])
