"""Bounds: what a file promises is compared with what it is before anything is allocated."""

from __future__ import annotations

import io
import time
from pathlib import Path

import blosc2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pager_ray.bounded import MAX_DEPTH, Unreasonable, parquet_parts, parse_json, parse_yaml, read_parquet, text_of
from pager_ray.encode import get_codec
from pager_ray.encode.npz import decode_npz
from pager_ray.errors import ConfigError, ShapeError, StorageError
from pager_ray.listing import list_inputs
from pager_ray.read.pixels import decode_pixels, open_image
from pager_ray.runs.ledger import Ledger, record_of
from pager_ray.storage import Folder

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]
"""Of text files: as editors save them, and as Windows' shells write."""


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-be"])
def test_texts_are_in_the_encoding_that_they_name(encoding: str) -> None:
    """UTF-8, or what a byte order mark says, which is no part of the text; anything else is no text."""
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    for text in ("", "a", "küche\r\n日本\n"):
        assert text_of((mark + text).encode(encoding)) == text
    for data in (b"k\xfcche", b"\xff\xfea"):
        with pytest.raises(UnicodeDecodeError):
            text_of(data)


def parquet(table: pa.Table, **options: object) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 20_000, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)])
def test_deep_json_is_refused(text: str) -> None:
    """Without recursing."""
    with pytest.raises(ValueError, match=r"deeper than 64 levels|Expecting"):
        parse_json(text)
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_json_is_bounded_and_strict() -> None:
    """In size, and NaN is no number."""
    with pytest.raises(Unreasonable, match="at most 10 are read"):
        parse_json("[1, 2, 3, 4, 5]", 10)
    for text in ("NaN", "[Infinity]", '{"a": -Infinity}'):
        with pytest.raises(ValueError, match="no number of JSON"):
            parse_json(text)


def test_yaml_aliases_do_not_multiply() -> None:
    """A page that stands for billions of values is refused; an anchor that is used twice is not."""
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    with pytest.raises(Unreasonable, match="aliases counted"):
        parse_yaml(bomb)
    with pytest.raises(Unreasonable, match="deeper"):
        parse_yaml("a: &a [*a]")
    with pytest.raises(Unreasonable, match="deeper"):
        parse_yaml("[" * 200 + "]" * 200)
    with pytest.raises(yaml.YAMLError):
        parse_yaml("a: !!python/object:os.system x")
    assert parse_yaml("a: &a [1, 2]\nb: *a\n") == {"a": [1, 2], "b": [1, 2]}
    assert parse_yaml("") is None


def test_yaml_has_each_key_once() -> None:
    """A key that is twice in a mapping is refused by name and line; in two mappings, or merged and given, it is not."""
    for text in ("a: 1\nb: 2\na: 3\n", "c:\n  - x\n  - {a: 1, 'a': 2}\n"):
        with pytest.raises(yaml.YAMLError, match="line 3 has `a` for the second time"):
            parse_yaml(text)
    assert parse_yaml("a: {a: 1}\nb: {a: 2}\n") == {"a": {"a": 1}, "b": {"a": 2}}
    assert parse_yaml("1: x\n'1': y\n") == {1: "x", "1": "y"}
    assert parse_yaml("a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b, x: 3}\n")["c"] == {"x": 3, "y": 2}


def test_parquet_promises_what_its_size_can_hold() -> None:
    """Neither millions of equal rows, nor a long text in each of thousands; real columns come back as they are."""
    many = parquet(pa.table({"id": pa.DictionaryArray.from_arrays(pa.nulls(5_000_000, pa.int8()).fill_null(0), ["a"])}))
    with pytest.raises(Unreasonable, match="says 5000000 rows in"):
        read_parquet(many, len(many))
    texts = pa.DictionaryArray.from_arrays(pa.nulls(20_000, pa.int8()).fill_null(0), ["x" * 300_000])
    for table in (pa.table({"id": texts}), pa.table({"id": texts.cast(pa.dictionary(pa.int32(), pa.string()))})):
        long = parquet(table)
        with pytest.raises(Unreasonable, match="holds 6000000000 bytes of id"):
            read_parquet(long, len(long))
    ids = pa.table({"id": [f"pano-{k:07}" for k in range(50_000)], "shard": ["s"] * 50_000})
    buffer = parquet(ids)
    assert read_parquet(buffer, len(buffer)).equals(ids)
    assert read_parquet(buffer, len(buffer), ["shard"]).column_names == ["shard"]
    with pytest.raises(KeyError, match="none"):
        read_parquet(buffer, len(buffer), ["none"])


