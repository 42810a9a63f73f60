"""Comma-separated values: cells come out as they went in, as numbers only where nothing of them is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import ConfigError
from pager_ray.listing import Listing, list_inputs
from pager_ray.listing.containers import SourceOptions
from pager_ray.listing.csvs import typed
from pager_ray.listing.kept import kept_fields
from pager_ray.read.containers import IndexSettings
from pager_ray.retrying import Retry


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", " -2", None, "9007199254740993"], [1, -2, None, 9007199254740993]),
        (["01067", "10115"], ["01067", "10115"]),
        (["007", "12e5", "1"], ["007", "12e5", "1"]),
        (["1", "1.5", "-.5e1", None], [1.0, 1.5, -5.0, None]),
        (["9007199254740993", None, "1.5"], ["9007199254740993", None, "1.5"]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
        (["inf", "2", "-inf"], [float("inf"), 2.0, float("-inf")]),
        (["true", "False"], [True, False]),
        (["true", "no"], ["true", "no"]),
        (["2024-01-02", "2024-01-03"], ["2024-01-02", "2024-01-03"]),
        (["-0", "1"], [0.0, 1.0]),
        (["+1", "1"], ["+1", "1"]),
        (["1,5", "2"], ["1,5", "2"]),
        (["Infinity and beyond", "inf"], ["Infinity and beyond", "inf"]),
        ([None, None], [None, None]),
        ([], []),
    ],
)
def test_a_column_is_numbers_where_all_of_its_cells_are(cells: list[str | None], expected: list[Any]) -> None:
    """Codes with zeros before them, and whole numbers that a float would round, stay the texts that they are."""
    table = pa.table({"n": pa.array(cells, pa.string())})
    assert typed(table).column("n").to_pylist() == expected


def listed(source: Path, **settings: Any) -> Listing:
    options = SourceOptions(settings=IndexSettings(retry=Retry(0), **settings))
    return list_inputs([str(source)], Retry(0), options=options)


def images(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"1")
    return folder


def test_listings_keep_codes_and_numbers(tmp_path: Path) -> None:
    """What is kept is what is written; a number that is none is nothing, and changes no column's type."""
    (tmp_path / "list.csv").write_text("uri,zip,lat\na.jpg,01067,1.5\nb.jpg,10115,nan\nc.jpg,,-2\n")
    rows = listed(tmp_path / "list.csv", keep=("zip", "lat"))
    assert [json.loads(row.kept or "") for row in rows] == [
        {"zip": "01067", "lat": 1.5},
        {"zip": "10115"},
        {"lat": -2.0},
    ]
    fields = kept_fields([part.column("kept") for part in rows.parts(["kept"])], ("zip", "lat"))
    assert [field.type for field in fields] == [pa.string(), pa.float64()]
    earlier = pa.chunked_array([['{"lat":1.5}', '{"lat":null}']])
    assert [field.type for field in kept_fields([earlier], ("lat",))] == [pa.float64()]


def test_ids_of_a_table_beside_images_are_texts(tmp_path: Path) -> None:
    """Zeros before an id are the id's, in whatever company, and kept columns are as those of listings."""
    folder = images(tmp_path / "in", "a.png", "b.png", "c.png")
    (folder / "metadata.csv").write_text("\ufefffile_name,pano_id,zip\na.png,0001,01067\nb.png,1,2\nc.png,010,3\n")
    rows = listed(folder, id_column="pano_id", keep=("zip", "pano_id"))
    assert [(row.id, row.error_class) for row in rows] == [("0001", None), ("1", None), ("010", None)]
    assert [json.loads(row.kept or "")["zip"] for row in rows] == ["01067", "2", "3"]


def test_captions_of_many_lines_may_stand_beside_images(tmp_path: Path) -> None:
    """Beyond the size that is read at a time, too; in the header as well."""
    folder = images(tmp_path / "in", "a.png")
    caption = "a street\nwith trees, and\n" * 20
    rows = "".join(f'{number}.png,"{caption}",{number}\n' for number in range(4000))
    (folder / "metadata.csv").write_text(f'file_name,"a\ncaption",n\n{rows}a.png,"{caption}",5\n')
    assert (folder / "metadata.csv").stat().st_size > 1 << 20
    (row,) = listed(folder, keep=("n",))
    assert row.kept == '{"n":5}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file_name,file_name,n\na.png,a.png,1\n", r"it has more than one column file_name\); correct it"),
        ("file_name,n,n\na.png,1,1\n", r"it has more than one column n\); correct it"),
        ("", r"it is empty\); correct it"),
        ("file_name,n\na.png\n", r"Expected 2 columns, got 1.*\); correct it"),
    ],
)
def test_tables_beside_images_that_cannot_be_understood_are_named(text: str, says: str, tmp_path: Path) -> None:
    """In one line with the file."""
    folder = images(tmp_path / "in", "a.png")
    (folder / "metadata.csv").write_text(text)
    with pytest.raises(ConfigError, match=rf"metadata\.csv: cannot be read as a table \(.*{says}$"):
        listed(folder, keep=("n",))


def test_columns_that_nobody_asked_for_may_be_anything(tmp_path: Path) -> None:
    """Twice there, and no UTF-8."""
    (tmp_path / "list.csv").write_bytes(b"uri,note,note,size,size,n\na.jpg,\xff,\xfe,1,2,3\n")
    (row,) = listed(tmp_path / "list.csv", keep=("n",))
    assert (row.id, row.kept) == ("a", '{"n":3}')


def test_a_kept_value_that_python_has_none_for_is_named(tmp_path: Path) -> None:
    """A date of another age in a listing's column that is kept."""
    table = {"uri": ["a.jpg", "b.jpg"], "taken": pa.array([0, 2**50], pa.timestamp("ms"))}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    says = r"list\.parquet row 2: .*timestamp\[ms\].*; choose others with input.keep_columns"
    with pytest.raises(ConfigError, match=says):
        listed(tmp_path / "list.parquet", keep=("taken",))
    assert len(listed(tmp_path / "list.parquet")) == 2
