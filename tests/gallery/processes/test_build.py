"""A gallery that several processes write."""

from __future__ import annotations

from pathlib import Path

from pager_ray.gallery import build_gallery
from pager_ray.gallery.site import detail_path
from tests.reader.runs import SmallRun


def test_pages_made_in_processes_are_the_same(run: SmallRun, tmp_path: Path) -> None:
    """Several processes write what one does."""
    build_gallery(str(run.folder), str(tmp_path / "one"), details=None, workers=1)
    build_gallery(str(run.folder), str(tmp_path / "two"), details=None, workers=2)
    for row in range(5):
        for name in (f"panoramas/{detail_path(row)}.js", f"thumbs/{detail_path(row)}.jpg"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
