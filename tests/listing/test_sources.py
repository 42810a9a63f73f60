"""Listing: every row gets a unique id, and sources that cannot be understood are named."""

import http.server
import io
import logging
import os
import posixpath
import re
import threading
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import ConfigError, StorageError
from pager_ray.listing import (
    Listing,
    columns,
    grown,
    list_inputs,
    listing_digest,
    parts,
    read_manifest,
    with_signatures,
    write_manifest,
)
from pager_ray.listing.masks import MaskSources
from pager_ray.listing.sources import SourceOptions
from pager_ray.listing.tables import read_listing
from pager_ray.read.containers import IndexSettings
from pager_ray.read.fetch import fetch
from pager_ray.retrying import Retry
from pager_ray.storage import Folder


@pytest.fixture
def panoramas(tmp_path):
    """A folder tree of empty files: listing never opens images."""
    for name in ("a.jpg", "b.PNG", "notes.md", "deep/a.jpg", "deep/c.webp", "deep/c.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def ids(*uris):
    return [row.id for row in list_inputs([str(uri) for uri in uris])]


def test_folder_ids_are_relative_paths(panoramas):
    """Ids are paths inside the folder without extension, with it where that is ambiguous."""
    assert ids(panoramas) == ["a", "b", "deep/a", "deep/c.jpg", "deep/c.webp"]


def test_globs(panoramas):
    """A glob lists images relative to its fixed part."""
    assert ids(f"{panoramas}/*/*.jpg") == ["deep/a", "deep/c"]
    assert ids(f"{panoramas}/deep/?.jpg") == ["a", "c"]


def test_two_folders_with_the_same_names(panoramas):
    """Where relative paths collide the id is the whole path, without a leading slash."""
    both = ids(panoramas / "deep", f"{panoramas}/a.jpg")
    assert both == [f"{panoramas}/deep/a.jpg".lstrip("/"), "c.jpg", "c.webp", f"{panoramas}/a.jpg".lstrip("/")]


def test_overlapping_sources_list_a_file_once(panoramas):
    """A file that folder and glob both name is one input."""
    assert ids(panoramas, f"{panoramas}/**/a.jpg") == ids(panoramas)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("block", [4, 1 << 20])
def test_listings_may_come_from_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, block: int
) -> None:
    """Texts and tables are read in the encoding that their byte order mark names, wherever blocks are cut."""
    monkeypatch.setattr(columns, "_BLOCK", block)
    (tmp_path / "list.txt").write_bytes("küche.jpg\r\n日本.jpg\r\n".encode(encoding))
    assert ids(tmp_path / "list.txt") == ["küche", "日本"]
    (tmp_path / "list.csv").write_bytes("uri,id\r\nküche.jpg,Küche\r\n日本.jpg,\r\n".encode(encoding))
    assert ids(tmp_path / "list.csv") == ["Küche", "日本"]


def test_csv_listing(tmp_path):
    """A listing's uri is relative to it, ids stay text, scenes are kept."""
    listing = tmp_path / "list.csv"
    listing.write_text("id,uri,scene,extra\n007,x/a.jpg,indoor,1\n,b.jpg,,2\n008,s3://bucket/c.jpg,outdoor,3\n")
    rows = list_inputs([str(listing)])
    assert [row.id for row in rows] == ["007", "b", "008"]
    assert [row.uri for row in rows] == [f"{tmp_path}/x/a.jpg", f"{tmp_path}/b.jpg", "s3://bucket/c.jpg"]
    assert [row.scene for row in rows] == ["indoor", None, "outdoor"]


def test_parquet_and_text_listings(tmp_path):
    """Parquet listings take a uri column, text listings one URI per line."""
    pq.write_table(pa.table({"uri": ["a.jpg", "b.jpg"], "id": [1, 2]}), tmp_path / "list.parquet")
    (tmp_path / "list.txt").write_text("# comment\nc.jpg\n\n  d.jpg \n")
    assert ids(tmp_path / "list.parquet", tmp_path / "list.txt") == ["1", "2", "c", "d"]


def test_taken_ids_become_rejects(tmp_path):
    """The first row keeps an id; later ones are rejects under ids of their own that nobody else has."""
    listing = tmp_path / "list.csv"
    listing.write_text("id,uri\nroom,a.jpg\nroom,b.jpg\nroom~2,c.jpg\nroom,d.jpg\n")
    rows = list_inputs([str(listing)])
    assert [row.id for row in rows] == ["room", "room~3", "room~2", "room~4"]
    assert [row.error_class for row in rows] == [None, "duplicate_id", None, "duplicate_id"]
    assert "already taken by" in rows[1].message
    assert "a.jpg" in rows[1].message


