"""Stitching and encoding: what is stored decodes to the stitched faces, in every layout and codec."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pager_ray.config.schema import OutputConfig
from pager_ray.encode import PURPOSES, get_codec
from pager_ray.geometry import cubemap_to_erp, level_rotation, normalise_normals, stitch_maps
from pager_ray.preview import panel_size, render_preview
from pager_ray.ranges import DepthRange, SkySettings
from pager_ray.stages import stitch as stage
from pager_ray.stages.rows import ENCODE_SCHEMA, INFER_SCHEMA, INFERRED, blob, to_table
from pager_ray.stages.stitch import PREVIEW_WIDTH, StitchSettings, make_stitch_fn
from pager_ray.validity import Validity

SIZE, HEIGHT, WIDTH = 16, 32, 64
KINDS = ("depth", "normals", "sky")


def settings_of(**output: Any) -> StitchSettings:
    return StitchSettings(
        output=OutputConfig(uri="out", **output),
        face_size=SIZE,
        fov=90.0,
        half_normals=False,
        metric=True,
        preview_sky=None,
    )


def faces_of(seed: int = 0) -> dict[str, np.ndarray]:
    """Depth, raw normals and sky on six faces."""
    random = np.random.default_rng(seed)
    return {
        "depth": random.uniform(1, 20, (6, SIZE, SIZE)).astype(np.float32),
        "normals": random.normal(size=(6, SIZE, SIZE, 3)).astype(np.float32),
        "sky": random.uniform(0, 1, (6, SIZE, SIZE)).astype(np.float32),
    }


def row_of(name: str, arrays: dict[str, np.ndarray], **values: Any) -> dict[str, Any]:
    identity = {"id": name, "uri": f"/in/{name}.jpg", "scene": "outdoor", "width": WIDTH, "height": HEIGHT}
    numbers = {field.name: 0.5 for field in INFERRED}
    return identity | numbers | {key: blob(array) for key, array in arrays.items()} | values


def stitch(settings: StitchSettings, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    table = make_stitch_fn(settings)(to_table(list(rows), INFER_SCHEMA, len(rows), "test"))
    assert table.schema == ENCODE_SCHEMA
    assert [row["id"] for row in table.to_pylist()] == [row["id"] for row in rows]
    return table.to_pylist()


def stitched(arrays: dict[str, np.ndarray], height: int = HEIGHT, width: int = WIDTH) -> dict[str, np.ndarray]:
    """The faces as ERP maps."""
    scalar = {key: cubemap_to_erp(arrays[key][..., None], height, width)[..., 0] for key in ("depth", "sky")}
    return scalar | {"normals": normalise_normals(cubemap_to_erp(arrays["normals"], height, width))}


def decoded(row: dict[str, Any], codec: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {
        kind: get_codec(kind, codec).decode(row[kind], (*shape, 3) if kind == "normals" else shape)  # type: ignore[arg-type]
        for kind in KINDS
    }


def test_exact_panoramas_are_the_stitched_faces() -> None:
    """Stored as float32, ERP maps are bit by bit the stitched faces, each row's its own."""
    faces = [faces_of(1), faces_of(2)]
    rows = stitch(settings_of(codec="exact"), *(row_of(str(n), arrays) for n, arrays in enumerate(faces)))
    for row, arrays in zip(rows, faces, strict=True):
        assert (row["map_height"], row["map_width"]) == (HEIGHT, WIDTH)
        maps = decoded(row, "exact", (HEIGHT, WIDTH))
        for kind, expected in stitched(arrays).items():
            np.testing.assert_array_equal(maps[kind], expected)


