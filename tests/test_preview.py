"""Previews: the released colours, legends that read true, and a picture for every set of outputs."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pager_ray.errors import ShapeError
from pager_ray.preview import colorize_depth, colorize_normals, depth_limits, panel_size, render_preview, round_ticks

GOLDEN = Path(__file__).parent / "golden" / "postprocess.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as archive:
        names = ("depth_default_scaled", "depth_default_si", "normals_default", "preview_depth", "preview_normals")
        return {name: archive[name] for name in names}


@pytest.fixture
def panorama() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    normals = np.zeros((64, 128, 3), np.float32)
    normals[..., 1] = 1
    return {
        "rgb": rng.integers(0, 256, (64, 128, 3), dtype=np.uint8),
        "depth": np.broadcast_to(1.0 + 30 * rows, (64, 128)).astype(np.float32),
        "normals": normals,
        "sky": np.broadcast_to(1 - rows, (64, 128)).astype(np.float32),
    }


def _decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)


@pytest.mark.parametrize("source", ["depth_default_scaled", "depth_default_si"])
def test_depth_colours_are_the_released_ones(golden: dict[str, np.ndarray], source: str) -> None:
    """Depth colours equal the released preview on every pixel, whatever the scale."""
    np.testing.assert_array_equal(colorize_depth(golden[source][0]), golden["preview_depth"].transpose(1, 2, 0))


def test_normal_colours_are_within_one_level_of_the_released_ones(golden: dict[str, np.ndarray]) -> None:
    """The fixed mapping of normals differs from the released, stretched one by one grey level at most."""
    mine = colorize_normals(golden["normals_default"].transpose(1, 2, 0)).astype(int)
    assert np.abs(mine - golden["preview_normals"].transpose(1, 2, 0)).max() <= 1


def test_pixels_without_depth_are_grey_and_do_not_move_the_scale(panorama: dict[str, np.ndarray]) -> None:
    """Invalid depth (0, inf, nan) is grey, and the colours of the other pixels do not depend on it."""
    depth = panorama["depth"]
    holes = depth.copy()
    holes[20:30, 10:20], holes[20:30, 40:50], holes[20:30, 70:80] = 0, np.inf, np.nan
    colors = colorize_depth(holes)
    invalid = ~(np.isfinite(holes) & (holes > 0))
    assert (colors[invalid] == colors[25, 15]).all()
    assert len(set(colors[25, 15])) == 1
    assert depth_limits(holes) == depth_limits(depth)
    untouched = np.ones_like(invalid)
    untouched[18:32] = False
    np.testing.assert_array_equal(colors[untouched], colorize_depth(depth)[untouched])


def test_a_map_without_any_depth_has_no_limits() -> None:
    """An all-invalid map is grey, has no limits and still gives a preview."""
    nothing = np.full((32, 64), np.inf, np.float32)
    assert depth_limits(nothing) is None
    assert (colorize_depth(nothing) == colorize_depth(nothing)[0, 0]).all()
    assert render_preview(np.zeros((32, 64, 3), np.uint8), nothing, None, None, metric=True, width=320)


def test_given_limits_make_colours_comparable(panorama: dict[str, np.ndarray]) -> None:
    """With the same limits the same depth has the same colour in two maps, and values beyond them saturate."""
    depth = panorama["depth"]
    near = np.where(depth < 10, depth, np.float32(10))
    limits = (2.0, 20.0)
    same = np.zeros(depth.shape, bool)
    same[: np.argmax(depth[:, 0] > 9)] = True
    np.testing.assert_array_equal(colorize_depth(depth, limits=limits)[same], colorize_depth(near, limits=limits)[same])
    assert tuple(colorize_depth(depth, limits=limits)[-1, 0]) == tuple(colorize_depth(depth)[-1, 0])


@pytest.mark.parametrize(("near", "far"), [(0.3, 80), (0.011, 75), (1.1, 1.9), (2, 9.99), (3, 3.2), (0.5, 151)])
def test_ticks_are_round_and_inside(near: float, far: float) -> None:
    """Legend ticks lie within the range, rise, and are at least two; long ranges use digits 1, 2 and 5 only."""
    ticks = round_ticks(near, far)
    assert len(ticks) >= 2
    assert ticks == sorted(set(ticks))
    assert near <= ticks[0]
    assert ticks[-1] <= far
    if far / near >= 5:
        assert {f"{tick:e}"[0] for tick in ticks} <= {"1", "2", "5"}
    assert all(len(f"{tick:g}".replace(".", "").strip("0")) <= 3 for tick in ticks)


def test_a_constant_depth_still_has_a_tick() -> None:
    """A map with one single depth is drawn with that value as its only tick."""
    assert round_ticks(2.5, 2.5) == [2.5]
    flat = np.full((32, 64), 2.5, np.float32)
    assert render_preview(np.zeros((32, 64, 3), np.uint8), flat, None, None, metric=True, width=320)


def test_the_bar_colours_match_the_panel(panorama: dict[str, np.ndarray]) -> None:
    """The legend's left end has the colour of the nearest pixel and its right end that of the farthest."""
    width = 800
    picture = _decoded(render_preview(panorama["rgb"], panorama["depth"], None, None, metric=True, width=width))
    height, panel = panel_size(width)
    colors = colorize_depth(panorama["depth"])
    strip = picture[-(picture.shape[0] - height) + 8 :, width - panel :]
    for color in (colors[0, 0].astype(int), colors[-1, 0].astype(int)):
        assert np.abs(strip - color).max(axis=-1).min() <= 12