def test_a_missing_image_is_still_a_row(tmp_path):
    """A named image that is not there is listed: reading rejects it with the reason."""
    assert ids(tmp_path / "gone.jpg") == ["gone"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("list.csv", "path\na.jpg\n", "no `uri` column; it has path; name the one of paths `uri`"),
        ("list.csv", "uri\n", "lists nothing; give it a row per image"),
        ("list.csv", "uri,scene\na.jpg,forest\n", "row 1: scene is 'forest'; takes indoor, outdoor or nothing"),
        ("list.csv", "uri,id\n,x\n", "row 1 has no uri; give every row one"),
        ("list.csv", 'uri,id\na.jpg,"x\ny"\n', "row 1: id takes"),
        (
            "list.csv",
            "uri\nhttps://name:word@host/a.jpg?sig=1\n",
            "row 1: the URI carries credentials; give them through the environment",
        ),
        ("list.csv", "a,b\n1\n", "cannot be read as a listing"),
        ("list.parquet", "not parquet", "cannot be read as a listing"),
        ("list.txt", "# nothing\n", "lists nothing"),
        ("list.txt", "", "lists nothing"),
        ("list.csv", "", "cannot be read as a listing"),
        ("note.doc", "text", "is neither an image nor a listing; takes a folder, a glob"),
    ],
)
def test_bad_listings_are_named(tmp_path, name, content, expected):
    """A listing that cannot be understood is one error with the key, the file and what is wrong."""
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        list_inputs([str(path)])
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"input.uris[0]: {path} ")
    assert re.search(r"; (takes|give|name) |: id takes ", str(caught.value))


def test_sources_that_match_nothing(tmp_path):
    """Folders, globs and files that give no input are errors, not empty runs."""
    (tmp_path / "empty").mkdir()
    for source, expected in [
        ("empty", "holds no image"),
        ("*.jpg", "holds no image"),
        ("absent", "does not exist"),
        ("absent.csv", "does not exist"),
    ]:
        with pytest.raises(ConfigError, match=rf"{expected}.*; takes a folder, a glob, an image file or a listing"):
            list_inputs([str(tmp_path / source)])


def test_credentials_in_urls_are_refused():
    """A source with credentials in its URL is refused without repeating them."""
    with pytest.raises(ConfigError, match="carries credentials") as caught:
        list_inputs(["s3://key:verysecret@bucket/panoramas"])
    assert "verysecret" not in str(caught.value)


@pytest.fixture
def bucket():
    """An object store with three images, one of them hidden, and a listing beside them."""
    memory = fsspec.filesystem("memory")
    for name in ("a.jpg", "deep/b.png", "deep/._b.png"):
        memory.pipe_file(f"/bucket/in/{name}", b"")
    memory.pipe_file("/bucket/list.csv", b"uri,scene\nin/a.jpg,outdoor\nin/deep/b.png,\n")
    yield "memory://bucket"
    memory.store.clear()


def test_object_stores_list_like_folders(bucket):
    """Folders, globs and listings on an object store give the ids of a local tree, and URIs that read there."""
    assert ids(f"{bucket}/in") == ids(f"{bucket}/in/**/*.*") == ["a", "deep/b"]
    rows = list_inputs([f"{bucket}/list.csv"])
    assert [row.id for row in rows] == ["in/a", "in/deep/b"]
    assert [row.scene for row in rows] == ["outdoor", None]
    for row in rows:
        with fsspec.open(row.uri) as file:
            assert file.read() == b""


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    """What a system leaves beside pictures is no input."""
    for name in ("a.jpg", "._a.jpg", ".b.jpg", "Thumbs.db", "a.jpg.tmp", "a.txt"):
        (tmp_path / name).touch()
    assert ids(tmp_path) == ["a"]


def test_a_row_listed_twice_is_done_once(tmp_path):
    """A row that says again what an earlier one says is no other input, in one listing or in several."""
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\na.jpg\n./a.jpg\n")
    (tmp_path / "more.csv").write_text("uri,id,scene\nb.jpg,,\nc.jpg,x,indoor\nc.jpg,x,indoor\nc.jpg,y,indoor\n")
    rows = list_inputs([str(tmp_path / "list.txt"), str(tmp_path / "more.csv")])
    assert [(row.id, row.error_class) for row in rows] == [("a", None), ("b", None), ("x", None), ("y", None)]
    assert list(list_inputs([str(tmp_path / "list.txt")])) == list(rows[:2])


def test_a_row_that_says_something_else_of_the_same_file_is_told(tmp_path):
    """Two scenes for one id are a mistake that somebody has to know of: one input and one reject."""
    (tmp_path / "list.csv").write_text("uri,scene\na.jpg,indoor\na.jpg,outdoor\n")
    rows = list_inputs([str(tmp_path / "list.csv")])
    assert [row.error_class for row in rows] == [None, "duplicate_id"]
    assert f"{tmp_path}/a.jpg" in rows[1].message


