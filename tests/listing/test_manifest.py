"""The manifest: what was listed, kept whole, and what of it one start has to do."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import StorageError
from pager_ray.listing import (
    MANIFEST_SCHEMA,
    Listed,
    Listing,
    check_manifest,
    is_same_listing,
    list_inputs,
    listing_digest,
    manifest,
    parts,
    read_manifest,
    rows_to_do,
    stored_digest,
    stored_listing,
    write_manifest,
)
from pager_ray.listing.listed import LATER_COLUMNS
from pager_ray.listing.manifest import MANIFEST_NAME
from pager_ray.storage import Folder

ROWS = [
    Listed("/in/ü b.jpg", "ü b", "indoor"),
    Listed("s3://bucket/c.jpg", "c"),
    Listed("/in/d.jpg", "c~2", None, "duplicate_id", "id 'c' is already taken"),
    Listed("/in/e.jpg", "e", "outdoor"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "state" / "manifest"))


def test_the_manifest_is_the_listing(folder: Folder) -> None:
    """Every listed row comes back in order, rejected ones with their reason; the folder is made on the way."""
    write_manifest(folder, ROWS)
    table = read_manifest(folder)
    assert table.schema == MANIFEST_SCHEMA
    assert [Listed(**row) for row in table.to_pylist()] == ROWS


def test_a_manifest_on_an_object_store() -> None:
    """The manifest lies on any fsspec URL."""
    memory = Folder("memory://bucket/manifest")
    try:
        write_manifest(memory, ROWS)
        assert read_manifest(memory, ["id"]).column("id").to_pylist() == [row.id for row in ROWS]
    finally:
        fsspec.filesystem("memory").store.clear()


def test_columns_are_read_alone(folder: Folder) -> None:
    """A reader of ids need not read URIs."""
    write_manifest(folder, ROWS)
    assert read_manifest(folder, ["id", "scene"]).column_names == ["id", "scene"]


def test_a_second_listing_replaces_the_first(folder: Folder) -> None:
    """A run that died before its run file existed lists again."""
    write_manifest(folder, ROWS)
    write_manifest(folder, ROWS[:1])
    assert read_manifest(folder).num_rows == 1
    assert folder.names() == ["manifest.parquet"]


def test_an_empty_listing_has_the_columns(folder: Folder) -> None:
    """No rows are a manifest too."""
    write_manifest(folder, [])
    assert read_manifest(folder).schema == MANIFEST_SCHEMA


def test_rows_to_do_are_those_that_are_left(folder: Folder) -> None:
    """What one start has to do is the manifest's rows of those ids, in order, with the attempts they have had."""
    write_manifest(folder, ROWS)
    manifest = read_manifest(folder)
    for ids in (["e", "c~2"], [], [row.id for row in ROWS]):
        left = rows_to_do(manifest, ids, {"e": 3})
        expected = [row | {"signed": None, "attempts": 3 if row["id"] == "e" else None} for row in manifest.to_pylist()]
        assert left.to_pylist() == [row for row in expected if row["id"] in ids]


def test_the_digest_is_that_of_the_rows() -> None:
    """Equal listings have equal digests; another id, URI, scene, order or number of rows has another."""
    changed = [
        [replace(ROWS[0], id="x"), *ROWS[1:]],
        [replace(ROWS[0], uri="/x"), *ROWS[1:]],
        [replace(ROWS[0], scene="outdoor"), *ROWS[1:]],
        [replace(ROWS[0], scene=None), *ROWS[1:]],
        [ROWS[1], ROWS[0], *ROWS[2:]],
        ROWS[:-1],
        [*ROWS, ROWS[-1]],
        [],
    ]
    digests = [listing_digest(rows) for rows in (ROWS, *changed)]
    assert len(set(digests)) == len(digests)
    assert listing_digest([replace(row) for row in ROWS]) == digests[0]
    assert {len(digest) for digest in digests} == {64}


def test_fields_do_not_run_into_each_other() -> None:
    """A character that moves from one field to the next changes the digest."""
    assert listing_digest([Listed("bc", "a")]) != listing_digest([Listed("c", "ab")])
    assert listing_digest([Listed("b", "a", "indoor")]) != listing_digest([Listed("bindoor", "a")])


