"""A run's output to a gallery's files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pager_ray
from pager_ray import cli
from pager_ray.errors import ConfigError, RunNotFoundError, StorageError
from pager_ray.gallery import build_gallery
from pager_ray.gallery.site import STATIC, STATIC_FILES, Site, base64_of, detail_path, script
from tests.gallery.runs import HOSTILE, rendered_run, strip_panels
from tests.reader.runs import SmallRun


def data_of(root: Path, key: str) -> Any:
    """The value of a data file, read as a script that calls one function with JSON."""
    text = (root / f"{key}.js").read_bytes().decode("ascii")
    match = re.fullmatch(r"pagerGallery\((.*)\);\n", text)
    assert match
    named, value = json.loads(f"[{match[1]}]")
    assert named == key
    return value


def test_every_row_is_listed_and_the_first_have_pages(run: SmallRun, tmp_path: Path) -> None:
    """The list holds all rows; as many as asked for get a page and a card."""
    built = build_gallery(str(run.folder), details=2, workers=1)
    root = run.folder / "gallery"
    assert built.index == str(root / "index.html")
    assert built.lines() == ["5 panoramas, 2 with a page of their own (--details all makes one for each)", built.index]
    rows = data_of(root, "data/rows-00000")
    assert rows["ids"] == ["p0", "p1", "p2", "p3", "p4"]
    assert rows["has"] == [1, 1, 0, 0, 0]
    about = data_of(root, "data/run")
    assert (about["count"], about["details"], about["unit"], about["chunk"]) == (5, 2, "m", 200)
    assert sorted(path.name for path in (root / "panoramas").rglob("*.js")) == ["000000.js", "000001.js"]
    assert strip_panels((root / "thumbs" / f"{detail_path(0)}.jpg").read_bytes()).shape == (4, 144, 288, 3)
    assert (root / "index.html").read_bytes() == (STATIC / "index.html").read_bytes()
    assert all((root / name).stat().st_size for name in STATIC_FILES)


def test_a_row_that_cannot_be_read_costs_its_own_page_alone(tmp_path: Path) -> None:
    """A broken map is named, in the list and to the person, and the others have pages."""
    run = SmallRun(tmp_path / "run")
    broken = run.prediction("broken", depth=b"no depth")
    run.write("aaaaaaaaaaaa-00000000-000000", run.prediction("fine"), broken)
    run.complete()
    built = build_gallery(str(run.folder), workers=1)
    assert built.details == 1
    assert [id for id, _ in built.problems] == ["broken"]
    assert any(line.startswith("no page for broken: ") for line in built.lines())
    rows = data_of(run.folder / "gallery", "data/rows-00000")
    assert (rows["ids"], rows["has"]) == (["broken", "fine"], [0, 1])
    assert "depth" in rows["problems"]["0"]


def test_no_place_is_told_where_none_is_wanted(tmp_path: Path) -> None:
    """Of a row that cannot be read and of a reject neither: reasons name files. Whoever builds it is told them."""
    run = SmallRun(tmp_path / "run")
    broken = run.prediction("broken", depth=b"no depth")
    run.write("aaaaaaaaaaaa-00000000-000000", run.prediction("fine"), broken)
    run.write("aaaaaaaaaaaa-00000001-000000", run.reject("lost") | {"message": f"{tmp_path}/lost.jpg: is not there"})
    run.complete()
    built = build_gallery(str(run.folder), workers=1, places=False)
    assert [str(tmp_path) in problem for _, problem in built.problems] == [True]
    told = "".join(path.read_text() for path in (run.folder / "gallery").rglob("*.js"))
    assert str(tmp_path) not in told
    assert data_of(run.folder / "gallery", "data/rows-00000")["problems"] == {"0": "Its result cannot be read."}


def test_a_standing_gallery_is_replaced_only_when_told(run: SmallRun, tmp_path: Path) -> None:
    """Without --overwrite nothing is touched; with it, files of the gallery go and others stay."""
    build_gallery(str(run.folder), details=5, workers=1)
    root = run.folder / "gallery"
    (root / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite"):
        build_gallery(str(run.folder), workers=1)
    assert (root / "panoramas" / "000" / "000004.js").exists()
    build_gallery(str(run.folder), details=1, overwrite=True, workers=1)
    assert not (root / "panoramas" / "000" / "000004.js").exists()
    assert (root / "notes.txt").read_text() == "mine"


def test_a_gallery_of_a_deleted_run_shows_nothing(run: SmallRun) -> None:
    """When a run is cleared its gallery's page goes, so that it does not show what is no more; others' files stay."""
    build_gallery(str(run.folder), details=1, workers=1)
    root = run.folder / "gallery"
    (root / "notes.txt").write_text("mine")
    run.layout.clear()
    assert not (root / "index.html").exists()
    assert (root / "notes.txt").read_text() == "mine"


def test_no_id_escapes_its_data_file(tmp_path: Path) -> None:
    """Ids that look like markup, scripts or paths come back as they are, from ASCII files without a tag in them."""
    names = [HOSTILE, "../../outside", "a/b", "ü\U0001f600", "x" * 300]
    run = rendered_run(tmp_path, names, 64, previews=True)
    build_gallery(str(run.folder), workers=1)
    root = run.folder / "gallery"
    rows = data_of(root, "data/rows-00000")
    assert rows["ids"] == sorted(names, key=str.encode)
    for path in root.rglob("*.js"):
        if path.parent.name != "static":
            text = path.read_bytes().decode("ascii")
            assert not set("<>&\n") & set(text[:-1]), path
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"run"}
    assert all(link.startswith("../previews/") and "/" not in link[12:] for link in rows["previews"])


def test_scripts_hold_what_json_holds() -> None:
    """A data file is one call; line separators, tags and quotes are escaped."""
    value = {"text": '</script>\u2028\u2029"\\', "number": None}
    content = script("data/x", value)
    assert content.startswith(b'pagerGallery("data/x",')
    assert json.loads(content[len(b'pagerGallery("data/x",') : -3]) == value
    assert b"<" not in content
    with pytest.raises(ValueError, match="JSON"):
        script("data/x", {"number": float("nan")})


def test_columns_are_little_endian() -> None:
    """Browsers read the machine's order, which is little-endian wherever they run."""
    assert base64_of(np.array([1.0], ">f4")) == base64_of(np.array([1.0], "<f4")) == "AACAPw=="


