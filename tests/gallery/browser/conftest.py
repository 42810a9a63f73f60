"""A gallery of rendered panoramas, and a browser to look at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pager_ray.gallery import build_gallery
from tests.gallery.browser.pages import HEIGHT, NAMES
from tests.gallery.runs import rendered_run
from tests.harness.browser import Browser, opened
from tests.reader.runs import SmallRun

# Of the driver of a machine without a GPU, about screenshots.
HARMLESS = "GPU stall due to ReadPixels"


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Maps of 520 rows: of two pixels along each side one is kept."""
    folder = tmp_path_factory.mktemp("gallery")
    made = rendered_run(folder, NAMES, HEIGHT)
    build_gallery(str(made.folder), workers=1, images_from=str(made.folder.parent))
    return made


@pytest.fixture(scope="session")
def index(rendered: SmallRun) -> Path:
    return rendered.folder / "gallery" / "index.html"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for the session."""
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The window at its usual size; a test that leaves a complaint in the console fails."""
    chromium.resize(1280, 860)
    chromium.complaints()
    yield chromium
    assert [entry for entry in chromium.complaints() if HARMLESS not in entry] == []
