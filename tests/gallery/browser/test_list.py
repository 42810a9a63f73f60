"""The list in a headless Chromium, opened from a file: cards, order, filters, neighbours, small screens, many rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pager_ray
from pager_ray.gallery import build_gallery, columns
from pager_ray.gallery.build import _write_list
from pager_ray.gallery.site import Site
from pager_ray.reader.run import Run
from tests.gallery.browser.pages import (
    NAMES,
    drawn,
    listed,
    open_panorama,
    show,
)
from tests.gallery.runs import many_rows
from tests.harness.browser import Browser
from tests.reader.runs import SmallRun


def test_the_list_shows_every_panorama(browser: Browser, index: Path) -> None:
    """Each card has four thumbnails that load, a legend in metres, its id as text and its numbers."""
    assert show(browser, index, "", 4) == [0, 1, 2, 3]
    browser.wait("[...document.images].every((image) => image.complete && image.naturalWidth === 1152)")
    assert browser.js("return document.images.length") == 16
    ids = browser.js("return [...document.querySelectorAll('.card-id')].map((id) => id.textContent)")
    assert ids == NAMES
    assert browser.js("return document.querySelector('.legend-unit').textContent") == "m"
    assert browser.js("return document.querySelectorAll('.card .legend-ticks span').length") >= 8
    labels = browser.js("return [...document.querySelectorAll('.thumb-label')].map((one) => one.textContent)")
    assert labels == ["rgb", "depth", "normals", "sky"] * 4
    assert "median depth" in browser.js("return document.querySelector('.card-facts').textContent")


def test_an_id_is_never_markup(browser: Browser, index: Path) -> None:
    """A hostile id is shown as its own text, in the list and on its page, and runs nothing."""
    show(browser, index, "", 4)
    assert browser.js("return document.title") == "run – gallery"
    open_panorama(browser, index, 3)
    assert browser.js("return document.getElementById('page-id').textContent") == NAMES[3]
    assert browser.js("return document.querySelectorAll('img[src=x]').length") == 0
    assert browser.js("return document.title") == "run – gallery"


def test_rows_are_sorted_and_filtered(browser: Browser, index: Path, rendered: SmallRun) -> None:
    """Order and choice follow the quality columns, the scene and the id, and stand in the address."""
    table = pager_ray.open_run(str(rendered.folder)).table().sort_by("id")
    depth, sky = (table.column(name).to_numpy() for name in ("depth_p50", "sky_fraction"))
    assert show(browser, index, "#/?sort=depth_p50&down=1", 4) == list(np.argsort(-depth))
    assert show(browser, index, "#/?f=sky_fraction:0.1:", 2) == list(np.flatnonzero(sky >= 0.1))
    assert show(browser, index, "#/?scene=indoor&down=1", 2) == [2, 0]
    assert show(browser, index, "#/?text=STREET", 1) == [1]
    assert show(browser, index, "#/?f=depth_p50:1e9:", 0) == []
    assert "No panorama is like this" in browser.js("return document.querySelector('.empty').textContent")
    browser.js("document.querySelector('.empty a').click()")
    browser.wait("document.querySelectorAll('.card').length === 4")
    browser.js(
        "const s = document.getElementById('sort'); s.value = 'sky_fraction'; s.dispatchEvent(new Event('change'))"
    )
    browser.wait("location.hash.includes('sort=sky_fraction')")


def test_neighbours_follow_the_order_of_the_list(browser: Browser, index: Path) -> None:
    """Next and previous go through the list as it was sorted; the way back keeps the order."""
    order = show(browser, index, "#/?sort=depth_p50&down=1", 4)
    browser.js("document.querySelector('.card').click()")
    browser.wait("document.getElementById('stage').dataset.ready === arguments[0]", str(order[0]))
    browser.wait("document.getElementById('next').hasAttribute('href')")
    assert not browser.js("return document.getElementById('previous').hasAttribute('href')")
    browser.js("document.getElementById('next').click()")
    browser.wait("document.getElementById('stage').dataset.ready === arguments[0]", str(order[1]))
    browser.js("document.getElementById('back').click()")
    browser.wait("!document.getElementById('list-view').hidden && location.hash.includes('depth_p50')")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("hash", ["#/?sort=depth_p50&f=sky_fraction:0:", "#/panorama/1"])
def test_a_telephone_scrolls_in_one_direction(browser: Browser, index: Path, hash: str, dark: bool) -> None:
    """At 390 pixels nothing is wider than the screen, and paper and ink follow the user's colours."""
    browser.resize(390, 844, dark=dark)
    browser.open(index, hash)
    browser.wait("document.querySelector('.card') || document.getElementById('stage').dataset.ready")
    drawn(browser)
    assert browser.js("return document.documentElement.scrollWidth") <= 390
    paper = browser.js("return getComputedStyle(document.body).backgroundColor")
    assert (np.mean([int(part) for part in paper[4:-1].split(",")]) < 128) == dark