def test_given_ids_win_over_derived_ones(tmp_path):
    """A file whose derived id a listing has given to another takes its next longer one."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "room.jpg").touch()
    (tmp_path / "list.csv").write_text("uri,id\nother.jpg,room\n")
    for order in ((0, 1), (1, 0)):
        sources = [str(tmp_path / "in"), str(tmp_path / "list.csv")]
        found = {row.uri: row.id for row in list_inputs([sources[n] for n in order])}
        assert found == {f"{tmp_path}/in/room.jpg": "room.jpg", f"{tmp_path}/other.jpg": "room"}


@pytest.mark.parametrize(("length", "fits"), [(1024, True), (1025, False)])
def test_ids_have_a_longest_length(tmp_path, length, fits):
    """Ids of up to 1024 characters are taken, longer ones are refused by row."""
    (tmp_path / "list.csv").write_text(f"uri,id\na.jpg,{'x' * length}\n")
    if fits:
        assert ids(tmp_path / "list.csv") == ["x" * length]
    else:
        with pytest.raises(ConfigError, match="row 1: id takes up to 1024"):
            ids(tmp_path / "list.csv")


def test_ids_may_say_anything(tmp_path):
    """Slashes, dots, spaces and other scripts are letters of an id like any other."""
    names = ["../../etc/passwd", ".", "a b", "房间/1", "x.jpg"]
    table = pa.table({"uri": [f"{n}.jpg" for n in range(len(names))], "id": names})
    pq.write_table(table, tmp_path / "list.parquet")
    assert ids(tmp_path / "list.parquet") == names


def test_rows_with_credentials_are_refused(tmp_path):
    """A listing's row with credentials is refused by its number, without repeating them."""
    (tmp_path / "list.txt").write_text("a.jpg\ns3://key:verysecret@bucket/b.jpg\n")
    with pytest.raises(ConfigError, match="row 2: the URI carries credentials") as caught:
        list_inputs([str(tmp_path / "list.txt")])
    assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        "https://host/a.jpg#access_token=verysecret123",
        "https://host/hf_verysecretAbCdEfGh/b.jpg",
        "https://host/a;jsessionid=verysecret/b.jpg",
        "https://host/token=verysecret/b.jpg",
        "s3://bucket/AKIAVERYSECRET123456/b.jpg",
        "https://host/eyJverysecret.eyJverysecret.x/b.jpg",
        "memory://in/a.jpg?sig=verysecret",
        "a.jpg?sig=verysecret",
        "hf_verysecretAbCdEfGh/b.jpg",
        "../token=verysecret/b.jpg",
    ],
)
def test_no_secret_of_a_row_is_stored(row):
    """Whatever its form is, and also where the listing's place alone makes a URI of the row."""
    fsspec.filesystem("memory").pipe("/rows/list.txt", f"b.jpg\n{row}\n".encode())
    with pytest.raises(ConfigError, match="row 2: the URI carries credentials") as caught:
        list_inputs(["memory://rows/list.txt"])
    assert "verysecret" not in str(caught.value).lower()


def test_no_secret_of_an_id_is_stored(tmp_path):
    """An id may be a URL, and not a signed one."""
    (tmp_path / "list.csv").write_text("uri,id\na.jpg,https://host/a.jpg\nb.jpg,https://host/b.jpg?sig=verysecret\n")
    with pytest.raises(ConfigError, match="row 2: the id carries credentials") as caught:
        list_inputs([str(tmp_path / "list.csv")])
    assert "verysecret" not in str(caught.value)


def test_files_here_may_be_called_anything(tmp_path):
    """A local name that looks like a signed address, or like a key, is a name."""
    names = ["a.jpg?sig=1", "hf_verysecretAbCdEfGh.png", "token=1.png"]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    assert [row.uri for row in list_inputs([str(tmp_path / "list.txt")])] == [str(tmp_path / name) for name in names]


def test_sources_are_numbered(panoramas):
    """The error names which of several sources is wrong."""
    with pytest.raises(ConfigError, match=r"^input\.uris\[1\]: .*absent does not exist"):
        list_inputs([str(panoramas), str(panoramas / "absent")])


@pytest.mark.parametrize("source", ["nosuch://bucket/x", "http://[bad/x.jpg", "memory://bucket/**.jpg"])
def test_sources_that_are_none_are_named(source):
    """An unknown protocol, a URL that is none and a pattern that is none are one error with key and source."""
    with pytest.raises(ConfigError) as caught:
        list_inputs([source])
    assert str(caught.value).startswith(f"input.uris[0]: {source}")
    assert "; takes a folder, a glob, an image file or a listing" in str(caught.value)


def test_names_that_are_no_utf8_are_rejects(tmp_path):
    """A name that is not UTF-8 is a reject with the bytes written out, under an id that no other file has."""
    for name in (b"a.jpg", b"\xff.jpg", b"\\udcff.jpg"):
        (tmp_path / os.fsdecode(name)).touch()
    rows = list_inputs([str(tmp_path)])
    written_out = f"{tmp_path}/\\udcff.jpg"
    assert {(row.error_class, row.uri) for row in rows} == {
        (None, f"{tmp_path}/a.jpg"),
        (None, written_out),
        ("bad_name", written_out),
    }
    assert len({row.id for row in rows}) == 3
    assert all(row.id.isascii() and row.uri.isascii() for row in rows)


@pytest.mark.parametrize("name", ["NA", "null", "nan", "N/A", "-nan", "NULL", "#N/A"])
def test_ids_that_look_like_nulls_are_kept(tmp_path, name):
    """An id is text whatever it says; only an empty cell is none."""
    (tmp_path / "list.csv").write_text(f'uri,id\na.jpg,{name}\nb.jpg,\nc.jpg,""\n')
    assert ids(tmp_path / "list.csv") == [name, "b", "c"]


