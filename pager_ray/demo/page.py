"""The page: Gradio around a :class:`~pager_ray.demo.studio.Studio`."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import gradio as gr
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from pager_ray.demo import address_error
from pager_ray.demo.studio import COLORS, MAX_BYTES, MODES, STEPS, Result, Studio
from pager_ray.errors import PagerError
from pager_ray.plain import get_logger, html_text, markdown_text
from pager_ray.read import IMAGE_SUFFIXES
from pager_ray.runs.layout import GALLERY_FOLDER

log = get_logger(__name__)

TITLE: Final = "pager_ray: a panorama's geometry"
VIEWS: Final = "views"
WAITING: Final = 20
"""Panoramas that may wait for the model; more are told to come back."""
HANDED_OUT_SECONDS: Final = 3600.0

_ABOUT = """# A panorama's geometry
Drop a 360° panorama (equirectangular, 2:1): depth along every ray, surface normals and sky, to look around in and to
take along. Checkpoint: `{name}`."""

_CSS = """
.gradio-container { max-width: 1500px !important; margin: 0 auto !important; }
#view iframe { width: 100%; height: 680px; border: 0; border-radius: 8px; }
#view .empty { height: 680px; display: flex; align-items: center; justify-content: center; border-radius: 8px;
  border: 1px dashed var(--border-color-primary); color: var(--body-text-color-subdued); }
