"""Pictures become files without a run: the same files as by a run's export, each once, whatever ends a start."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pager_ray import convert
from pager_ray.cli import exit_code
from pager_ray.config import RunConfig
from pager_ray.errors import ConfigError, RunMismatchError, StorageError
from pager_ray.export.formats import ExportSettings
from pager_ray.here import run_here
from pager_ray.infer import Predictor
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.pipeline.export import ExportRequest, run_export
from pager_ray.report.outcomes import ConvertOutcome
from pager_ray.samples import write_samples
from pager_ray.stages.settings import inference_settings
from pager_ray.storage import Folder
from tests.read.images import cropped, encode, gpano_xmp, picture, with_xmp
from tests.read.packed import write_tar
from tests.test_here import config_of

pytestmark = pytest.mark.usefixtures("networks_once")

NAMES = ("depth-png", "mesh", "splats", "npz")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two panoramas and a text that is called one, beside a tiny checkpoint."""
    folder = tmp_path_factory.mktemp("convert")
    write_samples(folder / "in", 2, height=64, ground_truth=False)
    (folder / "in" / "letter.jpg").write_text("Dear Sir or Madam")
    write_random_checkpoint(folder / "checkpoint", "tiny")
    return folder


def converted(inputs: Path, output: Path, names: tuple[str, ...] = NAMES, **more: str) -> ConvertOutcome:
    settings = [ExportSettings(name, max_triangles=500) for name in names]
    return convert.run_convert(config_of(inputs, output, **more), settings, device="cpu")


def files_of(folder: Path) -> dict[str, bytes]:
    """Whatever was made, without the records."""
    records = {"export.json", "exported.parquet", "rejects.csv"}
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in records]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_files_are_those_of_a_runs_export(inputs: Path, tmp_path: Path) -> None:
    """To the byte, where the run stores exactly; and nothing else stays."""
    outcome = converted(inputs, tmp_path / "out")
    assert outcome.exit_code == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(NAMES)
    config = config_of(inputs, tmp_path / "run", **{"output.codec": "exact"})
    predictor = Predictor(load_model(config.checkpoint), inference_settings(config))
    run_here(config, resolve_checkpoint(config.checkpoint), predictor)
    for name in NAMES:
        settings = ExportSettings(name, images_from=str(inputs / "in"), max_triangles=500)
        run_export(ExportRequest(str(tmp_path / "run"), settings, local=True))
        made, expected = files_of(tmp_path / "out" / name), files_of(tmp_path / "run" / "exports" / name)
        assert made.keys() == expected.keys()
        assert len(made) >= 2
        if name != "npz":
            assert made == expected
    for path in (tmp_path / "out" / "npz").rglob("*.npz"):
        twin = tmp_path / "run" / "exports" / "npz" / path.relative_to(tmp_path / "out" / "npz")
        with np.load(path) as one, np.load(twin) as other:
            np.testing.assert_array_equal(one["arr_0"], other["arr_0"])


