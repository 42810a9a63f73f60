"""What tests do to the gallery's pages and read from them."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.gallery.runs import HOSTILE
from tests.harness.browser import Browser

# Sorted by id, and so by row: indoor, outdoor, indoor, and one whose id is an attack.
NAMES = ["a room", "b street", "c hall", f"d{HOSTILE}"]
HEIGHT, STEP = 520, 2
FIELD = 85.0


def open_panorama(browser: Browser, index: Path, row: int) -> dict[str, float]:
    """Open a panorama's page; gives the place of its view in the window."""
    browser.open(index, f"#/panorama/{row}")
    browser.wait("document.getElementById('stage').dataset.ready === arguments[0]", str(row))
    drawn(browser)
    return browser.js("return document.querySelector('#stage canvas').getBoundingClientRect().toJSON()")


def drawn(browser: Browser) -> None:
    """Wait for two frames: what was asked for is on the canvas."""
    script = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done(1)))"
    browser.driver.execute_async_script(script)


def press(browser: Browser, group: str, value: str) -> None:
    browser.js(f"document.querySelector('#{group} button[value={value}]').click()")
    drawn(browser)


def stage(browser: Browser) -> dict[str, str]:
    return browser.js("return {...document.getElementById('stage').dataset}")


def hover(browser: Browser, x: float, y: float) -> dict[str, Any]:
    """What is read out with the pointer at a point of the window; numbers as shown and as computed."""
    browser.mouse("mouseMoved", x, y)
    drawn(browser)
    script = "const out = document.getElementById('readout'); return [out.textContent, {...out.dataset}]"
    text, data = browser.js(script)
    return {"text": text, **{key: float(value) for key, value in data.items()}}


def place_of(box: dict[str, float], x: float, y: float, yaw: float = 0, pitch: float = 0) -> tuple[float, float]:
    """Place in the ERP that a point of the window shows, from the geometry's definition alone."""
    half = math.tan(math.radians(FIELD / 2)) / max(box["width"], box["height"])
    right = (2 * (x - box["left"]) - box["width"]) * half
    up = (box["height"] - 2 * (y - box["top"])) * half
    ahead, above = math.cos(pitch) - up * math.sin(pitch), math.sin(pitch) + up * math.cos(pitch)
    longitude = math.atan2(right, ahead) + yaw
    latitude = math.atan2(above, math.hypot(ahead, right))
    return (longitude / (2 * math.pi) + 0.5) % 1, 0.5 - latitude / math.pi


def pixels(browser: Browser) -> np.ndarray:
    """The window's colours, (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).convert("RGB"))


def listed(browser: Browser) -> list[int]:
    rows = browser.js("return [...document.querySelectorAll('.card')].map((card) => Number(card.dataset.row))")
    return [int(row) for row in rows]


def show(browser: Browser, index: Path, hash: str, count: int) -> list[int]:
    browser.open(index, hash)
    browser.wait("document.querySelectorAll('.card').length === arguments[0]", count)
    return listed(browser)
