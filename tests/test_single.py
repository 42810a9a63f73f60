"""One panorama in this process: every way to give it leads to the same prediction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import imagecodecs
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from pager_ray import single
from pager_ray.errors import CheckpointError, ConfigError, InputError, ShapeError
from pager_ray.geometry import cubemap_to_erp, erp_to_cubemap, level_rotation, normalise_normals, stitch_maps
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.model import load_model
from pager_ray.model.router import SceneRouter
from pager_ray.single import predict
from tests.infer.golden import HEIGHT, WIDTH, assert_near, faces, model, panorama
from tests.infer.test_predictor import FakeRouter
from tests.read import cubes
from tests.read.images import gpano_xmp, with_xmp

pytestmark = pytest.mark.usefixtures("networks_once")

UNIFIED = "tiny_unified"
METRIC = "tiny_metric_depth"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The golden panorama without loss."""
    path = tmp_path / "living room.v2.png"
    Image.fromarray(panorama(METRIC)).save(path)
    return path


def test_maps_are_the_stitched_faces() -> None:
    """A prediction's maps are the predictor's faces, stitched at the panorama's size; its faces are the faces."""
    prediction = predict(panorama(), model(UNIFIED), scene="outdoor")
    row = Predictor(model(UNIFIED), InferenceSettings())(faces(count=1), ["outdoor"])[0]
    assert row.depth is not None
    assert row.normals is not None
    assert row.sky is not None
    assert_near(prediction.faces("depth"), row.depth)
    for name in ("depth", "sky"):
        stitched = cubemap_to_erp(getattr(row, name)[..., None], HEIGHT, WIDTH)[..., 0]
        assert_near(getattr(prediction, name), stitched)
    assert_near(prediction.normals, normalise_normals(cubemap_to_erp(row.normals, HEIGHT, WIDTH)))
    assert (prediction.scene, prediction.p_outdoor) == ("outdoor", None)
    assert prediction.log_scale == pytest.approx(row.log_scale, abs=1e-4)
    assert (prediction.height, prediction.width) == (HEIGHT, WIDTH)


@pytest.fixture
def stored(file: Path) -> Iterator[str]:
    """The same file on an object store."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/room.png", file.read_bytes())
    yield "memory://bucket/room.png"
    memory.store.clear()


def test_every_way_to_give_a_panorama_gives_the_same(file: Path, stored: str) -> None:
    """A path, a string, a file URL, an object's URL, a PIL image and an array are the same panorama."""
    sources = [
        file,
        str(file),
        f"file://{file}",
        stored,
        Image.open(file),
        panorama(METRIC),
        np.asfortranarray(panorama(METRIC)),
    ]
    predictions = [predict(source, model(METRIC)) for source in sources]
    for prediction in predictions:
        assert_near(prediction.depth, predictions[0].depth)
    assert [prediction.id for prediction in predictions] == [*["living room.v2"] * 3, "room", "", "", ""]
    assert [prediction.uri for prediction in predictions[1:]] == [str(file), f"file://{file}", stored, "", "", ""]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_in_memory_are_taken_as_rgb(mode: str) -> None:
    """A PIL image of another mode is converted; grey and palette pictures are panoramas too."""
    picture = Image.fromarray(panorama(METRIC)).convert(mode)
    prediction = predict(picture, model(METRIC))
    assert_near(prediction.depth, predict(np.asarray(picture.convert("RGB")), model(METRIC)).depth)


def test_the_panorama_is_left_alone() -> None:
    """Prediction changes no pixel of the caller's array."""
    mine = panorama().copy()
    predict(mine, model(UNIFIED), scene="indoor")
    np.testing.assert_array_equal(mine, panorama())


@pytest.mark.parametrize("shape", [(100, 300, 3), (100, 100, 3), (200, 100, 3), (64, 130, 3)])
def test_other_shapes_are_no_panorama(shape: tuple[int, ...]) -> None:
    """Pixels that are not 2:1 are refused, never stretched."""
    with pytest.raises(InputError, match=f"^image: {shape[1]}×{shape[0]} pixels, .* panorama is 2:1") as caught:
        predict(np.zeros(shape, np.uint8), model(METRIC))
    assert caught.value.error_class == "not_a_panorama"


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((64, 128, 3), np.float32),
        np.zeros((64, 128), np.uint8),
        np.zeros((64, 128, 4), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        None,
        b"\xff\xd8\xff\xe0",
        ["room.jpg", "hall.jpg"],
        [[1, 2], [3]],
    ],
    ids=["floats", "grey", "alpha", "empty", "none", "bytes", "paths", "ragged"],
)
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    """An array that is no RGB picture in bytes is refused with what came and what is taken."""
    with pytest.raises(ShapeError, match=r"image: got .* takes uint8 \(H, W, 3\)"):
        predict(wrong, model(METRIC))