"""

# On a telephone the result lies below what was pressed.
_SCROLL = """() => {
  const view = document.getElementById("view");
  if (view.getBoundingClientRect().top > window.innerHeight / 2) view.scrollIntoView({ block: "start" });
}"""

_EMPTY = '<div class="empty">The panorama and what the network makes of it are shown here.</div>'

# The view is the gallery's page of one panorama; there is no list to go back to.
_FRAME = (
    '<iframe title="360° view and point cloud" src="{source}" '
    "onload=\"this.contentDocument.querySelector('.page-head').style.display = 'none'\"></iframe>"
)


def build_page(studio: Studio) -> gr.Blocks:
    """The page's parts and what they do."""
    # Gradio gives out what lies in the system's folder for temporary files, under names that nobody can guess.
    handed_out = HandedOut()
    examples_shown = [handed_out.copy(path, for_good=True) for path in studio.examples()]
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        gr.Markdown(_ABOUT.format(name=markdown_text(_shown(studio.name))))
        key = gr.State("")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                picture = gr.File(label="Panorama", file_types=sorted(IMAGE_SUFFIXES), elem_id="picture", height=150)
                mode = gr.Radio(
                    list(MODES),
                    value="auto",
                    label="Scene",
                    info="Which scale head gives metres; auto lets the router decide.",
                    visible=studio.has_two_scales,
                    elem_id="mode",
                )
                start = gr.Button("Predict", variant="primary", elem_id="start")
                status = gr.Markdown(elem_id="status")
                examples = gr.Gallery(
                    [(str(path), path.stem) for path in examples_shown],
                    label="Or pick a rendered one",
                    columns=2,
                    height=340,
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="examples",
                )
            with gr.Column(scale=3, min_width=300):
                view = gr.HTML(_EMPTY, elem_id="view")
                # No label: it would lie over the pictures' own titles.
                maps = gr.Image(
                    show_label=False,
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

        def predict(
            given: str | None,
            scene: str,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> Any:
            if not given:
                raise gr.Error("Drop a panorama first, or pick one of the rendered ones.", title="No picture")
            steps = [*STEPS]
            with _told(studio.cache):
                result = studio.result(
                    Path(given),
                    scene,
                    lambda step: progress((steps.index(step), len(steps)), desc=STEPS[step]),
                    visitor=f"{request.username or ''}/{request.session_hash}",
                )
            return {
                key: result.key,
                status: _status(result),
                view: _FRAME.format(source=f"{VIEWS}/{result.key}/gallery/index.html#/panorama/0"),
                maps: gr.Image(str(handed_out.copy(result.preview)), visible=True),
                files: gr.Row(visible=True),
                format: gr.Dropdown(result.formats(), value=result.formats()[0]),
                color: gr.Radio(visible="normals" in result.maps),
                file: gr.File(None, visible=False),
            }

        def pick(chosen: gr.SelectData) -> str:
            return str(examples_shown[chosen.index])

        def export(of: str, name: str, colors: str) -> Any:
            with _told(studio.cache):
                path = studio.export(studio.find(of), name, colors)
            return gr.File(str(handed_out.copy(path)), visible=True)

        outputs = [key, status, view, maps, files, format, color, file]
        start.click(predict, [picture, mode], outputs, concurrency_id="model", concurrency_limit=1).success(
            None, js=_SCROLL
        )
        examples.select(pick, None, picture).then(
            predict, [picture, mode], outputs, concurrency_id="model", concurrency_limit=1
        ).success(None, js=_SCROLL)
        make.click(export, [key, format, color], file, concurrency_limit=1)
    page.queue(max_size=WAITING)
    return page


def _shown(name: str) -> str:
    """A checkpoint's name and note for visitors: of a folder or a bucket the last part alone, of the Hub the whole."""
    place, opened, note = name.partition(" (")
    is_place = "://" in place or place.startswith((".", "~")) or Path(place).is_absolute() or Path(place).is_dir()
    return (place.rstrip("/").rpartition("/")[2] if is_place else place) + opened + note


@contextmanager
def _told(cache: Path) -> Iterator[None]:
    """Errors of ours as the page shows them: their sentence, never a traceback, and never where the cache is."""
    try:
        yield
    except PagerError as error:
        said = str(error).replace(f"{cache}{os.sep}", "").replace(str(cache), "the cache")
        if said != str(error):
            log.warning("a visitor was told of this: %s", error)
        # Shown as HTML; what it repeats may be a stranger's file's.
        raise gr.Error(html_text(said), title="That did not work", duration=None, print_exception=False) from error


def _status(result: Result) -> str:
    facts = result.facts()
    size = f"{facts['width']}×{facts['height']}"
    lines = [f"**{markdown_text(result.id)}**, {size}" + (" (from the cache)" if result.cached else "")]
    if facts["scene"]:
        sure = f", {facts['p_outdoor']:.0%} outdoor says the router" if facts["p_outdoor"] is not None else ""
        lines.append(f"scene: {markdown_text(facts['scene'])}{sure}")
    if facts["depth_p50"] is not None:
        unit = " m" if facts["log_scale"] is not None else ""
        lines.append(f"median depth: {facts['depth_p50']:.3g}{unit}")
    if facts["sky_fraction"] is not None:
        lines.append(f"sky: {facts['sky_fraction']:.0%}")
    return "\n\n".join(lines)


class HandedOut:
    """Copies for Gradio to give out: no file of the cache can be asked for by its path.

    Gradio takes a copy of its own before it answers. Ours of an hour ago are deleted with the next one, all of them
    when this object goes, at the latest with the process.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pager-ray-demo-")
        self._lock = threading.Lock()
        self._gone_by: deque[tuple[float, Path]] = deque()

    def copy(self, path: Path, for_good: bool = False) -> Path:
        """A copy under a name that nobody can guess.

        Args:
            for_good: it stays as long as this object.
        """
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        with self._lock:
            long_ago = time.monotonic() - HANDED_OUT_SECONDS
            while self._gone_by and self._gone_by[0][0] < long_ago:
                shutil.rmtree(self._gone_by.popleft()[1])
            if not for_good:
                self._gone_by.append((time.monotonic(), folder))
        return Path(shutil.copy(path, folder / path.name))


class _Views(StaticFiles):
    """The galleries of results, and nothing else of them: run files say where things lie."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The file of a request below ``<key>/gallery``."""
        parts = Path(path).parts
        if len(parts) < 3 or parts[1] != GALLERY_FOLDER or ".." in parts:
            return "", None
        return super().lookup_path(path)


class CheckHost:
    """Answers requests for this page's own addresses alone: another site's name, made to lead here, is refused.

    Args:
        app: what answers.
        hosts: names without port; ``*.name`` takes every name below one. Addresses are always taken: no other site
            has them for a name.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, tuple(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with status 400."""
        if scope["type"] in ("http", "websocket") and not self._is_ours(Headers(scope=scope).get("host", "")):
            await PlainTextResponse("unknown host", status_code=400)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if re.search(r":[0-9]+$", host) else host
        name = name.strip("[]").rstrip(".").lower()
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return any(name == one or (one.startswith("*.") and name.endswith(one[1:])) for one in self.hosts)
        return True


def serve(studio: Studio, host: str, port: int, *, share: bool, auth: tuple[str, str] | None = None) -> None:
    """Serve the page until the process is interrupted; prints where it is.

    Args:
        share: also open Gradio's public tunnel to it.
        auth: user and password that the page asks for.

    Raises:
        PagerError: the port is taken, or the address cannot be used.
    """
    page = build_page(studio)
    fonts, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    views = Mount(f"/{VIEWS}", _Views(directory=studio.results), name=VIEWS)
    names = ["localhost", host.lower(), socket.gethostname().lower(), *(["*.gradio.live"] if share else [])]
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            theme=gr.themes.Base(font=fonts, font_mono=mono),
            css=_CSS,
            auth=auth,
            blocked_paths=[str(studio.cache)],
            max_file_size=MAX_BYTES,
            app_kwargs={"routes": [views], "middleware": [Middleware(CheckHost, hosts=names)]},
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            prevent_thread_lock=True,
            quiet=True,
        )
    except OSError as error:
        raise address_error(host, port, error) from error
    try:
        print(f"{TITLE} at {page.local_url}", flush=True)  # noqa: T201 - what the command is for
        if page.share_url:
            print(f"shared at {page.share_url}", flush=True)  # noqa: T201
        threading.Event().wait()
    finally:
        page.close(verbose=False)
