"""The demo in a headless Chromium against a real process: what a person drops, sees, reads and takes along."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import pager_ray
from tests.gallery.browser.conftest import HARMLESS
from tests.gallery.browser.pages import drawn, press, stage
from tests.harness.browser import Browser, opened
from tests.harness.ports import free_port

LOCAL = "127.0.0.1"

# Gradio's own file field says this of itself at every upload.
IGNORED = (HARMLESS, "Method not implemented.")


@dataclass
class Demo:
    """A served page and its cache."""

    url: str
    cache: Path
    process: subprocess.Popen[str]


@contextmanager
def served(checkpoint: Path, cache: Path, port: int) -> Iterator[Demo]:
    command = [sys.executable, "-m", "pager_ray", "demo", f"--checkpoint={checkpoint}", f"--cache={cache}"]
    # What runs in the background of a shell ignores interrupts, and so would its children.
    process = subprocess.Popen(
        [*command, f"--port={port}"],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.endswith(f"http://{LOCAL}:{port}/\n"), line
        yield Demo(line.split()[-1], cache, process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def demo(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with served(checkpoint, tmp_path_factory.mktemp("cache"), free_port()) as demo:
        yield demo


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(window: Browser, demo: Demo) -> Iterator[Browser]:
    """The page, open; nothing may be left in the console, and nobody else may have been asked for anything."""
    window.driver.switch_to.default_content()
    window.resize(1400, 1100)
    window.complaints()
    window.open(demo.url)
    window.wait("document.querySelector('#picture input[type=file]') !== null")
    choose(window, "indoor")
    yield window
    window.driver.switch_to.default_content()
    asked = window.js("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [url for url in asked if not url.startswith((demo.url, "data:", "blob:"))] == []
    assert [entry for entry in window.complaints() if not any(text in entry for text in IGNORED)] == []


def push(page: Browser, selector: str, number: int = 0) -> None:
    """Press what is there as a person does: once it can be pressed, stands still, and nothing lies over it.

    Gradio veils what it is still busy with.
    """
    page.wait(
        """(() => {
            const found = document.querySelectorAll(arguments[0])[arguments[1]];
            if (!found || found.disabled || found.offsetParent === null) return false;
            found.scrollIntoView({block: 'nearest', behavior: 'instant'});
            const {x, y, width, height} = found.getBoundingClientRect();
            const place = `${x} ${y} ${width} ${height}`;
            const still = found.dataset.place === place;
            found.dataset.place = place;
            return still && found.contains(document.elementFromPoint(x + width / 2, y + height / 2));
        })()""",
        selector,
        number,
    )
    page.driver.find_elements("css selector", selector)[number].click()


def choose(page: Browser, mode: str) -> None:
    push(page, f"#mode input[value={mode}]")


def drop(page: Browser, picture: Path) -> None:
    """Give the page a file and wait until it has it."""
    if page.js("return document.querySelector('#picture input[type=file]') === null"):
        push(page, "#picture button[aria-label='Clear']")
        page.wait("document.querySelector('#picture input[type=file]') !== null")
    page.driver.find_element("css selector", "#picture input[type=file]").send_keys(str(picture))
    page.wait("document.querySelector('#picture .file-preview, #picture table') !== null")


def predict(page: Browser, picture: Path) -> None:
    """Drop a panorama, press the button and wait for its view, and for the files that it can be had in."""
    drop(page, picture)
    push(page, "#start")
    # The page draws them one after the other.
    page.wait("document.getElementById('status').textContent.includes(arguments[0])", picture.stem)
    page.wait("document.querySelector('#view iframe')?.src && document.querySelector('#format input')?.value")


def result_of(demo: Demo, page: Browser) -> pager_ray.Prediction:
    """What is stored of the panorama that the page shows."""
    source = page.js("return document.querySelector('#view iframe').src")
    run = pager_ray.open_run(demo.cache / "results" / source.split("/views/")[1].split("/")[0])
    return run[run.ids()[0]]


def enter(page: Browser) -> tuple[float, float]:
    """Go into the view; gives where it lies in the window."""
    frame = page.driver.find_element("css selector", "#view iframe")
    page.js("arguments[0].scrollIntoView({block: 'start'})", frame)
    corner = page.js("const box = arguments[0].getBoundingClientRect(); return [box.left, box.top]", frame)
    page.driver.switch_to.frame(frame)
    page.wait("document.getElementById('stage').dataset.ready === '0'")
    drawn(page)
    return corner[0], corner[1]


def complaint(page: Browser) -> str:
    """The sentence that the page shows, which is then put away."""
    text = page.wait("document.querySelector('.toast-body')?.textContent", seconds=300)
    page.js("document.querySelector('.toast-body button, .toast-close').click()")
    page.wait("document.querySelector('.toast-body') === null")
    return text


def test_a_panorama_is_shown_switched_read_and_turned(page: Browser, demo: Demo, pictures: list[Path]) -> None:
    """A dropped panorama appears with its maps; layers switch, metres under the pointer are stored ones, it turns."""
    predict(page, pictures[0])
    assert page.wait("document.querySelector('#maps img')?.naturalWidth") == 1024
    stored = result_of(demo, page)
    left, top = enter(page)
    shown = {}
    for layer in ("rgb", "depth", "normals", "sky"):
        press(page, "layers", layer)
        assert stage(page)["layer"] == layer
        shown[layer] = page.driver.get_screenshot_as_png()
    assert len(set(shown.values())) == 4
    box = page.js("return document.querySelector('#stage canvas').getBoundingClientRect().toJSON()")
    for a, b in ((0.5, 0.5), (0.2, 0.4), (0.8, 0.7)):
        page.mouse("mouseMoved", left + box["left"] + a * box["width"], top + box["top"] + b * box["height"])
        drawn(page)
        out = page.js("return {...document.getElementById('readout').dataset}")
        assert float(out["depth"]) == pytest.approx(float(stored.depth[int(out["y"]), int(out["x"])]), rel=1e-4)
    middle = left + box["left"] + box["width"] / 2, top + box["top"] + box["height"] / 2
    before = float(stage(page)["yaw"])
    page.drag(middle, (middle[0] - 150, middle[1]))
    drawn(page)
    assert float(stage(page)["yaw"]) > before + 0.1


def test_the_point_cloud_opens_in_both_colours(page: Browser, pictures: list[Path]) -> None:
    """Points of the panorama appear, coloured by the picture and by normals, and orbit."""
    predict(page, pictures[0])
    left, top = enter(page)
    press(page, "modes", "cloud")
    assert int(page.wait("Number(document.getElementById('stage').dataset.points)")) > 1000
    seen = []
    for layer in ("rgb", "normals"):
        press(page, "layers", layer)
        seen.append(page.driver.get_screenshot_as_png())
    assert seen[0] != seen[1]
    box = page.js("return document.querySelector('#stage canvas').getBoundingClientRect().toJSON()")
    middle = left + box["left"] + box["width"] / 2, top + box["top"] + box["height"] / 2
    before = stage(page)["camera"]
    page.drag(middle, (middle[0] + 120, middle[1] + 40))
    page.wait("document.getElementById('stage').dataset.camera !== arguments[0]", before)


def test_a_file_is_made_and_downloaded(page: Browser, pictures: list[Path], tmp_path: Path) -> None:
    """The file behind the link is what its format's library opens."""
    predict(page, pictures[1])
    push(page, "#make")
    link = page.wait("document.querySelector('#file a[href]')?.href", seconds=300)
    with urllib.request.urlopen(link) as answer:
        (tmp_path / "cloud.glb").write_bytes(answer.read())
    points = trimesh.load_scene(tmp_path / "cloud.glb").to_geometry()
    assert len(points.vertices) > 1000
    assert np.isfinite(points.vertices).all()