def test_exact_cubemaps_are_the_faces() -> None:
    """Stored as a cubemap, faces are bit by bit those of the network; the map size is what they stitch to."""
    arrays = faces_of()
    row = stitch(settings_of(codec="exact", projection="cubemap"), row_of("a", arrays))[0]
    assert (row["map_height"], row["map_width"]) == (HEIGHT, WIDTH)
    for kind, array in decoded(row, "exact", (6, SIZE, SIZE)).items():
        np.testing.assert_array_equal(array, arrays[kind])


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
@pytest.mark.parametrize("codec", PURPOSES)
def test_every_codec_stores_what_it_would_alone(codec: str, projection: str) -> None:
    """The bytes of every map are those of the configured codec on the map."""
    arrays = faces_of()
    row = stitch(settings_of(codec=codec, projection=projection), row_of("a", arrays))[0]
    maps = arrays if projection == "cubemap" else stitched(arrays)
    for kind in KINDS:
        assert row[kind] == get_codec(kind, codec).encode(maps[kind]), kind  # type: ignore[arg-type]


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
def test_npz_files_have_the_released_layout(projection: str) -> None:
    """An npz file holds one float32 array, arr_0, channels first; faces keep their leading axis."""
    arrays = faces_of()
    row = stitch(settings_of(format="npz", projection=projection), row_of("a", arrays))[0]
    maps = arrays if projection == "cubemap" else stitched(arrays)
    for kind in KINDS:
        with np.load(io.BytesIO(row[kind]), allow_pickle=False) as archive:
            assert archive.files == ["arr_0"]
            stored = archive["arr_0"]
        assert (stored.dtype, stored.flags.c_contiguous) == (np.float32, True)
        back = np.moveaxis(stored, -3, -1) if kind == "normals" else stored[..., 0, :, :]
        assert stored.shape[-3] == (3 if kind == "normals" else 1)
        np.testing.assert_array_equal(back, maps[kind])


@pytest.mark.parametrize(("size", "expected"), [("source", (32, 64)), ("64x128", (64, 128)), ("native", (1008, 2016))])
def test_maps_have_the_configured_size(size: str, expected: tuple[int, int]) -> None:
    """ERP maps take the source's size, the network's or the given one, and the row says which."""
    arrays = {"depth": faces_of()["depth"]}
    row = stitch(settings_of(size=size, codec="exact"), row_of("a", arrays))[0]
    assert (row["map_height"], row["map_width"]) == expected
    depth = get_codec("depth", "exact").decode(row["depth"], expected)
    np.testing.assert_array_equal(depth, cubemap_to_erp(arrays["depth"][..., None], *expected)[..., 0])


def test_fields_of_view_above_ninety_degrees() -> None:
    """Faces that overlap are cropped by the stitch as the checkpoint's field of view says."""
    arrays = {"depth": faces_of()["depth"]}
    row = stitch(replace(settings_of(codec="exact"), fov=100.0), row_of("a", arrays))[0]
    depth = get_codec("depth", "exact").decode(row["depth"], (HEIGHT, WIDTH))
    np.testing.assert_array_equal(depth, cubemap_to_erp(arrays["depth"][..., None], HEIGHT, WIDTH, 100.0)[..., 0])


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
def test_half_precision_normals_are_widened_first(projection: str) -> None:
    """Normals that arrive as float16 give what the same values in float32 give."""
    arrays = faces_of()
    halves = arrays | {"normals": arrays["normals"].astype(np.float16)}
    widened = arrays | {"normals": halves["normals"].astype(np.float32)}
    settings = settings_of(projection=projection)
    half = stitch(replace(settings, half_normals=True), row_of("a", halves))
    assert half == stitch(settings, row_of("a", widened))
    assert half != stitch(settings, row_of("a", arrays))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("output_format", ["parquet", "npz"])
def test_maps_that_are_missing_stay_missing(kind: str, output_format: str) -> None:
    """A checkpoint's missing heads leave null columns, not empty maps."""
    row = stitch(settings_of(format=output_format), row_of("a", {kind: faces_of()[kind]}))[0]
    assert [name for name in KINDS if row[name] is not None] == [kind]


def test_rejects_pass_among_predictions() -> None:
    """Rejected rows keep their place and their reason, and get no maps, size or preview."""
    status = {"stage": "read", "error_class": "missing", "message": "gone", "attempts": 1}
    bad = {"id": "bad", "uri": "/in/bad.jpg", "scene": None} | status
    good = [row_of("a", faces_of(1)), row_of("b", faces_of(2))]
    rows = stitch(settings_of(), good[0], bad, good[1])
    assert {key: value for key, value in rows[1].items() if value is not None} == {
        key: value for key, value in bad.items() if value is not None
    }
    assert [rows[0], rows[2]] == stitch(settings_of(), *good)