def test_what_is_no_panorama_is_a_reject_of_every_format(inputs: Path, tmp_path: Path) -> None:
    """With its class and message; the others are converted."""
    outcome = converted(inputs, tmp_path / "out", ("depth-png", "sky-png"))
    for name in ("depth-png", "sky-png"):
        with open(tmp_path / "out" / name / "rejects.csv", newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        assert (row["id"], row["error_class"]) == ("letter", "not_an_image")
        assert "letter.jpg" in row["message"]
        done = pq.read_table(tmp_path / "out" / name / "exported.parquet").to_pylist()
        assert [Path(row["uri"]).stem for row in done] == [row["id"] for row in done]
    assert outcome.lines()[0].startswith("2 of 3 panoramas converted in")


def test_the_same_command_goes_on(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that dies between two files leaves the first ones; what is done is neither predicted nor made again."""
    write = Folder.write
    puts: list[str] = []

    def die(folder: Folder, name: str, data: bytes) -> None:
        if name.endswith(".png") and puts:
            raise StorageError("the disk is full; make room")
        if name.endswith(".png"):
            puts.append(name)
        write(folder, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", die)
        with pytest.raises(StorageError, match="disk is full"):
            converted(inputs, tmp_path / "out", ("depth-png",))
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert len(first) == 1
    predicted: list[str] = []
    predict = convert.Converter.predict
    monkeypatch.setattr(
        convert.Converter, "predict", lambda self, row: (predicted.append(row["id"]), predict(self, row))[1]
    )
    assert converted(inputs, tmp_path / "out", ("depth-png",)).formats["depth-png"].exported == 2
    assert len(predicted) == 2
    assert all(path.stat().st_mtime_ns == before for path, before in first.items())
    predicted.clear()
    # A format more needs all again, and a reject is tried again; the other format's files are left alone.
    outcome = converted(inputs, tmp_path / "out", ("depth-png", "sky-png"))
    assert len(predicted) == 3
    assert outcome.formats["depth-png"].fresh == 0
    assert outcome.formats["sky-png"].fresh == 2


def test_other_settings_are_refused(inputs: Path, tmp_path: Path) -> None:
    """What decides the files must be the same: the key that differs is named."""
    converted(inputs, tmp_path / "out", ("depth-png",))
    with pytest.raises(RunMismatchError, match=r"sky\.threshold"):
        converted(inputs, tmp_path / "out", ("depth-png",), **{"sky.threshold": "0.7"})


def test_members_of_an_archive_are_inputs(inputs: Path, tmp_path: Path) -> None:
    """As for a job: each picture of a tar by itself."""
    pictures = {path.name: path.read_bytes() for path in sorted((inputs / "in").glob("0*.jpg"))}
    write_tar(tmp_path / "in.tar", [*pictures.items()])
    outcome = converted(inputs, tmp_path / "out", ("mesh",), **{"input.uris": str(tmp_path / "in.tar")})
    assert outcome.exit_code == 0
    assert len(files_of(tmp_path / "out" / "mesh")) == 2


def test_projects_and_impossible_formats_are_refused(inputs: Path, tmp_path: Path) -> None:
    """Before anything is written."""
    for name, told in (("colmap", r"puts panoramas together"), ("obj", r"--to: got 'obj'; takes glb")):
        with pytest.raises(ConfigError, match=told):
            converted(inputs, tmp_path / "out", (name,))
    assert not (tmp_path / "out").exists()


def test_what_is_refused_is_not_offered(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No message names a project's format among what ``--to`` takes, and one is refused before weights are sought."""
    monkeypatch.setattr(convert, "resolve_checkpoint", lambda *_, **__: pytest.fail("a checkpoint was sought"))
    for given, told in (("obj", "--to: got 'obj'; takes glb"), (",", "--to: got nothing; takes glb")):
        assert exit_code(["convert", str(inputs / "in"), str(tmp_path / "out"), "--to", given]) == 2
        message = capsys.readouterr().err
        assert told in message
        assert "colmap" not in message
    assert exit_code(["convert", str(inputs / "in"), str(tmp_path / "out"), "--to", "colmap"]) == 2
    assert "--to colmap: puts panoramas together" in capsys.readouterr().err


def test_the_command_line(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Places, then keys; several formats in one option; suffixes of depth are formats too."""
    asked: list[tuple[RunConfig, list[ExportSettings], dict[str, Any]]] = []

    def note(config: RunConfig, formats: list[ExportSettings], **more: Any) -> ConvertOutcome:
        asked.append((config, formats, more))
        return ConvertOutcome("/out", {}, 1.0)

    monkeypatch.setattr(convert, "run_convert", note)
    monkeypatch.setattr(ConvertOutcome, "exit_code", 0)
    monkeypatch.setattr(ConvertOutcome, "lines", lambda self: ["done"])
    words = ["a.jpg", "b", "https://host/c.jpg?width=1", "OUT", "sky.threshold=0.5", "checkpoint=pager"]
    assert exit_code(["convert", "--to", "glb,exr", "--to", "laz", "--axes", "z-up", "--max-points", "10", *words]) == 0
    ((config, formats, more),) = asked
    assert config.input.uris == ["a.jpg", "b", "https://host/c.jpg?width=1"]
    assert (config.output.uri, config.sky.threshold, config.checkpoint) == ("OUT", 0.5, "pager")
    assert [(one.format, one.axes, one.cleaning.max_points) for one in formats] == [
        ("glb", "z-up", 10),
        ("depth-exr", None, 10),
        ("laz", "z-up", 10),
    ]
    assert more == {"device": "auto", "overwrite": False}
    assert exit_code(["convert", "--to", "glb", "a.jpg", "OUT"]) == 0
    assert asked[1][0].checkpoint == "embedded"
    assert exit_code(["convert", "--to", "glb", "a.jpg"]) == 2
    assert "takes what to convert, then the folder for the files" in capsys.readouterr().err


def test_it_loads_no_ray() -> None:
    """Nor does the command: a machine without it is enough."""
    code = "import sys, pager_ray.convert, pager_ray.cli.convert\nassert 'ray' not in sys.modules"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr


def test_tilted_panoramas_are_levelled_as_in_a_run(inputs: Path, tmp_path: Path) -> None:
    """By their rows: the same points as by a run that stores levelled faces, other ones than without."""
    pictures = sorted(path for path in (inputs / "in").glob("*.jpg") if path.name != "letter.jpg")
    lines = [f"{path},tilted-{number},{20 + number},-10" for number, path in enumerate(pictures)]
    (tmp_path / "list.csv").write_text("\n".join(["uri,id,pitch_degrees,roll_degrees", *lines]))
    listing = {"input.uris": str(tmp_path / "list.csv")}
    converted(inputs, tmp_path / "out", ("npz",), **listing, **{"input.upright": "columns"})
    converted(inputs, tmp_path / "off", ("npz",), **listing)
    more = {"input.upright": "columns", "output.projection": "cubemap", "output.codec": "exact"}
    config = config_of(inputs, tmp_path / "run", **listing, **more)
    predictor = Predictor(load_model(config.checkpoint), inference_settings(config))
    run_here(config, resolve_checkpoint(config.checkpoint), predictor)
    run_export(ExportRequest(str(tmp_path / "run"), ExportSettings("npz"), local=True))
    paths = sorted((tmp_path / "out" / "npz").rglob("*.npz"))
    assert len(paths) >= 2 * len(pictures)
    for path in paths:
        inside = path.relative_to(tmp_path / "out" / "npz")
        with np.load(path) as one, np.load(tmp_path / "run" / "exports" / "npz" / inside) as other:
            np.testing.assert_allclose(one["arr_0"], other["arr_0"], rtol=1e-4, atol=1e-4)
        with np.load(path) as one, np.load(tmp_path / "off" / "npz" / inside) as other:
            assert not np.allclose(one["arr_0"], other["arr_0"], rtol=1e-2, atol=1e-2)


def test_masks_and_caps_count(inputs: Path, tmp_path: Path) -> None:
    """What a picture does not show, and what a mask and a cap take away, is in no file, as in those of a run."""
    (tmp_path / "in").mkdir()
    xmp = gpano_xmp(**cropped(20, 10, 100, 50, 128, 64))
    (tmp_path / "in" / "a.png").write_bytes(with_xmp(picture(100, 50), "PNG", xmp))
    mask = np.full((50, 100), 255, np.uint8)
    mask[20:30, 40:60] = 0
    (tmp_path / "mask.png").write_bytes(encode(mask))
    more = {"input.uris": f"{tmp_path}/in", "input.mask.uris": f"{tmp_path}/mask.png", "input.mask.nadir_degrees": "45"}
    names = ("depth-png", "mesh")
    assert converted(inputs, tmp_path / "out", names, **more).exit_code == 0
    config = config_of(inputs, tmp_path / "run", **more, **{"output.codec": "exact"})
    predictor = Predictor(load_model(config.checkpoint), inference_settings(config))
    run_here(config, resolve_checkpoint(config.checkpoint), predictor)
    for name in names:
        settings = ExportSettings(name, images_from=str(tmp_path / "in"), max_triangles=500)
        run_export(ExportRequest(str(tmp_path / "run"), settings, local=True))
        assert files_of(tmp_path / "out" / name) == files_of(tmp_path / "run" / "exports" / name)
    with Image.open(tmp_path / "out" / "depth-png" / "a.png") as shown:
        depth = np.asarray(shown)
    assert depth.shape == (50, 100)
    # A quarter of 180 degrees: rows from 48 on, less the ten above the crop.
    np.testing.assert_array_equal(depth > 0, (mask > 0) & (np.arange(50) < 38)[:, None])


def one_picture(folder: Path, seed: int, name: str = "x.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(encode(np.random.default_rng(seed).integers(0, 255, (64, 128, 3), np.uint8)))
    return folder / name


def test_other_pictures_masks_and_poses_are_refused(inputs: Path, tmp_path: Path) -> None:
    """What stands was made of them: never taken for what is asked for now. Overwritten it is."""
    first, other = one_picture(tmp_path / "a", 1), one_picture(tmp_path / "b", 2)
    mask = np.full((64, 128), 255, np.uint8)
    mask[:, :64] = 0
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "x.png").write_bytes(encode(mask))
    of_first, masked = {"input.uris": str(first)}, {"input.mask.uris": f"{tmp_path}/masks"}
    converted(inputs, tmp_path / "out", ("depth-png",), **of_first)
    assert converted(inputs, tmp_path / "out", ("depth-png",), **of_first).formats["depth-png"].fresh == 0
    before = files_of(tmp_path / "out")
    with pytest.raises(RunMismatchError, match=rf"depth-png: x was made of {first}, and it is {other} now; .*--overw"):
        converted(inputs, tmp_path / "out", ("depth-png",), **{"input.uris": str(other)})
    with pytest.raises(RunMismatchError, match=r"x was made with another mask, pitch, roll or scene"):
        converted(inputs, tmp_path / "out", ("sky-png", "depth-png"), **of_first, **masked)
    assert files_of(tmp_path / "out") == before
    settings, config = [ExportSettings("depth-png")], config_of(inputs, tmp_path / "out", **of_first, **masked)
    convert.run_convert(config, settings, device="cpu", overwrite=True)
    assert files_of(tmp_path / "out") != before
    for pitch, refused in (("10", False), ("20", True)):
        (tmp_path / "list.csv").write_text(f"uri,pitch_degrees\n{first},{pitch}\n")
        levelled = {"input.uris": f"{tmp_path}/list.csv", "input.upright": "columns"}
        if refused:
            with pytest.raises(RunMismatchError, match="another mask, pitch, roll or scene"):
                converted(inputs, tmp_path / "levelled", ("depth-png",), **levelled)
        else:
            converted(inputs, tmp_path / "levelled", ("depth-png",), **levelled)


def test_files_of_earlier_versions_go_on(inputs: Path, tmp_path: Path) -> None:
    """Their records do not tell of masks; the picture's address is compared all the same."""
    first, other = one_picture(tmp_path / "a", 1), one_picture(tmp_path / "b", 2)
    converted(inputs, tmp_path / "out", ("depth-png",), **{"input.uris": str(first)})
    done = tmp_path / "out" / "depth-png" / "exported.parquet"
    pq.write_table(pq.read_table(done).drop_columns("listed"), done)
    again = converted(inputs, tmp_path / "out", ("depth-png",), **{"input.uris": str(first)})
    assert (again.formats["depth-png"].exported, again.formats["depth-png"].fresh) == (1, 0)
    with pytest.raises(RunMismatchError, match="x was made of"):
        converted(inputs, tmp_path / "out", ("depth-png",), **{"input.uris": str(other)})


def test_files_may_lie_among_the_pictures(inputs: Path, tmp_path: Path) -> None:
    """Beside them, or in a folder below: what one start made is no input of the next, whatever format it asks for."""
    for output in (tmp_path / "beside", tmp_path / "around" / "out"):
        pictures = tmp_path / output.relative_to(tmp_path).parts[0]
        one_picture(pictures, 1)
        for names in (("depth-png", "faces"), ("sky-png",), ("depth-png", "faces")):
            outcome = converted(inputs, output, names, **{"input.uris": str(pictures)})
            assert [one.selected for one in outcome.formats.values()] == [1] * len(names)


def test_places_that_cannot_be_used_are_told(inputs: Path, tmp_path: Path) -> None:
    """A picture where the folder should be, and what takes a run: before anything is written."""
    picture = one_picture(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"x\.png is a file; the last place is the folder"):
        converted(inputs, picture, ("depth-png",))
    with pytest.raises(ConfigError, match=r"scale\.sequence: got robust, which takes the panoramas of a run"):
        converted(inputs, tmp_path / "out", ("depth-png",), **{"scale.sequence": "robust"})
    assert not (tmp_path / "out").exists()


def test_files_among_the_pictures_are_no_inputs(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same command again, by whatever name of the folder that both lie in."""
    shutil.copytree(inputs / "in", tmp_path / "photos")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    for output in ("../photos", ".", "../link"):
        outcome = converted(inputs, Path(output), ("depth-png",), **{"input.uris": "."}).formats["depth-png"]
        assert (outcome.selected, outcome.exported) == (3, 2)


def replaced(source: str, tmp_path: Path, seed: int) -> str:
    """Put another picture where the one before lay; gives what names it as a source."""
    picture = one_picture(tmp_path / "in", seed)
    if source == "zip":
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            archive.write(picture, "x.png")
    (tmp_path / "list.csv").write_text(f"uri\n{picture}\n")
    places = {"folder": "in", "file": "in/x.png", "listing": "list.csv", "zip": "in.zip"}
    return f"{tmp_path}/{places[source]}"


@pytest.mark.parametrize("source", ["folder", "file", "listing", "zip"])
def test_a_picture_that_was_replaced_is_another_one(
    inputs: Path, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are not taken for those of the new one, and made anew with --overwrite; a copy is the same one."""
    of = {"input.uris": replaced(source, tmp_path, 1)}
    converted(inputs, tmp_path / "out", ("depth-png",), **of)
    before = files_of(tmp_path / "out")
    # The same bytes at another time: read again, and nothing to do.
    replaced(source, tmp_path, 1)
    os.utime(tmp_path / "in" / "x.png", ns=(1, 1))
    assert converted(inputs, tmp_path / "out", ("depth-png",), **of).formats["depth-png"].fresh == 0
    replaced(source, tmp_path, 2)
    with pytest.raises(RunMismatchError, match=r"depth-png: (in/)?x was made before .*x\.png.* was replaced; "):
        converted(inputs, tmp_path / "out", ("depth-png",), **of)
    assert files_of(tmp_path / "out") == before
    settings, config = [ExportSettings("depth-png", max_triangles=500)], config_of(inputs, tmp_path / "out", **of)
    convert.run_convert(config, settings, device="cpu", overwrite=True)
    assert files_of(tmp_path / "out") != before
    # Where nothing changed nothing is read.
    monkeypatch.setattr("pager_ray.stages.replaced.fetch_row", None)
    assert converted(inputs, tmp_path / "out", ("depth-png",), **of).formats["depth-png"].fresh == 0


def test_a_mask_that_was_replaced_is_another_one(inputs: Path, tmp_path: Path) -> None:
    """As a picture is, whether it is that of one or of all."""
    of = {"input.uris": f"{one_picture(tmp_path / 'in', 1)}", "input.mask.uris": f"{tmp_path}/mask.png"}
    for number, white in enumerate((100, 64)):
        mask = np.zeros((64, 128), np.uint8)
        mask[:, :white] = 255
        (tmp_path / "mask.png").write_bytes(encode(mask))
        if number:
            with pytest.raises(RunMismatchError, match=r"x was made before .* was replaced or its mask was; "):
                converted(inputs, tmp_path / "out", ("depth-png",), **of)
        for _ in range(2 * (1 - number)):
            converted(inputs, tmp_path / "out", ("depth-png",), **of)


def test_what_a_picture_was_is_not_known_of_earlier_versions_files(inputs: Path, tmp_path: Path) -> None:
    """They are not refused for it."""
    of = {"input.uris": replaced("folder", tmp_path, 1)}
    converted(inputs, tmp_path / "out", ("depth-png",), **of)
    done = tmp_path / "out" / "depth-png" / "exported.parquet"
    pq.write_table(pq.read_table(done).drop_columns("source"), done)
    replaced("folder", tmp_path, 2)
    assert converted(inputs, tmp_path / "out", ("depth-png",), **of).formats["depth-png"].fresh == 0
