"""Tests of pager_ray.datasets.parquet."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.datasets import parquet
from pager_ray.datasets.parquet import close_cursors, list_rows, read_cell
from pager_ray.errors import ConfigError, InputError, StorageError
from tests.datasets.folders import parquet_bytes, write_tree

GROUPS, ROWS = 3, 5
BAD = "bad_image"


def cell_of(number: int, column: str = "rgb") -> bytes:
    return f"{column} of {number}".encode() * 50


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Three row groups of five rows, small pages, a column of images and one of plain binary."""
    rows = [
        {"id": f"row {n}", "rgb": cell_of(n), "depth": cell_of(n, "depth"), "empty": None if n else b"x"}
        for n in range(GROUPS * ROWS)
    ]
    data = parquet_bytes(
        rows, image_columns=("rgb", "empty"), row_group_size=ROWS, data_page_size=1, write_batch_size=1
    )
    (tmp_path / "rows.parquet").write_bytes(data)
    return str(tmp_path / "rows.parquet")


@pytest.fixture
def advanced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each read of a cursor went forward, with the row it had to begin with."""
    steps: list[int] = []
    original = parquet._Cursor.read

    def counted(self: parquet._Cursor, row: int) -> object:
        before = self.next_row
        try:
            return original(self, row)
        finally:
            steps.append(self.next_row - before)

    monkeypatch.setattr(parquet._Cursor, "read", counted)
    return steps


def test_rows_are_listed(file: str) -> None:
    """Every row has its row group, its number there, and its id where a column holds one."""
    places = [(group, row) for group in range(GROUPS) for row in range(ROWS)]
    assert list_rows(file, ("rgb",)) == [(*place, None) for place in places]
    named = list_rows(file, ("id", "rgb"), "id")
    assert named == [(*place, f"row {number}") for number, place in enumerate(places)]


def test_rows_in_order_cost_each_page_once(file: str, advanced: list[int]) -> None:
    """Columns read in turn, row after row, go forward by one row a read; values equal the whole table's."""
    table = pq.read_table(file)
    for number, (group, row) in enumerate(itertools.product(range(GROUPS), range(ROWS))):
        assert read_cell(file, group, row, "rgb", BAD) == table["rgb"][number].as_py()["bytes"]
        assert read_cell(file, group, row, "depth", BAD) == table["depth"][number].as_py()
    assert advanced == [1] * (2 * GROUPS * ROWS)


def test_rows_out_of_order_equal_direct_reads(file: str) -> None:
    """Any order of rows and columns, repeats included, gives the same values."""
    generator = np.random.default_rng(0)
    for number in generator.integers(0, GROUPS * ROWS, 200):
        column = ("rgb", "depth")[int(generator.integers(2))]
        group, row = divmod(int(number), ROWS)
        assert read_cell(file, group, row, column, BAD) == cell_of(int(number), column)


def test_two_readers_of_a_column_do_not_disturb_each_other(file: str, advanced: list[int]) -> None:
    """Reads that alternate between two places in a row group each go on from where they were."""
    for first, second in ((0, 2), (1, 3), (2, 4)):
        assert read_cell(file, 0, second, "rgb", BAD) == cell_of(second)
        assert read_cell(file, 0, first, "rgb", BAD) == cell_of(first)
    assert advanced == [3, 1, 1, 1, 1, 1]