@pytest.mark.parametrize(("name", "header"), [("list.txt", b""), ("list.csv", b"uri\n")])
def test_listings_may_start_with_a_byte_order_mark(tmp_path, name, header):
    """The mark that spreadsheets put first is part of neither a name nor a column."""
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + header + b"a.jpg\n")
    assert ids(tmp_path / name) == ["a"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (pa.table({"uri": [["a.jpg"]]}), "cannot be read as a listing"),
        (pa.table({"uri": ["a.jpg"], "id": [{"x": 1}]}), "cannot be read as a listing"),
        (pa.table([["a.jpg"], ["b.jpg"]], names=["uri", "uri"]), "more than one `uri` column; keep one"),
    ],
    ids=["lists", "structures", "doubled"],
)
def test_columns_that_are_no_text_are_named(tmp_path, table, expected):
    """Columns that hold no text, or that there are two of, are one error with the key and the file."""
    pq.write_table(table, tmp_path / "list.parquet")
    with pytest.raises(ConfigError, match=rf"^input\.uris\[0\]: .*list\.parquet .*{expected}"):
        list_inputs([str(tmp_path / "list.parquet")])


def test_doubled_columns_of_text_listings_are_named(tmp_path):
    """A CSV file with two columns of one name is refused like a Parquet file."""
    (tmp_path / "list.csv").write_text("uri,id,id\na.jpg,1,2\n")
    with pytest.raises(ConfigError, match="more than one `id` column"):
        list_inputs([str(tmp_path / "list.csv")])


def test_damaged_parquet_listings_are_named(tmp_path):
    """A Parquet file whose footer is damaged is a listing that cannot be read, whatever class Arrow raises."""
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"uri": ["a.jpg"]}), path)
    content = path.read_bytes()
    path.write_bytes(content[:-60] + bytes(255 - byte for byte in content[-60:-12]) + content[-12:])
    with pytest.raises(ConfigError, match=r"list\.parquet cannot be read as a listing"):
        list_inputs([str(path)])


def test_names_with_wildcards_are_names_first(tmp_path):
    """A folder or file that is called like a pattern is itself; what is not there is a pattern."""
    for name in ("[2024]/a.jpg", "b?.jpg", "bc.jpg", "2/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert ids(tmp_path / "[2024]") == ["a"]
    assert ids(tmp_path / "b?.jpg") == ["b?"]
    assert ids(tmp_path / "[2]/*.jpg") == ["2/d"]


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (
            PermissionError(13, "Permission denied"),
            ConfigError,
            "may not be listed (Permission denied); ask for the right to",
        ),
        (
            OSError(5, "Input/output error"),
            StorageError,
            "cannot be listed (Input/output error); check its store, then run the same command again",
        ),
    ],
    ids=["refused", "broken"],
)
def test_stores_that_give_no_listing_are_named(monkeypatch, bucket, failure, kind, message):
    """A store that refuses or breaks off the listing is one line: key, source, reason and what to do."""

    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", fail)
    with pytest.raises(kind) as caught:
        list_inputs([f"{bucket}/in"])
    assert str(caught.value) == f"input.uris[0]: {bucket}/in {message}"


def test_the_first_wrong_row_is_named(tmp_path):
    """Of several rows that cannot be understood the first is told, whatever is wrong with the others."""
    listing = tmp_path / "list.csv"
    listing.write_text("uri,scene,id\na.jpg,,x\nb.jpg,,\x07\nc.jpg,moon,\n,,\n")
    with pytest.raises(ConfigError, match=r"row 2: id takes up to 1024 printable characters"):
        list_inputs([str(listing)])
    listing.write_text("uri,scene,id\na.jpg,,é\nb.jpg,moon,\x07\nhttp://u:p@h/c.jpg,,\n")
    with pytest.raises(ConfigError, match=r"row 2: scene is 'moon'"):
        list_inputs([str(listing)])


def test_relative_rows_lie_where_paths_say(tmp_path):
    """A listing's relative URIs are joined with its folder as paths are, dots and doubled slashes included."""
    names = ["a.jpg", "./b.jpg", "../c.jpg", "x//y/../d.jpg", ".", "..", "...jpg", "x/"]
    pq.write_table(pa.table({"uri": names}), tmp_path / "list.parquet")
    rows = list_inputs([str(tmp_path / "list.parquet")])
    assert [row.uri for row in rows] == [posixpath.normpath(f"{tmp_path}/{name}") for name in names]


def test_a_row_that_keeps_too_much_is_named(tmp_path, monkeypatch):
    """By its place in the listing, in whichever part of it."""
    monkeypatch.setattr("pager_ray.listing.parts.PART_ROWS", 2)
    table = pa.table({"uri": [f"{number}.jpg" for number in range(5)], "text": ["x", "x", "x", "x" * 5000, "x"]})
    pq.write_table(table, tmp_path / "list.parquet")
    options = SourceOptions(settings=IndexSettings(keep=("text",)))
    says = r"list\.parquet row 4: its kept columns take more than 4096 bytes; choose others with input\.keep_columns$"
    with pytest.raises(ConfigError, match=says):
        list_inputs([str(tmp_path / "list.parquet")], options=options)


