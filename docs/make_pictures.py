"""Draw the README's pictures: python -m docs.make_pictures; those of the gallery need the system's Chromium.

Every panorama is rendered by the project, and none was trained on. Predictions are those of ``embedded``; the README's
picture shows them beside the exact maps.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image

import pager_ray
from pager_ray.config import load_config
from pager_ray.gallery import build_gallery
from pager_ray.here import run_here
from pager_ray.infer import Predictor
from pager_ray.model import resolve_checkpoint
from pager_ray.preview import render_preview
from pager_ray.samples import make_scene, render
from pager_ray.stages.settings import inference_settings
from tests.gallery.browser.pages import drawn, open_panorama, press
from tests.harness.browser import Browser

HERE = Path(__file__).parent
NAMES = ["atrium", "boulevard", "cabinet", "dunes", "entrance", "fields", "gallery", "harbour"]
SHOWN = 4
WIDTH, GAP = 1200, 12
PREVIEW = 720


def draw_sample() -> None:
    """Two panoramas that no training saw, each with its exact maps and beside them what `embedded` predicts."""
    model = pager_ray.load_model("embedded", device="cpu")
    rows = []
    for kind in ("outdoor", "indoor"):
        scene = render(make_scene(0, kind), 512, 1024)
        predicted = pager_ray.predict(scene.rgb, model)
        exact = (scene.depth, scene.normals, scene.sky)
        maps = (predicted.depth, predicted.normals, predicted.sky)
        rows.append(
            [
                picture_of(render_preview(scene.rgb, *exact, metric=True, width=PREVIEW, title="rendered, exact")),
                picture_of(
                    render_preview(
                        scene.rgb, *maps, metric=True, width=PREVIEW, title="predicted: small, rendered scenes"
                    )
                ),
            ]
        )
    height = rows[0][0].height
    sheet = Image.new("RGB", (2 * PREVIEW + GAP, len(rows) * (height + GAP) - GAP), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * (PREVIEW + GAP), row * (height + GAP)))
    sheet.save(HERE / "sample.jpg", quality=85, optimize=True)


def picture_of(jpeg: bytes) -> Image.Image:
    """The pixels of an encoded picture."""
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def draw_gallery() -> None:
    """The gallery's list; below it one panorama as 360° view of depth and as point cloud."""
    with tempfile.TemporaryDirectory() as temporary:
        run = predicted_run(Path(temporary))
        build_gallery(str(run), images_from=temporary)
        index = run / "gallery" / "index.html"
        browser = Browser(Path(temporary) / "profile")
        try:
            browser.resize(1280, 740)
            browser.open(index)
            browser.wait("document.querySelectorAll('.card').length === arguments[0]", len(NAMES))
            browser.wait("[...document.images].every((image) => image.complete)")
            toolbar = browser.js("return document.getElementById('toolbar').getBoundingClientRect().top")
            shots = [shot_of(browser, (0, toolbar - 8, 1280, 740))]
            browser.resize(1000, 740)
            for mode, layer in (("sphere", "depth"), ("cloud", "rgb")):
                box = open_panorama(browser, index, SHOWN)
                press(browser, "layers", layer)
                press(browser, "modes", mode)
                if mode == "cloud":
                    browser.wait("Number(document.getElementById('stage').dataset.points) > 0")
                    box = browser.js("return document.getElementById('stage').getBoundingClientRect().toJSON()")
                else:
                    browser.mouse("mouseMoved", box["left"] + 0.3 * box["width"], box["top"] + 0.6 * box["height"])
                drawn(browser)
                shots.append(shot_of(browser, (box["left"], box["top"], box["right"], box["bottom"])))
        finally:
            browser.close()
    compose(shots).save(HERE / "gallery.jpg", quality=82, optimize=True)


def predicted_run(folder: Path) -> Path:
    """What `embedded` makes of eight rendered panoramas."""
    pictures = folder / "panoramas"
    pictures.mkdir()
    for number, name in enumerate(NAMES):
        panorama = render(make_scene(number // 2, "outdoor" if number % 2 else "indoor"), 768, 1536)
        Image.fromarray(panorama.rgb).save(pictures / f"{name}.png")
    words = [f"input.uris={pictures}", f"output.uri={folder / 'run'}", "checkpoint=embedded", "output.codec=exact"]
    config = load_config(None, words)
    model = pager_ray.load_model("embedded", device="cpu")
    run_here(config, resolve_checkpoint("embedded"), Predictor(model, inference_settings(config), None))
    return folder / "run"


def shot_of(browser: Browser, box: tuple[float, float, float, float]) -> Image.Image:
    """A part of the window."""
    picture = Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).convert("RGB")
    return picture.crop(tuple(round(value) for value in box))


def compose(shots: list[Image.Image]) -> Image.Image:
    """The list on top, two views side by side below."""
    half = (WIDTH - GAP) // 2
    top, *views = (
        shot.resize((width, round(shot.height * width / shot.width)), Image.Resampling.LANCZOS)
        for shot, width in zip(shots, (WIDTH, half, half), strict=True)
    )
    low = min(view.height for view in views)
    sheet = Image.new("RGB", (WIDTH, top.height + GAP + low), top.getpixel((1, 1)))
    sheet.paste(top, (0, 0))
    for k, view in enumerate(views):
        sheet.paste(view.crop((0, view.height - low, half, view.height)), (k * (half + GAP), top.height + GAP))
    return sheet


if __name__ == "__main__":
    draw_sample()
    draw_gallery()
