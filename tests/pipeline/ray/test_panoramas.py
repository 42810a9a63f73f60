"""Panoramas as a dataset of Ray's, and the model over it: one row per panorama, rejects among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import pager_ray
from pager_ray.encode import get_codec
from pager_ray.samples import write_samples
from tests.read import cubes
from tests.read.packed import pack, write_tar

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_a_pipeline_of_ones_own(tiny_unified: Path, tmp_path: Path) -> None:
    """Tars and Parquet files in one dataset, predicted and written as Parquet; each row equals ``predict``."""
    listing = Path(write_samples(tmp_path / "in", 6, height=64, ground_truth=False))
    pictures = {path.stem: path.read_bytes() for path in sorted(listing.parent.glob("*.jpg"))}
    names = list(pictures)
    pack("parquet", tmp_path / "rows", {name: pictures[name] for name in names[:3]}, shards=1)
    members = [(f"{name}.jpg", pictures[name]) for name in names[3:]]
    write_tar(tmp_path / "x.tar", [*members, ("letter.jpg", b"no picture"), ("letter.json", b'{"town": "Bern"}')])
    cubes.write(tmp_path / "six", cubes.pictures("words", 32))
    sources = [f"{tmp_path}/rows", f"{tmp_path}/x.tar", f"{tmp_path}/six"]
    ds = pager_ray.read_panoramas(sources, keep_columns=["town"])
    ds = ds.map_batches(
        pager_ray.PanoramaPredictor,
        fn_constructor_kwargs={
            "checkpoint": str(tiny_unified),
            "settings": {"scene_mode": "indoor", "output.codec": "exact"},
            "encode": True,
        },
        concurrency=1,
        batch_size=2,
    )
    ds.write_parquet(str(tmp_path / "out"))
    # Whichever file is the first, its columns are those of all: readers take their types from it.
    assert len({str(pq.read_schema(path)) for path in (tmp_path / "out").iterdir()}) == 1
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "out").to_pylist()}
    assert sorted(rows) == sorted([*names, "letter", "six"])
    assert (rows["six"]["remarks"], rows["six"]["width"], rows["six"]["error_class"]) == ("cubemap", 128, "")
    assert (rows["letter"]["error_class"], rows["letter"]["town"], rows["letter"]["depth"]) == (
        "not_an_image", "Bern", b""
    )  # fmt: skip
    model = pager_ray.load_model(tiny_unified)
    for name in (names[0], names[-1]):
        expected = pager_ray.predict(listing.parent / f"{name}.jpg", model, scene="indoor")
        got = get_codec("depth", "exact").decode(rows[name]["depth"], (64, 128))
        np.testing.assert_allclose(got, expected.depth, rtol=1e-5)
        assert rows[name]["uri"].startswith(("parquet://image/", "tar://"))