LONG = "x" * 1_000_000


def _once(kind: pa.DataType, rows: int = 300) -> pa.Array:
    """The same megabyte in every row."""
    value = LONG.encode() if "binary" in str(kind) else LONG
    return pa.array([value], kind).take(pa.nulls(rows, pa.int8()).fill_null(0))


MULTIPLIED = {
    "large_string": lambda: _once(pa.large_string()),
    "large_binary": lambda: _once(pa.large_binary()),
    "wide": lambda: pa.array([b"x" * 100_000] * 3000, pa.binary(100_000)),
    "struct": lambda: pa.StructArray.from_arrays([_once(pa.large_string())], ["inner"]),
    "list": lambda: pa.LargeListArray.from_arrays([0, 300], _once(pa.large_string())),
}


@pytest.mark.parametrize("name", MULTIPLIED)
def test_what_is_stored_once_is_counted_for_every_row(name: str) -> None:
    """Whatever its type is, and wherever it is nested: a few hundred bytes are no gigabytes."""
    buffer = parquet(pa.table({"uri": MULTIPLIED[name]()}), dictionary_pagesize_limit=1 << 30)
    assert len(buffer) < 10_000
    with pytest.raises(Unreasonable, match=r"holds .* bytes"):
        read_parquet(buffer, len(buffer))
    with pytest.raises(Unreasonable, match=r"holds .* bytes"):
        list(parquet_parts(buffer, len(buffer), ["uri"], 1 << 20))


def test_parts_of_earlier_values_are_counted_for_every_row() -> None:
    """A value may be stored as what it adds to the one before."""
    buffer = parquet(
        pa.table({"uri": _once(pa.large_string())}),
        use_dictionary=False,
        column_encoding={"uri": "DELTA_BYTE_ARRAY"},
    )
    with pytest.raises(Unreasonable, match=r"holds more than \d+ bytes in uri"):
        read_parquet(buffer, len(buffer))
    nested = pa.table({"uri": pa.LargeListArray.from_arrays([0, 300], _once(pa.large_string()))})
    buffer = parquet(nested, use_dictionary=False, column_encoding={"uri.list.element": "DELTA_BYTE_ARRAY"})
    with pytest.raises(Unreasonable, match="are encoded as"):
        read_parquet(buffer, len(buffer))


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "RLE_DICTIONARY"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_columns_come_back_however_they_are_encoded(kind: pa.DataType, encoding: str) -> None:
    """Of the encodings that writers have for texts, in a file of which each row might be as long as all."""
    ids = [f"s3://bucket/panoramas/{number % 97:04}/{number:08}.jpg" for number in range(40_000)]
    table = pa.table({"uri": pa.array(ids, kind), "size": pa.array(range(40_000))})
    chosen = {} if encoding == "RLE_DICTIONARY" else {"use_dictionary": False, "column_encoding": {"uri": encoding}}
    buffer = parquet(table, row_group_size=30_000, **chosen)
    assert read_parquet(buffer, len(buffer)).column("uri").to_pylist() == ids
    parts = list(parquet_parts(buffer, len(buffer), ["uri"], 25_000))
    assert max(part.num_rows for part in parts) <= 30_000
    assert [uri for part in parts for uri in part.column("uri").to_pylist()] == ids


def test_a_listing_of_one_name_is_told_at_once(tmp_path: Path) -> None:
    """Also where the file is large enough to hold them: many equal rows are one input, and nobody wants as
    many rejects of one id."""
    count, place = 300_000, tmp_path / "list.parquet"
    equal = pa.array(["a.jpg"] * count)
    pq.write_table(pa.table({"uri": equal}), place, use_dictionary=False, compression="none")
    began = time.process_time()
    assert len(list_inputs([str(place)])) == 1
    others = pa.array([f"{number}.jpg" for number in range(count)])
    pq.write_table(pa.table({"uri": others, "id": equal}), place, use_dictionary=False, compression="none")
    with pytest.raises(ConfigError, match=r"299,999 of 300,000 rows have the id of an earlier row \(first: '.*a"):
        list_inputs([str(place)])
    assert time.process_time() - began < 20
    (tmp_path / "long.txt").write_text("a" * 9000 + ".jpg")
    with pytest.raises(ConfigError, match="row 1: the URI has more than 8192 bytes: 'aaaa"):
        list_inputs([str(tmp_path / "long.txt")])