def test_the_same_again_comes_from_the_cache(page: Browser, demo: Demo, pictures: list[Path]) -> None:
    """A second run of picture and mode is found; another mode is not."""
    predict(page, pictures[2])
    assert "from the cache" not in page.js("return document.getElementById('status').textContent")
    push(page, "#start")
    page.wait("document.getElementById('status').textContent.includes('from the cache')")
    choose(page, "outdoor")
    push(page, "#start")
    page.wait("document.getElementById('status').textContent.includes('outdoor')")
    assert "from the cache" not in page.js("return document.getElementById('status').textContent")


def test_what_is_no_panorama_gets_its_sentence(page: Browser, pictures: list[Path], tmp_path: Path) -> None:
    """A photograph, a text and nothing at all are told what is wrong, and the page goes on."""
    photo, text = tmp_path / "photo.png", tmp_path / "letter.jpg"
    Image.new("RGB", (400, 300)).save(photo)
    text.write_text("Dear Sir or Madam")
    push(page, "#start")
    assert "Drop a panorama first" in complaint(page)
    for picture, words in ((photo, "400×300"), (text, "letter.jpg")):
        drop(page, picture)
        push(page, "#start")
        sentence = complaint(page)
        assert words in sentence
        assert "Traceback" not in sentence
    predict(page, pictures[3])
    assert page.js("return document.querySelector('#view iframe') !== null")


@pytest.mark.parametrize("dark", [False, True])
def test_a_telephone_is_led_to_the_result(page: Browser, pictures: list[Path], dark: bool) -> None:
    """At 390 pixels nothing is wider than the screen, and the view comes into it once it is there."""
    page.resize(390, 844, dark=dark)
    predict(page, pictures[0])
    top = "document.getElementById('view').getBoundingClientRect().top"
    page.wait(f"{top} > -20 && {top} < 200")
    page.wait("document.querySelector('#maps img')?.naturalWidth === 1024")
    assert page.js("return document.documentElement.scrollWidth") <= 390
    # Whatever says what the picture is stands where nobody sees it, and so not over the picture's own titles.
    labels = "[...document.querySelectorAll('#maps label, #maps [data-testid=block-label]')]"
    seen = f"{labels}.map((one) => one.getBoundingClientRect()).filter((box) => box.width > 1 && box.height > 1)"
    assert page.js(f"return {seen}") == []
    assert str(Path.home().anchor) + "tmp" not in page.js("return document.body.innerText")


def test_an_example_is_one_press(page: Browser) -> None:
    """A rendered panorama is predicted as soon as it is picked."""
    page.wait("document.querySelectorAll('#examples img').length === 4")
    push(page, "#examples img", 1)
    page.wait("document.querySelector('#view iframe') !== null")
    page.wait("document.getElementById('status').textContent.includes('street')")


def test_a_taken_port(demo: Demo, checkpoint: Path, tmp_path: Path) -> None:
    """A port that is taken is one line and exit code 1."""
    port = demo.url.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-m", "pager_ray", "demo", f"--checkpoint={checkpoint}", f"--cache={tmp_path}"]
    refused = subprocess.run([*command, f"--port={port}"], capture_output=True, text=True, timeout=900, check=False)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[-1].startswith(f"pager-ray: --port: {LOCAL}:{port} cannot be used")
    assert "Traceback" not in refused.stderr


def test_an_interrupt_ends_it(demo: Demo) -> None:
    """An interrupt ends the demo with 130; the last test of the file, as it is that of the others."""
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(600) == 130