def test_relative_depth_is_said(tmp_path: Path) -> None:
    """A run without scale promises no metres, neither in the list nor on a page."""
    run = SmallRun(tmp_path / "run", modalities=("depth",))
    run.write("aaaaaaaaaaaa-00000000-000000", run.prediction("a", log_scale=None))
    run.complete()
    build_gallery(str(run.folder), workers=1)
    about = data_of(run.folder / "gallery", "data/run")
    assert about["unit"] == "relative"
    assert any("relative" in fact for fact in about["facts"])
    assert data_of(run.folder / "gallery", "panoramas/000/000000")["metric"] is False


def test_an_empty_run_has_an_empty_gallery(tmp_path: Path) -> None:
    """A run that has only begun gives a page that lists nothing."""
    run = SmallRun(tmp_path / "run")
    assert build_gallery(str(run.folder)).count == 0
    assert data_of(run.folder / "gallery", "data/run")["count"] == 0


def test_stored_faces_are_stitched(tmp_path: Path) -> None:
    """A run that keeps cube faces is shown as ERP, as its reader gives it."""
    run = SmallRun(tmp_path / "run", projection="cubemap")
    run.write("aaaaaaaaaaaa-00000000-000000", run.prediction("a"))
    run.complete()
    build_gallery(str(run.folder), workers=1)
    page = data_of(run.folder / "gallery", "panoramas/000/000000")
    depth = pager_ray.open_run(str(run.folder))["a"].depth
    assert depth is not None
    assert (page["height"], page["width"]) == depth.shape
    assert page["depth"]["near"] == float(depth.min())


def test_objects_of_a_store_have_their_content_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a store keeps content types a page is text/html: without, a browser would download it."""
    import fsspec

    filesystem = fsspec.filesystem("memory")
    monkeypatch.setattr(type(filesystem), "protocol", ("s3", "s3a"))
    sent = {}
    monkeypatch.setattr(filesystem, "pipe_file", lambda path, data, **options: sent.update({path: options}))
    Site("memory://bucket/gallery").write_page()
    types = {path.rsplit("/", 1)[1]: options["ContentType"] for path, options in sent.items()}
    assert types["index.html"] == "text/html"
    assert types["viewer.js"] in ("text/javascript", "application/javascript")
    assert types["style.css"] == "text/css"
    assert list(sent)[-1].endswith("index.html")


def test_a_store_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails says where and what to do."""
    import fsspec

    filesystem = fsspec.filesystem("memory")
    monkeypatch.setattr(type(filesystem), "protocol", ("gs", "gcs"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("forbidden")

    monkeypatch.setattr(filesystem, "pipe_file", refuse)
    with pytest.raises(StorageError, match=r"gallery/a\.js: cannot be written \(forbidden\); check its store"):
        Site("memory://bucket/gallery").write_data("a", 1)


def test_the_command_tells_what_to_open(run: SmallRun, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of `pager-ray gallery` is the page."""
    assert cli.exit_code(["gallery", str(run.folder), "--details", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(run.folder / "gallery" / "index.html")


@pytest.mark.parametrize("details", ["some", "-1", "1.5"])
def test_wrong_details_are_wrong_usage(run: SmallRun, details: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--details takes a number or all."""
    assert cli.exit_code(["gallery", str(run.folder), f"--details={details}"]) == 2
    assert "--details: got" in capsys.readouterr().err


def test_where_no_run_is_nothing_is_written(tmp_path: Path) -> None:
    """A folder without a run is refused before anything is made."""
    with pytest.raises(RunNotFoundError):
        build_gallery(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_sources_that_are_not_read_are_told(tmp_path: Path) -> None:
    """With why, where they were asked for; nothing is said of those that are, nor where none was asked for."""
    Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
    run = SmallRun(tmp_path / "run")
    named = {"a": f"{tmp_path}/a.png", "b": f"{tmp_path}/gone.png", "c": "/elsewhere/c.png"}
    run.write("aaaaaaaaaaaa-00000000-000000", *(run.prediction(id, uri=uri) for id, uri in named.items()))
    run.complete()
    told = {}
    for images_from in (None, str(tmp_path), str(tmp_path / "pics")):
        built = build_gallery(str(run.folder), workers=1, images_from=images_from, overwrite=True)
        told[images_from] = built.lines()[1:-1]
    assert told[None] == []
    assert sorted(told[str(tmp_path)]) == [
        "1 of 3 without their source picture: it cannot be read any more",
        f"1 of 3 without their source picture: it does not lie below {tmp_path}",
    ]
    assert told[str(tmp_path / "pics")] == [
        f"3 of 3 without their source picture: it does not lie below {tmp_path}/pics"
    ]