def test_bytes_of_a_file_are_told_by_their_kind() -> None:
    """Not as the array of one number that NumPy makes of them, with what is taken in their place."""
    with pytest.raises(ShapeError, match=r"^image: got bytes, takes uint8 \(H, W, 3\), a PIL image, or a path or URL$"):
        predict(b"\xff\xd8\xff\xe0", model(METRIC))  # type: ignore[arg-type]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is an input error with its path, as a path and as a URL."""
    for source in (tmp_path / "gone.jpg", f"file://{tmp_path}/gone.jpg"):
        with pytest.raises(InputError, match=r"gone\.jpg: does not exist") as caught:
            predict(source, model(METRIC))
        assert caught.value.error_class == "missing"


@pytest.mark.parametrize(
    ("content", "error_class"), [(b"", "empty_file"), (b"words, not pixels\n" * 9, "not_an_image")]
)
def test_unreadable_files_say_why(tmp_path: Path, content: bytes, error_class: str) -> None:
    """A file that is no picture gives the error class that the job would reject it with."""
    (tmp_path / "room.jpg").write_bytes(content)
    with pytest.raises(InputError, match=rf"^{tmp_path}/room\.jpg: ") as caught:
        predict(tmp_path / "room.jpg", model(METRIC))
    assert caught.value.error_class == error_class


@pytest.mark.parametrize(
    ("source", "error_class"),
    [
        (".", "not_a_file"),
        ("nosuch://bucket/a.jpg", "unsupported_uri"),
        ("http://[bad/a.jpg", "unsupported_uri"),
        ("http://user:hunter2@127.0.0.1:9/a.jpg?sig=hunter2", "transient"),
    ],
)
def test_sources_that_cannot_be_read_say_why(source: str, error_class: str) -> None:
    """A folder, an unknown protocol, a URL that is none and a host that refuses are input errors without secrets."""
    with pytest.raises(InputError) as caught:
        predict(source, model(METRIC))
    assert caught.value.error_class == error_class
    assert "hunter2" not in str(caught.value)


def pictures() -> dict[str, Image.Image]:
    erp = panorama(METRIC)
    colour = Image.fromarray(erp)
    grey = colour.convert("L")
    palette = colour.quantize(16)
    palette.info["transparency"] = 3
    key = colour.copy()
    key.paste((9, 9, 200), (0, 40, 90, 90))
    key.info["transparency"] = (9, 9, 200)
    alpha = np.tile(np.arange(erp.shape[1], dtype=np.uint8), (erp.shape[0], 1))
    return {
        "deep": Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
        "alpha": Image.fromarray(np.dstack([erp, alpha])),
        "grey alpha": Image.fromarray(np.dstack([np.asarray(grey), alpha])),
        "palette": palette,
        "key colour": key,
        "bits": grey.convert("1"),
        "odd": colour.resize((201, 100)),
        "wide": colour.resize((4160, 2080), Image.Resampling.NEAREST),
    }


@pytest.mark.parametrize("kind", pictures())
def test_pictures_in_memory_equal_their_files(tmp_path: Path, kind: str) -> None:
    """Depth of colour, transparency, an odd pixel and width are treated in memory as in a PNG file."""
    picture = pictures()[kind]
    picture.save(tmp_path / "a.png", compress_level=1)
    from_file = predict(tmp_path / "a.png", model(METRIC))
    # A wide one takes a second each time, and as an array has all that is done to it in memory.
    opened = [picture, Image.open(tmp_path / "a.png")] if kind != "wide" else []
    for source in (*opened, *([np.asarray(picture)] if kind in ("odd", "wide") else [])):
        prediction = predict(source, model(METRIC))
        assert_near(prediction.depth, from_file.depth)


