"""Reading and projecting: every row comes out once, with its faces or with the reason why there are none."""

from __future__ import annotations

import hashlib
import http.server
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from pager_ray.geometry import erp_to_cubemap, level_rotation
from pager_ray.geometry import level as level_module
from pager_ray.listing import MANIFEST_SCHEMA, list_inputs
from pager_ray.preview import panel_size
from pager_ray.read import decode_panorama
from pager_ray.read.containers import zips as members_of_zip
from pager_ray.read.pose import pose_text
from pager_ray.retrying import Retry
from pager_ray.stages import read as stage
from pager_ray.stages.read import ReadSettings, make_read_fn
from pager_ray.stages.rows import READ_SCHEMA
from pager_ray.validity import Validity
from tests.harness.web import serving
from tests.read import cubes
from tests.read.images import cropped, encode, gpano_xmp, picture, png_bomb, with_xmp

SIZE = 16
SETTINGS = ReadSettings(
    face_size=SIZE, fov=90.0, max_pixels=2**24, max_bytes=2**24, thumbnail_width=None, retry=Retry(0)
)


def manifest(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{"scene": None, "error_class": None, "message": None} | row for row in rows],
                                schema=MANIFEST_SCHEMA)  # fmt: skip


def read(*uris: str | Path, settings: ReadSettings = SETTINGS) -> list[dict[str, Any]]:
    """The rows that the stage makes of inputs named by their place in the list."""
    rows = [{"id": str(number), "uri": str(uri)} for number, uri in enumerate(uris)]
    table = make_read_fn(settings)(manifest(*rows))
    assert table.schema == READ_SCHEMA
    assert [row["id"] for row in table.to_pylist()] == [row["id"] for row in rows]
    return table.to_pylist()


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_a_panorama_becomes_its_faces(tmp_path: Path) -> None:
    """A good row has the faces of its decoded panorama, its size and digest, and no reject columns."""
    content = encode(picture(128, 64), "JPEG", quality=90)
    path = put(tmp_path, "room.jpg", content)
    table = make_read_fn(SETTINGS)(manifest({"id": "a/room", "uri": str(path), "scene": "indoor"}))
    row = table.to_pylist()[0]
    faces = erp_to_cubemap(decode_panorama(content).erp, SIZE)
    assert row.pop("faces") == faces.tobytes()
    assert row == {
        "id": "a/room",
        "uri": str(path),
        "scene": "indoor",
        "sample": None,
        "sequence": None,
        "time": None,
        "kept": None,
        "panorama": None,
        "panorama_height": None,
        "valid_fraction": 1.0,
        "valid": None,
        "valid_faces": None,
        "stage": None,
        "error_class": None,
        "message": None,
        "attempts": None,
        "width": 128,
        "height": 64,
        "coverage": 1.0,
        "stretch": 1.0,
        "blank_fraction": 0.0,
        "suspect": None,
        "remarks": None,
        "pose_heading": None,
        "pose_pitch": None,
        "pose_roll": None,
        "level_pitch": None,
        "level_roll": None,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "thumbnail": None,
    }


@pytest.mark.parametrize("fov", [90.0, 100.0])
def test_faces_have_the_checkpoints_size_and_field_of_view(tmp_path: Path, fov: float) -> None:
    """Face size and field of view are those of the settings."""
    path = put(tmp_path, "room.png", encode(picture(128, 64)))
    row = read(path, settings=replace(SETTINGS, face_size=20, fov=fov))[0]
    assert row["faces"] == erp_to_cubemap(picture(128, 64), 20, fov).tobytes()


def test_cropped_panoramas_are_placed(tmp_path: Path) -> None:
    """A cropped panorama reports the size of the whole sphere and how much of it the file covers."""
    xmp = gpano_xmp(**cropped(32, 16, 64, 32, 128, 64))
    row = read(put(tmp_path, "crop.png", with_xmp(picture(64, 32), "PNG", xmp)))[0]
    assert (row["error_class"], row["width"], row["height"], row["coverage"]) == (None, 128, 64, 0.25)


