"""Error maps: what is too near is blue, what is too far is red, what has no truth is grey."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from pager_ray.evaluate import error_maps
from pager_ray.evaluate.error_maps import draw_error_maps
from pager_ray.preview import bar_caption, panel_size

HEIGHT, WIDTH = 256, 512


def panels_of(content: bytes, count: int) -> list[np.ndarray]:
    """The panels, cut out of the picture: two to a row under a line of title."""
    with Image.open(io.BytesIO(content)) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    height, width = panel_size(1024)
    rows = -(-count // 2)
    # Strips are equally high: the picture's height says where panels start.
    top = 30
    cell = (picture.shape[0] - top) // rows
    return [
        picture[top + (n // 2) * cell : top + (n // 2) * cell + height, (6, 516)[n % 2] : (6, 516)[n % 2] + width]
        for n in range(count)
    ]


@pytest.fixture
def drawn() -> list[np.ndarray]:
    truth = np.full((HEIGHT, WIDTH), 4, np.float32)
    mask = np.ones_like(truth, bool)
    mask[:40] = False
    prediction = truth.copy()
    prediction[:, :170] *= 0.7
    prediction[:, 340:] *= 1.3
    prediction[:40] = np.nan
    rgb = np.full((100, 200, 3), (10, 200, 30), np.uint8)
    normals = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    normals[..., 1] = 1
    turned = normals.copy()
    turned[:, 256:] = (1, 0, 0)
    content = draw_error_maps(rgb, truth, prediction, mask, (normals, turned), title="room")
    return panels_of(content, 5)


def test_panels_show_picture_truth_prediction_and_errors(drawn: list[np.ndarray]) -> None:
    """Five panels; each has the colours of what it shows in the middle of its parts."""
    rgb, truth, prediction, relative, normals = drawn
    assert np.abs(rgb[100, 250] - (10, 200, 30)).max() < 12
    assert np.ptp(truth[120:200, 100:400].reshape(-1, 3), axis=0).max() < 12
    assert np.abs(prediction[150, 80] - prediction[150, 420]).max() > 60
    near, right, far, unknown = (relative[y, x] for y, x in ((150, 80), (150, 250), (150, 420), (10, 250)))
    assert near[2] > near[0] + 30
    assert right.min() > 225
    assert far[0] > far[2] + 30
    assert np.abs(unknown - 96).max() < 12
    assert normals[150, 100].max() < 40
    assert normals[150, 400].min() > 90


def test_truth_and_prediction_share_their_colours() -> None:
    """A flat prediction has the colour that its depth has in the truth, whatever its own range."""
    truth = np.repeat(np.geomspace(1, 16, WIDTH, dtype=np.float32)[None], HEIGHT, axis=0)
    flat = np.full_like(truth, 4)
    shown, predicted, _ = panels_of(draw_error_maps(None, truth, flat, truth > 0, None, title="t"), 3)
    middle = shown.shape[1] // 2
    assert np.abs(shown[150, middle] - predicted[150, middle]).max() < 12
    assert np.abs(shown[150, 20] - predicted[150, 20]).max() > 60


def test_ticks_stand_where_their_colours_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The colour of the legend at a tick is the one that the map gives to the tick's value."""
    strips: dict[str, tuple[np.ndarray, list[tuple[float, str]]]] = {}

    def watched(width: int, label: str, bar: np.ndarray, ticks: list[tuple[float, str]]) -> Image.Image:
        strips[label] = (bar, ticks)
        return bar_caption(width, label, bar, ticks)

    monkeypatch.setattr(error_maps, "bar_caption", watched)
    up = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    up[..., 1] = 1
    for percent, degrees in ((-20, 5), (0, 15), (20, 35)):
        truth = np.full((HEIGHT, WIDTH), 4, np.float32)
        prediction = truth * np.float32(1 + percent / 100)
        tilted = np.zeros_like(up) + np.float32([np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), 0])
        content = draw_error_maps(None, truth, prediction, truth > 0, (up, tilted), title="t")
        _, _, relative, normals = panels_of(content, 4)
        for label, panel, value in (("relative error", relative, percent), ("error of normals", normals, degrees)):
            bar, ticks = strips[label]
            at = next(at for at, name in ticks if float(re.match(r"[+-]?\d+", name).group()) == value)
            assert np.abs(bar[0, round(at * 255)].astype(int) - panel[150, 250]).max() < 12


@pytest.mark.parametrize(("depth", "normals", "count"), [(True, False, 3), (False, True, 1)])
def test_panels_that_do_not_exist_are_left_out(depth: bool, normals: bool, count: int) -> None:
    """Without a picture, depth or normals their panels are not there."""
    truth = np.full((HEIGHT, WIDTH), 4, np.float32)
    vectors = np.ones((HEIGHT, WIDTH, 3), np.float32)
    content = draw_error_maps(
        None, truth, truth if depth else None, truth > 0, (vectors, vectors) if normals else None, title="t"
    )
    with Image.open(io.BytesIO(content)) as image:
        one_row = Image.open(io.BytesIO(draw_error_maps(None, truth, None, truth > 0, (vectors, vectors), title="t")))
        assert image.width == 1024
        assert (image.height > 1.5 * one_row.height) == (count > 2)
