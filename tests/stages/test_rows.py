"""Rows between stages: arrays travel as bytes without a copy, and no row is lost on the way."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.errors import InputError, PagerError
from pager_ray.prediction import QUALITY_COLUMNS
from pager_ray.stages.rows import (
    ENCODE_SCHEMA,
    IDENTITY,
    INFER_SCHEMA,
    READ_SCHEMA,
    SOURCE,
    STATUS,
    blob,
    carry,
    iterate,
    reject,
    to_table,
    view,
)

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("array", pa.large_binary())])
DTYPES = [np.uint8, np.float16, np.float32]


def cell(array: np.ndarray | None) -> pa.Scalar:
    """An array in a table's cell."""
    row = {"id": "a"} if array is None else {"id": "a", "array": blob(array)}
    return to_table([row], SCHEMA, 1, "test").column("array")[0]


@pytest.mark.parametrize("dtype", DTYPES)
@settings(derandomize=True)
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), seed=st.integers(0, 99))
def test_arrays_come_back(dtype: type, shape: tuple[int, ...], seed: int) -> None:
    """An array's bytes in a cell are the same array again, whatever its shape and dtype."""
    array = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    back = view(cell(array), dtype, shape)
    assert back is not None
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_contiguous_arrays_are_not_copied(dtype: type) -> None:
    """Bytes for a cell share the array's memory, and the array of a cell shares the table's."""
    array = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    data = blob(array)
    assert np.shares_memory(np.frombuffer(data, np.uint8), array)
    assert data.nbytes == array.nbytes
    value = cell(array)
    back = view(value, dtype, array.shape)
    assert back is not None
    assert np.shares_memory(back, np.frombuffer(value.as_buffer(), np.uint8))


def test_other_layouts_are_put_in_order() -> None:
    """Arrays that are turned, sliced or read-only travel in C order."""
    base = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    frozen = base.copy()
    frozen.setflags(write=False)
    for array in (base.transpose(2, 0, 1), base[:, ::2], base[..., ::-1], np.asfortranarray(base), frozen):
        np.testing.assert_array_equal(view(cell(array), np.float32, array.shape), array)


def test_null_cells_have_no_array() -> None:
    """A row without an array has a null cell, which reads as None."""
    assert view(cell(None), np.uint8, (2, 2)) is None


def test_cells_of_another_size_are_refused() -> None:
    """Bytes that do not make the expected array are an error, not an array of another shape."""
    with pytest.raises(ValueError, match="reshape"):
        view(cell(np.zeros(8, np.uint8)), np.uint8, (3, 3))


@pytest.mark.parametrize("rows", [[], [{"id": "a"}], [{"id": "a"}, {"id": "b"}, {"id": "c"}]])
def test_a_stage_returns_as_many_rows_as_it_got(rows: list[dict[str, str]]) -> None:
    """A stage that loses or adds a row is stopped by name, with both numbers."""
    with pytest.raises(PagerError, match=f"^stage stitch got 2 rows and returned {len(rows)}, .*; please"):
        to_table(rows, SCHEMA, 2, "stitch")


def test_tables_have_the_schema_of_their_stage() -> None:
    """Columns that a row lacks are null, columns that the schema lacks are dropped, also with no rows at all."""
    table = to_table([{"id": "a", "array": b"12", "other": 1}, {"id": "b"}], SCHEMA, 2, "test")
    assert table.schema == SCHEMA
    assert table.to_pylist() == [{"id": "a", "array": b"12"}, {"id": "b", "array": None}]
    assert to_table([], SCHEMA, 0, "test").schema == SCHEMA


def test_rows_are_iterated_in_order_over_chunks() -> None:
    """Rows of a table made of several blocks come in order, as scalars of their own columns."""
    table = pa.concat_tables([pa.table({"id": ["a", "b"], "n": [1, 2]}), pa.table({"id": ["c"], "n": [3]})])
    assert [(row["id"].as_py(), row["n"].as_py()) for row in iterate(table)] == [("a", 1), ("b", 2), ("c", 3)]


def test_carry_takes_the_columns_that_are_there() -> None:
    """Fields that an earlier stage has not made yet are left out; nulls stay None."""
    row = next(iterate(pa.table({"id": ["a"], "uri": ["/a"], "scene": pa.array([None], pa.string()), "x": [1]})))
    assert carry(row, [*IDENTITY, *SOURCE]) == {"id": "a", "uri": "/a", "scene": None}


def test_a_reject_keeps_its_identity_and_loses_the_rest() -> None:
    """A rejected row has its id, URI and scene and the reason, and no arrays or sizes."""
    row = {"id": "a", "uri": "/a", "scene": "indoor", "width": 4, "faces": b"1"}
    assert reject(row, "read", InputError("missing", "/a: does not exist")) == {
        "id": "a",
        "uri": "/a",
        "scene": "indoor",
        "sample": None,
        "sequence": None,
        "time": None,
        "kept": None,
        "stage": "read",
        "error_class": "missing",
        "message": "/a: does not exist",
        "attempts": 1,
    }


@pytest.mark.parametrize("schema", [READ_SCHEMA, INFER_SCHEMA, ENCODE_SCHEMA], ids=["read", "infer", "encode"])
def test_every_stage_keeps_identity_status_and_source(schema: pa.Schema) -> None:
    """Whatever a stage adds, a row stays known, and all but its identity may be null for a reject."""
    for field in [*IDENTITY, *STATUS, *SOURCE]:
        assert schema.field(field.name) == field
    assert [field.name for field in schema if not field.nullable] == ["id", "uri"]


def test_quality_columns_travel_to_the_writer() -> None:
    """Every quality number has a column from the model to the shard."""
    for schema in (INFER_SCHEMA, ENCODE_SCHEMA):
        assert {schema.field(name).type for name in QUALITY_COLUMNS} == {pa.float32()}


def test_views_are_read_only() -> None:
    """Nobody writes through a view into memory that other processes share."""
    array = view(cell(np.zeros(4, np.uint8)), np.uint8, (4,))
    assert array is not None
    assert not array.flags.writeable
