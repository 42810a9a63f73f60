"""Foreign files survive every command, with and without --overwrite, behind links too."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pager_ray.config.schema import ErrorsConfig
from pager_ray.errors import PagerError
from pager_ray.export.formats import ExportSettings
from pager_ray.gallery import build_gallery
from pager_ray.listing import Listed
from pager_ray.pipeline.export import ExportRequest, run_export
from pager_ray.runs import EvaluationLayout, RunLayout
from pager_ray.runs.claim import claim_output
from pager_ray.runs.runfile import COMPLETE, end_start
from pager_ray.samples import write_samples
from pager_ray.storage import Folder
from tests.reader.runs import SmallRun

NAMES = (
    "index.html", "gallery.json", "data/run.js", "data/rows-00000.js", "static/style.css", "thumbs/000/000000.jpg",
    "panoramas/000/000000.js", "export.json", "exported.parquet", "rejects.csv", "state/mine.parquet",
    "a.exr", "a.png", "depth/preds/a.npz", "samples.csv", "samples.json", "0000-living_room.jpg",
    "ground_truth/0000-living_room.npz", "predictions/0123456789ab-00000000-abcdef.parquet", "predictions/mine.parquet",
    "rejects/mine.parquet", "previews/a.jpg", "state/ledger/00000001.parquet", "metrics/report.md",
    "metrics/pictures/distributions.png", "metrics/samples/mine.parquet", "deep/er/notes.txt", "notes.txt",
)  # fmt: skip
"""Every kind of name that some command writes, as files of somebody else."""


def gallery(folder: Path, run: SmallRun, overwrite: bool) -> None:
    build_gallery(str(run.folder), str(folder), workers=1, overwrite=overwrite)


def export(folder: Path, run: SmallRun, overwrite: bool) -> None:
    settings = ExportSettings("depth-png")
    run_export(ExportRequest(str(run.folder), settings, output=str(folder), overwrite=overwrite, local=True))


def samples(folder: Path, run: SmallRun, overwrite: bool) -> None:
    write_samples(folder, 1, height=32)


def _job(layout: RunLayout, identity: dict[str, str], overwrite: bool) -> None:
    """What every job does to its output: claims it, writes, ends."""
    listed = [Listed("/in/a.jpg", "a")]
    config = {"output": {"previews": True}}
    about = {"config": config, "identity": identity, "sections": {}, "errors": ErrorsConfig()}
    claim = claim_output(layout, listed, **about, overwrite=overwrite)  # type: ignore[arg-type]
    with claim.lease:
        end_start(claim.manifest, COMPLETE, "complete", None)
        layout.root.write_json("run.json", claim.manifest)
        layout.previews.write("a.jpg", b"ours")


def run(folder: Path, run: SmallRun, overwrite: bool) -> None:
    _job(RunLayout(Folder(str(folder))), {}, overwrite)


def evaluate(folder: Path, run: SmallRun, overwrite: bool) -> None:
    layout = EvaluationLayout(Folder(str(folder)))
    _job(layout, {"job": "evaluate"}, overwrite)
    layout.clear_pictures()
    (layout.metrics / "pictures").write("1_worst_a.jpg", b"ours")


COMMANDS = [gallery, export, samples, run, evaluate]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    made = SmallRun(tmp_path_factory.mktemp("small") / "run")
    made.write("0123456789ab-00000000-abcdef", made.prediction("a"))
    made.complete()
    return made


def put_foreign(folder: Path, names: tuple[str, ...] = NAMES) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"mine: {name}".encode())


def state_of(folder: Path, ours: set[str] = frozenset()) -> dict[str, str]:  # type: ignore[assignment]
    """Digest of every file below a folder, and target of every link."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = f"-> {os.readlink(path)}"
            elif path.is_file() and key not in ours:
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("names", [NAMES, ("notes.txt",), ("index.html",), ("data/mine.csv",), ("previews/a.jpg",)])
def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, small: SmallRun, command: Callable, overwrite: bool, names: tuple[str, ...]
) -> None:
    """Whatever is in it, the command says so and changes nothing."""
    folder = tmp_path / "theirs"
    put_foreign(folder, names)
    before = state_of(folder)
    with pytest.raises(PagerError) as caught:
        command(folder, small, overwrite)
    assert str(folder) in str(caught.value)
    assert state_of(folder) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_foreign_files_in_our_folder_stay(tmp_path: Path, small: SmallRun, command: Callable, overwrite: bool) -> None:
    """Put beside what a command wrote, they are there when it has written again, or has refused to."""
    folder = tmp_path / "ours"
    command(folder, small, False)
    ours = {*state_of(folder)}
    # What has the form of a writer's own names is a writer's own.
    own_form = re.compile(
        r"ledger/\d{8}|[0-9a-f]{12}-\d{8}" + {evaluate: "|metrics/[rp]", export: "|^rejects"}.get(command, "")
    )
    foreign = tuple(name for name in NAMES if name not in ours and not own_form.search(name))
    put_foreign(folder, foreign)
    mine = {name: digest for name, digest in state_of(folder).items() if name in foreign}
    assert len(mine) == len(foreign) > 15
    try:
        command(folder, small, overwrite)
    except PagerError:
        assert not overwrite or command is gallery
    left = state_of(folder)
    assert {name: left.get(name) for name in mine} == mine


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_changed_behind_a_link(tmp_path: Path, small: SmallRun, command: Callable, overwrite: bool) -> None:
    """A linked sub-folder is neither written through nor emptied, whether it was there first or came later."""
    theirs = tmp_path / "theirs"
    put_foreign(theirs)
    before = state_of(theirs)
    linked = ["data", "static", "thumbs", "panoramas", "state", "predictions", "rejects", "previews", "metrics",
              "ground_truth", "depth"]  # fmt: skip
    for when in ("first", "later"):
        folder = tmp_path / when
        folder.mkdir()
        if when == "later":
            command(folder, small, False)
            for name in linked:
                if (folder / name).is_dir():
                    (folder / name).rename(folder / f".{name}")
        for name in linked:
            (folder / name).symlink_to(theirs / name if (theirs / name).exists() else theirs)
        links = {name: os.readlink(folder / name) for name in linked}
        with suppress(PagerError):  # what writes nothing into any of them may succeed
            command(folder, small, overwrite)
        assert {name: os.readlink(folder / name) for name in linked} == links
        assert state_of(theirs) == before


