"""A gallery on a bucket."""

from __future__ import annotations

import pytest
import s3fs

from pager_ray.gallery import build_gallery
from tests.reader.runs import SmallRun


@pytest.mark.usefixtures("s3_bucket")
def test_a_gallery_lies_on_a_bucket(run: SmallRun, s3_bucket: str) -> None:
    """On S3 every file is there, with the type that a browser needs."""
    built = build_gallery(str(run.folder), f"{s3_bucket}/gallery", workers=1)
    assert built.index == f"{s3_bucket}/gallery/index.html"
    store = s3fs.S3FileSystem()
    assert store.info(built.index)["ContentType"] == "text/html"
    assert store.exists(f"{s3_bucket}/gallery/panoramas/000/000004.js")