@pytest.mark.parametrize(("mode", "space"), [("RGB", "rgb"), ("L", "gray"), ("P", "rgb")])
def test_profiles_count_in_memory(tmp_path: Path, mode: str, space: str) -> None:
    """Colours of a picture in memory are converted by its profile, as those of its file are."""
    profile = imagecodecs.cms_profile(space, whitepoint=(0.3127, 0.329, 1.0), gamma=1.0,
                                      primaries=(0.64, 0.33, 1.0, 0.3, 0.6, 1.0, 0.15, 0.06, 1.0))  # fmt: skip
    Image.fromarray(panorama(METRIC)).convert(mode).save(tmp_path / "a.png", icc_profile=profile)
    from_file, from_memory = (single._load(one)[1] for one in (tmp_path / "a.png", Image.open(tmp_path / "a.png")))
    assert from_file.remarks == from_memory.remarks == ("profile_converted",)
    assert np.array_equal(from_file.erp, from_memory.erp)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_orientation_is_applied_in_memory(tmp_path: Path, suffix: str) -> None:
    """A picture that EXIF says is turned is upright, opened by the caller or by us."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(panorama(METRIC))))
    turned.save(tmp_path / f"a.{suffix}", exif=exif)
    from_file = predict(tmp_path / f"a.{suffix}", model(METRIC)).depth
    assert from_file is not None
    in_memory = predict(Image.open(tmp_path / f"a.{suffix}"), model(METRIC)).depth
    np.testing.assert_allclose(in_memory, from_file, rtol=0.05)


def test_unreadable_exif_costs_no_picture() -> None:
    """EXIF that is none is passed over, as in files."""
    picture = Image.fromarray(panorama(METRIC))
    picture.info["exif"] = b"Exif\0\0words, no tags"
    assert_near(predict(picture, model(METRIC)).depth, predict(panorama(METRIC), model(METRIC)).depth)


def test_compressed_pictures_lose_nothing_more(tmp_path: Path) -> None:
    """A picture opened from a lossy TIFF is not compressed a second time."""
    Image.fromarray(panorama(METRIC)).save(tmp_path / "a.tif", compression="jpeg", quality=10)
    from_file = predict(tmp_path / "a.tif", model(METRIC)).depth
    assert_near(predict(Image.open(tmp_path / "a.tif"), model(METRIC)).depth, from_file)


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_pictures_without_eight_or_sixteen_bits_are_refused(mode: str) -> None:
    """Numbers that have no brightness of their own are refused in memory as in files."""
    with pytest.raises(InputError, match=rf"^image: .*{mode} pixels") as caught:
        predict(Image.new(mode, (128, 64)), model(METRIC))
    assert caught.value.error_class == "unsupported_format"


def test_damaged_pictures_are_refused(tmp_path: Path) -> None:
    """A picture that the caller opened and that turns out to be cut is an input error."""
    Image.fromarray(panorama(METRIC)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"^image: cannot be decoded \(.*\); give a whole image$") as caught:
        predict(Image.open(tmp_path / "a.jpg"), model(METRIC))
    assert caught.value.error_class == "corrupt_image"


def test_the_callers_picture_is_left_alone(tmp_path: Path) -> None:
    """Prediction takes nothing from a PIL image: its metadata stay."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 1
    Image.fromarray(panorama(METRIC)).save(tmp_path / "a.png", exif=exif, dpi=(72, 72))
    picture = Image.open(tmp_path / "a.png")
    picture.load()
    before = dict(picture.info)
    predict(picture, model(METRIC))
    assert picture.info == before


def test_a_checkpoint_may_be_named(monkeypatch: pytest.MonkeyPatch, tiny_unified: Path) -> None:
    """In place of a model: it is loaded once, by name or path, and one that is none says so."""
    loaded = []
    monkeypatch.setattr(single, "load_model", lambda name: loaded.append(name) or load_model(name))
    expected = predict(panorama(), model("tiny_unified"), scene="indoor")
    for source in (str(tiny_unified), tiny_unified):
        np.testing.assert_array_equal(predict(panorama(), source, scene="indoor").depth, expected.depth)
    assert loaded == [str(tiny_unified)]
    assert predict(panorama(), "embedded").depth.shape == expected.depth.shape
    with pytest.raises(CheckpointError, match="nosuch"):
        predict(panorama(), "nosuch/place")
    assert loaded == [str(tiny_unified), "embedded", "nosuch/place"]


