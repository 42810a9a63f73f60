"""Containers among sources: every member an input with an id of its own, by the rules that the documentation states."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import logging
import os
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import ConfigError
from pager_ray.listing import Listing, grown, is_same_listing, list_inputs
from pager_ray.listing.braces import expand_braces
from pager_ray.listing.containers import SourceOptions
from pager_ray.read.containers import IndexSettings
from pager_ray.read.fetch import fetch
from pager_ray.retrying import Retry
from tests.datasets.fake_hub import FakeHub, serving
from tests.datasets.test_hub import use_endpoint
from tests.read.packed import add, pack, write_hub, write_tar


def ids(*sources: object, **settings: object) -> list[str]:
    options = SourceOptions(settings=IndexSettings(**settings))  # type: ignore[arg-type]
    return [row.id for row in list_inputs([*map(str, sources)], Retry(0), options=options)]


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("x-{000..003}.tar", ["x-000.tar", "x-001.tar", "x-002.tar", "x-003.tar"]),
        ("{9..11}", ["9", "10", "11"]),
        ("{00..4..2}{a,b}", ["00a", "00b", "02a", "02b", "04a", "04b"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{plain}", ["{plain}"]),
    ],
)
def test_braces_are_expanded_as_shells_do(pattern: str, texts: list[str]) -> None:
    """Ranges keep their width, lists their order, and other braces stay."""
    assert expand_braces(pattern) == texts


def test_too_many_names_are_refused() -> None:
    """Before they take memory."""
    with pytest.raises(ConfigError, match="more than 1,000,000 names"):
        expand_braces("{0..9999999999}")


def test_keys_are_ids_where_they_are_unique(tmp_path: Path) -> None:
    """A sample's key; where two shards have the same one, both take the shard's name before it."""
    write_tar(tmp_path / "a.tar", [("one.jpg", b"1"), ("in/two.jpg", b"2")])
    write_tar(tmp_path / "b.tar", [("one.png", b"3")])
    assert ids(tmp_path) == ["a/one", "in/two", "b/one"]
    assert ids(tmp_path / "{a,b}.tar") == ["a/one", "in/two", "b/one"]
    assert ids(tmp_path / "a.tar") == ["one", "in/two"]


def test_columns_give_ids_and_scenes(tmp_path: Path) -> None:
    """A column that is asked for, one that is found where it is unique, or file and row."""
    rows = {"a": b"1", "b": b"2", "c": b"3"}
    write_hub(tmp_path / "x" / "train.parquet", rows, name=["n0", "n1", "n2"], id=["i0", "i0", "i2"])
    assert ids(tmp_path / "x", id_column="name") == ["n0", "n1", "n2"]
    assert ids(tmp_path / "x") == ["train/0", "train/1", "i2"]
    assert ids(tmp_path / "x" / "train.parquet") == ["train/0", "train/1", "i2"]
    with pytest.raises(ConfigError, match=r"has no column nosuch; it has image, name, id"):
        ids(tmp_path / "x", id_column="nosuch")


def test_a_folder_of_images_keeps_to_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What lies in containers beside images is most likely the same: left out and told, unless it is asked for."""
    (tmp_path / "a.jpg").write_bytes(b"1")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a.jpg", b"1")
    with caplog.at_level(logging.INFO):
        assert ids(tmp_path) == ["a"]
    assert "left out: 1 .zip" in caplog.text
    forced = list_inputs([str(tmp_path)], Retry(0), options=SourceOptions("zip"))
    assert [row.id for row in forced] == ["all/a"]


def test_the_form_is_told_by_content(tmp_path: Path) -> None:
    """A container by another name is one all the same."""
    pack("tar", tmp_path / "t", {"a": b"1"}, shards=1)
    (tmp_path / "t" / "shard-0000.tar").rename(tmp_path / "archive")
    assert ids(tmp_path / "archive") == ["a"]