def test_what_is_valid_travels_beside_the_faces(tmp_path: Path) -> None:
    """Rectangle and caps as told, the pixels of the faces that they leave, a bit each, and their share."""
    xmp = gpano_xmp(**cropped(32, 16, 64, 32, 128, 64))
    path = put(tmp_path, "crop.png", with_xmp(picture(64, 32), "PNG", xmp))
    row = read(path, settings=replace(SETTINGS, nadir_degrees=60.0, project=False))[0]
    found = Validity(64, 128, 32, 16, 64, 32, 60.0)
    assert row["valid"] == found.to_row()
    assert row["valid_fraction"] == pytest.approx(64 * (16 + 10.6667) / (64 * 128), abs=64 / 64 / 128)
    bits = np.unpackbits(np.frombuffer(row["valid_faces"], np.uint8)).astype(bool)
    np.testing.assert_array_equal(bits.reshape(6, SIZE, SIZE), found.faces(SIZE, 90.0))


def test_pictures_that_show_nothing_are_rejected(tmp_path: Path) -> None:
    """Wholly transparent, or within the caps altogether: a reject that says so, no prediction without numbers."""
    nothing = np.zeros((64, 128, 4), np.uint8)
    row = read(put(tmp_path, "nothing.png", encode(nothing)))[0]
    assert (row["error_class"], row["faces"]) == ("nothing_valid", None)
    assert "nothing.png: no pixel is valid" in row["message"]
    xmp = gpano_xmp(**cropped(32, 54, 40, 10, 128, 64))
    path = put(tmp_path, "floor.png", with_xmp(picture(40, 10), "PNG", xmp))
    assert read(path, settings=replace(SETTINGS, nadir_degrees=40.0))[0]["error_class"] == "nothing_valid"


def test_what_was_noticed_travels_in_columns(tmp_path: Path) -> None:
    """Stretch, emptiness, suspicion and remarks of a file are its row's, and the settings decide what is taken."""
    barred = picture(258, 128)
    barred[:20] = barred[-20:] = 0
    xmp = gpano_xmp(**cropped(0, 0, 100, 10, 256, 128))
    path = put(tmp_path, "odd.jpg", with_xmp(barred, "JPEG", xmp, quality=95)[:-2])
    row = read(path)[0]
    assert row["error_class"] is None
    assert row["stretch"] == pytest.approx(256 / 258)
    # A block of the JPEG that is partly picture is not black.
    assert row["blank_fraction"] == pytest.approx(40 / 128, abs=9 / 128)
    assert (row["suspect"], row["remarks"]) == ("black_bars", "no_end_marker,gpano_ignored")
    strict = replace(SETTINGS, decode={"aspect_tolerance": 0.0, "gpano": "ignore"})
    assert read(path, settings=strict)[0]["error_class"] == "not_a_panorama"