def test_threads_share_cursors(file: str) -> None:
    """Reads from many threads at once give every row's own value."""
    numbers = [number for number in range(GROUPS * ROWS) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        cells = list(pool.map(lambda number: read_cell(file, *divmod(number, ROWS), "rgb", BAD), numbers))
    assert cells == [cell_of(number) for number in numbers]


def test_few_files_stay_open(tmp_path: Path) -> None:
    """Cursors that were not used for long are closed, and closing all leaves none."""
    for number in range(12):
        write_tree(str(tmp_path), {f"{number}.parquet": parquet_bytes([{"rgb": cell_of(number)}])})
    for number in range(12):
        assert read_cell(f"{tmp_path}/{number}.parquet", 0, 0, "rgb", BAD) == cell_of(number)
    cursors = list(parquet._CURSORS._open)
    assert len(cursors) == parquet._MOST_CURSORS
    assert [cursor.place[0] for cursor in cursors] == [f"{tmp_path}/{number}.parquet" for number in range(4, 12)]
    close_cursors()
    assert not parquet._CURSORS._open
    assert all(cursor._file.closed for cursor in cursors)


def test_cursors_that_hold_much_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a writer made one page of a whole row group, cursors do not add up: only the last ones stay open."""
    for number in range(4):
        rows = [{"rgb": np.random.default_rng(row).bytes(2**18)} for row in range(8)]
        write_tree(str(tmp_path), {f"{number}.parquet": parquet_bytes(rows)})
    read_cell(f"{tmp_path}/0.parquet", 0, 0, "rgb", BAD)
    one = parquet._CURSORS._open[0].held_bytes
    assert one >= 2 * 2**20
    monkeypatch.setattr(parquet, "_MOST_BYTES", int(2.5 * one))
    for number in range(4):
        assert len(read_cell(f"{tmp_path}/{number}.parquet", 0, 0, "rgb", BAD)) == 2**18
    assert [Path(cursor.place[0]).stem for cursor in parquet._CURSORS._open] == ["2", "3"]
    monkeypatch.setattr(parquet, "_MOST_BYTES", 0)
    read_cell(f"{tmp_path}/0.parquet", 0, 0, "rgb", BAD)
    assert [cursor.place[0] for cursor in parquet._CURSORS._open] == [f"{tmp_path}/0.parquet"]


def test_a_row_group_is_not_read_for_a_row(tmp_path: Path) -> None:
    """A row of a 64 MB column chunk takes the bytes up to it from the file, and the memory of a few rows."""
    generator = np.random.default_rng(0)
    path = str(tmp_path / "large.parquet")
    cells = [generator.bytes(2**20) for _ in range(64)]
    table = pa.table({"rgb": pa.array(cells, pa.binary())})
    pq.write_table(table, path, compression="none", use_dictionary=False, data_page_size=1, write_batch_size=1)
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size > 60 * 2**20
    expected = {row: cells[row] for row in (0, 1, 40, 63)}
    del cells, table
    for row, cell in expected.items():
        assert read_cell(path, 0, row, "rgb", BAD) == cell
        (cursor,) = parquet._CURSORS._open
        assert (row + 1) * 2**20 <= cursor._file.tell() < (row + 6) * 2**20
        assert 0 < cursor.held_bytes < 16 * 2**20


@pytest.mark.parametrize(
    ("group", "row", "column", "message"),
    [
        (0, ROWS, "rgb", "row 5 of row group 0 cannot be read .the row group has 5 rows"),
        (GROUPS, 0, "rgb", "the file has 3 row groups"),
        (0, 0, "normals", "the file has no column normals"),
        (0, 1, "empty", "row 1 of row group 0 has no bytes in column empty"),
        (0, 0, "id", "has no bytes in column id"),
    ],
)
def test_cells_that_are_not_there(file: str, group: int, row: int, column: str, message: str) -> None:
    """A row, row group, column or value that a file lacks is an error of the input that names the file."""
    with pytest.raises(InputError, match=message) as caught:
        read_cell(file, group, row, column, BAD)
    assert caught.value.error_class == BAD
    assert file in str(caught.value)
    assert read_cell(file, 0, 0, "rgb", BAD) == cell_of(0)


def test_damaged_files(tmp_path: Path) -> None:
    """Files that are no Parquet, or are damaged inside, are told in one line, when listed and when read."""
    rows = [{"id": f"{n}", "rgb": np.random.default_rng(n).bytes(5000)} for n in range(4)]
    data = bytearray(parquet_bytes(rows, compression="zstd", use_dictionary=False, write_page_checksum=True))
    data[200:400] = bytes(200)
    for name, content in {"none": b"no parquet", "empty": b"", "cut": bytes(data[:-30])}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            ConfigError, match=f"{name}: cannot be read as a Parquet file .*fetch the dataset's file again"
        ) as caught:
            list_rows(f"{tmp_path}/{name}", ("rgb",))
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match=name) as damaged:
            read_cell(f"{tmp_path}/{name}", 0, 0, "rgb", BAD)
        assert damaged.value.error_class == BAD
    (tmp_path / "inside").write_bytes(bytes(data))
    with pytest.raises(
        InputError, match=r"inside: row 3 of row group 0 cannot be read .*; fetch the dataset's file again$"
    ):
        read_cell(f"{tmp_path}/inside", 0, 3, "rgb", BAD)


def test_missing_columns_are_named(file: str) -> None:
    """A file without the columns of its dataset is a ConfigError that lists those it has."""
    with pytest.raises(
        ConfigError, match=r"has no column mask, sky; it has id, rgb, depth, empty; fetch the dataset's"
    ):
        list_rows(file, ("rgb", "mask", "sky"))


def test_failures_of_a_store(memory_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or forbidden file has its own class, a cut connection is no damage, and listing tells the store."""
    write_tree(memory_url, {"x.parquet": parquet_bytes([{"rgb": b"1"}])})
    uri = f"{memory_url}/x.parquet"
    with pytest.raises(InputError, match=r"y\.parquet: does not exist; fetch the dataset's file again$") as caught:
        read_cell(f"{memory_url}/y.parquet", 0, 0, "rgb", BAD)
    assert caught.value.error_class == "missing"
    with pytest.raises(StorageError, match=r"y\.parquet: cannot be read .*; check its store, then run the same"):
        list_rows(f"{memory_url}/y.parquet", ("rgb",))
    store = type(fsspec.filesystem("memory"))
    for error, expected, message in (
        (PermissionError(13, "Permission denied"), "permission_denied", r"\(Permission denied\); ask for the right to"),
        (ConnectionResetError(104, "reset by peer"), "read_failed", r"\(ConnectionResetError\); check its store"),
    ):

        def refuse(*_: object, error: OSError = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(store, "open", refuse)
            with pytest.raises(InputError, match=rf"x\.parquet: .* be read {message}$") as caught:
                read_cell(uri, 0, 0, "rgb", BAD)
            assert caught.value.error_class == expected
            with pytest.raises(StorageError):
                list_rows(uri, ("rgb",))
    assert read_cell(uri, 0, 0, "rgb", BAD) == b"1"


def test_a_connection_cut_while_reading(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in the middle of a file is no damage, and the next read starts anew and succeeds."""
    assert read_cell(file, 0, 0, "rgb", BAD) == cell_of(0)
    (cursor,) = parquet._CURSORS._open

    class Cut:
        def __next__(self) -> None:
            raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(cursor, "_batches", Cut())
    with pytest.raises(InputError) as caught:
        read_cell(file, 0, 1, "rgb", BAD)
    assert caught.value.error_class == "read_failed"
    assert cursor._file.closed
    assert read_cell(file, 0, 1, "rgb", BAD) == cell_of(1)
