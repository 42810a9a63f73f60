"""The evaluation report in a headless Chromium, opened from a file: small and large, light and dark."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pager_ray.report.evaluation import make_report
from pager_ray.report.evaluation_page import page
from tests.harness.browser import Browser, opened
from tests.report.scores import facts, score_rows, state_of


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a picture wider than any telephone."""
    picture = io.BytesIO()
    Image.fromarray(np.full((300, 1600, 3), 200, np.uint8)).save(picture, "PNG")
    path = tmp_path_factory.mktemp("report") / "report.html"
    pictures = {"distributions.png": picture.getvalue()}
    path.write_text(page(make_report(state_of(score_rows(17)), facts(excluded=3)), pictures), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_follows_the_users_colours(chromium: Browser, report: Path, width: int, dark: bool) -> None:
    """Nothing is wider than the screen; wide tables scroll by themselves; paper, ink and pictures can be seen."""
    chromium.resize(width, 844, dark=dark)
    chromium.complaints()
    chromium.open(report)
    chromium.wait("[...document.images].every((image) => image.complete && image.naturalWidth)")
    assert chromium.js("return document.documentElement.scrollWidth") <= width
    style = "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    paper, ink = (np.mean([int(part) for part in text[4:-1].split(",")]) for text in chromium.js(style))
    assert abs(paper - ink) > 120
    assert (paper < 128) == dark
    first = chromium.js("return document.querySelector('table').getBoundingClientRect().top")
    assert first < 844
    assert chromium.complaints() == []