def test_listing_twice_gives_one_digest(tmp_path: Path) -> None:
    """A folder that has not changed is the same listing for the next start, whatever order it was filled in."""
    for name in ("b.jpg", "a.jpg", "c/d.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    first = listing_digest(list_inputs([str(tmp_path / "in")]))
    assert listing_digest(list_inputs([str(tmp_path / "in")])) == first
    (tmp_path / "in" / "e.jpg").touch()
    assert listing_digest(list_inputs([str(tmp_path / "in")])) != first


def test_rows_in_another_order_are_the_same_listing(tmp_path: Path) -> None:
    """Rows may come in any order, also those that want one id; another row, scene, id or place is another listing."""
    (tmp_path / "list.csv").write_text("id,uri\nroom,b.jpg\nroom,a.jpg\nx~2,c.jpg\n,d.jpg\nroom,e.jpg\n,d.jpg\n")
    (tmp_path / "other").mkdir()
    turned = "id,uri\n,d.jpg\nroom,e.jpg\nx~2,c.jpg\nroom,a.jpg\nroom,b.jpg\n".replace(",", f",{tmp_path}/")
    (tmp_path / "other" / "list.csv").write_text(turned.replace(f"{tmp_path}/uri", "uri"))
    listing, other = (list_inputs([str(path)]) for path in (tmp_path / "list.csv", tmp_path / "other" / "list.csv"))
    assert listing_digest(listing) != listing_digest(other)
    assert is_same_listing(listing, other)
    assert is_same_listing(ROWS, ROWS[::-1])
    for changed in (
        ROWS[:-1],
        [*ROWS, ROWS[0]],
        [replace(ROWS[0], scene="outdoor"), *ROWS[1:]],
        [replace(ROWS[0], id="z"), *ROWS[1:]],
        [replace(ROWS[0], uri="z"), *ROWS[1:]],
        [replace(ROWS[0], offset=7, size=3), *ROWS[1:]],
        [ROWS[0], ROWS[0], *ROWS[2:]],
    ):
        assert not is_same_listing(ROWS, changed)


def test_a_missing_manifest_is_named(folder: Folder) -> None:
    """A manifest that is not there is an error with its path."""
    with pytest.raises(StorageError, match=r"manifest/manifest\.parquet: cannot be read"):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1PAR1"])
def test_a_manifest_that_is_none_is_named(folder: Folder, content: bytes) -> None:
    """A file that is no Parquet file is an error with its path."""
    folder.write("manifest.parquet", content)
    with pytest.raises(StorageError, match=r"manifest/manifest\.parquet: is no Parquet file"):
        read_manifest(folder)


def test_damaged_manifests_are_named(folder: Folder) -> None:
    """A manifest whose footer is damaged is an error with its path."""
    write_manifest(folder, ROWS)
    content = folder.read("manifest.parquet")
    folder.write("manifest.parquet", content[:-400] + bytes(255 - byte for byte in content[-400:-12]) + content[-12:])
    with pytest.raises(StorageError, match=r"manifest/manifest\.parquet: is no Parquet file"):
        read_manifest(folder)


def test_names_that_are_no_utf8_are_written(tmp_path: Path, folder: Folder) -> None:
    """A file whose name cannot be stored is a rejected row of the manifest, and its neighbours are rows as ever."""
    (tmp_path / "in").mkdir()
    for name in (b"a.jpg", b"\xff.jpg"):
        (tmp_path / "in" / os.fsdecode(name)).touch()
    rows = list_inputs([str(tmp_path / "in")])
    assert len(listing_digest(rows)) == 64
    write_manifest(folder, rows)
    table = read_manifest(folder)
    assert table.column("id").to_pylist() == ["a", "\\udcff"]
    assert table.column("error_class").to_pylist() == [None, "bad_name"]


def test_ids_are_never_null() -> None:
    """The schema lets no row be without id or URI."""
    assert [field.name for field in MANIFEST_SCHEMA if not field.nullable] == ["id", "uri"]
    assert {field.type for field in MANIFEST_SCHEMA} == {pa.string(), pa.int32(), pa.int64(), pa.float64()}


def test_manifests_of_earlier_versions_are_read() -> None:
    """They had no origin and no places in containers, and their digest is the same."""
    table = Listing.of(ROWS).table
    earlier = table.drop_columns([*LATER_COLUMNS])
    assert Listing.of(earlier).table.equals(table)
    assert listing_digest(earlier) == listing_digest(ROWS)


@pytest.fixture
def in_twos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests of two rows per file, listings of three rows per part."""
    monkeypatch.setattr(manifest, "FILE_ROWS", 2)
    monkeypatch.setattr(parts, "PART_ROWS", 3)


MANY = [*ROWS, Listed("/in/f.jpg", "f")]


def test_large_manifests_are_several_files(folder: Folder, in_twos: None) -> None:
    """The rows come back in order, as a table and by parts; the digest knows nothing of files."""
    digest = listing_digest(MANY)
    write_manifest(folder, MANY)
    assert len(folder.names()) == 3
    assert [Listed(**row) for row in read_manifest(folder).to_pylist()] == MANY
    assert list(stored_listing(folder)) == MANY
    assert [part.num_rows for part in stored_listing(folder).parts()] == [3, 2]
    assert read_manifest(folder, ["id"]).column("id").to_pylist() == [row.id for row in MANY]
    assert listing_digest(stored_listing(folder)) == digest == listing_digest(Listing.of(MANY).table)


def test_a_manifest_is_replaced_as_a_whole(folder: Folder, in_twos: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of its files a writer dies at, the manifest before stands; the next one leaves no file of either."""
    write_manifest(folder, MANY)
    put = Folder.write
    for number in range(3):
        calls = []

        def dying(self: Folder, name: str, data: bytes, calls: list[str] = calls, last: int = number) -> None:
            calls.append(name)
            if len(calls) > last:
                raise StorageError("killed")
            put(self, name, data)

        with monkeypatch.context() as patched:
            patched.setattr(Folder, "write", dying)
            with pytest.raises(StorageError, match="killed"):
                write_manifest(folder, MANY[::-1])
        assert list(stored_listing(folder)) == MANY
    write_manifest(folder, MANY[::-1])
    assert list(stored_listing(folder)) == MANY[::-1]
    assert len(folder.names()) == 3
    write_manifest(folder, ROWS[:1])
    assert folder.names() == ["manifest.parquet"]


def test_a_reader_follows_a_manifest_that_is_replaced(
    folder: Folder, in_twos: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds a file gone begins again with the manifest that took its place."""
    write_manifest(folder, MANY)
    read, calls = Folder.read, []

    def replacing(self: Folder, name: str) -> bytes:
        calls.append(name)
        if len(calls) == 2:
            write_manifest(folder, MANY[::-1])
        return read(self, name)

    monkeypatch.setattr(Folder, "read", replacing)
    assert list(stored_listing(folder)) == MANY[::-1]


def test_a_file_that_is_lost_is_named(folder: Folder, in_twos: None) -> None:
    """A manifest without one of its files is an error with that file's path; names of others' files are none."""
    write_manifest(folder, MANY)
    first, *_ = (name for name in folder.names() if name != "manifest.parquet")
    content = folder.read(first)
    folder.delete([first])
    with pytest.raises(StorageError, match=f"{first}: cannot be read"):
        stored_listing(folder)
    folder.write(first, content[:40])
    with pytest.raises(StorageError, match=f"{first}: is no Parquet file"):
        read_manifest(folder)
    for files in (["../../run.json"], "manifest.parquet", None):
        told = {b"pager_ray.manifest": json.dumps({"rows": 4, "files": files})}
        pq.write_table(Listing.of(ROWS[:2]).table.replace_schema_metadata(told), folder.join("manifest.parquet"))
        with pytest.raises(StorageError, match=r"manifest\.parquet: is no Parquet file"):
            read_manifest(folder)


def test_the_order_of_many_rows_makes_no_other_listing(in_twos: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where rows are compared in groups; one row that differs is found in whichever group it is."""
    monkeypatch.setattr(manifest, "_SORTED_ROWS", 2)
    assert is_same_listing(MANY, MANY[::-1])
    assert not is_same_listing(MANY, MANY[:4])
    for place in range(len(MANY)):
        changed = [*MANY]
        changed[place] = replace(changed[place], scene="outdoor" if changed[place].scene == "indoor" else "indoor")
        assert not is_same_listing(MANY, changed[::-1])


def test_what_is_stored_of_a_listing_has_a_digest() -> None:
    """Listings are stored alike exactly where every column is the same, those too that are no part of a listing."""
    rows = [Listed("/in/a.jpg", "a"), Listed("/in/b.jpg", "b")]
    told = {"error_class": "missing", "message": "why", "origin": "network", "kept": "{}", "stamp": 0}
    listings = [rows] + [[replace(rows[0], **{name: value}), rows[1]] for name, value in told.items()]
    listings += [[rows[0], replace(rows[1], kept="{}")], [rows[0], replace(rows[1], stamp=0)], rows[::-1]]
    assert len({stored_digest(one) for one in listings}) == len(listings)
    assert len({listing_digest(one) for one in listings}) == 2
    assert stored_digest([*rows]) == stored_digest(Listing.of(rows)) == stored_digest(Listing.of(rows).table)
    signed = [replace(rows[0], signed="/in/a.jpg?X-Amz-Signature=0"), rows[1]]
    assert stored_digest(signed) == stored_digest(rows)


def test_a_manifest_that_is_not_read_is_looked_at(folder: Folder, in_twos: None) -> None:
    """One that is missing, damaged, of other rows or without one of its files is told without reading its rows."""
    rows = [Listed(f"/in/{name}.jpg", name) for name in "abcde"]
    write_manifest(folder, rows)
    check_manifest(folder, 5)
    with pytest.raises(StorageError, match="it has 5 rows, where 4 were listed"):
        check_manifest(folder, 4)
    lost = next(name for name in folder.names() if name != MANIFEST_NAME)
    content = folder.read(lost)
    folder.delete([lost])
    with pytest.raises(StorageError, match=f"it names {lost}, which is not there"):
        check_manifest(folder, 5)
    folder.write(lost, content)
    check_manifest(folder, 5)
    folder.write(MANIFEST_NAME, b"PAR1 no PAR1")
    with pytest.raises(StorageError, match=r"manifest\.parquet: is no Parquet file"):
        check_manifest(folder, 5)
    folder.delete([MANIFEST_NAME])
    with pytest.raises(StorageError, match=r"manifest\.parquet: cannot be read"):
        check_manifest(folder, 5)
