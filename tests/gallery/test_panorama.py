"""What is shown of one prediction: samples, their packing, pictures."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pager_ray.gallery.panorama import Grid, depth_palette, pack, preview_panel, quantise_depth, show_panorama
from pager_ray.prediction import Prediction
from pager_ray.preview import colorize_depth, render_preview
from pager_ray.validity import Validity
from tests.gallery.runs import strip_panels


def unpacked(packed: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """What the page makes of a packed array."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).reshape(-1, *shape)
    differences = planes[0] if packed["bits"] == 8 else planes[0].astype(np.uint16) * np.uint16(256) + planes[1]
    return np.cumsum(differences, axis=1, dtype=differences.dtype)


def depths_of(packed: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    codes = unpacked(packed, shape).astype(np.float64)
    return np.where(codes > 0, packed["near"] * np.exp((codes - 1) * packed["step"]), 0).astype(np.float32)


def prediction(uri: str = "/nowhere.jpg", log_scale: float | None = 0.0, **maps: np.ndarray) -> Prediction:
    height, width = next(iter(maps.values())).shape[:2] if maps else (64, 128)
    loaders = {name: (lambda array=array: array) for name, array in maps.items()}
    return Prediction(id="a", uri=uri, height=height, width=width, fov=90.0, loaders=loaders, log_scale=log_scale)


@settings(max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 6000))
def test_a_grid_holds_pixels_of_the_map(height: int, width: int) -> None:
    """Samples are pixels of the map, at most 512 rows of 1024, and no side is left without one."""
    grid = Grid.of(height, width)
    assert 1 <= grid.rows <= 512
    assert 1 <= grid.columns <= 1024
    assert grid.first + (grid.rows - 1) * grid.step < height
    assert grid.sample(np.zeros((height, width), np.uint8)).shape == (grid.rows, grid.columns)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_packing_loses_nothing(dtype: type) -> None:
    """Any array of either width comes back as it was."""
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (33, 65), endpoint=True).astype(dtype)
    np.testing.assert_array_equal(unpacked(pack(array), array.shape), array)


@pytest.mark.parametrize("far", [1.0000001, 2.0, 1e3, 1e8])
def test_depths_are_within_the_stated_error(far: float) -> None:
    """Read back, each depth is off by no more than the bound beside it; what is no depth stays none."""
    depth = np.random.default_rng(1).uniform(0, np.log(far), (40, 80))
    depth = np.exp(depth).astype(np.float32)
    depth[0, :4] = (0, np.nan, np.inf, -1)
    coded = quantise_depth(depth)
    assert coded is not None
    back = depths_of(coded, depth.shape)
    assert not back[0, :4].any()
    error = np.abs(back[1:] / depth[1:] - 1).max()
    assert error <= coded["max_relative_error"] <= 2e-4


def test_a_map_without_any_depth_has_no_codes() -> None:
    """All invalid is no depth, not an error."""
    assert quantise_depth(np.zeros((4, 8), np.float32)) is None


def test_samples_are_stored_pixels() -> None:
    """What the page holds at a sample is the map's own value there, whatever lies around it."""
    depth = np.random.default_rng(2).uniform(1, 50, (1100, 2200)).astype(np.float32)
    page = show_panorama(0, prediction(depth=depth), {}).page
    grid = page["grid"]
    assert (grid["step"], grid["first"]) == (3, 1)
    back = depths_of(page["depth"], (grid["rows"], grid["columns"]))
    np.testing.assert_allclose(back, depth[1::3, 1::3], rtol=page["depth"]["max_relative_error"])


def test_the_card_shows_four_panels(tmp_path: Path) -> None:
    """The strip holds the source, depth, normals and sky in this order."""
    Image.new("RGB", (128, 64), (200, 30, 40)).save(tmp_path / "red.png")
    normals = np.zeros((64, 128, 3), np.float32)
    normals[..., 1] = 1
    maps = {"depth": np.full((64, 128), 3, np.float32), "normals": normals, "sky": np.ones((64, 128), np.float32)}
    shown = show_panorama(0, prediction(str(tmp_path / "red.png"), **maps), {}, images_from=str(tmp_path))
    panels = strip_panels(shown.thumbnail)
    expected = [(200, 30, 40), tuple(colorize_depth(maps["depth"])[0, 0]), (127, 255, 127), (133, 196, 255)]
    np.testing.assert_allclose(panels.mean(axis=(1, 2)), expected, atol=4)
    assert shown.limits == (3.0, 3.0)
    assert shown.page["rgb_from"] == "its source"


