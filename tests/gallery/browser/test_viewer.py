"""One panorama's page in a headless Chromium, opened from a file: what a person sees, moves and reads."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pager_ray
from pager_ray.gallery import build_gallery
from pager_ray.preview import colorize_depth, colorize_normals, depth_limits
from tests.gallery.browser.pages import (
    FIELD,
    HEIGHT,
    NAMES,
    STEP,
    drawn,
    hover,
    open_panorama,
    pixels,
    place_of,
    press,
    show,
    stage,
)
from tests.harness.browser import Browser
from tests.reader.runs import SmallRun


def test_layers_switch(browser: Browser, index: Path, rendered: SmallRun) -> None:
    """Each layer shows the source or a stored map in the colours of previews, the right way round."""
    panorama = pager_ray.open_run(str(rendered.folder))[NAMES[1]]
    assert panorama.depth is not None
    assert panorama.normals is not None
    assert panorama.sky is not None
    expected = {
        "rgb": np.asarray(Image.open(rendered.folder.parent / "source-1.png")),
        "depth": colorize_depth(panorama.depth, limits=depth_limits(panorama.depth[1::STEP, 1::STEP])),
        "normals": colorize_normals(panorama.normals),
        "sky": np.where(panorama.sky[..., None] > 0.5, (133, 196, 255), (24, 28, 38)),
    }
    box = open_panorama(browser, index, 1)
    points = [
        (int(box["left"] + box["width"] * a), int(box["top"] + box["height"] * b))
        for a in np.linspace(0.04, 0.96, 24)
        for b in np.linspace(0.04, 0.9, 16)
    ]
    places = np.array([place_of(box, x + 0.5, y + 0.5) for x, y in points]) * (2 * HEIGHT, HEIGHT)
    columns, rows = places.astype(int).T
    for layer, colors in expected.items():
        press(browser, "layers", layer)
        assert stage(browser)["layer"] == layer
        assert browser.js("return document.querySelector('#layers [aria-pressed=true]').value") == layer
        view = pixels(browser)
        seen = np.array([view[y, x] for x, y in points], float)
        # Means and medians: thin edges fall on one side or the other.
        assert np.median(np.abs(seen - colors[rows, columns])) < 5
        right = np.abs(seen - colors[rows, columns]).mean()
        for other in (colors[rows, -1 - columns], colors[-1 - rows, columns]):
            assert np.abs(seen - other).mean() > 2 * right


@pytest.mark.parametrize("row", [0, 1])
def test_the_read_out_is_the_stored_depth(browser: Browser, index: Path, rendered: SmallRun, row: int) -> None:
    """Under the pointer stands the depth that the run stores at the pixel named, which lies where the pointer is."""
    depth = pager_ray.open_run(str(rendered.folder))[NAMES[row]].depth
    assert depth is not None
    height, width = depth.shape
    box = open_panorama(browser, index, row)
    read = 0
    for a, b in ((0.5, 0.5), (0.2, 0.7), (0.83, 0.9), (0.4, 0.62), (0.71, 0.1), (0.05, 0.95)):
        x, y = round(box["left"] + a * box["width"]), round(box["top"] + b * box["height"])
        out = hover(browser, x, y)
        column, line = int(out["x"]), int(out["y"])
        assert column % STEP == line % STEP == STEP // 2
        u, v = place_of(box, x, y)
        assert abs(column + 0.5 - u * width) <= 2
        assert abs(line + 0.5 - v * height) <= 2
        stored = float(depth[line, column])
        if stored > 0:
            read += 1
            assert out["depth"] == pytest.approx(stored, rel=1e-4)
            assert out["text"].startswith(f"{float(f'{stored:.4g}'):g}"[:3])
            assert f"pixel {column}, {line}" in out["text"]
            assert " m" in out["text"]
        else:
            assert out["text"].startswith("no depth")
    assert read >= 3
    assert not browser.js("return document.querySelector('#legend .legend-marker').hidden") or stored <= 0


def test_dragging_turns_the_view(browser: Browser, index: Path, rendered: SmallRun) -> None:
    """The panorama follows the pointer, the read-out follows the view, and the poles are the end."""
    depth = pager_ray.open_run(str(rendered.folder))[NAMES[0]].depth
    assert depth is not None
    box = open_panorama(browser, index, 0)
    middle = (box["left"] + box["width"] / 2, box["top"] + box["height"] / 2)
    browser.drag(middle, (middle[0] - 200, middle[1] + 60))
    drawn(browser)
    yaw, pitch = float(stage(browser)["yaw"]), float(stage(browser)["pitch"])
    assert yaw == pytest.approx(200 * math.radians(FIELD) / box["width"], rel=1e-3)
    assert pitch == pytest.approx(60 * math.radians(FIELD) / box["width"], rel=1e-3)
    x, y = middle[0] + 150, middle[1] + 100
    out = hover(browser, x, y)
    u, v = place_of(box, x, y, yaw, pitch)
    assert abs(out["x"] + 0.5 - u * depth.shape[1]) <= 2
    assert abs(out["y"] + 0.5 - v * depth.shape[0]) <= 2
    assert out["depth"] == pytest.approx(float(depth[int(out["y"]), int(out["x"])]), rel=1e-4)
    for _ in range(4):
        browser.drag(middle, (middle[0], box["top"] + box["height"] - 5))
    drawn(browser)
    assert float(stage(browser)["pitch"]) == pytest.approx(math.pi / 2, abs=1e-4)


def test_keys_and_wheel_work(browser: Browser, index: Path) -> None:
    """Arrow keys turn and read the middle out, plus and the wheel zoom."""
    box = open_panorama(browser, index, 0)
    browser.js("document.querySelector('#stage canvas').focus()")
    browser.key("ArrowRight")
    drawn(browser)
    yaw = float(stage(browser)["yaw"])
    assert yaw == pytest.approx(math.radians(FIELD / 12), abs=1e-4)
    x, y = (int(browser.js("return document.getElementById('readout').dataset[arguments[0]]", key)) for key in "xy")
    assert abs(x + 0.5 - (yaw / (2 * math.pi) + 0.5) * 2 * HEIGHT) <= STEP
    assert abs(y + 0.5 - HEIGHT / 2) <= STEP
    assert not browser.js("return document.getElementById('reticle').hidden")
    browser.mouse("mouseWheel", box["left"] + 50, box["top"] + 50, deltaX=0, deltaY=-400)
    browser.wait("Number(document.getElementById('stage').dataset.field) < 80")


def test_the_point_cloud_opens_and_orbits(browser: Browser, index: Path) -> None:
    """The cloud has the colours of the chosen layer, leaves the sky out, and turns when dragged."""
    box = open_panorama(browser, index, 1)
    press(browser, "layers", "rgb")
    press(browser, "modes", "cloud")
    browser.wait("Number(document.getElementById('stage').dataset.points) > 10000")
    drawn(browser)
    view = pixels(browser)[int(box["top"]) : int(box["top"] + box["height"]), int(box["left"]) : int(box["right"])]
    assert (np.abs(view.astype(int) - (0x15, 0x17, 0x1B)).max(axis=-1) > 12).mean() > 0.15
    before = stage(browser)
    middle = (box["left"] + box["width"] / 2, box["top"] + box["height"] / 3)
    browser.drag(middle, (middle[0] + 150, middle[1] + 20))
    drawn(browser)
    assert stage(browser)["camera"] != before["camera"]
    press(browser, "layers", "normals")
    other = pixels(browser)[int(box["top"]) : int(box["top"] + box["height"]), int(box["left"]) : int(box["right"])]
    assert np.abs(other.astype(int) - view).mean() > 5
    # Of what an even spread over the sphere would be, 40 % are sky.
    whole = 2 / math.pi * 260 * 520
    assert 0.4 * whole < int(before["points"]) < 0.8 * whole


def test_what_has_no_page_says_why(browser: Browser, tmp_path: Path) -> None:
    """Rows beyond the details are no links, their address tells so, and depth without scale promises no metres."""
    run = SmallRun(tmp_path / "run", modalities=("depth",))
    broken = run.prediction("c", log_scale=None, depth=b"broken")
    run.write("aaaaaaaaaaaa-00000000-000000", *(run.prediction(name, log_scale=None) for name in "abd"), broken)
    run.complete()
    index = Path(build_gallery(str(run.folder), details=3, workers=1).index)
    assert show(browser, index, "", 4) == [0, 1, 2, 3]
    assert browser.js("return document.querySelectorAll('a.card').length") == 2
    assert browser.js("return document.querySelector('.legend-unit').textContent") == "relative"
    for row, words in ((2, "depth of 'c'"), (3, "listed without a page")):
        browser.open(index, f"#/panorama/{row}")
        browser.wait("document.getElementById('stage-note').textContent.includes(arguments[0])", words)
    box = open_panorama(browser, index, 1)
    assert browser.js("return [...document.querySelectorAll('#layers button')].map((one) => one.value)") == ["depth"]
    assert " relative" in hover(browser, box["left"] + 200, box["top"] + 200)["text"]


def test_a_panorama_is_taken_along(browser: Browser, index: Path, rendered: SmallRun) -> None:
    """Every layer as a picture, and the depth that is kept here as a file of NumPy, under the panorama's name."""
    open_panorama(browser, index, 3)
    links = browser.js("return [...document.querySelectorAll('#downloads a')].map((one) => one.download)")
    stem = re.sub(r"[^\w.-]+", "_", NAMES[3], flags=re.ASCII)[-80:]
    assert [link.removeprefix(stem).rpartition(".")[0] for link in links] == [
        "-rgb",
        "-depth",
        "-normals",
        "-sky",
        "-depth",
    ]
    fetch = """const done = arguments[1];
    fetch(document.querySelectorAll('#downloads a')[arguments[0]].href).then((answer) => answer.arrayBuffer())
      .then((bytes) => done([...new Uint8Array(bytes)]));"""
    depth = np.load(io.BytesIO(bytes(browser.driver.execute_async_script(fetch, 4))))
    stored = pager_ray.open_run(str(rendered.folder))[NAMES[3]].depth
    assert stored is not None
    expected = stored[STEP // 2 :: STEP, STEP // 2 :: STEP]
    assert depth.shape == expected.shape
    np.testing.assert_allclose(depth, np.where(expected > 0, expected, 0), rtol=1e-3)
    picture = Image.open(io.BytesIO(bytes(browser.driver.execute_async_script(fetch, 1))))
    assert picture.size == (expected.shape[1], expected.shape[0])


def test_escape_leaves_and_f_fills_the_screen(browser: Browser, index: Path) -> None:
    """Full screen by key and button; Escape goes back to the list as it was."""
    show(browser, index, "#/?sort=depth_p50", 4)
    box = open_panorama(browser, index, 0)
    browser.mouse("mousePressed", box["left"] + 5, box["top"] + 5)
    browser.mouse("mouseReleased", box["left"] + 5, box["top"] + 5)
    browser.key("f")
    browser.wait("document.fullscreenElement?.id === 'stage'")
    browser.js("document.getElementById('full').click()")
    browser.wait("document.fullscreenElement === null")
    browser.key("Escape")
    browser.wait("!document.getElementById('list-view').hidden && location.hash.startsWith('#/')")