def test_the_operators_own_link_is_followed(tmp_path: Path, small: SmallRun) -> None:
    """A folder that is named may itself be a link: the operator's word."""
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to(tmp_path / "real")
    gallery(tmp_path / "named", small, False)
    gallery(tmp_path / "named", small, True)
    assert (tmp_path / "real" / "index.html").exists()


def test_a_gallery_that_died_is_begun_again(tmp_path: Path, small: SmallRun) -> None:
    """Its marker stands from the beginning, so what it wrote is known as ours without its page."""
    gallery(tmp_path / "g", small, False)
    (tmp_path / "g" / "index.html").unlink()
    (tmp_path / "g" / "data" / "rows-00000.js").write_text("half")
    gallery(tmp_path / "g", small, False)
    assert (tmp_path / "g" / "data" / "rows-00000.js").read_text() != "half"


@pytest.mark.parametrize("entry", ["../theirs.txt", "/etc/hostname", "a/../../theirs.txt", 7, None, ""])
def test_a_forged_marker_names_nothing_outside(tmp_path: Path, small: SmallRun, entry: object) -> None:
    """What a marker lists is deleted below its folder alone."""
    folder = tmp_path / "g"
    gallery(folder, small, False)
    (tmp_path / "theirs.txt").write_text("mine")
    marker = json.loads((folder / "gallery.json").read_text())
    marker["files"].append(entry)
    (folder / "gallery.json").write_text(json.dumps(marker))
    gallery(folder, small, True)
    assert (tmp_path / "theirs.txt").read_text() == "mine"
