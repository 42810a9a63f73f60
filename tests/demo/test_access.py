"""Who may see what of the demo: pages per visitor, no paths of the server, no foreign host, a login where open."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from pager_ray.cli import exit_code
from pager_ray.demo.studio import Studio
from pager_ray.errors import InputError

pytestmark = pytest.mark.usefixtures("networks_once")


def test_a_result_is_its_visitors_own(studio: Studio, pictures: list[Path]) -> None:
    """The same picture of another visitor has another key, which nobody can compute, and its own file name."""
    mine = studio.result(pictures[0], "indoor", visitor="a")
    theirs = studio.result(pictures[0], "indoor", visitor="b")
    assert mine.key != theirs.key
    assert not theirs.cached
    assert studio.result(pictures[0], "indoor", visitor="a").cached
    secret = studio.cache / "secret"
    assert secret.stat().st_mode & 0o077 == 0
    assert len(secret.read_bytes()) == 32


def test_views_are_galleries_alone_and_tell_no_path(page: Any, studio: Studio, pictures: list[Path]) -> None:
    """Run files, sources and exports cannot be asked for, and what can be tells nothing of this machine's folders."""
    result = studio.result(pictures[0], "indoor", visitor="a")
    client = TestClient(Starlette(routes=[Mount("/views", page._Views(directory=studio.results))]))
    base = f"/views/{result.key}"
    assert client.get(f"{base}/gallery/index.html").status_code == 200
    for path in ("run.json", "state/manifest/manifest.parquet", f"previews/{result.preview.name}", "gallery",
                 "gallery/../run.json", "gallery/%2e%2e/run.json", "../../sources", ""):  # fmt: skip
        assert client.get(f"{base}/{path}").status_code in (404, 405), path
    place = str(studio.cache)
    for file in (result.folder / "gallery").rglob("*.js"):
        text = file.read_text()
        assert place not in text
        assert str(pictures[0].parent) not in text
    row = json.loads(
        re.sub(r"^pagerGallery\([^,]*,|\);\n$", "", (result.folder / "gallery/data/rows-00000.js").read_text())
    )
    assert row["uris"] == [pictures[0].name]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("localhost", 200),
        ("LOCALHOST:7860", 200),
        ("abc.gradio.live", 200),
        ("evil.example", 400),
        ("evil.example:7860", 400),
        ("localhost.evil.example", 400),
        ("gradio.live.evil.example", 400),
        ("xgradio.live", 400),
        ("", 400),
    ],
)
def test_only_its_own_hosts_are_answered(page: Any, host: str, status: int) -> None:
    """Another site's name that leads here finds nothing."""
    hosts = Middleware(page.CheckHost, hosts=["localhost", "*.gradio.live"])
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("page"))], middleware=[hosts])
    assert TestClient(app).get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--share"], "--share: opens the page to everybody; give --auth"),
        (["--share", "--auth", "user"], "--auth: takes USER:PASSWORD"),
        (["--auth", ":hunter2"], "--auth: takes USER:PASSWORD"),
        (["--auth", "user:"], "--auth: takes USER:PASSWORD"),
    ],
)
def test_an_open_page_needs_a_login(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is loaded, and without repeating what may be a password."""
    assert exit_code(["demo", *options]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "hunter2" not in said


def test_errors_are_shown_as_text(page: Any) -> None:
    """What a picture's metadata say is no HTML in the page."""
    import gradio as gr

    with pytest.raises(gr.Error) as caught, page._told(Path("/cache")):
        raise InputError("bad_gpano", "GPano ProjectionType is '<img src=x onerror=alert(1)>'")
    assert "<img" not in str(caught.value.message)
    assert "&lt;img" in str(caught.value.message)


def test_errors_tell_no_path(page: Any, studio: Studio, pictures: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    """Of a result that went between two looks visitors read that it went; where it was, the log tells who serves it."""
    import gradio as gr

    result = studio.result(pictures[0], "indoor", visitor="errors")
    shutil.rmtree(result.folder / "state")
    (result.folder / "run.json").unlink()
    with pytest.raises(gr.Error) as caught, page._told(studio.cache):
        studio.export(result, "npz")
    assert str(studio.cache) not in str(caught.value.message)
    assert "holds no run" in str(caught.value.message)
    assert str(studio.cache) in caplog.text


def test_files_are_given_out_as_copies(page: Any, tmp_path: Path) -> None:
    """Under a path of their own: the cache's is neither told nor asked for."""
    (tmp_path / "a.glb").write_bytes(b"x")
    handed_out = page.HandedOut()
    copy = handed_out.copy(tmp_path / "a.glb")
    assert copy.read_bytes() == b"x"
    assert copy.name == "a.glb"
    assert tmp_path not in copy.parents


def test_copies_go_when_they_are_old(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a demo that runs for months, copies of the last hour and of its examples are there, and none after it."""
    (tmp_path / "depth.exr").write_bytes(b"depth")
    now = [0.0]
    monkeypatch.setattr(page.time, "monotonic", lambda: now[0])
    handed_out = page.HandedOut()
    example = handed_out.copy(tmp_path / "depth.exr", for_good=True)
    copies = []
    for now[0] in (0.0, 3000.0, 6000.0):
        copies.append(handed_out.copy(tmp_path / "depth.exr"))
        assert copies[-1].read_bytes() == b"depth"
    assert [path.exists() for path in (example, *copies)] == [True, False, True, True]
    folder = copies[0].parents[1]
    assert len(list(folder.iterdir())) == 3
    del handed_out
    assert not folder.exists()