def test_every_failure_is_a_reject_in_its_place(tmp_path: Path) -> None:
    """Whatever is wrong with an input gives a reject with stage, class and reason, and leaves its neighbours alone."""
    good = encode(picture(128, 64))
    unreadable = [
        (tmp_path / "gone.jpg", "missing", "does not exist"),
        (tmp_path, "not_a_file", "is a folder"),
        ("nosuch://bucket/a.jpg", "unsupported_uri", "no file system serves this URI"),
        (str(tmp_path / ("x" * 300)), "read_failed", "cannot be read"),
        (put(tmp_path, "empty.jpg", b""), "empty_file", "empty"),
        (put(tmp_path, "text.jpg", b"words, not pixels\n" * 9), "not_an_image", "no image"),
        (put(tmp_path, "gif.jpg", b"GIF89a" + bytes(99)), "unsupported_format", "GIF"),
        (put(tmp_path, "cut.png", good[: len(good) // 2]), "corrupt_image", ""),
        (put(tmp_path, "flat.png", encode(picture(96, 32))), "not_a_panorama", "96"),
        (put(tmp_path, "dot.png", encode(np.zeros((1, 1, 3), np.uint8))), "too_small", ""),
        (put(tmp_path, "bomb.png", png_bomb(30_000, 15_000)), "too_large", "450000000"),
    ]
    sources: list[str | Path] = []
    for number, (source, _, _) in enumerate(unreadable):
        sources += [put(tmp_path, f"good{number}.png", encode(picture(64, 32) // (number + 1))), source]
    rows = read(*sources)
    for number, (_, error_class, reason) in enumerate(unreadable):
        fine, bad = rows[2 * number], rows[2 * number + 1]
        assert fine["error_class"] is None
        assert fine["faces"] == erp_to_cubemap(picture(64, 32) // (number + 1), SIZE).tobytes()
        assert (bad["stage"], bad["error_class"], bad["attempts"]) == ("read", error_class, 1)
        assert bad["message"].startswith(f"{bad['uri']}: ")
        assert reason in bad["message"]
        assert "\n" not in bad["message"]
        assert [bad[name] for name in ("width", "height", "coverage", "digest", "faces", "thumbnail")] == [None] * 6


def test_the_pixel_limit_is_the_settings(tmp_path: Path) -> None:
    """An image of more pixels than allowed is rejected, one of exactly as many is read."""
    path = put(tmp_path, "room.png", encode(picture(128, 64)))
    at, below = (read(path, settings=replace(SETTINGS, max_pixels=128 * 64 - less))[0] for less in (0, 1))
    assert (at["error_class"], below["error_class"]) == (None, "too_large")


def test_what_may_not_be_read_is_a_reject(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file without the right to read it is a reject that says so."""

    def refuse(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "cat_file", refuse)
    row = read(put(tmp_path, "secret.jpg", b"x"))[0]
    assert row["error_class"] == "permission_denied"
    assert row["message"] == f"{tmp_path}/secret.jpg: may not be read (Permission denied); ask for the right to"


def test_rows_that_the_listing_rejected_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with a reason already is not read, and keeps the reason under the stage *list*."""
    monkeypatch.setattr(stage, "decode_content", lambda *_, **__: pytest.fail("reads a rejected row"))
    path = put(tmp_path, "room.png", encode(picture(128, 64)))
    taken = {"id": "room~2", "uri": str(path), "error_class": "duplicate_id", "message": "id 'room' is taken"}
    row = make_read_fn(SETTINGS)(manifest(taken)).to_pylist()[0]
    assert {key: value for key, value in row.items() if value is not None} == taken | {"stage": "list", "attempts": 1}


def test_an_empty_block_stays_empty() -> None:
    """No rows in, no rows out, under the stage's schema."""
    table = make_read_fn(SETTINGS)(manifest())
    assert (table.num_rows, table.schema) == (0, READ_SCHEMA)


def test_more_rows_than_fetching_threads_keep_their_order(tmp_path: Path) -> None:
    """Objects arrive in any order; rows leave in theirs."""
    paths = [put(tmp_path, f"{n}.png", encode(picture(64, 32) // (n + 1))) for n in range(3 * stage.FETCH_THREADS)]
    for number, row in enumerate(read(*paths)):
        assert row["faces"] == erp_to_cubemap(picture(64, 32) // (number + 1), SIZE).tobytes()


def test_object_urls_are_read() -> None:
    """Inputs are read from any file system that fsspec serves."""
    memory = fsspec.filesystem("memory")
    try:
        memory.pipe_file("/bucket/room.png", encode(picture(64, 32)))
        rows = read("memory://bucket/room.png", "memory://bucket/gone.png")
        assert rows[0]["faces"] == erp_to_cubemap(picture(64, 32), SIZE).tobytes()
        assert rows[1]["error_class"] == "missing"
        assert rows[1]["message"] == (
            "memory://bucket/gone.png: does not exist; correct the URI or bring the file there"
        )
    finally:
        memory.store.clear()


@pytest.mark.parametrize("width", [512, 1024])
def test_thumbnails_are_the_panorama_at_panel_size(tmp_path: Path, width: int) -> None:
    """Where previews are wanted a row carries its panorama at the panel's size, as raw RGB."""
    erp = picture(2048, 1024)
    row = read(put(tmp_path, "room.png", encode(erp)), settings=replace(SETTINGS, thumbnail_width=width))[0]
    height, panel = panel_size(width)
    thumbnail = np.frombuffer(row["thumbnail"], np.uint8).reshape(height, panel, 3)
    reduced = cv2.resize(erp.astype(np.float32), (panel, height), interpolation=cv2.INTER_AREA)
    assert np.abs(thumbnail - reduced).max() < 1


@pytest.fixture
def server() -> Iterator[str]:
    """An HTTP server that answers 404 to everything; gives its address."""

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with serving(Nothing) as address:
        yield address


def test_no_secret_reaches_a_message(server: str) -> None:
    """User info and signed queries are in no message, whether the object is missing, unreachable or unsupported."""
    secret = "hunter2"
    rows = read(
        f"http://{server}/a.jpg?signature={secret}",
        f"http://user:{secret}@{server}/a.jpg",
        f"http://user:{secret}@127.0.0.1:9/a.jpg?signature={secret}",
        f"nosuch://{secret}@host/a.jpg",
    )
    assert [row["error_class"] for row in rows] == ["missing", "missing", "transient", "unsupported_uri"]
    for row in rows:
        assert secret not in row["message"]
        assert row["message"].split(": ")[0].endswith("a.jpg")


def test_the_function_travels_to_workers(tmp_path: Path) -> None:
    """Settings are plain values: they arrive in another process equal."""
    assert pickle.loads(pickle.dumps(SETTINGS)) == SETTINGS  # noqa: S301


def test_panoramas_are_handed_on_whole_where_faces_are_sampled_elsewhere(tmp_path: Path) -> None:
    """Without projection a row has the decoded pixels and their height in place of faces, and all else as before."""
    path = put(tmp_path, "room.png", encode(picture(128, 64)))
    row, projected = read(path, settings=replace(SETTINGS, project=False))[0], read(path)[0]
    assert row.pop("panorama") == picture(128, 64).tobytes()
    assert (row.pop("panorama_height"), row["faces"]) == (64, None)
    new = ("faces", "panorama", "panorama_height")
    kept = {name: value for name, value in projected.items() if name not in new}
    assert {name: value for name, value in row.items() if name != "faces"} == kept


def cubemap_row(uri: str, **settings: Any) -> dict[str, Any]:
    return read(uri, settings=replace(SETTINGS, **settings))[0]


def test_a_cubemap_is_a_row_as_any_other(tmp_path: Path) -> None:
    """Faces of the network without an ERP between, the size of the panorama that they make, one digest of all."""
    files = cubes.pictures("words", 64)
    cubes.write(tmp_path, files)
    uri = f"{tmp_path}/{{front,right,back,left,up,down}}.png"
    row = cubemap_row(uri)
    expected = erp_to_cubemap(cubes.panorama(128), SIZE)
    faces = np.frombuffer(row.pop("faces"), np.uint8).reshape(6, SIZE, SIZE, 3)
    assert np.abs(faces.astype(int) - expected).max() <= 4
    whole = b"".join(files[f"{face}.png"] for face in cubes.FACES)
    assert row == {name: None for name in READ_SCHEMA.names if name != "faces"} | {
        "id": "0",
        "uri": uri,
        "width": 256,
        "height": 128,
        "coverage": 1.0,
        "stretch": 1.0,
        "blank_fraction": 0.0,
        "remarks": "cubemap",
        "digest": f"sha256:{hashlib.sha256(whole).hexdigest()}",
        "valid_fraction": 1.0,
    }


def test_a_cubemap_becomes_a_panorama_where_one_is_wanted(tmp_path: Path) -> None:
    """For a preview, and for a device that samples the faces itself, at no more than what they need."""
    cubes.write(tmp_path, cubes.pictures("matterport", 64))
    uri = f"{tmp_path}/0af1_skybox{{0..5}}_sami.png"
    row = cubemap_row(uri, thumbnail_width=140, project=False)
    assert row["faces"] is None
    panorama = np.frombuffer(row["panorama"], np.uint8).reshape(row["panorama_height"], -1, 3)
    assert np.abs(panorama.astype(int) - cubes.panorama(128)).max() <= 3
    height, width = panel_size(140)
    small = np.frombuffer(row["thumbnail"], np.uint8).reshape(height, width, 3)
    expected = cv2.resize(cubes.panorama(128), (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).max() <= 6


def test_faces_of_a_zip_are_read_from_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One ranged read each and no look at the directory, which is looked at where nobody says where they lie."""
    files = cubes.pictures("matterport", 32)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    [listed] = list_inputs([str(tmp_path / "x.zip")]).table.to_pylist()
    asked: list[tuple[int, int]] = []
    fetch_range = members_of_zip.read_range

    def counted(filesystem: Any, path: str, start: int, end: int) -> bytes:
        asked.append((start, end))
        return fetch_range(filesystem, path, start, end)

    monkeypatch.setattr(members_of_zip, "read_range", counted)
    [row] = make_read_fn(SETTINGS)(manifest(listed)).to_pylist()
    assert (row["error_class"], len(asked)) == (None, 6)
    assert sum(end - start for start, end in asked) < sum(map(len, files.values())) + 6 * 400
    # As a listing names it.
    assert read(listed["uri"])[0]["digest"] == row["digest"]


def test_a_strangers_cubemap_is_a_strangers(tmp_path: Path) -> None:
    """Each of the six names is held to what a single one would be."""
    cubes.write(tmp_path, cubes.pictures("words", 32))
    uri = f"{tmp_path}/{{front,right,back,left,up,down}}.png"
    [row] = make_read_fn(SETTINGS)(manifest({"id": "a", "uri": uri, "origin": "network"})).to_pylist()
    assert (row["error_class"], row["message"].partition(":")[0]) == ("forbidden_uri", f"{tmp_path}/front.png")


def test_one_face_rejects_a_cubemap(tmp_path: Path) -> None:
    """With its own name where it cannot be read, with the cubemap's where it cannot be decoded; all count as one."""
    files = cubes.pictures("words", 32)
    cubes.write(tmp_path, files)
    uri = f"{tmp_path}/{{front,right,back,left,up,down}}.png"
    total = sum(map(len, files.values()))
    assert cubemap_row(uri, max_bytes=total)["error_class"] is None
    assert cubemap_row(uri, max_bytes=total - 1)["error_class"] == "too_large"
    (tmp_path / "up.png").write_bytes(b"Dear Sir or Madam")
    row = cubemap_row(uri)
    assert (row["error_class"], row["message"].startswith(f"{uri}: up face: ")) == ("not_an_image", True)
    (tmp_path / "up.png").unlink()
    row = cubemap_row(uri)
    assert (row["error_class"], row["message"].startswith(f"{tmp_path}/up.png: does not exist")) == ("missing", True)


@pytest.mark.parametrize("elements", [False, True])
def test_tilted_panoramas_are_levelled(elements: bool, tmp_path: Path) -> None:
    """By what their files say, where that is asked for; it is told in any case, and so is what was done."""
    xmp = gpano_xmp(elements, PosePitchDegrees="20.1", PoseRollDegrees="-30", PoseHeadingDegrees="7.25")
    path = put(tmp_path, "tilted.png", with_xmp(picture(128, 64), "PNG", xmp))
    known = {"pose_heading": 7.25, "pose_pitch": pytest.approx(20.1), "pose_roll": -30.0}
    applied = {"level_pitch": pytest.approx(20.1), "level_roll": -30.0}
    for upright in ("off", "columns"):
        (row,) = read(path, settings=replace(SETTINGS, upright=upright))
        assert {name: row[name] for name in (*known, *applied)} == known | {"level_pitch": None, "level_roll": None}
        assert row["faces"] == erp_to_cubemap(picture(128, 64), SIZE).tobytes()
    (row,) = read(path, settings=replace(SETTINGS, upright="gpano"))
    assert {name: row[name] for name in (*known, *applied)} == known | applied
    rotation = level_rotation(float(np.float32(20.1)), -30)
    assert row["faces"] == erp_to_cubemap(picture(128, 64), SIZE, 90.0, rotation).tobytes()


def test_rows_say_how_they_were_held(tmp_path: Path) -> None:
    """A listing's columns level its panoramas and cubemaps; rows without them stay as they are."""
    path = put(tmp_path, "room.png", encode(picture(128, 64)))
    rows = [{"pose": pose_text({"pitch_degrees": 15})}, {"pose": pose_text({"roll_degrees": "-170"})}, {"pose": None}]
    table = manifest(*({"id": str(n), "uri": str(path)} | row for n, row in enumerate(rows)))
    found = make_read_fn(replace(SETTINGS, upright="columns"))(table).to_pylist()
    assert [(row["level_pitch"], row["level_roll"]) for row in found] == [(15, 0), (0, -170), (None, None)]
    for row, rotation in zip(found, (level_rotation(15, 0), level_rotation(0, -170), None), strict=True):
        assert row["faces"] == erp_to_cubemap(picture(128, 64), SIZE, 90.0, rotation).tobytes()
        assert row["pose_pitch"] is None


def test_level_panoramas_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilt of 0° takes the way of no tilt, and tells that it was level."""
    monkeypatch.setattr(level_module, "level_rotation", None)
    xmp = gpano_xmp(PosePitchDegrees="0.0", PoseRollDegrees="-0")
    (row,) = read(
        put(tmp_path, "a.png", with_xmp(picture(128, 64), "PNG", xmp)), settings=replace(SETTINGS, upright="gpano")
    )
    assert (row["level_pitch"], row["level_roll"]) == (0, 0)
    assert row["faces"] == erp_to_cubemap(picture(128, 64), SIZE).tobytes()


@pytest.mark.parametrize(
    ("fields", "columns", "word"),
    [
        ({"PosePitchDegrees": "400"}, {"pitch_degrees": 400}, "400"),
        ({"PoseRollDegrees": "north"}, {"roll_degrees": "north"}, "north"),
        ({"PoseRollDegrees": "NaN"}, {"roll_degrees": float("nan")}, "[Nn]a[Nn]"),
    ],
)
def test_nonsense_rejects_what_it_was_to_level(
    fields: dict[str, str], columns: dict[str, Any], word: str, tmp_path: Path
) -> None:
    """It is named in the row's message; where it is not used it is a null, and the panorama is taken."""
    path = put(tmp_path, "odd.png", with_xmp(picture(128, 64), "PNG", gpano_xmp(**fields)))
    row_of = {"id": "a", "uri": str(path), "pose": pose_text(columns)}
    for upright in ("gpano", "columns"):
        (row,) = make_read_fn(replace(SETTINGS, upright=upright))(manifest(row_of)).to_pylist()
        assert (row["error_class"], row["stage"], row["faces"]) == ("bad_pose", "read", None)
        assert re.search(rf"/odd\.png: .*(Degrees|degrees) is '{word}'; takes degrees from −", row["message"])
    (row,) = make_read_fn(SETTINGS)(manifest(row_of)).to_pylist()
    assert (row["error_class"], row["pose_pitch"], row["pose_roll"]) == (None, None, None)


def test_a_tilted_cubemap_is_levelled(tmp_path: Path) -> None:
    """By its row, as a panorama is; faces have no metadata of their own that could say it."""
    cubes.write(tmp_path, cubes.pictures("words", 64))
    row = {"id": "0", "uri": f"{tmp_path}/{{front,right,back,left,up,down}}.png", "pose": '{"pitch_degrees":"25"}'}
    found = make_read_fn(replace(SETTINGS, upright="columns"))(manifest(row)).to_pylist()[0]
    expected = erp_to_cubemap(cubes.panorama(128), SIZE, 90.0, level_rotation(25, 0))
    faces = np.frombuffer(found["faces"], np.uint8).reshape(6, SIZE, SIZE, 3)
    assert np.abs(faces.astype(int) - expected).max() <= 6
    assert (found["level_pitch"], found["level_roll"]) == (25, 0)


def test_the_mask_of_all_is_that_of_the_job(tmp_path: Path) -> None:
    """A mask that was drawn anew under its name counts for the next job of this process; one job keeps to one."""
    path = put(tmp_path, "room.png", encode(picture(128, 64)))
    told = json.dumps({"uri": str(tmp_path / "rig.png"), "shared": True})
    table = manifest({"id": "a", "uri": str(path), "mask": told})

    def fractions(settings: ReadSettings) -> list[float]:
        return make_read_fn(settings)(table).column("valid_fraction").to_pylist()

    first, second = (ReadSettings(SIZE, 90.0, 2**24, 2**24, None, Retry(0)) for _ in range(2))
    put(tmp_path, "rig.png", encode(np.full((64, 128), 255, np.uint8)))
    assert fractions(first) == [1.0]
    put(tmp_path, "rig.png", encode(np.repeat(np.uint8([[0], [255]]), 32, axis=0).repeat(128, axis=1)))
    assert fractions(pickle.loads(pickle.dumps(first))) == [1.0]  # noqa: S301
    assert fractions(second) == [pytest.approx(0.5)]


@pytest.mark.parametrize("has_names", [False, True])
def test_an_empty_cell_of_masks_is_no_mask(has_names: bool, tmp_path: Path) -> None:
    """What becomes of its panorama is what was asked for; a cell with a name alone has one, which is not there."""
    path = put(tmp_path, "room.png", encode(picture(128, 64)))
    half = encode(np.repeat(np.uint8([[0], [255]]), 32, axis=0).repeat(128, axis=1))
    cells = [half, None]
    if has_names:
        cells = [{"bytes": half, "path": None}, None, {"bytes": None, "path": "a.png"}]
    pq.write_table(pa.table({"mask": cells}), tmp_path / "masks.parquet")
    places = [{"uri": f"parquet://mask/{row}::file://{tmp_path}/masks.parquet", "row_group": 0, "row": row}
              for row in range(len(cells))]  # fmt: skip
    table = manifest(*({"id": f"{n}", "uri": str(path), "mask": json.dumps(place)} for n, place in enumerate(places)))
    named = ["no_bytes"] if has_names else []
    found = make_read_fn(SETTINGS)(table)
    assert found.column("error_class").to_pylist() == [None, None, *named]
    assert found.column("valid_fraction").to_pylist()[:2] == [pytest.approx(0.5), 1.0]
    refused = make_read_fn(replace(SETTINGS, missing_mask="reject"))(table)
    assert refused.column("error_class").to_pylist() == [None, "missing_mask", *named]
    why = f"{path}: its row of the masks' column is empty; put one there, or take input.mask.missing=ignore"
    assert refused.column("message")[1].as_py() == why


def test_masks_that_strangers_name_are_no_files_of_ours(tmp_path: Path) -> None:
    """A listing that came over a network names the masks of its pictures, and nothing on this machine."""
    path = put(tmp_path, "room.png", encode(picture(128, 64)))
    mask = put(tmp_path, "mask.png", encode(np.zeros((64, 128), np.uint8)))
    told = {"uri": f"file://{mask}", "origin": "network"}
    table = manifest({"id": "a", "uri": str(path), "mask": json.dumps(told)})
    (row,) = make_read_fn(SETTINGS)(table).to_pylist()
    assert row["error_class"] == "forbidden_uri"
    (row,) = make_read_fn(replace(SETTINGS, private="allow"))(table).to_pylist()
    assert row["error_class"] == "nothing_valid"
    (row,) = make_read_fn(SETTINGS)(manifest({"id": "a", "uri": str(path), "mask": "{}"})).to_pylist()
    assert row["error_class"] == "bad_mask"
