"""A place on this machine has one spelling, whatever links and steps it was named by."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pager_ray.localpaths import is_same_or_below, local_path
from pager_ray.read.fetch import fetch
from pager_ray.retrying import Retry

AT_ONCE = Retry(0)


def test_links_stay_and_climbing_goes_where_they_lead(tmp_path: Path) -> None:
    """A path through a link keeps the link's name; ``..`` behind one is what the disk has there."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    (tmp_path / "real" / "a.jpg").write_bytes(b"behind")
    (tmp_path / "a.jpg").write_bytes(b"before")
    assert local_path(f"{tmp_path}/link/x/../y") == f"{tmp_path}/link/y"
    assert local_path(f"{tmp_path}/link/../a.jpg") == f"{tmp_path}/real/a.jpg"
    assert fetch(f"{tmp_path}/link/../a.jpg", AT_ONCE) == b"behind"


@given(st.text(alphabet="ab/.~:", max_size=30))
def test_a_spelling_is_settled_once(text: str) -> None:
    """Any path becomes an absolute one without a step that could be left out, and stays that."""
    path = local_path(text)
    assert path.startswith("/")
    assert not {"", ".", ".."} & {*path.split("/")[1:]} or path == "/"
    assert local_path(path) == path


def test_a_folder_is_reached_by_any_link(tmp_path: Path) -> None:
    """On the way to it, of it and below it; a link elsewhere, and a name that begins alike, do not lead there."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "a" / "out").symlink_to(tmp_path / "ab")
    for path, folder, below in (
        ("a/b", "a/b", True),
        ("link/x", "a", True),
        ("link", "a/b", True),
        ("a/b/x", "link", True),
        ("a/out/x", "a", True),
        ("ab/x", "a/out", True),
        ("ab/x", "a", False),
        ("a/x", "link", False),
    ):
        assert is_same_or_below(f"{tmp_path}/{path}", f"{tmp_path}/{folder}") is below
    assert is_same_or_below("/", "/")
    assert is_same_or_below(str(tmp_path), "/")