def test_settings_reach_the_prediction() -> None:
    """Filling and a forced scene mode act as in the job."""
    plain = predict(panorama(), model(UNIFIED), scene="indoor")
    forced = predict(panorama(), model(UNIFIED), scene="indoor", settings=InferenceSettings(scene_mode="outdoor"))
    filled = predict(panorama(), model(UNIFIED), scene="indoor", settings=InferenceSettings(fill=True))
    assert forced.scene == "outdoor"
    assert abs(forced.log_scale - plain.log_scale) > 0.5
    assert filled.log_scale == pytest.approx(plain.log_scale, abs=1e-4)
    assert np.median(filled.depth / plain.depth) > 2


def test_a_given_router_decides() -> None:
    """Without a scene the router that the caller gave decides, and its probability is kept."""
    prediction = predict(panorama(), model(UNIFIED), router=FakeRouter(0.75))
    assert (prediction.scene, prediction.p_outdoor) == ("outdoor", 0.75)


def test_the_router_is_loaded_once_and_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLIP is loaded at the first panorama that nobody labelled, for a model with two scales, and then kept."""
    loads: list[torch.device] = []

    def load(weights: object, device: torch.device) -> FakeRouter:
        loads.append(device)
        return FakeRouter(0.25)

    monkeypatch.setattr(SceneRouter, "load", load)
    monkeypatch.setattr(single, "_routers", {})
    predict(panorama(), model(UNIFIED), scene="indoor")
    predict(panorama(), model(UNIFIED), settings=InferenceSettings(scene_mode="indoor"))
    predict(panorama(METRIC), model(METRIC))
    assert loads == []
    for _ in range(2):
        prediction = predict(panorama(), model(UNIFIED))
        assert (prediction.scene, prediction.p_outdoor) == ("indoor", 0.25)
    assert loads == [torch.device("cpu")]


def test_a_router_that_cannot_be_loaded_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without CLIP's weights at hand the error names the ways to do without."""
    monkeypatch.setattr(single, "_routers", {})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="scene"):
        predict(panorama(), model(UNIFIED))


def test_pictures_without_pixels_are_refused() -> None:
    """A PIL image of no size is refused with its size and what is taken."""
    with pytest.raises(ShapeError, match=r"^image: got 0×0 pixels, takes a panorama that has some$"):
        predict(Image.new("RGB", (0, 0)), model(METRIC))


def test_a_cubemap_is_predicted_by_its_six_names(tmp_path: Path) -> None:
    """What its panorama gives, but for resampling, at the size of that, under the name that the files share."""
    cubes.write(tmp_path, cubes.pictures("letters", 64))
    uri = f"{tmp_path}/room_{{f,r,b,l,u,d}}.png"
    prediction = predict(uri, model(METRIC))
    expected = predict(cubes.panorama(128), model(METRIC))
    assert (prediction.id, prediction.uri) == ("room", uri)
    assert (prediction.height, prediction.width) == (128, 256)
    assert prediction.depth is not None
    assert expected.depth is not None
    assert np.abs(np.log(prediction.depth / expected.depth)).mean() < 0.01
    (tmp_path / "room_u.png").unlink()
    with pytest.raises(InputError, match=r"room_u\.png: does not exist"):
        predict(uri, model(METRIC))


def test_tilted_panoramas_are_levelled(tmp_path: Path) -> None:
    """By angles that are given, or the file's own: maps are the levelled faces, turned back to the picture."""
    rotation = level_rotation(20, -35)
    levelled = Predictor(model(UNIFIED), InferenceSettings())(
        erp_to_cubemap(panorama(), 56, 90.0, rotation)[None], ["outdoor"]
    )[0]
    given = predict(panorama(), model(UNIFIED), scene="outdoor", pitch_degrees=20, roll_degrees=-35)
    assert given.level == (20, -35)
    assert_near(given.faces("normals"), levelled.normals)
    depth, normals, sky = stitch_maps(levelled.depth, levelled.normals, levelled.sky, HEIGHT, WIDTH, 90.0, rotation)
    for name, expected in {"depth": depth, "normals": normals, "sky": sky}.items():
        assert_near(getattr(given, name), expected)
    path = tmp_path / "tilted.png"
    path.write_bytes(with_xmp(panorama(), "PNG", gpano_xmp(PosePitchDegrees="20", PoseRollDegrees="-35")))
    own = predict(path, model(UNIFIED), scene="outdoor", upright="gpano")
    np.testing.assert_array_equal(own.depth, given.depth)
    assert predict(path, model(UNIFIED), scene="outdoor").level is None
    level = predict(panorama(), model(UNIFIED), scene="outdoor", pitch_degrees=0)
    np.testing.assert_array_equal(level.depth, predict(panorama(), model(UNIFIED), scene="outdoor").depth)