def test_numbers_pass() -> None:
    """Identity, size and every number of the prediction go on to the writer unchanged."""
    values = {field.name: float(number) for number, field in enumerate(INFERRED)} | {"coverage": 0.5, "digest": "d"}
    row = stitch(settings_of(), row_of("a/b", faces_of(), **values))[0]
    assert {key: row[key] for key in values} == values
    assert (row["id"], row["uri"], row["scene"], row["width"], row["height"]) == (
        "a/b", "/in/a/b.jpg", "outdoor", WIDTH, HEIGHT,
    )  # fmt: skip


def test_an_empty_block_stays_empty() -> None:
    """No rows in, no rows out, under the stage's schema."""
    assert stitch(settings_of()) == []


def thumbnail(colour: int = 90) -> np.ndarray:
    return np.full((*panel_size(PREVIEW_WIDTH), 3), colour, np.uint8)


def test_previews_are_pictures_of_the_stitched_faces() -> None:
    """Where a row has a thumbnail it gets a JPEG: the thumbnail beside its maps, stitched at the panels' size."""
    arrays, panel = faces_of(), panel_size(PREVIEW_WIDTH)
    rows = stitch(settings_of(), row_of("a", arrays, thumbnail=blob(thumbnail())), row_of("b", arrays))
    assert rows[1]["preview"] is None
    maps = stitched(arrays, *panel)
    assert rows[0]["preview"] == render_preview(
        thumbnail(), maps["depth"], maps["normals"], maps["sky"], width=PREVIEW_WIDTH, metric=True, title="a"
    )
    with Image.open(io.BytesIO(rows[0]["preview"])) as picture:
        assert (picture.format, picture.width) == ("JPEG", PREVIEW_WIDTH)
    assert {key: rows[0][key] for key in KINDS} == {key: rows[1][key] for key in KINDS}


def test_previews_draw_what_is_valid() -> None:
    """Pixels that are not valid are drawn as nothing; stored maps have them as predicted."""
    arrays, panel = faces_of(), panel_size(PREVIEW_WIDTH)
    found = Validity(HEIGHT, WIDTH, 10, 8, 40, 16, 30.0)
    rows = stitch(
        settings_of(),
        row_of("a", arrays, thumbnail=blob(thumbnail()), valid=found.to_row(), valid_fraction=found.fraction),
        row_of("b", arrays),
    )
    maps = stitched(arrays, *panel)
    assert rows[0]["preview"] == render_preview(
        thumbnail(), **maps, width=PREVIEW_WIDTH, metric=True, title="a", valid=found.erp(*panel)
    )
    assert rows[0]["valid"] == found.to_row()
    assert {key: rows[0][key] for key in KINDS} == {key: rows[1][key] for key in KINDS}


