"""Six files that are one cubemap are one input, wherever they lie; others stay what they are, and nothing is lost."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterable
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from pager_ray.cubemaps import faces_of
from pager_ray.errors import ConfigError
from pager_ray.listing import Listed, grown, is_same_listing, list_inputs
from pager_ray.listing.containers import Format, SourceOptions
from pager_ray.read.containers import IndexSettings
from pager_ray.retrying import Retry
from tests.read.packed import write_tar

FACES = ("front", "right", "back", "left", "up", "down")
WORDS = "{front,right,back,left,up,down}"


def listed(*sources: object, format: Format = "auto", **settings: object) -> list[Listed]:
    options = SourceOptions(format, IndexSettings(**settings))  # type: ignore[arg-type]
    return list(list_inputs([*map(str, sources)], Retry(0), options=options))


def put(folder: Path, names: Iterable[str]) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(number + 1))
    return folder


def skybox(stem: str) -> list[str]:
    return [f"{stem}_skybox{number}_sami.jpg" for number in range(6)]


def test_a_folder_of_faces_is_one_input(tmp_path: Path) -> None:
    """By every naming, under the name that the six have in common, beside panoramas and the faces of others."""
    names = [f"hall/{face}.jpg" for face in FACES]
    names += [f"two-{face}.JPG" for face in FACES] + [f"two-{face}.png" for face in FACES]
    names += skybox("scan/0af1") + [f"{letter}_{one}.webp" for letter in "xy" for one in "frblud"]
    put(tmp_path, [*names, "pano.jpg", "front.jpg", "front/up.jpg"])
    assert [(row.id, row.uri.removeprefix(f"{tmp_path}/")) for row in listed(tmp_path)] == [
        ("front", "front.jpg"),
        ("front/up", "front/up.jpg"),
        ("hall", f"hall/{WORDS}.jpg"),
        ("pano", "pano.jpg"),
        ("scan/0af1", "scan/0af1_skybox{1,2,3,4,0,5}_sami.jpg"),
        ("two.JPG", f"two-{WORDS}.JPG"),
        ("two.png", f"two-{WORDS}.png"),
        ("x", "x_{f,r,b,l,u,d}.webp"),
        ("y", "y_{f,r,b,l,u,d}.webp"),
    ]
    assert len(listed(tmp_path, format="files")) == len(names) + 3
    assert [row.id for row in listed(tmp_path / "hall")] == ["hall"]
    assert [row.id for row in listed(tmp_path / "hall" / "*.jpg")] == ["hall"]


def test_what_counts_by_letters_is_no_cubemap(tmp_path: Path) -> None:
    """Pictures named by the alphabet have the six letters among them; so has a set of which one is missing not."""
    put(tmp_path, [f"x_{letter}.jpg" for letter in "abcdeflru"] + [f"five/{face}.jpg" for face in FACES[:5]])
    assert len(listed(tmp_path)) == 14


def test_braces_name_cubemaps(tmp_path: Path) -> None:
    """As a source in any order, there or not, several at once; written in one way."""
    [row] = listed(f"{tmp_path}/x_skybox{{0..5}}_sami.jpg")
    assert (row.id, row.uri) == ("x", f"{tmp_path}/x_skybox{{1,2,3,4,0,5}}_sami.jpg")
    rows = listed(f"{tmp_path}/{{a,b}}/{{up,down,left,right,front,back}}.jpg")
    assert [(row.id, row.uri) for row in rows] == [(name, f"{tmp_path}/{name}/{WORDS}.jpg") for name in "ab"]


def test_an_address_with_a_query_names_a_cubemap() -> None:
    """Each face is asked for with it."""
    [row] = listed("https://host.example/a/{up,down,left,right,front,back}.jpg?width=512")
    assert (row.id, row.uri) == ("a", f"https://host.example/a/{WORDS}.jpg?width=512")
    assert (faces_of(row.uri) or "")[4] == "https://host.example/a/up.jpg?width=512"


def test_rows_of_a_listing_name_cubemaps(tmp_path: Path) -> None:
    """With ids of their own or that which the files share; other braces stay."""
    (tmp_path / "list.csv").write_text(
        f'id,uri\n,"in/a/{WORDS}.jpg"\nmine,"s3://b/x_skybox{{0..5}}_sami.jpg"\n,"/b/y_{{u,d,f,b,l,r}}.png"\n,"{{a,b}}.png"\n'
    )
    rows = listed(tmp_path / "list.csv")
    assert [(row.id, row.uri) for row in rows] == [
        ("in/a", f"{tmp_path}/in/a/{WORDS}.jpg"),
        ("mine", "s3://b/x_skybox{1,2,3,4,0,5}_sami.jpg"),
        ("y", "/b/y_{f,r,b,l,u,d}.png"),
        ("{a,b}", f"{tmp_path}/{{a,b}}.png"),
    ]


def test_members_of_a_zip(tmp_path: Path) -> None:
    """Each face keeps its own place; those at the top are called by their archive, and a tar's by their key."""
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for number, name in enumerate([*skybox("s/0af1"), *(f"{face}.jpg" for face in FACES), "pano.jpg"]):
            archive.writestr(name, bytes(number + 1))
        offsets = {one.filename: one.header_offset for one in archive.infolist()}
    top, pano, inner = listed(tmp_path / "scan.zip")
    assert [row.id for row in (top, pano, inner)] == ["scan", "scan/pano", "scan/s/0af1"]
    assert inner.uri == f"zip://s/0af1_skybox{{1,2,3,4,0,5}}_sami.jpg::file://{tmp_path}/scan.zip"
    assert json.loads(inner.face_places or "") == [
        [offsets[f"s/0af1_skybox{number}_sami.jpg"], number + 1] for number in (1, 2, 3, 4, 0, 5)
    ]
    assert (inner.offset, inner.size) == (offsets["s/0af1_skybox1_sami.jpg"], 21)
    assert [row.id for row in listed(tmp_path / "scan.zip", format="zip")] == ["scan", "scan/pano", "scan/s/0af1"]
    write_tar(tmp_path / "shard.tar", [(f"k/{face}.jpg", b"12") for face in FACES])
    assert [(row.id, row.size) for row in listed(tmp_path / "shard.tar")] == [("k", 12)]