@pytest.mark.parametrize("shard", ["../../../etc/passwd", "/etc/passwd", "a/b", "..", ".hidden", "a\\b", "", "x" * 300])
def test_a_ledger_names_only_what_lies_below_its_run(tmp_path: Path, shard: str) -> None:
    """A shard is a name; a path is no part of a ledger."""
    ledger = Ledger(Folder(str(tmp_path)))
    ledger.begin(1)
    ledger.commit(1, "t0", record_of(shard, ["a"], [None], "0"))
    with pytest.raises(StorageError, match="is no part of a ledger"):
        ledger.read()


def test_a_frame_of_few_bytes_is_no_large_map() -> None:
    """76 bytes that say gigabytes are refused before they are allocated; an empty sky of the largest runs is not."""
    codec = get_codec("normals", "exact")
    small = codec.encode(np.zeros((4, 8, 3), np.float32))
    shape = (16384, 16384, 3)
    chunk = blosc2.compress2(np.zeros((1 << 20), np.uint8), typesize=4, nthreads=1)
    with pytest.raises(StorageError, match=r"announces|would unpack"):
        codec.decode(_frame(chunk, codec, shape), shape)
    assert not codec.decode(small, (4, 8, 3)).any()
    sky = get_codec("sky")
    empty = sky.encode(np.zeros((2048, 4096), np.float32))
    assert len(empty) < 200
    assert not sky.decode(empty, (2048, 4096)).any()


def _frame(chunk: bytes, codec, shape: tuple[int, ...]) -> bytes:  # type: ignore[no-untyped-def]
    """A chunk whose header says all of the shape's bytes, labelled and with its checksum."""
    import struct
    import zlib

    size = int(np.prod(shape)) * 4
    head = bytearray(chunk[:32])
    head[4:8] = struct.pack("<i", min(size, 2**31 - 1))
    head[12:16] = struct.pack("<i", 32)
    trailer = struct.pack("<4s20s4I", b"PGR1", b"normals/float32", *shape, 0)
    body = bytes(head) + trailer
    return body + struct.pack("<I", zlib.crc32(body))


def test_npz_headers_are_compared_with_the_file() -> None:
    """More than the file has, another shape than asked for, and numbers that no shape has."""
    sound = io.BytesIO()
    np.savez(sound, np.zeros((1, 4, 8), np.float32))
    assert decode_npz(sound.getvalue(), (1, 4, 8)).shape == (1, 4, 8)
    with pytest.raises(ShapeError, match=r"holds float32 \(1, 4, 8\)"):
        decode_npz(sound.getvalue(), (1, 8, 8))
    bomb = io.BytesIO()
    np.savez_compressed(bomb, np.zeros((1, 8192, 8192), np.float32))
    with pytest.raises(ShapeError, match="would unpack 268435456 bytes"):
        decode_npz(bomb.getvalue())


def test_the_largest_tiff_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own limit, which is below the documented 2^28 pixels, does not count, and is left as it was."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    file = io.BytesIO()
    Image.new("L", (256, 128), 7).save(file, "TIFF")
    header = open_image(file.getvalue(), 2**28)
    assert decode_pixels(header, 256, 128).shape == (128, 256, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_more_rows_than_such_a_file_has_are_not_read() -> None:
    """Where the reader knows how many there may be, the footer decides before a column is made."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": pa.nulls(1000, pa.int8())}), sink)
    source, size = pa.BufferReader(sink.getvalue()), len(sink.getvalue())
    assert read_parquet(source, size, most_rows=1000).num_rows == 1000
    with pytest.raises(Unreasonable, match="says 1000 rows, at most 999"):
        read_parquet(source, size, most_rows=999)
