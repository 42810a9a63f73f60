"""The page: Gradio around a :class:`~pager_ray.demo.studio.Studio`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import gradio as gr
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from pager_ray.demo.studio import COLORS, MAX_BYTES, MODES, STEPS, Result, Studio
from pager_ray.errors import PagerError

TITLE: Final = "pager_ray: a panorama's geometry"
VIEWS: Final = "views"
IMAGE_SUFFIXES: Final = [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif"]
WAITING: Final = 20
"""Panoramas that may wait for the model; more are told to come back."""

_ABOUT = """# A panorama's geometry
Drop a 360° panorama (equirectangular, 2:1): depth along every ray, surface normals and sky, to look around in and to
take along. Checkpoint: `{name}`."""

_CSS = """
.gradio-container { max-width: 1500px !important; margin: 0 auto !important; }
#view iframe { width: 100%; height: 680px; border: 0; border-radius: 8px; }
#view .empty { height: 680px; display: flex; align-items: center; justify-content: center; border-radius: 8px;
  border: 1px dashed var(--border-color-primary); color: var(--body-text-color-subdued); }
"""

_EMPTY = '<div class="empty">The panorama and what the network makes of it are shown here.</div>'

# The view is the gallery's page of one panorama; there is no list to go back to.
_FRAME = (
    '<iframe title="360° view and point cloud" src="{source}" '
    "onload=\"this.contentDocument.querySelector('.page-head').style.display = 'none'\"></iframe>"
)


def build_page(studio: Studio) -> gr.Blocks:
    """The page's parts and what they do."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        gr.Markdown(_ABOUT.format(name=studio.name))
        key = gr.State("")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                picture = gr.File(label="Panorama", file_types=IMAGE_SUFFIXES, elem_id="picture", height=150)
                mode = gr.Radio(
                    list(MODES),
                    value="auto",
                    label="Scene",
                    info="Which scale head gives metres; auto lets CLIP decide.",
                    visible=studio.has_two_scales,
                    elem_id="mode",
                )
                start = gr.Button("Predict", variant="primary", elem_id="start")
                status = gr.Markdown(elem_id="status")
                examples = gr.Gallery(
                    [(str(path), path.stem) for path in studio.examples()],
                    label="Or pick a rendered one",
                    columns=2,
                    height=340,
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="examples",
                )
            with gr.Column(scale=3, min_width=480):
                view = gr.HTML(_EMPTY, elem_id="view")
                maps = gr.Image(
                    label="Maps",
                    interactive=False,
                    visible=False,
                    elem_id="maps",
                    format="jpeg",
                    buttons=["download", "fullscreen"],
                )
                with gr.Row(visible=False) as files:
                    format = gr.Dropdown([], label="File", elem_id="format")
                    color = gr.Radio(list(COLORS), value=COLORS[0], label="Colours of points and faces")
                    make = gr.Button("Make the file", elem_id="make")
                    file = gr.File(label="Download", interactive=False, visible=False, elem_id="file")

        def predict(given: str | None, scene: str, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
            if not given:
                raise gr.Error("Drop a panorama first, or pick one of the rendered ones.", title="No picture")
            steps = [*STEPS]
            with _told():
                result = studio.result(
                    Path(given), scene, lambda step: progress((steps.index(step), len(steps)), desc=STEPS[step])
                )
            return {
                key: result.key,
                status: _status(result),
                view: _FRAME.format(source=f"{VIEWS}/{result.key}/gallery/index.html#/panorama/0"),
                maps: gr.Image(str(result.preview), visible=True),
                files: gr.Row(visible=True),
                format: gr.Dropdown(result.formats(), value=result.formats()[0]),
                color: gr.Radio(visible="normals" in result.maps),
                file: gr.File(None, visible=False),
            }

        def pick(chosen: gr.SelectData) -> str:
            return str(studio.examples()[chosen.index])

        def export(of: str, name: str, colors: str) -> Any:
            with _told():
                path = studio.export(studio.find(of), name, colors)
            return gr.File(str(path), visible=True)

        outputs = [key, status, view, maps, files, format, color, file]
        start.click(predict, [picture, mode], outputs, concurrency_id="model", concurrency_limit=1)
        examples.select(pick, None, picture).then(
            predict, [picture, mode], outputs, concurrency_id="model", concurrency_limit=1
        )
        make.click(export, [key, format, color], file, concurrency_limit=1)
    page.queue(max_size=WAITING)
    return page


@contextmanager
def _told() -> Iterator[None]:
    """Errors of ours as the page shows them: their sentence, never a traceback."""
    try:
        yield
    except PagerError as error:
        raise gr.Error(str(error), title="That did not work", duration=None, print_exception=False) from error


def _status(result: Result) -> str:
    facts = result.facts()
    lines = [f"**{result.id}**, {facts['width']}×{facts['height']}" + (" (from the cache)" if result.cached else "")]
    if facts["scene"]:
        sure = f", {facts['p_outdoor']:.0%} outdoor says CLIP" if facts["p_outdoor"] is not None else ""
        lines.append(f"scene: {facts['scene']}{sure}")
    if facts["depth_p50"] is not None:
        unit = " m" if facts["log_scale"] is not None else ""
        lines.append(f"median depth: {facts['depth_p50']:.3g}{unit}")
    if facts["sky_fraction"] is not None:
        lines.append(f"sky: {facts['sky_fraction']:.0%}")
    return "\n\n".join(lines)


def serve(studio: Studio, host: str, port: int, *, share: bool) -> None:
    """Serve the page until the process is interrupted; prints where it is.

    Args:
        share: also open Gradio's public tunnel to it.

    Raises:
        PagerError: the port is taken, or the address cannot be used.
    """
    page = build_page(studio)
    fonts, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    views = Mount(f"/{VIEWS}", StaticFiles(directory=studio.results), name=VIEWS)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            theme=gr.themes.Base(font=fonts, font_mono=mono),
            css=_CSS,
            allowed_paths=[str(studio.cache)],
            max_file_size=MAX_BYTES,
            app_kwargs={"routes": [views]},
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            prevent_thread_lock=True,
            quiet=True,
        )
    except OSError as error:
        raise PagerError(f"--port: {host}:{port} cannot be used ({error}); choose another --port or --host") from error
    try:
        print(f"{TITLE} at {page.local_url}", flush=True)  # noqa: T201 - what the command is for
        if page.share_url:
            print(f"shared at {page.share_url}", flush=True)  # noqa: T201
        threading.Event().wait()
    finally:
        page.close(verbose=False)
