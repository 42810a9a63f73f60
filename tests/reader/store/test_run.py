"""A run on a bucket is read no further than what is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import s3fs

from pager_ray import open_run
from tests.reader.runs import SmallRun


def test_a_bucket_is_asked_for_no_more_than_what_is_read(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One panorama fetches its own bytes and the footer, the table no pixels at all: clients read nothing ahead."""
    small = SmallRun(f"{s3_bucket}/run")
    noise = np.random.default_rng(0).bytes(2**20)
    small.write("s1", *[small.prediction(f"{k}", normals=noise) for k in range(8)])
    run = open_run(f"{s3_bucket}/run")
    fetched: list[int] = []
    fetch = s3fs.core.S3File._fetch_range

    def counted(self: s3fs.core.S3File, start: int, end: int) -> bytes:
        fetched.append(end - start)
        return fetch(self, start, end)

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", counted)
    assert run["3"].sky is not None
    assert len(noise) < sum(fetched) < 1.2 * len(noise)
    fetched.clear()
    assert run.read("3", ["depth"]).normals is None
    assert run.table(["id", "depth_p50"]).num_rows == 8
    assert 0 < sum(fetched) < 0.4 * len(noise)