def test_a_face_that_cannot_be_read_rejects_its_cubemap(tmp_path: Path) -> None:
    """With the reason of that face, which it names."""
    names = skybox("a")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"12")
        archive.getinfo(names[5]).flag_bits |= 1
    [row] = listed(tmp_path / "x.zip")
    assert (row.id, row.error_class) == ("x/a", "encrypted")
    assert "a_skybox5_sami.jpg" in (row.message or "")


def test_cubemaps_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Forced: some faces without the others are one reject that names these, and what is no face is left out, told."""
    put(tmp_path, [f"a/{face}.jpg" for face in FACES] + [f"b/{face}.jpg" for face in FACES[:4]] + ["p.jpg", "q.jpg"])
    put(tmp_path, [name for name in skybox("c") if "0" not in name])
    with caplog.at_level(logging.INFO):
        whole, sides, cut = listed(tmp_path, format="cubemap")
    assert [(row.id, row.error_class) for row in (whole, sides, cut)] == [
        ("a", None), ("b", "incomplete_cubemap"), ("c", "incomplete_cubemap")
    ]  # fmt: skip
    assert (sides.message or "").startswith(f"{tmp_path}/b/{WORDS}.jpg: has no up (up.jpg), down (down.jpg); bring ")
    assert "has no up (c_skybox0_sami.jpg)" in (cut.message or "")
    assert "left out: 2 images that are no cubemap's faces" in caplog.text
    with pytest.raises(ConfigError, match=r"p\.jpg holds no cubemap \(of 1 images\); takes six squares of one name"):
        listed(tmp_path / "p.jpg", format="cubemap")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("p.jpg", b"1")
    with pytest.raises(ConfigError, match=r"x\.zip holds no cubemap \(1 images that are no cubemap's faces\)"):
        listed(tmp_path / "x.zip", format="cubemap")


def test_columns_of_the_first_face_that_has_them(tmp_path: Path) -> None:
    """A table beside the images may name any of the six."""
    put(tmp_path, [f"a_{face}.jpg" for face in FACES])
    (tmp_path / "metadata.csv").write_text("file_name,scene,n\na_left.jpg,indoor,7\na_up.jpg,outdoor,8\n")
    [row] = listed(tmp_path, keep=("n",))
    assert (row.id, row.scene, row.kept) == ("a", "indoor", '{"n":7}')


def test_one_face_replaced_is_the_input_replaced(tmp_path: Path) -> None:
    """Of six files by any one's stamp, of members by any one's place or checksum; one that is gone takes all along."""
    put(tmp_path, [*skybox("in/a"), *skybox("in/b")])
    before = list_inputs([str(tmp_path / "in")])
    assert list(grown(before.table, list_inputs([str(tmp_path / "in")])).changed) == []
    (tmp_path / "in" / "a_skybox5_sami.jpg").write_bytes(b"another")
    assert list(grown(before.table, list_inputs([str(tmp_path / "in")])).changed) == ["a"]
    (tmp_path / "in" / "b_skybox0_sami.jpg").unlink()
    growth = grown(before.table, list_inputs([str(tmp_path / "in")]))
    assert (growth.new, growth.gone, list(growth.changed)) == (5, 1, ["a"])

    def packed(order: Iterable[int], content: bytes) -> pa.Table:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for number in order:
                archive.writestr(f"a_skybox{number}_sami.jpg", content if number == 5 else b"12")
        return list_inputs([str(tmp_path / "x.zip")]).table

    first = packed(range(6), b"12")
    assert list(grown(first, packed(range(6), b"21")).changed) == ["x/a"]
    moved = packed([0, 1, 2, 4, 3, 5], b"12")
    assert not is_same_listing(first, moved)
    # Its bytes are the same: the places are taken over, and nothing is done again.
    growth = grown(first, moved)
    assert list(growth.changed) == []
    assert growth.table.column("face_places").equals(moved.column("face_places"))


def test_on_an_object_store() -> None:
    """Names and stamps of objects, as of files."""
    memory = fsspec.filesystem("memory")
    for name in skybox("bucket/scan/a"):
        memory.pipe_file(f"/{name}", b"1")
    try:
        [row] = listed("memory://bucket/scan")
        assert (row.id, row.uri) == ("a", "memory://bucket/scan/a_skybox{1,2,3,4,0,5}_sami.jpg")
    finally:
        memory.store.clear()