def test_every_row_has_an_id_that_is_not_empty(tmp_path):
    """A row that ends with a slash, which is no file's, has its path for an id, and where there is none its URI."""
    (tmp_path / "list.txt").write_text("/\n/data/in/\ns3://\n/data/a.jpg\n")
    assert [row.id for row in list_inputs([str(tmp_path / "list.txt")])] == ["/", "data/in/", "s3://", "a"]


def test_text_that_is_none_is_named(tmp_path):
    """A Parquet listing whose texts are no UTF-8 is a listing that cannot be read, not a run that fails later."""
    content = pa.array([b"a.jpg", b"\xff.jpg"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, content.buffers())
    pq.write_table(pa.table({"uri": text}), tmp_path / "list.parquet")
    with pytest.raises(ConfigError, match=r"list\.parquet cannot be read as a listing"):
        list_inputs([str(tmp_path / "list.parquet")])


def test_a_name_with_written_out_bytes_is_another_file(tmp_path):
    """A file that is called as another one's bad bytes are written out is not that one, in two sources too."""
    for name in (b"\\udcff.jpg", b"\xff.jpg"):
        (tmp_path / os.fsdecode(name)).touch()
    rows = list_inputs([f"{tmp_path}/\\udcff.jpg", str(tmp_path)])
    assert [row.error_class for row in rows] == [None, "bad_name"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_headers_are_matched_whatever_their_case_and_blanks(tmp_path: Path, suffix: str) -> None:
    """`URI`, ` Id ` and `SCENE` are the columns that they look like; ids that look like numbers stay texts."""
    columns = {"URI": ["a.jpg", "b.jpg"], " Id ": ["007", "8"], "SCENE": ["indoor", ""], "note": ["x", "y"]}
    path = tmp_path / f"list.{suffix}"
    if suffix == "csv":
        rows = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
        path.write_text("\ufeff" + "\n".join(rows) + "\n", encoding="utf-8")
    else:
        pq.write_table(pa.table(columns), path)
    listed = list_inputs([str(path)])
    assert [(item.id, item.scene) for item in listed] == [("007", "indoor"), ("8", None)]


def test_headers_that_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    """Two columns of one name leave open which is meant."""
    (tmp_path / "list.csv").write_text("uri,URI\na.jpg,b.jpg\n")
    with pytest.raises(ConfigError, match="has more than one `uri` column; keep one"):
        list_inputs([str(tmp_path / "list.csv")])


def test_images_in_a_zip_are_inputs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each image of a zip is a row with an id that begins with the zip's name; what else is in it is told."""
    with zipfile.ZipFile(tmp_path / "tour.zip", "w") as archive:
        for name in ("a.jpg", "deep/b.png", "notes.txt", "__MACOSX/._a.jpg"):
            archive.writestr(name, name)
    with caplog.at_level(logging.INFO):
        listed = list_inputs([str(tmp_path / "tour.zip")])
    assert [item.id for item in listed] == ["tour/a", "tour/deep/b"]
    assert [fetch(item.uri, Retry(0)) for item in listed] == [b"a.jpg", b"deep/b.png"]
    assert "left out: 1 .txt, 1 that tools leave behind" in caplog.text


def test_ids_in_an_archive_are_those_of_its_own_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a folder or a pattern inside of a zip names has one id wherever it is listed from, or it is not resumed."""
    with zipfile.ZipFile(tmp_path / "tour.zip", "w") as archive:
        for name in ("a.jpg", "deep/b.jpg"):
            archive.writestr(name, name)
    (tmp_path / "elsewhere").mkdir()
    for place in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(place)
        assert [item.id for item in list_inputs([f"zip://::{tmp_path}/tour.zip"])] == ["a", "deep/b"]
        assert [item.id for item in list_inputs([f"zip://deep/*.jpg::{tmp_path}/tour.zip"])] == ["b"]


@pytest.mark.parametrize("content", [b"", b"PK no archive at all"])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    """A damaged archive is one line that names it, before anything is predicted."""
    (tmp_path / "tour.zip").write_bytes(content)
    with pytest.raises(ConfigError, match=r"input\.uris\[0\]: .*tour\.zip is no zip that can be read"):
        list_inputs([str(tmp_path / "tour.zip")])


def signed_listing(path, *, key="abc"):
    """Two rows that are signed, one of them with a size to ask for, and one with a size alone."""
    signature = f"X-Amz-Date=2026&X-Amz-Signature={key}"
    rows = [f"https://host/a/1.jpg?{signature}", f"https://host/a/2.jpg?width=4096&{signature}", "http://host/3?w=1.5"]
    path.write_text("uri\n" + "\n".join(rows) + "\n")
    return rows


def test_signatures_are_used_and_never_stored(tmp_path):
    """What is signed is listed without its signature, which is beside it in memory alone; sizes are no credentials."""
    rows = signed_listing(tmp_path / "list.csv")
    listing = list_inputs([str(tmp_path / "list.csv")])
    shown = ["https://host/a/1.jpg", "https://host/a/2.jpg?width=4096", "http://host/3?w=1.5"]
    assert [row.uri for row in listing] == shown
    assert [row.signed for row in listing] == [rows[0], rows[1], None]
    assert [row.id for row in listing] == ["1", "2", "3"]
    assert "abc" not in repr(list(listing))
    folder = Folder(str(tmp_path / "state"))
    write_manifest(folder, listing)
    manifest = read_manifest(folder)
    assert manifest.column("uri").to_pylist() == shown
    assert b"abc" not in folder.read("manifest.parquet")
    # Signed anew, it is the same listing, with what is signed now.
    signed_listing(tmp_path / "list.csv", key="xyz")
    later = list_inputs([str(tmp_path / "list.csv")])
    assert listing_digest(later) == listing_digest(manifest)
    assert with_signatures(Listing.of(manifest), later).table.column("signed").to_pylist() == [
        *(row.replace("abc", "xyz") for row in rows[:2]),
        None,
    ]
    growth = grown(manifest, later)
    assert (growth.new, growth.gone, list(growth.changed)) == (0, 0, [])
    assert growth.table.column("signed").null_count == 1


@pytest.fixture
def address(tmp_path):
    """Of a web server that serves the test's folder."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_signed_rows_may_be_relative(tmp_path, address):
    """On the listing's own host, too, names end where queries begin, and ids hold no token."""
    (tmp_path / "list.csv").write_text("uri\na.jpg?token=part1.part2\npano1?token=partX\nb.jpg?width=9\n")
    listing = list_inputs([f"{address}/list.csv"])
    assert [row.id for row in listing] == ["a", "pano1", "b"]
    assert [row.uri.rpartition("/")[2] for row in listing] == ["a.jpg", "pano1", "b.jpg?width=9"]
    assert [row.signed is not None for row in listing] == [True, True, False]


def test_tokens_may_be_all_that_tells_pictures_apart(tmp_path):
    """Rows whose URLs differ in a token are inputs of their own under their ids, also where a run grows by one."""
    path = tmp_path / "list.csv"
    path.write_text("uri,id\nhttps://host/get?token=A,a\nhttps://host/get?token=B,b\n")
    two = list_inputs([str(path)])
    assert [(row.id, row.error_class) for row in two] == [("a", None), ("b", None)]
    path.write_text(path.read_text() + "https://host/get?token=C,c\n")
    three = list_inputs([str(path)])
    growth = grown(two.table, three)
    assert (growth.new, growth.gone) == (1, 0)
    signed = with_signatures(Listing.of(growth.table), three).table
    tokens = dict(zip(*(signed.column(name).to_pylist() for name in ("id", "signed")), strict=True))
    assert tokens == {name: f"https://host/get?token={name.upper()}" for name in "abc"}
    # Without ids nobody could tell them apart on a later start: the first is an input, the others say why they are not.
    path.write_text("uri\nhttps://host/get?token=A\nhttps://host/get?token=B\n")
    assert [row.error_class for row in list_inputs([str(path)])] == [None, "duplicate_id"]


@pytest.mark.parametrize(
    ("source", "uri", "id"),
    [
        ("https://host/in/a.jpg?X-Goog-Signature=ab", "https://host/in/a.jpg", "a"),
        ("https://host/in/a.jpg?width=4096", "https://host/in/a.jpg?width=4096", "a"),
        ("https://host/get?name=b.jpg&sig=ab", "https://host/get?name=b.jpg", "get"),
    ],
)
def test_addresses_with_queries_are_pictures(source, uri, id):
    """A web address with a query is one picture, whatever it is called; its signature is used and not shown."""
    (row,) = list_inputs([source])
    assert (row.uri, row.id) == (uri, id)
    assert row.signed == (source if source != uri else None)


def test_signed_containers_are_refused():
    """A container at a signed address could not be read by a later start: that is said before anything is fetched."""
    with pytest.raises(ConfigError, match="is a container at an address with a query") as caught:
        list_inputs(["https://host/x.zip?sig=secret"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_texts_are_read_by_parts(tmp_path, monkeypatch, block, ends):
    """A listing of lines is the same wherever it is cut, within a character, too."""
    monkeypatch.setattr(columns, "_BLOCK", block)
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    lines = ["# what", "ü/a.jpg", "", "  b c.jpg ", "日本.jpg", " # not one", "d.jpg"]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + ends.join(lines).encode())
    assert ids(tmp_path / "list.txt") == ["ü/a", "b c", "日本", "d"]
    (tmp_path / "list.txt").write_bytes(ends.join([*lines, ""]).encode())
    assert ids(tmp_path / "list.txt") == ["ü/a", "b c", "日本", "d"]


def test_a_text_of_one_endless_line_is_none(tmp_path, monkeypatch):
    """A file without an end of line is no listing, and is not read to its own."""
    monkeypatch.setattr(columns, "_BLOCK", 100)
    monkeypatch.setattr(columns, "_LONGEST_LINE", 1000)
    (tmp_path / "list.txt").write_text("a" * 100_000)
    with pytest.raises(ConfigError, match="has a line of more than 1000 characters"):
        ids(tmp_path / "list.txt")


@pytest.mark.parametrize("key", ["id_column", "scene_column", "sequence_column", "time_column"])
def test_a_column_that_was_asked_for_has_to_be_there(tmp_path, key):
    """A misspelt one is no other column; it may be written in any case, and a list of lines has none."""
    (tmp_path / "list.csv").write_text("uri,id,Pano_ID\na.jpg,x,1\n")
    pq.write_table(pa.table({"uri": ["a.jpg"], "id": ["x"]}), tmp_path / "list.parquet")
    (tmp_path / "list.txt").write_text("a.jpg\n")
    options = SourceOptions(settings=IndexSettings(**{key: "panoid"}))
    for name, there in (("list.csv", "uri, id, pano_id"), ("list.parquet", "uri, id")):
        with pytest.raises(ConfigError, match=rf"{name} has no column panoid; it has {there}$"):
            list_inputs([str(tmp_path / name)], options=options)
    assert len(list_inputs([str(tmp_path / "list.txt")], options=options)) == 1
    if key == "id_column":
        options = SourceOptions(settings=IndexSettings(id_column="pano_id"))
        assert [row.id for row in list_inputs([str(tmp_path / "list.csv")], options=options)] == ["1"]


def test_containers_of_a_listings_members_lie_beside_it(tmp_path, monkeypatch):
    """Where the listing lies, not where the job was started; here and in a store."""
    monkeypatch.chdir("/")
    (tmp_path / "deep").mkdir()
    rows = ["zip://a.png::tars/y.zip", "tar://b.png::../x.tar", "zip://c.png::s3://bucket/z.zip", "zip://d.png::/z.zip"]
    (tmp_path / "deep" / "list.txt").write_text("\n".join(rows))
    uris = [row.uri for row in list_inputs([str(tmp_path / "deep" / "list.txt")])]
    assert uris[:2] == [f"zip://a.png::file://{tmp_path}/deep/tars/y.zip", f"tar://b.png::file://{tmp_path}/x.tar"]
    assert uris[2:] == rows[2:]
    fsspec.filesystem("memory").pipe("/members/list.txt", "\n".join(rows[:3]).encode())
    uris = [row.uri for row in list_inputs(["memory://members/list.txt"])]
    assert uris[0] == "zip://a.png::memory://members/tars/y.zip"
    assert uris[1] == "tar://b.png::memory://x.tar"


@pytest.mark.parametrize("root", ["s3://bucket", "https://host:8080", "hf://datasets"])
@pytest.mark.parametrize("folder", ["", "/in"])
def test_relative_rows_stay_on_their_listings_host(root: str, folder: str) -> None:
    """However far they climb: what stands where a host or a bucket does is no folder of another one."""
    rows = ["../../a.jpg", "../../../other/b.jpg", "deep/../../../c.jpg", "../..", "zip://d.png::../../x.zip"]
    source = f"{root}{folder}/list.txt"
    path = source if root.startswith("https") else source.partition("://")[2]
    served = SimpleNamespace(open=lambda *_: io.BytesIO("\n".join(rows).encode()))
    found = read_listing(served, path, "input.uris[0]", source, IndexSettings())
    expected = [f"{root}/a.jpg", f"{root}/other/b.jpg", f"{root}/c.jpg", f"{root}/", f"zip://d.png::{root}/x.zip"]
    assert found.table().column("uri").to_pylist() == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_lines_end_where_files_end_them(tmp_path, monkeypatch, caplog, end, block):
    """Other signs that end a line are of names; comments are told, and a name may begin like one."""
    monkeypatch.setattr(columns, "_BLOCK", block)
    names = ["x\u2028y.png", "x\x85y.png", "x\x0by.png", "x\x1cy.png", "z\u00a0", "./#1.png"]
    text = "\ufeff" + end.join(["# rooms", *names, " \t", "  b.png\t", "#c.png", "d.png"])
    (tmp_path / "list.txt").write_bytes(text.encode())
    with caplog.at_level(logging.INFO):
        uris = [row.uri for row in list_inputs([str(tmp_path / "list.txt")])]
    assert uris == [str(tmp_path / name) for name in [*names[:-1], "#1.png", "b.png", "d.png"]]
    assert "list.txt: left out: 2 lines that begin with #, comments" in caplog.text


@pytest.mark.parametrize("keep", [(), ("time",)])
@pytest.mark.parametrize("block", [200, 1 << 20])
def test_tables_of_values_are_read_by_parts(tmp_path, monkeypatch, block, keep):
    """A table in one part or many gives the same rows, whatever its other columns hold, with those that are kept."""
    monkeypatch.setattr(columns, "_CSV_BLOCK", block)
    rows = [f'{number}.jpg,{"" if number % 2 else number},"{number}\n",{number},x{number}' for number in range(100)]
    rows[70] = "70.jpg,70,note,late,x"
    (tmp_path / "list.csv").write_text("\ufeffURI,time,note,number,id\n" + "\n".join(rows))
    listed = list_inputs([str(tmp_path / "list.csv")], options=SourceOptions(settings=IndexSettings(keep=keep)))
    assert [row.id for row in listed] == [
        *(f"x{number}" for number in range(70)),
        "x",
        *(f"x{n}" for n in range(71, 100)),
    ]
    assert (listed[2].kept is not None) == bool(keep)


def test_damage_behind_the_first_part_of_a_table_is_named(tmp_path, monkeypatch):
    """A row of other columns far behind is an error like one at the beginning."""
    monkeypatch.setattr(columns, "_CSV_BLOCK", 200)
    (tmp_path / "list.csv").write_text("uri,id\n" + "".join(f"{n}.jpg,{n}\n" for n in range(200)) + "a,b,c\n")
    with pytest.raises(ConfigError, match="cannot be read as a listing"):
        ids(tmp_path / "list.csv")


def test_what_a_job_puts_into_its_inputs_folder_is_no_input(panoramas, caplog):
    """Previews of one start are no inputs of the next; a folder of results that is named itself is one of inputs."""
    results = panoramas / "out"
    (results / "previews").mkdir(parents=True)
    (results / "previews" / "a.jpg").touch()
    options = SourceOptions(results=[str(results)])
    with caplog.at_level(logging.INFO):
        found = [row.id for row in list_inputs([str(panoramas)], options=options)]
    assert found == ["a", "b", "deep/a", "deep/c.jpg", "deep/c.webp"]
    assert f"left out: 1 files in {results}, where results go" in caplog.text
    assert [row.id for row in list_inputs([f"{panoramas}/*/*"], options=options)] == [
        "deep/a",
        "deep/c.jpg",
        "deep/c.webp",
    ]
    for named in (results, results / "previews", f"{results}/*/*.jpg"):
        assert len(list_inputs([str(named)], options=options)) == 1
    # A folder whose name begins like it is another one.
    assert len(list_inputs([str(panoramas)], options=SourceOptions(results=[str(panoramas / "dee")]))) == 6
    # Nobody can put anything there, which is not said here.
    assert len(list_inputs([str(panoramas)], options=SourceOptions(results=["nosuch://place"]))) == 6


@pytest.mark.parametrize("typed", ["../in", "in", "./in//", "in/../in/.", "~/in", "file://{}/in", "{}/deep/../in"])
def test_a_source_is_the_same_however_it_is_spelled(tmp_path, panoramas, monkeypatch, typed):
    """Folder, glob, braces, file, archive and masks: the same rows, digest included, as by the absolute path."""
    with zipfile.ZipFile(panoramas / "x.zip", "w") as archive:
        archive.writestr("p.jpg", b"")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep" if typed.startswith("..") else tmp_path)
    typed = typed.format(tmp_path)
    for inside in ("", "/*.jpg", "/{a,b}.jpg", "/a.jpg", "/x.zip"):
        plain = list_inputs([f"{panoramas}{inside}"])
        assert list_inputs([f"{typed}{inside}"]).table.equals(plain.table)
        assert all(row.uri.startswith((f"{panoramas}/", "zip://p.jpg::file:///")) for row in plain)
    chained = list_inputs([f"zip://*.jpg::{typed}/x.zip"])
    assert [row.uri.replace("file://", "") for row in chained] == [f"zip://p.jpg::{panoramas}/x.zip"]
    masks = MaskSources([f"{typed}/deep"])
    masked = list_inputs([f"{typed}/a.jpg"], masks=masks).table.column("mask").to_pylist()
    assert masked == [f'{{"uri":"{panoramas}/deep/a.jpg"}}']


def test_one_folder_by_two_spellings_is_listed_once(panoramas, monkeypatch):
    """``..`` names no second place."""
    monkeypatch.chdir(panoramas / "deep")
    assert ids(panoramas, "..", "../deep") == ids(panoramas)


def test_results_are_no_inputs_by_whatever_name(tmp_path, panoramas, monkeypatch):
    """Links and ``..`` to the results, to the inputs, and on the way between them: it is places that are compared."""
    (panoramas / "out" / "previews").mkdir(parents=True)
    (panoramas / "out" / "previews" / "own.jpg").touch()
    (tmp_path / "link").symlink_to(panoramas)
    (tmp_path / "tour").mkdir()
    (tmp_path / "tour" / "more").symlink_to(panoramas)
    monkeypatch.chdir(panoramas)
    for results in ("../in/out", "../link/out/", "deep/../out", f"file://{tmp_path}/link/out", "../tour/more/out"):
        options = SourceOptions(results=[results])
        for source in (".", "../in", "../link", f"{tmp_path}/link/**", "../tour", f"{panoramas}/**/*.jpg"):
            found = [row.id for row in list_inputs([source], options=options)]
            assert {"a", "more/a"} & {*found}
            assert not any("own" in id for id in found)
        # Named itself, it is a folder of inputs.
        for source in ("out", "../link/out", "../tour/more/out/previews"):
            assert len(list_inputs([source], options=options)) == 1
