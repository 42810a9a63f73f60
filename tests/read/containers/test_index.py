"""What lies in containers: every picture a row with its place, one ranged read each, and damage told where it is."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import InputError
from pager_ray.read.containers import Container, IndexSettings, Members, Place, index_container
from pager_ray.read.containers import members as reading
from pager_ray.read.containers.parquets import read_rows
from pager_ray.read.fetch import fetch, fetch_row_group
from pager_ray.read.ranges import Ranged
from pager_ray.retrying import Retry
from tests.read.packed import FORMS, add, pack, write_hub, write_index, write_tar

SETTINGS = IndexSettings(retry=Retry(0))
PICTURES = {f"a/room{number}": bytes([number]) * (4000 + 1000 * number) for number in range(12)}


def index(path: Path, **settings: Any) -> Members:
    return index_container(Container(str(path), **settings), SETTINGS)


def read(path: Path, found: Members, row: dict[str, Any]) -> bytes:
    place = Place(row["offset"], row["size"] if found.form != "parquet" else None, row["row_group"], row["row"])
    return fetch(f"{found.form}://{row['name']}::file://{path}", Retry(0), place=place)


@pytest.mark.parametrize("form", FORMS[1:])
def test_every_picture_is_read_by_its_place_and_by_its_name(form: str, tmp_path: Path) -> None:
    """Places as listed, and no place at all, lead to the bytes that were packed."""
    pictures = {name.replace("/", "-"): content for name, content in PICTURES.items()}
    (name,) = pack(form, tmp_path, pictures, shards=1)
    found = index(tmp_path / name)
    assert found.problem is None
    rows = found.table.to_pylist()
    contents = [read(tmp_path / name, found, row) for row in rows]
    assert sorted(contents) == sorted(pictures.values())
    assert [fetch(f"{found.form}://{row['name']}::file://{tmp_path / name}", Retry(0)) for row in rows] == contents
    with pytest.raises(InputError, match=r"does not exist|fewer rows"):
        fetch(f"{found.form}://image/99::file://{tmp_path / name}", Retry(0))


def test_samples_of_a_tar_are_named_by_their_key(tmp_path: Path) -> None:
    """The name up to the first dot is the key, folders count.

    Of several pictures the plainly named one is the sample's; several of which none is are inputs of their own.
    """
    members = [
        ("in/one.jpg", b"1"), ("in/one.depth.png", b"d"), ("in/one.json", b'{"scene": "outdoor", "town": "Bern"}'),
        ("two.left.jpg", b"l"), ("two.right.jpg", b"r"), ("three.png", b"3p"), ("three.jpg", b"3j"), ("._x.jpg", b""),
        ("notes.txt", b"n"),
    ]  # fmt: skip
    path = write_tar(tmp_path / "x.tar", members)
    found = index(path)
    rows = found.table.to_pylist()
    assert [(row["key"], row["name"], row["scene"]) for row in rows] == [
        ("in/one", "in/one.jpg", "outdoor"),
        ("two.left", "two.left.jpg", None),
        ("two.right", "two.right.jpg", None),
        ("three", "three.jpg", None),
    ]
    assert found.left_out == {
        ".depth.png": 1, ".json": 1, ".png": 1, ".txt": 1, "that tools leave behind": 1
    }  # fmt: skip
    kept = IndexSettings(retry=Retry(0), keep=("town",), image_column="depth.png", id_column="town")
    (row,) = index_container(Container(str(path)), kept).table.to_pylist()[:1]
    assert (row["name"], row["given"], row["kept"]) == ("in/one.depth.png", "Bern", '{"town":"Bern"}')


def test_img2dataset_has_its_columns_beside(tmp_path: Path) -> None:
    """Keys join the table's rows; those with another status than success are counted, and are no inputs."""
    write_tar(tmp_path / "00042.tar", [(f"0004200{k}.jpg", bytes([k])) for k in (0, 2)])
    table = {"key": ["00042000", "00042001", "00042002"], "status": ["success", "failed_to_download", "success"]}
    pq.write_table(pa.table({**table, "url": ["u0", "u1", "u2"]}), tmp_path / "00042.parquet")
    container = Container(str(tmp_path / "00042.tar"), "tar", table=str(tmp_path / "00042.parquet"))
    found = index_container(container, IndexSettings(retry=Retry(0), keep=("url",)))
    assert [(row["key"], row["kept"]) for row in found.table.to_pylist()] == [
        ("00042000", '{"url":"u0"}'), ("00042002", '{"url":"u2"}')
    ]  # fmt: skip
    assert found.left_out == {"rows without a picture (failed_to_download)": 1}


