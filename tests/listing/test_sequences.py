"""Sequences and times travel from wherever a collection keeps them to its inputs, and are null where nothing does."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import ConfigError
from pager_ray.listing import Listing, list_inputs
from pager_ray.listing.containers import SourceOptions
from pager_ray.read.containers import IndexSettings
from pager_ray.retrying import Retry
from tests.read.packed import write_tar

TIME = 1627894626.0


def listed(*sources: Path, **settings: Any) -> Listing:
    options = SourceOptions(settings=IndexSettings(**settings))
    return list_inputs([str(source) for source in sources], Retry(0), options=options)


def places(listing: Listing) -> dict[str, tuple[str | None, float | None]]:
    return {row.id: (row.sequence, row.time) for row in listing}


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\xff\xd8\xff")
    return folder


def test_a_folder_says_nothing(tmp_path: Path) -> None:
    """Pictures alone are of no sequence."""
    assert places(listed(pictures(tmp_path, "a.jpg"))) == {"a": (None, None)}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_listings_have_columns(tmp_path: Path, suffix: str) -> None:
    """Under their usual names, whatever their types, and under any that is named."""
    rows = {"uri": ["a.jpg", "b.jpg"], "sequence": ["s", None], "time": [0.5, None], "drive": ["d", "e"], "at": [1, 2]}
    path = tmp_path / f"list.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table(rows), path)
    else:
        path.write_text("uri,Sequence,time,drive,at\na.jpg,s,0.5,d,1\nb.jpg,,,e,2\n")
    assert places(listed(path)) == {"a": ("s", 0.5), "b": (None, None)}
    assert places(listed(path, sequence_column="drive", time_column="at")) == {"a": ("d", 1.0), "b": ("e", 2.0)}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("is_listing", [True, False])
def test_lengths_of_time_are_seconds(unit: str, is_listing: bool, tmp_path: Path) -> None:
    """Since the walk began, as pandas has them, in whatever unit Arrow counts them."""
    taken = pa.array([datetime.timedelta(seconds=90), None, datetime.timedelta(seconds=-1)], pa.duration(unit))
    others = {"uri": ["a.jpg", "b.jpg", "c.jpg"]} if is_listing else {"image": [b"1"] * 3, "id": ["a", "b", "c"]}
    pq.write_table(pa.table({**others, "time": taken}), tmp_path / "x.parquet")
    assert places(listed(tmp_path / "x.parquet")) == {"a": (None, 90.0), "b": (None, None), "c": (None, -1.0)}


@pytest.mark.parametrize("is_listing", [True, False])
def test_numbers_that_are_none_are_no_names(is_listing: bool, tmp_path: Path) -> None:
    """Frames whose sequence is NaN are not of one sequence that is called so, nor is that an id."""
    nothing = float("nan")
    others = {"uri": ["a.jpg", "b.jpg"]} if is_listing else {"image": [b"1"] * 2, "key": ["a", "b"]}
    table = {**others, "sequence": [nothing, 7.0], "time": [1.0, nothing], "number": [nothing, nothing]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    assert places(listed(tmp_path / "x.parquet"))["a"] == (None, 1.0)
    assert "nan" not in places(listed(tmp_path / "x.parquet", id_column="number"))


def test_a_listing_that_was_asked_for_times_has_them(tmp_path: Path) -> None:
    """The first row that says something else is named; a column that nobody asked for may say anything."""
    path = tmp_path / "list.csv"
    path.write_text("uri,time\na.jpg,1\nb.jpg,noon\n")
    assert places(listed(path)) == {"a": (None, 1.0), "b": (None, None)}
    with pytest.raises(ConfigError, match="row 2: time is 'noon'; takes seconds or ISO 8601"):
        listed(path, time_column="time")


def test_tars_have_sidecars(tmp_path: Path) -> None:
    """JSON beside a picture: columns of one's own, Mapillary's description, an item of STAC."""
    item = {"type": "Feature", "collection": "c", "properties": {"datetime": "2021-08-02T08:57:06Z"}}
    members = {
        "a.jpg": b"\xff\xd8\xff",
        "a.json": json.dumps({"sequence": "s", "time": 2}).encode(),
        "b.jpg": b"\xff\xd8\xff",
        "b.json": json.dumps({"MAPSequenceUUID": "m", "MAPCaptureTime": "2021_08_02_08_57_06_000"}).encode(),
        "c.jpg": b"\xff\xd8\xff",
        "c.json": json.dumps(item).encode(),
    }
    write_tar(tmp_path / "x.tar", [*members.items()])
    assert places(listed(tmp_path / "x.tar")) == {"a": ("s", 2.0), "b": ("m", TIME), "c": ("c", TIME)}


def test_parquet_has_columns(tmp_path: Path) -> None:
    """Timestamps of Arrow are times."""
    when = pa.array([1627894626000], pa.timestamp("ms"))
    table = pa.table({"image": pa.array([b"\xff\xd8\xff"]), "sequence_id": ["s"], "captured_at": when})
    pq.write_table(table, tmp_path / "x.parquet")
    assert [*places(listed(tmp_path / "x.parquet")).values()] == [("s", TIME)]


def test_mapillarys_descriptions_are_found(tmp_path: Path) -> None:
    """By the path that they were made with, and by the name alone where that is one picture's."""
    folder = pictures(tmp_path, "1/a.jpg", "1/b.jpg", "2/b.jpg")
    told = [
        {"filename": "1/b.jpg", "MAPSequenceUUID": "m", "MAPCaptureTime": "2021_08_02_08_57_06_000"},
        {"filename": "C:\\pictures\\a.jpg", "MAPSequenceUUID": "n", "MAPCaptureTime": "2021_08_02_08_57_06_000"},
        {"filename": "/elsewhere/b.jpg", "MAPSequenceUUID": "nobody's"},
        {"error": {"type": "MapillaryGeoTaggingError"}, "filename": "1/c.jpg"},
    ]
    (folder / "mapillary_image_description.json").write_text(json.dumps(told))
    assert places(listed(folder)) == {"1/a": ("n", TIME), "1/b": ("m", TIME), "2/b": (None, None)}


def test_panoramaxs_items_are_found(tmp_path: Path) -> None:
    """By a picture's id, its address or its first name; the collection is the sequence."""
    folder = pictures(tmp_path, "p1.jpg", "hd.jpg", "IMG_3.jpg")

    def item(id: str, **more: Any) -> dict[str, Any]:
        properties = {"datetime": "2021-08-02T08:57:06+00:00", **more.pop("properties", {})}
        return {"type": "Feature", "id": id, "collection": "c", "properties": properties, **more}

    features = [
        item("p1"),
        item("p2", assets={"hd": {"href": "https://server/pictures/hd.jpg"}}),
        item("p3", properties={"original_file:name": "IMG_3.jpg"}),
    ]
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert {*places(listed(folder)).values()} == {("c", TIME)}


def test_an_export_that_is_damaged_is_named(tmp_path: Path) -> None:
    """It was brought along to be used."""
    folder = pictures(tmp_path, "a.jpg")
    (folder / "items.json").write_text('{"type": "FeatureColl')
    with pytest.raises(ConfigError, match=r"items\.json: cannot be read as JSON"):
        listed(folder)