def test_what_a_checkpoint_does_not_give_is_left_out() -> None:
    """No map, no source and no scale still make a page that can be written."""
    page = show_panorama(0, prediction(log_scale=None), {"depth_p50": None}).page
    json.dumps(page, allow_nan=False)
    assert (page["depth"], page["sky"], page["images"], page["metric"]) == (
        None,
        None,
        {"rgb": None, "normals": None},
        False,
    )
    assert page["rgb_from"].startswith("nowhere")


@pytest.mark.parametrize("title", [None, "a title"])
@pytest.mark.parametrize("maps", [0, 1, 3])
@pytest.mark.parametrize("width", [320, 1024])
def test_the_panorama_is_found_in_a_preview(title: str | None, maps: int, width: int) -> None:
    """When the source is gone, its panel is cut out of the run's own picture, with or without a title."""
    rgb = np.full((128, 256, 3), (40, 90, 200), np.uint8)
    depth, normals = np.full((64, 128), 2, np.float32), np.zeros((64, 128, 3), np.float32)
    sky = np.zeros((64, 128), np.float32)
    given_maps = [array if k < maps else None for k, array in enumerate((depth, normals, sky))]
    panel = preview_panel(render_preview(rgb, *given_maps, width=width, metric=True, title=title))
    assert panel is not None
    assert panel.shape[1] - 2 * panel.shape[0] in (0, 1)
    # The edge carries a trace of the paper around it: JPEG.
    inner = panel[4:-4, 4:-4]
    np.testing.assert_allclose(inner, np.broadcast_to((40, 90, 200), inner.shape), atol=16)
    shown = show_panorama(0, prediction(depth=depth), {}, render_preview(rgb, depth, None, None, metric=True))
    assert shown.page["rgb_from"].startswith("the run's preview")
    picture = Image.open(io.BytesIO(base64.b64decode(shown.page["images"]["rgb"].split(",")[1])))
    assert abs(np.asarray(picture).mean(axis=(0, 1)) - (40, 90, 200)).max() < 6


def test_no_picture_is_made_of_what_is_no_preview() -> None:
    """Bytes that are no image give no picture."""
    assert preview_panel(b"not a picture") is None


def test_the_palette_is_that_of_previews() -> None:
    """256 colours, near red to far violet."""
    palette = depth_palette()
    assert palette.shape == (256, 3)
    assert tuple(palette[0]) == (158, 1, 66)
    assert tuple(palette[-1]) == (94, 79, 162)


def test_what_is_not_valid_is_not_shown() -> None:
    """Neither the page nor the card has a trace of it: both are the same whatever the maps hold there."""
    found = Validity(64, 128, 20, 10, 80, 40, 30.0)
    valid = found.erp(64, 128)
    shown = []
    for seed in range(2):
        random = np.random.default_rng(seed)
        maps = {"depth": np.where(valid, 3.0, np.exp(random.uniform(-3, 3, valid.shape))).astype(np.float32)}
        maps["depth"][20:30, 60:70] = 2.0
        maps["normals"] = np.where(valid[..., None], [1, 0, 0], random.uniform(-1, 1, (64, 128, 3))).astype(np.float32)
        maps["sky"] = np.where(valid, 0.25, random.random(valid.shape)).astype(np.float32)
        loaders = {name: (lambda array=array: array) for name, array in maps.items()}
        one = Prediction(id="a", uri="/x.jpg", height=64, width=128, fov=90.0, loaders=loaders, validity=lambda: found)
        shown.append(show_panorama(0, one, {}))
    assert shown[0].page == shown[1].page
    assert shown[0].thumbnail == shown[1].thumbnail
    assert shown[0].limits == (2.0, 3.0)
    depths = depths_of(shown[0].page["depth"], (64, 128))
    np.testing.assert_array_equal(depths > 0, valid)