def test_one_bad_container_is_one_reject(tmp_path: Path) -> None:
    """Its neighbours are listed; where there is none, the source is the mistake, in one line."""
    write_tar(tmp_path / "a.tar", [("one.jpg", b"1")])
    (tmp_path / "b.tar").write_bytes(b"\x1f\x8b compressed")
    rows = list(list_inputs([str(tmp_path / "{a,b,c}.tar")], Retry(0)))
    assert [(row.id, row.error_class) for row in rows] == [
        ("one", None), ("b", "unsupported_format"), ("c", "missing")
    ]  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"^input\.uris\[0\]: .*b\.tar is compressed with gzip: .* give the plain tar$"
    ):
        ids(tmp_path / "b.tar")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("list.csv.gz", "is compressed with gzip; decompress it and give what it holds$"),
        ("a.jpg.gz", "is compressed with gzip; decompress it and give what it holds$"),
        ("x.tar.gz", "decompress it .* and give the plain tar$"),
        ("x.tgz", "decompress it .* and give the plain tar$"),
    ],
)
def test_what_is_compressed_is_called_what_it_is(name: str, says: str, tmp_path: Path) -> None:
    """A listing or a picture that was compressed is no tar, and its way out is another one."""
    (tmp_path / name).write_bytes(b"\x1f\x8b compressed")
    with pytest.raises(ConfigError, match=says):
        list_inputs([str(tmp_path / name)], Retry(0))


def test_a_container_whose_name_parts_a_uri_is_one_reject(tmp_path: Path) -> None:
    """Its members could not be named; those of its neighbours are listed, and alone it is the mistake."""
    write_tar(tmp_path / "a.tar", [("one.jpg", b"1")])
    write_tar(tmp_path / "b::c.tar", [("two.jpg", b"2")])
    rows = list(list_inputs([str(tmp_path)], Retry(0)))
    assert [(row.id, row.error_class) for row in rows] == [("one", None), ("b::c", "bad_name")]
    assert rows[1].message == f"{tmp_path}/b::c.tar: has '::' in its name, which parts a URI; rename the file"
    (tmp_path / "a.tar").unlink()
    with pytest.raises(ConfigError, match=r"^input\.uris\[0\]: .*b::c\.tar has '::' in its name"):
        list_inputs([str(tmp_path)], Retry(0))