@pytest.mark.parametrize("missing", [(), ("sky",), ("normals", "sky"), ("depth", "normals", "sky"), ("depth",)])
def test_absent_outputs_leave_their_panel_out(panorama: dict[str, np.ndarray], missing: tuple[str, ...]) -> None:
    """Every set of outputs gives a picture of the asked width with one panel per output, two to a row."""
    outputs = {name: None if name in missing else panorama[name] for name in ("depth", "normals", "sky")}
    picture = _decoded(render_preview(panorama["rgb"], **outputs, metric=True, width=640))
    height, _ = panel_size(640)
    rows = (4 - len(missing) + 1) // 2
    assert picture.shape[1] == 640
    assert rows * height < picture.shape[0] < rows * height * 1.5


def test_panels_show_their_inputs(panorama: dict[str, np.ndarray]) -> None:
    """Constant inputs of any size appear as their own colour in the right panels."""
    rgb = np.full((200, 400, 3), (200, 40, 90), np.uint8)
    normals = np.zeros((48, 96, 3), np.float32)
    normals[..., 0] = 1
    sky = np.ones((512, 1024), bool)
    picture = _decoded(render_preview(rgb, panorama["depth"], normals, sky, metric=False, width=640))
    height, panel = panel_size(640)
    half = picture.shape[0] // 2
    assert np.abs(picture[height // 2, panel // 2] - (200, 40, 90)).max() <= 6
    assert np.abs(picture[half + height // 2, panel // 2] - (255, 127, 127)).max() <= 6
    blue = picture[half + height // 2, 640 - panel // 2]
    assert blue[2] > 200
    assert blue[2] > blue[0]


def test_what_is_not_valid_is_not_drawn(panorama: dict[str, np.ndarray]) -> None:
    """No panel shows what lies there: the picture is the same to the byte whatever that is, and paper in its place."""
    maps = {name: panorama[name] for name in ("rgb", "depth", "normals", "sky")}
    size = panel_size(640)
    maps = {name: cv2.resize(array, size[::-1], interpolation=cv2.INTER_NEAREST) for name, array in maps.items()}
    valid = np.zeros(size, bool)
    valid[20:120, 30:200] = True
    hidden = {name: np.where(valid[..., None] if array.ndim == 3 else valid, array, 0) for name, array in maps.items()}
    hidden["depth"] = np.where(valid, maps["depth"], np.float32(1000))
    picture = render_preview(**maps, metric=True, width=640, valid=valid)
    assert picture == render_preview(
        **{name: array.astype(maps[name].dtype) for name, array in hidden.items()}, metric=True, width=640, valid=valid
    )
    drawn = _decoded(picture)
    half = drawn.shape[0] // 2
    for top, left in ((4, 4), (4, 640 - 4 - size[1]), (half + 4, 4), (half + 4, 640 - 4 - size[1])):
        assert np.abs(drawn[top + 2 : top + 10, left + 2 : left + 20] - (250, 250, 248)).max() <= 2
        assert drawn[top + 40 : top + 100, left + 60 : left + 150].std() > 1


def test_title_and_unit_change_the_picture(panorama: dict[str, np.ndarray]) -> None:
    """A title adds a line above the panels; a relative depth is labelled otherwise than a metric one."""
    common = (panorama["rgb"], panorama["depth"], None, None)
    plain = _decoded(render_preview(*common, metric=True, width=640))
    titled = _decoded(render_preview(*common, metric=True, width=640, title="hall"))
    relative = _decoded(render_preview(*common, metric=False, width=640))
    assert titled.shape[0] > plain.shape[0]
    assert plain.shape == relative.shape
    assert np.abs(plain - relative).max() > 100


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("rgb", np.zeros((8, 16), np.uint8)),
        ("rgb", np.zeros((8, 16, 3), np.float32)),
        ("depth", np.ones((1, 8, 16), np.float32)),
        ("depth", np.ones((8, 16), np.int32)),
        ("normals", np.ones((3, 8, 16), np.float32)),
        ("sky", np.ones((8, 16), np.uint8)),
    ],
)
def test_wrong_inputs_are_named(panorama: dict[str, np.ndarray], name: str, bad: np.ndarray) -> None:
    """An input of the wrong shape or dtype is refused by name."""
    with pytest.raises(ShapeError, match=rf"a preview's {name} is {bad.dtype} of shape .*; it takes "):
        render_preview(**{**panorama, name: bad}, metric=True, width=320)


def test_too_narrow_a_picture_is_refused(panorama: dict[str, np.ndarray]) -> None:
    """A width without room for legends is refused with the width to ask for."""
    with pytest.raises(ShapeError, match="a preview of width 100 has no room for its legends: ask for at least 320"):
        render_preview(**panorama, metric=True, width=100)