def test_an_index_beside_a_tar_is_used_where_it_fits(tmp_path: Path) -> None:
    """It gives the same rows as hopping; one of another tar is left alone."""
    path = write_tar(tmp_path / "x.tar", [(f"{k}.jpg", bytes([k]) * 9000) for k in range(9)])
    hopped = index(path).table
    dali = write_index(path)
    # It has all but the headers' checksums.
    assert index(path, dali=str(dali)).table.drop_columns("stamp") == hopped.drop_columns("stamp")
    dali.write_text(dali.read_text().replace("0.jpg", "7.jpg").replace(" 512 ", " 1024 "))
    assert index(path, dali=str(dali)).table == hopped


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_few_bytes_are_read(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing and reading all members takes at most 1.05 times their bytes, in one request each."""
    taken: list[int] = []

    def counted(self: Any, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        with open(path, "rb") as file:
            file.seek(start or 0)
            content = file.read((end or 1 << 40) - (start or 0))
        taken.append(len(content))
        return content

    pictures = {f"{number}": bytes([number]) * 400_000 for number in range(20)}
    (name,) = pack(form, tmp_path, pictures, shards=1)
    monkeypatch.setattr(LocalFileSystem, "cat_file", counted)
    found = index(tmp_path / name)
    listed = len(taken)
    for row in found.table.to_pylist():
        read(tmp_path / name, found, row)
    assert len(taken) - listed == len(pictures)
    assert sum(taken) <= 1.05 * sum(map(len, pictures.values()))


def test_a_tar_that_is_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    """The member that is cut is a reject, those before it are read, and what may follow is told."""
    path = write_tar(tmp_path / "x.tar", [(f"{k}.jpg", bytes([k]) * 9000) for k in range(4)])
    path.write_bytes(path.read_bytes()[: 2 * 9728 + 5000])
    found = index(path)
    rows = found.table.to_pylist()
    assert [row["error_class"] for row in rows] == [None, None, "corrupt_container"]
    assert [read(path, found, row)[:1] for row in rows[:2]] == [b"\0", b"\1"]
    assert found.problem is not None
    assert "behind 2.jpg" in found.problem


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "x.tar",
            gzip.compress(b"tar", mtime=0),
            "is compressed with gzip: its members cannot be read one by one; decompress",
        ),
        ("x.tar", b"no tar at all" * 100, "cannot be read as a tar"),
        ("x.tar", b"", "it is empty"),
        ("x.zip", b"PK\x03\x04 no zip", "is no zip that can be read"),
        ("x.parquet", b"PAR1 no PAR1", "cannot be read as a Parquet file"),
    ],
)
def test_what_is_no_container_says_why(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    """One line with what is wrong and what to do, and no rows."""
    (tmp_path / name).write_bytes(content)
    found = index(tmp_path / name, form=name[2:])
    assert not found.table.num_rows
    assert says in str(found.problem)


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def patched(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def test_bad_members_of_a_zip_are_rejects_alone(tmp_path: Path) -> None:
    """Absolute and climbing names, encryption, other methods and sizes beyond the limit; the neighbour is read."""
    names = {"/abs.jpg": b"a", "../up.jpg": b"u", "big.jpg": bytes(5000), "good.jpg": b"good", "locked.jpg": b"l"}
    path = write_zip(tmp_path / "x.zip", names)
    with zipfile.ZipFile(path) as archive:
        offsets = {entry.filename: entry.header_offset for entry in archive.infolist()}
    content = bytearray(path.read_bytes())
    # The directory's flags of the last member: encrypted.
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 8] |= 1
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("other.jpg", b"o" * 100)
    found = index_container(Container(str(path)), IndexSettings(retry=Retry(0), max_bytes=4000))
    told = {row["name"]: row["error_class"] for row in found.table.to_pylist()}
    assert told == {
        "/abs.jpg": "bad_name", "../up.jpg": "bad_name", "big.jpg": "too_large", "good.jpg": None,
        "locked.jpg": "encrypted", "other.jpg": "unsupported_format",
    }  # fmt: skip
    row = next(row for row in found.table.to_pylist() if row["name"] == "good.jpg")
    assert row["offset"] == offsets["good.jpg"]
    assert read(path, found, row) == b"good"


def test_a_bomb_is_inflated_up_to_the_limit_alone(tmp_path: Path) -> None:
    """A member that inflates to more than its directory says, or than is taken, is a reject; little memory is used."""
    bomb = zlib.compress(bytes(50 << 20), 9)[2:-4]
    header = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(bomb), 100, 5, 0) + b"a.jpg"
    path = tmp_path / "x.zip"
    path.write_bytes(header + bomb)
    with pytest.raises(InputError, match="inflates to more than 1048576 bytes") as caught:
        fetch(f"zip://a.jpg::file://{path}", Retry(0), max_bytes=1 << 20, place=Place(0, len(bomb)))
    assert caught.value.error_class == "too_large"


class Streamed(io.BytesIO):
    """A place that nobody goes back in, as a pipe or a response: sums stand behind what they are of."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise io.UnsupportedOperation


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("extra", [0, 300])
def test_streamed_zips_are_checked_as_others_are(method: int, extra: int, tmp_path: Path) -> None:
    """A byte that changed is told by the sum behind it, wherever that lies; where none is, there is nothing to say."""
    stream, pictures = Streamed(), {"a.jpg": bytes(range(256)) * 8, "b.jpg": b"2" * 900}
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in pictures.items():
            member = zipfile.ZipInfo(name)
            member.compress_type, member.extra = method, struct.pack("<2H", 0x7777, extra) + bytes(extra)
            archive.writestr(member, content)
    path, whole = tmp_path / "x.zip", stream.getvalue()
    path.write_bytes(whole)
    found = index(path)
    rows = found.table.to_pylist()
    assert [read(path, found, row) for row in rows] == [*pictures.values()]
    sums = [zlib.crc32(content) for content in pictures.values()]
    assert whole.count(b"PK\7\x08" + struct.pack("<L", sums[0])) == 1
    path.write_bytes(whole.replace(struct.pack("<L", sums[0]), struct.pack("<L", sums[0] ^ 1)))
    with pytest.raises(InputError, match="have another checksum than the zip says") as caught:
        read(path, found, rows[0])
    assert caught.value.error_class == "corrupt_container"
    assert read(path, found, rows[1]) == pictures["b.jpg"]
    path.write_bytes(whole.replace(b"PK\7\x08" + struct.pack("<L", sums[0]), bytes(8)))
    assert read(path, found, rows[0]) == pictures["a.jpg"]


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_container_that_was_written_anew_is_noticed(form: str, tmp_path: Path) -> None:
    """Where another member lies by now, nothing is taken for a picture."""
    (name,) = pack(form, tmp_path, {"a": b"1" * 900, "b": b"2" * 900}, shards=1)
    found = index(tmp_path / name)
    pack(form, tmp_path, {"a": b"1" * 5000, "b": b"2" * 900}, shards=1)
    with pytest.raises(InputError) as caught:
        read(tmp_path / name, found, found.table.to_pylist()[1])
    assert caught.value.error_class in ("changed", "corrupt_container")


def test_columns_of_pictures_are_found_or_asked_for(tmp_path: Path) -> None:
    """By the Hub's types, as structs of bytes, as binary; several that may be it, and none, are one line."""
    path = write_hub(tmp_path / "x.parquet", {"a": b"1", "b": b"2"}, town=["Bern", "Chur"])
    settings = IndexSettings(retry=Retry(0), keep=("town",))
    rows = index_container(Container(str(path)), settings).table.to_pylist()
    assert [(row["name"], row["row_group"], row["row"], row["kept"]) for row in rows] == [
        ("image/0", 0, 0, '{"town":"Bern"}'), ("image/1", 0, 1, '{"town":"Chur"}')
    ]  # fmt: skip
    two = {"left": pa.array([b"1"]), "right": pa.array([b"2"])}
    for columns, says in (({"n": [1]}, "has no column of pictures; it has n"), (two, "input.image_column")):
        pq.write_table(pa.table(columns), tmp_path / "y.parquet")
        found = index(tmp_path / "y.parquet")
        assert (found.problem_class, found.table.num_rows) == ("no_image_column", 0)
        assert says in str(found.problem)
    (row,) = index_container(
        Container(str(tmp_path / "y.parquet")), IndexSettings(retry=Retry(0), image_column="right")
    ).table.to_pylist()
    assert row["name"] == "right/0"


BYTES_IN_MEMORY = {
    "large": lambda cells: cells.cast(pa.large_binary()),
    "view": lambda cells: cells.cast(pa.binary_view()),
    "dictionary": lambda cells: cells.dictionary_encode(),
    "struct of views": lambda cells: pa.StructArray.from_arrays([cells.cast(pa.binary_view())], ["bytes"]),
    "struct of dictionaries": lambda cells: pa.StructArray.from_arrays([cells.dictionary_encode()], ["bytes"]),
}


@pytest.mark.parametrize("form", BYTES_IN_MEMORY)
def test_pictures_are_read_whatever_their_writer_held_them_as(form: str, tmp_path: Path) -> None:
    """Views and dictionaries of bytes, which a file asks Arrow for, are the same bytes, by row and by group."""
    path, pictures = tmp_path / "x.parquet", [b"1", b"2" * 40, b"1", None]
    groups = [
        pa.table({"image": BYTES_IN_MEMORY[form](pa.array(some, pa.binary()))}) for some in (pictures[:2], pictures[2:])
    ]
    with pq.ParquetWriter(path, groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group)
    assert pq.read_schema(path).field("image").type == groups[0].schema.field("image").type
    found = index(path)
    assert [read(path, found, row) for row in found.table.to_pylist()[:3]] == pictures[:3]
    last = fetch_row_group(f"parquet://image/2::file://{path}", 1, Retry(0))
    assert (last.type, last.to_pylist()) == (pa.large_binary(), pictures[2:])


def test_a_dictionary_of_pictures_counts_for_each_of_its_rows(tmp_path: Path) -> None:
    """A row group is as large as what its rows are, and no larger, where all of a dictionary comes with each batch."""
    path = tmp_path / "x.parquet"
    distinct = pa.array([bytes([number]) * 1_000_000 for number in range(30)])
    for cells, size in ((distinct, 30_000_000), (distinct[:1].take(pa.array([0] * 50)), 50_000_000)):
        pq.write_table(pa.table({"image": cells.dictionary_encode()}), path, dictionary_pagesize_limit=1 << 30)
        uri = f"parquet://image/0::file://{path}"
        assert fetch_row_group(uri, 0, Retry(0), max_row_group_bytes=size + 1_000_000).to_pylist() == cells.to_pylist()
        with pytest.raises(InputError, match="its row group holds more than") as caught:
            fetch_row_group(uri, 0, Retry(0), max_row_group_bytes=size - 1)
        assert caught.value.error_class == "row_group_too_large"


@pytest.mark.parametrize("asked", ["id_column", "scene_column", "sequence_column", "time_column", "keep"])
def test_a_column_of_bytes_that_was_asked_for_is_told(asked: str, tmp_path: Path) -> None:
    """It may be one of pictures and is not read, so that what was asked for cannot be had of it."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [b"1", b"2"], "name": [b"a", b"b"]}), path)
    wanted = {asked: ("name",) if asked == "keep" else "name"}
    found = index_container(Container(str(path)), IndexSettings(retry=Retry(0), image_column="image", **wanted))
    assert (found.table.num_rows, found.problem_class) == (0, "no_image_column")
    assert found.problem == "its column name holds bytes; ids, scenes and what is kept are numbers and texts"


def test_row_groups_beyond_the_limit_are_rejects(tmp_path: Path) -> None:
    """The rows of the large group say so, those of the small one are read."""
    path = write_hub(
        tmp_path / "x.parquet", {str(k): bytes([k]) * (50_000 if k < 2 else 10) for k in range(4)}, group=2
    )
    found = index_container(Container(str(path)), IndexSettings(retry=Retry(0), max_row_group_bytes=10_000))
    rows = found.table.to_pylist()
    assert [row["error_class"] for row in rows] == ["row_group_too_large"] * 2 + [None] * 2
    assert read(path, found, rows[3]) == bytes([3]) * 10


@pytest.mark.parametrize("encoding", [None, "DELTA_BYTE_ARRAY"])
def test_a_picture_that_many_rows_share_counts_for_each(encoding: str | None, tmp_path: Path) -> None:
    """A row group is as large as what its rows are, not as what the file stores of them."""
    path = tmp_path / "x.parquet"
    shared = pa.array([b"x" * 1_000_000]).take(pa.nulls(50, pa.int8()).fill_null(0))
    chosen = {"use_dictionary": False, "column_encoding": {"image": encoding}} if encoding else {}
    pq.write_table(pa.table({"image": shared}), path, compression="zstd", **chosen)
    found = index(path)
    assert read(path, found, found.table.to_pylist()[49]) == b"x" * 1_000_000
    with pytest.raises(InputError, match="its row group holds more than 20000000 bytes of pictures") as caught:
        fetch_row_group(f"parquet://image/0::file://{path}", 0, Retry(0), max_row_group_bytes=20_000_000)
    assert caught.value.error_class == "row_group_too_large"


def test_columns_beside_pictures_are_counted(tmp_path: Path) -> None:
    """A text that is stored once is that of every row: the container is a reject of its own, as a table it is none."""
    path = tmp_path / "x.parquet"
    place = pa.array(["x" * 1_000_000]).take(pa.nulls(300, pa.int8()).fill_null(0))
    names = [f"{number}.png" for number in range(300)]
    table = pa.table({"image": [b"1"] * 300, "file_name": names, "scene": place})
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30)
    assert path.stat().st_size < 20_000
    found = index(path)
    assert (found.table.num_rows, found.problem_class) == (0, "corrupt_container")
    assert str(found.problem).startswith("holds 300000000 bytes of scene")
    ranged = Ranged(fsspec.filesystem("file"), str(path), path.stat().st_size, Retry(0))
    assert read_rows(ranged, SETTINGS, ("file_name",)) == []


def test_links_and_long_names_are_no_obstacle(tmp_path: Path) -> None:
    """Extended headers, links and folders between pictures; a name that is no UTF-8 is told."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        add(archive, "d" * 200 + "/long.jpg", b"long")
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        add(archive, "z\u00fcrich.jpg", b"latin")
        add(archive, "../up.jpg", b"u")
    found = index(path)
    rows = found.table.to_pylist()
    assert [(row["is_utf8"], row["error_class"]) for row in rows] == [(True, None), (False, None), (True, "bad_name")]
    assert read(path, found, rows[0]) == b"long"
    assert found.left_out == {"links and special files": 1}


def test_a_header_that_asks_for_gigabytes_is_none(tmp_path: Path) -> None:
    """What a damaged tar says of its own headers is not allocated."""
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 5 << 30
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(6 << 30)
    found = index(path)
    assert found.problem is not None
    assert "5368709120 bytes are to be read" in found.problem


def test_a_row_of_what_is_no_parquet_is_called_so(tmp_path: Path) -> None:
    """A row that a listing names, so that its place has to be found first, is of a file that cannot be read."""
    for content in (b"", b"Dear Sir or Madam", b"PAR1" + bytes(40) + b"PAR1"):
        (tmp_path / "x.parquet").write_bytes(content)
        with pytest.raises(InputError, match="its Parquet file cannot be read") as caught:
            fetch(f"parquet://image/0::file://{tmp_path}/x.parquet", Retry(0))
        assert caught.value.error_class == "corrupt_container"


def test_one_row_group_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are asked for one after the other share the read of their row group."""
    path = write_hub(tmp_path / "x.parquet", {str(k): bytes([k]) for k in range(16)}, group=8)
    found = index(path)
    opened = []
    original = reading.HELD.cell.__globals__["read_row_group"]
    monkeypatch.setitem(
        reading.HELD.cell.__globals__, "read_row_group", lambda *args: opened.append(args[3]) or original(*args)
    )
    assert [read(path, found, row) for row in found.table.to_pylist()] == [bytes([k]) for k in range(16)]
    assert opened == [0, 1]


def test_bytes_that_are_not_there(tmp_path: Path) -> None:
    """A row of the Hub that has a path alone is a reject, its neighbour is read."""
    kind = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": "a.png"}, {"bytes": b"1", "path": "b.png"}], kind)
    pq.write_table(pa.table({"image": rows}), tmp_path / "x.parquet")
    found = index(tmp_path / "x.parquet")
    first, second = found.table.to_pylist()
    with pytest.raises(InputError, match="holds no bytes"):
        read(tmp_path / "x.parquet", found, first)
    assert read(tmp_path / "x.parquet", found, second) == b"1"


ODD = {
    "time": pa.array([2**50, 1000, None], pa.timestamp("ms")),
    "captured_at": pa.array([2**30, 1, None], pa.date32()),
    "scene": pa.array([b"\xff", b"indoor", b"outdoor"]).view(pa.string()),
    "sequence": pa.array([b"\xff\xfe", b"walk", b"walk"]).view(pa.string()),
    "id": pa.array([b"\xff", b"one", b"two"]).view(pa.string()),
    "datetime": pa.array([0, 0, 0], pa.timestamp("us", "Mars/Phobos")),
    "key": pa.array(["", "https://host/a?sig=secret", "k" * 2000]),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_that_nobody_asked_for_is_none(name: str, tmp_path: Path) -> None:
    """Dates of other ages, texts that are no Unicode, unknown zones: the pictures are inputs, and nothing else."""
    pq.write_table(pa.table({"image": [b"0", b"1", b"2"], name: ODD[name]}), tmp_path / "x.parquet", store_schema=True)
    found = index(tmp_path / "x.parquet")
    assert (found.problem, found.table.column("error_class").to_pylist()) == (None, [None] * 3)
    first = found.table.to_pylist()[0]
    assert [first[column] for column in ("key", "scene", "sequence", "time")] == [None] * 4
    assert read(tmp_path / "x.parquet", found, first) == b"0"


@pytest.mark.parametrize("name", ["time", "scene", "sequence", "id", "key"])
def test_an_odd_value_that_was_asked_for_is_its_rows_trouble(name: str, tmp_path: Path) -> None:
    """The row is a reject that says which column, its neighbours are inputs."""
    values = ODD[name].take(pa.array([0, 1])) if name != "key" else pa.array(["", "k"])
    pq.write_table(pa.table({"image": [b"0", b"1"], name: values}), tmp_path / "x.parquet")
    asked = {f"{'id' if name == 'key' else name}_column": name}
    found = index_container(Container(str(tmp_path / "x.parquet")), IndexSettings(retry=Retry(0), **asked))
    rows = found.table.to_pylist()
    assert [row["error_class"] for row in rows] == ["bad_columns", None]
    assert name in rows[0]["message"]
    kept = index_container(Container(str(tmp_path / "x.parquet")), IndexSettings(retry=Retry(0), keep=(name,)))
    if name != "key":
        assert kept.table.column("error_class").to_pylist() == ["bad_columns", None]


def test_columns_that_are_there_twice_are_told_where_they_matter(tmp_path: Path) -> None:
    """Of the pictures, or asked for; others are as if they were not there."""
    one, ids = pa.array([b"1"]), pa.array(["a"])
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([one, ids, ids], names=["image", "id", "id"]), path)
    assert index(path).table.column("key").to_pylist() == [None]
    asked = index_container(Container(str(path)), IndexSettings(retry=Retry(0), id_column="id"))
    assert asked.problem == "has more than one column id; keep one"
    pq.write_table(pa.table([one, one], names=["image", "image"]), path)
    assert index(path).problem == "has more than one column image; keep one"
    pq.write_table(pa.table([one], names=["a::b"]), path)
    assert "has '::' in its name" in str(index(path).problem)


def test_a_sidecar_that_is_no_unicode_is_its_samples_trouble(tmp_path: Path) -> None:
    """Half a character of JSON's cannot be stored: the sample says so, the tar's others are inputs."""
    members = [("a.json", b'{"cam": "\\ud800"}'), ("a.png", b"1"), ("b.json", b'{"cam": "x"}'), ("b.png", b"2")]
    write_tar(tmp_path / "x.tar", members)
    settings = IndexSettings(retry=Retry(0), keep=("cam",))
    rows = index_container(Container(str(tmp_path / "x.tar")), settings).table.to_pylist()
    assert [row["error_class"] for row in rows] == ["bad_columns", None]
    assert [row["error_class"] for row in index(tmp_path / "x.tar").table.to_pylist()] == [None, None]


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_member_that_was_added_again_is_the_last_one(form: str, tmp_path: Path) -> None:
    """As for everybody who unpacks it, by place and by name; what it replaces is told."""
    path = tmp_path / f"x.{form}"
    members = [("a.png", b"1"), ("b.png", b"22"), ("a.png", b"333")]
    if form == "tar":
        write_tar(path, members)
    else:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")
            for name, content in members:
                archive.writestr(name, content)
    found = index(path)
    rows = sorted(found.table.to_pylist(), key=lambda row: row["name"])
    assert [(row["name"], read(path, found, row)) for row in rows] == [("a.png", b"333"), ("b.png", b"22")]
    assert fetch(f"{form}://a.png::file://{path}", Retry(0)) == b"333"
    assert found.left_out == {"that later ones of their names replace": 1}


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_what_tools_leave_behind_is_no_input_in_archives_either(form: str, tmp_path: Path) -> None:
    """Thumbnails of file servers, and what is hidden, at any depth; a leading ./ is no hidden folder."""
    path = tmp_path / f"x.{form}"
    hidden = ("@eaDir/a.png", "in/#recycle/a.png", ".cache/a.png", "in/.a.png", "__MACOSX/in/a.png")
    members = [(name, b"0") for name in (*hidden, "./in/a.png" if form == "tar" else "in/a.png")]
    if form == "tar":
        write_tar(path, members)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members:
                archive.writestr(name, content)
    found = index(path)
    assert found.table.column("name").to_pylist() == ["in/a.png"]
    assert found.left_out == {"that tools leave behind": 5}


@pytest.mark.parametrize("text", ["", "\n", "v1.2", "v1.2 1\n", "v1.2 1\npng x 1 a.png\n", "\xff", "v1.2 2\npng 512\n"])
def test_an_index_that_fits_nothing_is_left_alone(text: str, tmp_path: Path) -> None:
    """An empty one, too: the tar's own headers list it."""
    path = write_tar(tmp_path / "x.tar", [("a.png", b"1")])
    (tmp_path / "x.idx").write_text(text, encoding="latin-1")
    found = index(path, dali=str(tmp_path / "x.idx"))
    assert (found.problem, found.table.column("name").to_pylist()) == (None, ["a.png"])


@pytest.mark.parametrize("place", ["-512 1", "0 1", "1536 -5", f"1536 {10**15}", f"{10**15} 1", f"{10**30} 1"])
def test_an_index_of_places_that_no_tar_has_is_left_alone(place: str, tmp_path: Path) -> None:
    """Wherever in it such a place stands: every picture is read where the tar's own headers say."""
    pictures = {f"{letter}.png": letter.encode() for letter in "abc"}
    path = write_tar(tmp_path / "x.tar", list(pictures.items()))
    (tmp_path / "x.idx").write_text(f"v1.2 3\npng 512 1 a.png\npng {place} b.png\npng 2560 1 c.png\n")
    found = index(path, dali=str(tmp_path / "x.idx"))
    assert {row["name"]: read(path, found, row) for row in found.table.to_pylist()} == pictures