def test_listings_are_still_listings(tmp_path: Path) -> None:
    """A Parquet file with a column of URIs is one, whatever else it has; columns to keep come along."""
    table = {"uri": ["a.jpg", "b.jpg"], "image": [b"1", b"2"], "sequence": [7, 8], "name": ["x", "y"]}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    options = SourceOptions(settings=IndexSettings(keep=("sequence",), id_column="name"))
    rows = list(list_inputs([str(tmp_path / "list.parquet")], Retry(0), options=options))
    assert [(row.id, json.loads(row.kept or "")) for row in rows] == [("x", {"sequence": 7}), ("y", {"sequence": 8})]
    forced = list_inputs([str(tmp_path / "list.parquet")], Retry(0), options=SourceOptions("parquet"))
    assert [fetch(row.uri, Retry(0)) for row in forced] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("metadata.csv", "utf-8"),
        ("metadata.csv", "utf-16"),
        ("metadata.jsonl", "utf-8"),
        ("metadata.jsonl", "utf-16"),
        ("metadata.parquet", ""),
    ],
)
def test_a_table_beside_images_has_their_columns(name: str, encoding: str, tmp_path: Path) -> None:
    """Its file names are relative to itself; images that it does not name are inputs all the same."""
    (tmp_path / "train").mkdir()
    for letter in "abc":
        (tmp_path / "train" / f"{letter}.jpg").write_bytes(b"1")
    rows = [{"file_name": "a.jpg", "scene": "indoor", "n": 1}, {"file_name": "b.jpg", "scene": "outdoor", "n": 2}]
    path = tmp_path / "train" / name
    if name.endswith("jsonl"):
        path.write_text("\n".join(map(json.dumps, rows)), encoding)
    elif name.endswith("csv"):
        path.write_text("file_name,scene,n\na.jpg,indoor,1\nb.jpg,outdoor,2\n", encoding)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    listed = list_inputs([str(tmp_path)], Retry(0), options=SourceOptions(settings=IndexSettings(keep=("n",))))
    assert [(row.id, row.scene, row.kept) for row in listed] == [
        ("train/a", "indoor", '{"n":1}'), ("train/b", "outdoor", '{"n":2}'), ("train/c", None, None)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("key", ["id_column", "scene_column", "sequence_column", "time_column"])
def test_a_table_that_lacks_what_was_asked_for_is_named(name: str, key: str, tmp_path: Path) -> None:
    """As of a listing and a Parquet file: no image is called otherwise, or nothing, because of a name that is wrong."""
    (tmp_path / "a.jpg").write_bytes(b"1")
    text = "file_name,n\na.jpg,1\n" if name.endswith("csv") else '{"file_name": "a.jpg", "n": 1}\n'
    (tmp_path / name).write_text(text)
    options = SourceOptions(settings=IndexSettings(**{key: "nosuch"}))
    says = rf"^input\.uris\[0\]: .*{name}: has no column nosuch \(input\.{key}\); name one that it has, or none$"
    with pytest.raises(ConfigError, match=says):
        list_inputs([str(tmp_path)], Retry(0), options=options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("File_Name,name\na.jpg,A\n", "metadata.csv names no image beside it, and counts for nothing"),
        ("file_name;name\na.jpg;A\n", "metadata.csv names no image beside it, and counts for nothing"),
        ("file_name,name\na.jpg,A\nz.jpg,Z\nsub\\a.jpg,S\n", "metadata.csv: 2 of 3 rows name no image beside it"),
        ("file_name,name\na.jpg,A\n", ""),
    ],
)
def test_rows_that_name_no_image_are_told(
    text: str, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A table that is written otherwise counts for nothing, and that is said."""
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "metadata.csv").write_text(text)
    with caplog.at_level(logging.INFO):
        list_inputs([str(tmp_path)], Retry(0))
    assert says in caplog.text if says else "metadata.csv" not in caplog.text.replace("left out: 1 .csv", "")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    from huggingface_hub import HfFileSystem, constants

    with serving() as fake:
        use_endpoint(monkeypatch, fake.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
        HfFileSystem.clear_instance_cache()
        yield fake
    HfFileSystem.clear_instance_cache()


def test_a_dataset_of_the_hub_is_read(hub: FakeHub, tmp_path: Path) -> None:
    """The default configuration of its card; several without one are named; a folder of it is taken as it is."""
    files = {}
    for name in ("big", "small"):
        data = write_hub(tmp_path / f"{name}.parquet", {"a": name.encode(), "b": b"2"}).read_bytes()
        files[f"{name}/train-00000-of-00001.parquet"] = data
    small = "- config_name: {}\n  data_files:\n  - split: train\n    path: small/train-*\n"
    card = f"---\nconfigs:\n{small}- config_name: big\n  data_files: big/*\n---\n"
    hub.commit("me/panoramas", {**files, "README.md": card.format("default").encode()})
    rows = list(list_inputs(["hf://datasets/me/panoramas"], Retry(0)))
    assert [row.id for row in rows] == ["small/train-00000-of-00001/0", "small/train-00000-of-00001/1"]
    assert rows[0].uri == "parquet://image/0::hf://datasets/me/panoramas/small/train-00000-of-00001.parquet"
    assert fetch(rows[0].uri, Retry(0)) == b"small"
    assert len(ids("hf://datasets/me/panoramas@main/big")) == 2
    hub.commit("me/panoramas", {**files, "README.md": card.format("tiny").encode()})
    with pytest.raises(ConfigError, match=r"several configurations .* \(tiny: small/train-\*; big: big/\*\)"):
        ids("hf://datasets/me/panoramas")


def test_what_lies_beside_containers_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Statistics and texts are counted; a tar's own table and index are not."""
    pack("tar", tmp_path, {"a": b"1"}, shards=1)
    for name in ("shard-0000.parquet", "shard-0000.idx", "shard-0000_stats.json", "README.md"):
        (tmp_path / name).write_bytes(b"PAR1" + bytes(60) + b"PAR1" if name.endswith("parquet") else b"v1.2 0\n")
    with caplog.at_level(logging.INFO):
        assert ids(tmp_path) == ["a"]
    assert "left out beside the containers: 1 .json, 1 .md" in caplog.text


@pytest.mark.parametrize("ranges", [True, False])
def test_a_web_server_must_serve_parts(ranges: bool, tmp_path: Path) -> None:
    """Members are read by parts over HTTP; from a server that sends whole files they are rejects that say so."""
    pack("tar", tmp_path, {"a": b"1" * 70_000, "b": b"2" * 70_000}, shards=1)
    content = (tmp_path / "shard-0000.tar").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if ranges else None
            first, last = (int(match[1]), min(int(match[2]), len(content) - 1)) if match else (0, len(content) - 1)
            self.send_response(206 if match else 200)
            self.send_header("Content-Length", str(last - first + 1))
            if match:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.end_headers()
            if self.command == "GET":
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(content[first : last + 1])

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/x.tar"
        try:
            if ranges:
                rows = list(list_inputs([url], Retry(0)))
                assert [row.id for row in rows] == ["a", "b"]
                assert [fetch(row.uri, Retry(0))[:1] for row in rows] == [b"1", b"2"]
            else:
                with pytest.raises(ConfigError, match="sends whole files where a part is asked for"):
                    list_inputs([url], Retry(0))
        finally:
            server.shutdown()


@pytest.mark.parametrize("form", ["tar", "zip", "parquet"])
def test_a_member_of_the_same_size_is_known_to_be_another(form: str, tmp_path: Path) -> None:
    """Replaced in place: by checksum, by header, by its file; what is the same stays, and what is new is new."""
    pictures = {"a": b"1" * 900, "b": b"2" * 900}
    pack(form, tmp_path, pictures, shards=1)
    before = list_inputs([str(tmp_path)], Retry(0)).table
    again = list_inputs([str(tmp_path)], Retry(0)).table
    assert list(grown(before, again).changed) == []
    (path,) = tmp_path.iterdir()
    if form == "tar":
        # A tar that is written to at its end keeps its members.
        with tarfile.open(path, "a") as archive:
            add(archive, "c.png", b"3" * 900)
        growth = grown(before, list_inputs([str(tmp_path)], Retry(0)).table)
        assert (list(growth.changed), growth.new) == ([], 1)
        with tarfile.open(path, "w") as archive:
            for name, content in pictures.items():
                member = tarfile.TarInfo(f"{name}.png")
                member.size, member.mtime = len(content), 7 if name == "b" else 0
                archive.addfile(member, io.BytesIO(content))
                add(archive, f"{name}.json", b'{"scene": "indoor"}')
    else:
        pack(form, tmp_path, pictures | {"b": b"3" * 900}, shards=1)
        os.utime(path, (9, 9))
    growth = grown(before, list_inputs([str(tmp_path)], Retry(0)).table)
    changed = {"tar": ["b"], "zip": ["shard-0000/b"], "parquet": ["a", "b"]}[form]
    assert (list(growth.changed), growth.new) == (changed, 0)


POSES = IndexSettings(retry=Retry(0), pose=("pitch_degrees", "roll_degrees"))


def poses(source: Path, settings: IndexSettings = POSES) -> dict[str, dict[str, str] | None]:
    """What a source's rows say of how their cameras were held."""
    rows = list_inputs([str(source)], Retry(0), options=SourceOptions(settings=settings))
    return {row.id: row.pose and json.loads(row.pose) for row in rows}


@pytest.mark.parametrize("form", ["csv", "parquet", "metadata.csv", "metadata.jsonl", "tar", "images"])
def test_poses_travel_where_they_are_asked_for(form: str, tmp_path: Path) -> None:
    """From listings, tables beside images, samples' JSON and Parquet files of images; what is no number, too."""
    rows = [{"pitch_degrees": 12.5, "roll_degrees": -3.5}, {"pitch_degrees": None, "roll_degrees": 400.5}, {}]
    expected = {"a": {"pitch_degrees": "12.5", "roll_degrees": "-3.5"}, "b": {"roll_degrees": "400.5"}, "c": None}
    columns = {name: [row.get(name) for row in rows] for name in POSES.pose}
    source = tmp_path
    if form in ("csv", "parquet"):
        table = pa.table({"uri": ["a.jpg", "b.jpg", "c.jpg"], **columns})
        source = tmp_path / f"list.{form}"
        (pyarrow.csv.write_csv if form == "csv" else pq.write_table)(table, source)
    elif form == "tar":
        members = [(f"{name}.jpg", b"1") for name in "abc"]
        beside = [(f"{name}.json", json.dumps(row).encode()) for name, row in zip("abc", rows, strict=True)]
        write_tar(tmp_path / "x.tar", sorted(members + beside))
    elif form == "images":
        pq.write_table(
            pa.table({"image": [b"1", b"2", b"3"], "id": ["a", "b", "c"], **columns}), tmp_path / "x.parquet"
        )
    else:
        for name in "abc":
            (tmp_path / f"{name}.jpg").write_bytes(b"1")
        named = [{"file_name": f"{name}.jpg", **row} for name, row in zip("abc", rows, strict=True)]
        lines = ["file_name,pitch_degrees,roll_degrees", "a.jpg,12.5,-3.5", "b.jpg,,400.5", "c.jpg,,"]
        text = "\n".join(map(json.dumps, named) if form.endswith("jsonl") else lines)
        (tmp_path / form).write_text(text)
    assert poses(source) == expected
    assert poses(source, IndexSettings(retry=Retry(0))) == dict.fromkeys("abc")


def test_a_listing_with_other_poses_is_another_one(tmp_path: Path) -> None:
    """They decide results; a picture under one id that is held in two ways is listed twice, and one is a reject."""
    listings = []
    for pitch in ("1", "2"):
        (tmp_path / "list.csv").write_text(f"uri,pitch_degrees\na.jpg,{pitch}\n")
        options = SourceOptions(settings=POSES)
        listings.append(list_inputs([str(tmp_path / "list.csv")], Retry(0), options=options))
    assert not is_same_listing(*listings)
    grew = grown(listings[0].table, listings[1])
    assert (list(grew.changed), Listing(grew.table)[0].pose) == (["a"], '{"pitch_degrees":"2"}')
    assert list(grown(grew.table, listings[1]).changed) == []
    (tmp_path / "list.csv").write_text("uri,pitch_degrees\na.jpg,1\na.jpg,1\na.jpg,2\n")
    rows = list_inputs([str(tmp_path / "list.csv")], Retry(0), options=SourceOptions(settings=POSES))
    assert [(row.error_class, row.pose) for row in rows] == [
        (None, '{"pitch_degrees":"1"}'), ("duplicate_id", '{"pitch_degrees":"2"}')
    ]  # fmt: skip


def test_a_doubled_column_is_a_mistake(tmp_path: Path) -> None:
    """Nobody can tell which of two pitches was meant."""
    (tmp_path / "list.csv").write_text("uri,pitch_degrees,Pitch_Degrees\na.jpg,1,2\n")
    with pytest.raises(ConfigError, match="more than one `pitch_degrees` column"):
        poses(tmp_path / "list.csv")