def test_tilts_that_are_none_are_refused(tmp_path: Path) -> None:
    """Angles of a caller in one line, those of a file with its name."""
    with pytest.raises(ConfigError, match="pitch must be from −90 to 90 degrees, got 400"):
        predict(panorama(), model(UNIFIED), pitch_degrees=400)
    with pytest.raises(ConfigError, match="roll must be from −180 to 180 degrees, got nan"):
        predict(panorama(), model(UNIFIED), roll_degrees=float("nan"))
    with pytest.raises(ConfigError, match="gpano takes no pitch_degrees"):
        predict(panorama(), model(UNIFIED), upright="gpano", pitch_degrees=1)
    with pytest.raises(ConfigError, match="upright: got 'columns', takes off or gpano"):
        predict(panorama(), model(UNIFIED), upright="columns")  # type: ignore[arg-type]
    path = tmp_path / "odd.png"
    path.write_bytes(with_xmp(panorama(), "PNG", gpano_xmp(PosePitchDegrees="steep")))
    with pytest.raises(InputError, match=r"odd\.png: GPano PosePitchDegrees is 'steep'") as caught:
        predict(path, model(UNIFIED), scene="indoor", upright="gpano")
    assert caught.value.error_class == "bad_pose"


def test_masks_are_taken_however_they_come(tmp_path: Path) -> None:
    """A file, a picture and arrays are one mask: in ``valid`` to the pixel, and in the scale; caps count too."""
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[30:90, 40:130] = False
    Image.fromarray(mask).save(tmp_path / "mask.png")
    given = (
        mask,
        mask.astype(np.uint8) * 255,
        Image.fromarray(mask),
        tmp_path / "mask.png",
        str(tmp_path / "mask.png"),
    )
    found = [predict(panorama(), model(UNIFIED), scene="indoor", mask=one) for one in given]
    for one in found:
        np.testing.assert_array_equal(one.valid, mask)
    plain = predict(panorama(), model(UNIFIED), scene="indoor")
    assert plain.valid.all()
    assert len({one.log_scale for one in found}) == 1
    assert found[0].log_scale != plain.log_scale
    capped = predict(panorama(), model(UNIFIED), scene="indoor", mask=mask, nadir_degrees=45, zenith_degrees=18)
    expected = mask.copy()
    expected[HEIGHT * 3 // 4 :] = expected[: round(HEIGHT / 10)] = False
    np.testing.assert_array_equal(capped.valid, expected)
    assert len(capped.points()) <= expected.sum()


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.ones((HEIGHT, WIDTH, 3), np.uint8), ShapeError, "mask: got uint8"),
        (np.ones((HEIGHT, WIDTH), np.float32), ShapeError, "mask: got float32"),
        (b"\x89PNG", ShapeError, "mask: got bytes, takes bool or uint8 .H, W., a PIL image, or a path or URL"),
        (np.ones((HEIGHT, WIDTH // 2), bool), InputError, "mask: has 128×128 pixels, its picture 256×128"),
        (np.zeros((HEIGHT, WIDTH), bool), InputError, "no pixel is valid"),
        ("/nowhere/mask.png", InputError, "mask.png: does not exist"),
    ],
)
def test_masks_of_other_panoramas_are_refused(mask: object, error: type[Exception], message: str) -> None:
    """What is no mask of this picture is an error that says what is taken."""
    with pytest.raises(error, match=message):
        predict(panorama(), model(UNIFIED), scene="indoor", mask=mask)  # type: ignore[arg-type]


def test_a_file_that_is_no_mask_is_named(tmp_path: Path) -> None:
    """Of a thousand that are given one after the other."""
    Image.new("L", (WIDTH // 2, HEIGHT), 255).save(tmp_path / "half.png")
    with pytest.raises(InputError, match=rf"mask {tmp_path}/half\.png: has 128×128 pixels, its picture 256×128"):
        predict(panorama(), model(UNIFIED), scene="indoor", mask=tmp_path / "half.png")


@pytest.mark.parametrize("degrees", [-1.0, 90.0, float("nan")])
def test_caps_of_other_angles_are_refused(degrees: float) -> None:
    """Named, before anything is read."""
    with pytest.raises(ConfigError, match="nadir_degrees: got"):
        predict("/nowhere.jpg", model(UNIFIED), nadir_degrees=degrees)