def test_a_hundred_thousand_rows_open_at_once(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of 100,000 panoramas shows its first cards, and the last page of a sorted and filtered one."""
    run = SmallRun(tmp_path / "run")
    site = Site(str(tmp_path / "gallery"))
    monkeypatch.setattr(site, "write", lambda name, content: put(tmp_path / "gallery" / name, content))
    table = many_rows(100_000)
    _write_list(site, Run(str(run.folder)), columns.rows_of(table), {}, 0, linked=False, places=True)
    site.write_page()
    index = tmp_path / "gallery" / "index.html"
    browser.open("about:blank")
    assert show(browser, index, "", 48) == list(range(48))
    hash = "#/?sort=depth_p50&down=1&f=sky_fraction:0.2:&scene=indoor&page=9999"
    browser.js("location.hash = arguments[0]", hash)
    browser.wait("document.getElementById('found').textContent.includes(' of 100,000')")
    keep = (table.column("sky_fraction").to_numpy() >= 0.2) & (table.column("scene").to_numpy() == "indoor")
    depth = table.column("depth_p50").to_numpy()
    rows = np.flatnonzero(keep)
    expected = rows[np.argsort(np.where(np.isnan(depth[rows]), np.inf, -depth[rows]), kind="stable")]
    start = (len(rows) - 1) // 48 * 48
    assert listed(browser) == expected[start:].tolist()


def put(path: Path, content: bytes) -> None:
    """Write without waiting for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("predicted", [True, False])
def test_rejects_are_told_with_their_reasons(browser: Browser, tmp_path: Path, predicted: bool) -> None:
    """How many stands beside the state, why in a table that opens; a run of rejects alone says so."""
    run = SmallRun(tmp_path / "run", modalities=("depth",))
    rows = [run.reject("b <i>", "corrupt"), run.reject("a", "missing")]
    run.write("aaaaaaaaaaaa-00000000-000000", *rows, *([run.prediction("c")] if predicted else []))
    run.complete()
    index = Path(build_gallery(str(run.folder), workers=1).index)
    show(browser, index, "", int(predicted))
    assert "complete, 2 rejected" in browser.js("return document.getElementById('run-facts').textContent")
    empty = browser.js("return document.querySelector('.empty')?.textContent ?? null")
    assert empty == (None if predicted else "No panorama has a result; the reasons are below.")
    browser.js("document.getElementById('rejects').open = true")
    browser.wait("document.querySelectorAll('#rejects tr').length === 3")
    cells = browser.js("return [...document.querySelectorAll('#rejects td')].map((one) => one.textContent)")
    assert cells == ["a", "missing", "read", "a: why", "b <i>", "corrupt", "read", "b <i>: why"]


@pytest.mark.parametrize("name", ["4", "x"])
def test_an_unknown_panorama_is_called_that(browser: Browser, index: Path, name: str) -> None:
    """An address that no panorama has leads to a page that says so and back to the list."""
    browser.open(index, f"#/panorama/{name}")
    browser.wait(
        "document.getElementById('stage-note').textContent.startsWith(arguments[0])",
        f"There is no panorama {name} here: this gallery has 4",
    )
    browser.js("document.getElementById('back').click()")
    browser.wait("document.querySelectorAll('.card').length === 4")