def test_previews_without_a_scale_say_so() -> None:
    """Whether depth is in metres reaches the picture's legend."""
    row = row_of("a", faces_of(), thumbnail=blob(thumbnail()))
    metric, relative = (stitch(replace(settings_of(), metric=metric), row)[0] for metric in (True, False))
    assert metric["preview"] != relative["preview"]
    assert metric["depth"] == relative["depth"]


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
def test_previews_fill_the_sky_and_stored_maps_do_not(projection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview shows the sky at the far end of the scaled range; what is stored stays as predicted."""
    shown: list[np.ndarray] = []

    def render(rgb: np.ndarray, depth: np.ndarray, normals: np.ndarray, sky: np.ndarray, **_: object) -> bytes:
        shown.extend((depth, normals, sky))
        return b"jpeg"

    monkeypatch.setattr(stage, "render_preview", render)
    arrays = {
        "depth": np.full((6, SIZE, SIZE), 2.0, np.float32),
        "normals": np.ones((6, SIZE, SIZE, 3), np.float32),
        "sky": np.zeros((6, SIZE, SIZE), np.float32),
    }
    arrays["sky"][4] = 1  # all of the upper face
    settings = replace(
        settings_of(codec="exact", projection=projection), preview_sky=(SkySettings(), DepthRange(0.01, 50.0))
    )
    row = row_of("a", arrays, thumbnail=blob(thumbnail()), log_scale=np.log(2.0))
    result = stitch(settings, row)[0]
    depth, normals, sky = shown
    assert depth[0, 0] == pytest.approx(100.0, rel=1e-4)
    assert depth[-1, 0] == pytest.approx(2.0, rel=1e-4)
    np.testing.assert_array_equal(normals[0, 0], 0)
    assert np.linalg.norm(normals[-1, 0]) == pytest.approx(1)
    assert (sky[0, 0], sky[-1, 0]) == (1, 0)
    shape = (HEIGHT, WIDTH) if projection == "erp" else (6, SIZE, SIZE)
    np.testing.assert_array_equal(decoded(result, "exact", shape)["depth"], 2.0)


def test_previews_of_single_heads() -> None:
    """A checkpoint without a sky head has nothing to fill: its preview shows what there is."""
    sky = (SkySettings(), DepthRange())
    for kind in KINDS:
        row = row_of("a", {kind: faces_of()[kind]}, thumbnail=blob(thumbnail()), log_scale=None)
        preview = stitch(replace(settings_of(), preview_sky=sky), row)[0]["preview"]
        assert preview == stitch(settings_of(), row)[0]["preview"]
        with Image.open(io.BytesIO(preview)) as picture:
            assert picture.format == "JPEG"


def test_blocks_of_several_chunks() -> None:
    """A block made of several batches is stitched row by row, in order."""
    parts = [to_table([row_of(name, faces_of(seed))], INFER_SCHEMA, 1, "test") for seed, name in enumerate("ab")]
    table = make_stitch_fn(settings_of())(pa.concat_tables(parts))
    assert table.to_pylist() == stitch(settings_of(), row_of("a", faces_of(0)), row_of("b", faces_of(1)))


TILT = {"level_pitch": 30.0, "level_roll": -40.0}


@pytest.mark.parametrize("format", ["parquet", "npz"])
def test_levelled_rows_are_turned_back(format: str) -> None:
    """Panoramas are of the picture's own pixels, whatever they are stored as; the row says how they were levelled."""
    arrays = faces_of()
    row = stitch(settings_of(codec="exact", format=format), row_of("a", arrays, **TILT))[0]
    expected = dict(
        zip(KINDS, stitch_maps(*arrays.values(), HEIGHT, WIDTH, 90.0, level_rotation(30, -40)), strict=True)
    )
    if format == "npz":
        maps = {kind: np.load(io.BytesIO(row[kind]))["arr_0"] for kind in KINDS}
        maps = {kind: array[0] if len(array) == 1 else np.moveaxis(array, 0, -1) for kind, array in maps.items()}
    else:
        maps = decoded(row, "exact", (HEIGHT, WIDTH))
    for kind in KINDS:
        np.testing.assert_array_equal(maps[kind], expected[kind])
    assert not np.allclose(maps["depth"], stitched(arrays)["depth"], rtol=0.1)
    assert {name: row[name] for name in TILT} == TILT


def test_levelled_faces_are_stored_as_they_are() -> None:
    """A cubemap keeps what the network said, and what a reader turns it back by; a level row is like any other."""
    arrays = faces_of()
    settings = settings_of(codec="exact", projection="cubemap")
    levelled, straight = stitch(settings, row_of("a", arrays, **TILT), row_of("a", arrays))
    assert {kind: levelled[kind] for kind in KINDS} == {kind: straight[kind] for kind in KINDS}
    level = stitch(settings_of(codec="exact"), row_of("a", arrays, level_pitch=0.0, level_roll=0.0))[0]
    plain = stitch(settings_of(codec="exact"), row_of("a", arrays))[0]
    assert level == plain | {"level_pitch": 0.0, "level_roll": 0.0}


def test_previews_of_levelled_rows_are_of_the_picture() -> None:
    """What is drawn beside the picture lies where the picture has it."""
    arrays = faces_of()
    height, width = panel_size(PREVIEW_WIDTH)
    thumbnail = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    row = stitch(settings_of(previews=True), row_of("a", arrays, thumbnail=blob(thumbnail), **TILT))[0]
    maps = stitch_maps(*arrays.values(), height, width, 90.0, level_rotation(30, -40))
    assert row["preview"] == render_preview(thumbnail, *maps, width=PREVIEW_WIDTH, metric=True, title="a")
