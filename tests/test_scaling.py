"""A run's sequences have consistent scales beside its predictions: made of what stands, read where there are any."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import pager_ray
from pager_ray import scaling
from pager_ray.cli.entry import cli
from pager_ray.config import RunConfig
from pager_ray.consistency import jitter
from pager_ray.errors import ConfigError, RunMismatchError, StorageError
from pager_ray.geometry import erp_to_cubemap
from pager_ray.here import run_here
from pager_ray.infer import FacePrediction
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.publish import hub
from pager_ray.reader import Run
from pager_ray.reader.verify import verify_output
from pager_ray.runs.scales import SEQUENCE_SCALE
from pager_ray.scaling import PART, Compared, remove_scales, settle_scales
from pager_ray.storage import Folder
from pager_ray.validity import Validity
from tests.reader.runs import HEIGHT, WIDTH, SmallRun
from tests.test_videos import config_of
from tests.walk import FRAMES, Walk, walk

pytestmark = pytest.mark.usefixtures("networks_once")

NOISE = 0.06
QUALITY = ("sky_fraction", "depth_p01", "depth_p05", "depth_p50", "depth_p95", "depth_p99")


class Oracle:
    """Stands in for a network that is right about everything but the scale, of which each frame has its own."""

    def __init__(self, checkpoint: Path, one: Walk, errors: np.ndarray, level: float = 0.0) -> None:
        architecture = load_model(str(checkpoint)).architecture
        self._size, self._fov = architecture.face_size, architecture.cube_fov
        self._one, self._errors, self._level = one, errors, level
        self._known = [erp_to_cubemap(picture, self._size, self._fov) for picture in one.pictures]

    def __call__(self, faces: np.ndarray, scenes: Sequence[str | None], valid: object = None) -> list[FacePrediction]:
        return [self._predict(six) for six in faces]

    def _predict(self, faces: np.ndarray) -> FacePrediction:
        # Whichever picture it is, also behind a codec.
        number = int(np.argmin([np.abs(faces.astype(np.int16) - known).mean() for known in self._known]))
        depth = self._one.panoramas[number].depth[..., None]
        scale = self._level + self._errors[number]
        scaled = np.asarray(erp_to_cubemap(depth, self._size, self._fov), np.float32)[..., 0] * np.float32(
            np.exp(scale)
        )
        quality = dict.fromkeys(QUALITY, 1.0)
        return FacePrediction(scaled, None, None, "indoor", None, float(scale), quality, True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_random_checkpoint(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def errors() -> np.ndarray:
    """Of sixty frames: noise, and two that are far off."""
    found = np.random.default_rng(11).normal(0, NOISE, FRAMES)
    found[[20, 41]] += 0.5
    return found - found.mean()


def run(config: RunConfig, oracle: Oracle) -> Run:
    result = run_here(config, resolve_checkpoint(config.checkpoint), oracle)
    assert result.predictions == result.inputs
    return pager_ray.open_run(config.output.uri)


def off_by(found: Run, one: Walk) -> np.ndarray:
    """By how much each frame's depth is too large, as a logarithm."""
    ids = sorted(found.ids())
    return np.array([np.log(np.median(found[id].depth / one.panoramas[number].depth)) for number, id in enumerate(ids)])


@pytest.mark.parametrize("kind", ["folder", "v2"])
def test_depth_jitters_five_times_less(kind: str, checkpoint: Path, errors: np.ndarray, tmp_path: Path) -> None:
    """Over exact depth of a rendered walk, from a folder and from a video, with a bias below 2 %."""
    one = walk()
    source = (
        one.write_folder(tmp_path / "in") if kind == "folder" else one.write_video(tmp_path / "in" / "walk.mp4", kind)
    )
    more = {"input.video.every": 1, "output.size": "64x128", "output.projection": "erp"}
    found = run(
        config_of(source, tmp_path / "out", checkpoint, **more, **{"scale.sequence": "robust"}),
        Oracle(checkpoint, one, errors),
    )
    raw = pager_ray.open_run(tmp_path / "out", scale="raw")
    stretches = np.zeros(FRAMES, np.int64)
    before, after = off_by(raw, one), off_by(found, one)
    assert before == pytest.approx(errors, abs=0.01)
    assert jitter(after, stretches) < jitter(before, stretches) / 5
    assert np.abs(np.expm1(np.mean(after))) < 0.02
    assert np.expm1(np.abs(after)).max() < 0.06
    # Both are stored, and depth is what its own column says.
    table = found.table(["id", "log_scale", SEQUENCE_SCALE]).sort_by("id").to_pydict()
    assert table["log_scale"] == pytest.approx(errors, abs=1e-5)
    assert table[SEQUENCE_SCALE] == pytest.approx(after, abs=0.01)
    prediction = found[table["id"][20]]
    assert prediction.log_scale == table[SEQUENCE_SCALE][20]
    assert prediction.log_scale_raw == table["log_scale"][20]
    assert prediction.si_depth == pytest.approx(raw[table["id"][20]].si_depth, rel=1e-5)
    assert not verify_output(str(tmp_path / "out")).problems


@pytest.fixture(scope="module")
def two(checkpoint: Path, errors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two walks, whose scales are 1 and 4, and a picture of none; without scales of sequences."""
    folder = tmp_path_factory.mktemp("two")
    listing = walk().write_folder(folder / "in")
    lines = listing.read_text().splitlines()
    moved = [line.replace(",walk,", ",other,") if number > 30 else line for number, line in enumerate(lines)]
    moved[30] = moved[30].rsplit(",", 2)[0] + ",,"
    listing.write_text("\n".join(moved) + "\n")
    level = np.where(np.arange(FRAMES) < 30, 0.0, np.log(4))
    more = {"output.size": "64x128"}
    run(config_of(listing, folder / "out", checkpoint, **more), Oracle(checkpoint, walk(), errors + level))
    return folder / "out"


def test_sequences_know_nothing_of_each_other(two: Path, errors: np.ndarray) -> None:
    """A jump from one to the next stays, to its full height; what is of no sequence keeps its scale."""
    report = settle_scales(two)
    assert (report.sequences, report.frames, report.left) == (2, FRAMES - 1, 1)
    assert report.jitter_after < report.jitter_before / 5
    table = pager_ray.open_run(two).table(["id", "log_scale", SEQUENCE_SCALE]).sort_by("id").to_pydict()
    scale = table[SEQUENCE_SCALE]
    assert scale[29] is None
    assert np.abs(scale[:29]).max() < 0.15
    assert np.abs(np.array(scale[30:]) - np.log(4)).max() < 0.15
    stretches = pq.read_table(two / "scales" / "sequences.parquet", columns=["stretch"]).column(0)
    assert {*stretches.to_pylist()} == {0}


def test_it_is_made_again_the_same(two: Path) -> None:
    """To the last bit, over a half-written one too; and without it each frame has its own scale."""
    settle_scales(two)
    file = two / "scales" / "sequences.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match="`pager-ray scale`"):
        pager_ray.open_run(two)
    assert len(pager_ray.open_run(two, scale="raw")) == FRAMES
    settle_scales(two)
    assert file.read_bytes() == whole
    remove_scales(two)
    found = pager_ray.open_run(two)
    assert SEQUENCE_SCALE not in found.table().column_names
    id = found.ids()[0]
    assert found[id].log_scale == found[id].log_scale_raw
    remove_scales(two)


def test_a_frame_that_was_done_again_has_its_own_scale(two: Path) -> None:
    """Until the scales are made again: those of another prediction say nothing of it."""
    settle_scales(two)
    file = two / "scales" / "sequences.parquet"
    table = pq.read_table(file)
    other = table.column("log_scale").to_pylist()
    other[0] += 0.25
    place = table.schema.get_field_index("log_scale")
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(other, pa.float32())), file)
    found = pager_ray.open_run(two)
    id = table.column("id")[0].as_py()
    assert found[id].log_scale == found[id].log_scale_raw
    assert found.table([SEQUENCE_SCALE]).column(0).null_count == 2


def test_the_command_says_what_became_of_it(two: Path, tmp_path: Path) -> None:
    """Jitter before and after, what was left, and as JSON; and it is undone by one option."""
    result = CliRunner().invoke(cli, ["scale", str(two), "--json", str(tmp_path / "x.json")])
    assert result.exit_code == 0, result.output
    assert "in 2 sequences of 59 frames" in result.output
    assert "1 predictions without a sequence" in result.output
    assert '"jitter_before"' in (tmp_path / "x.json").read_text()
    assert CliRunner().invoke(cli, ["scale", "--remove", str(two)]).exit_code == 0
    assert not (two / "scales" / "sequences.parquet").exists()


def test_without_scale_heads_there_is_nothing_to_do(tmp_path: Path) -> None:
    """Said before any work."""
    write_random_checkpoint(tmp_path / "checkpoint", "tiny", modalities=("depth",))
    config = config_of(tmp_path, tmp_path / "out", tmp_path / "checkpoint", **{"scale.sequence": "robust"})
    with pytest.raises(ConfigError, match=r"scale\.sequence"):
        run_here(config, resolve_checkpoint(config.checkpoint), lambda *_: [])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
def test_what_is_not_valid_is_not_compared(tmp_path: Path, projection: str) -> None:
    """A tripod that is the same in two frames, and anything else that is not valid, counts for nothing."""
    small = SmallRun(tmp_path / "run", projection=projection)
    plain = small.prediction("a", log_scale=0.0)
    found = Validity(HEIGHT, WIDTH, 0, 0, WIDTH, HEIGHT, 60.0)
    small.write("s1", plain, plain | {"id": "b", "valid": found.to_row()})
    compared = Compared(pager_ray.open_run(small.folder))
    whole, masked = (compared._sample(id, 0.0) for id in "ab")
    counts = np.isfinite(masked)
    assert 0 < counts.sum() < np.isfinite(whole).sum()
    np.testing.assert_array_equal(masked[counts], whole[counts])
    if projection == "cubemap":
        faces = pager_ray.open_run(small.folder)["b"].faces("valid")
        np.testing.assert_array_equal(counts.reshape(6, -1).any(1), faces.any((1, 2)))


def test_an_export_knows_the_scales_that_it_was_made_with(two: Path, tmp_path: Path) -> None:
    """Its points are further by them; other scales later are another export."""
    remove_scales(two)
    id = max(pager_ray.open_run(two).ids())
    asked = ["export", "--to", "npz", "--ids", id, "--local", str(two), "--output"]
    assert CliRunner().invoke(cli, [*asked, str(tmp_path / "a")]).exit_code == 0
    settle_scales(two)
    assert CliRunner().invoke(cli, [*asked, str(tmp_path / "b")]).exit_code == 0
    raw, scaled = (np.load(next((tmp_path / name / "depth").rglob("*.npz")))["arr_0"] for name in "ab")
    prediction = pager_ray.open_run(two)[id]
    factor = np.exp(prediction.log_scale - prediction.log_scale_raw)
    assert abs(factor - 1) > 1e-3
    assert scaled == pytest.approx(raw * factor, rel=1e-4)
    refused = CliRunner().invoke(cli, [*asked, str(tmp_path / "a")])
    assert isinstance(refused.exception, RunMismatchError)
    assert "scales: was None" in str(refused.exception)


def test_scales_are_published_with_their_run(two: Path) -> None:
    """Whoever reads it from the Hub sees the same depth."""
    remove_scales(two)
    run = pager_ray.open_run(two)
    files = {name for name, _ in hub._files_of(run, Folder(str(two)), previews=False)}
    settle_scales(two)
    more = {name for name, _ in hub._files_of(run, Folder(str(two)), previews=False)}
    assert more - files == {"scales/sequences.parquet", "scales/report.json"}


def test_parts_are_as_the_whole(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever frames are parted for tasks, each is compared with its neighbour once."""
    settle_scales(two)
    whole = (two / "scales" / "sequences.parquet").read_bytes()
    assert PART > FRAMES
    monkeypatch.setattr(scaling, "PART", 7)
    sizes = []

    def compare(uri: str, parts: Sequence[scaling.Part]) -> Iterator[np.ndarray]:
        sizes.extend(len(part.ids) for part in parts)
        yield from scaling.compare_here(uri, parts)

    settle_scales(two, compare)
    assert sizes == [8] * 8 + [3]
    assert (two / "scales" / "sequences.parquet").read_bytes() == whole


class Dies(BaseException):
    """The process, at some place."""


@pytest.mark.parametrize("where", ["before anything", "before putting", "after putting"])
def test_a_job_that_dies_here_has_lost_nothing(
    where: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is complete, its frames have their own scale or their sequence's, and the same command makes the file."""
    one = walk(count=8)
    more = {"output.size": "64x128", "scale.sequence": "robust"}
    config = config_of(one.write_folder(tmp_path / "in"), tmp_path / "out", checkpoint, **more)
    oracle = Oracle(checkpoint, one, np.random.default_rng(0).normal(0, NOISE, 8))
    write = scaling.write_scales

    def dying(*given: Any, **_: Any) -> None:
        if where == "after putting":
            write(*given)
        raise Dies

    at = "open_run" if where == "before anything" else "write_scales"
    with monkeypatch.context() as patched:
        patched.setattr(scaling, at, dying)
        with pytest.raises(Dies):
            run_here(config, resolve_checkpoint(config.checkpoint), oracle)
    left = pager_ray.open_run(tmp_path / "out")
    assert left.manifest["state"] == "complete"
    assert len(left) == 8
    assert (left.scales_digest is not None) == (where == "after putting")
    run_here(config, resolve_checkpoint(config.checkpoint), _nobody)
    whole = pager_ray.open_run(tmp_path / "out")
    assert whole.scales_digest is not None
    assert left.scales_digest in (None, whole.scales_digest)


def _nobody(*_: Any) -> list[FacePrediction]:
    raise AssertionError("there is nothing to predict")


def test_scales_that_change_nothing_make_no_other_export(tmp_path: Path) -> None:
    """Of a run without sequences, and of sequences that stay as they are; in exports of earlier versions too."""
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("a"), small.prediction("b", sequence="walk", time=0.0))
    small.complete()
    asked = ["export", "--to", "npz", "--local", str(tmp_path / "run")]
    assert CliRunner().invoke(cli, asked).exit_code == 0
    settle_scales(tmp_path / "run")
    run = pager_ray.open_run(tmp_path / "run")
    assert run.scales_digest is not None
    assert not run.is_rescaled
    assert CliRunner().invoke(cli, asked).exit_code == 0
    record = tmp_path / "run" / "exports" / "npz" / "export.json"
    about = json.loads(record.read_text())
    assert "scales" not in about["identity"]
    about["identity"]["scales"] = run.scales_digest
    record.write_text(json.dumps(about))
    assert CliRunner().invoke(cli, asked).exit_code == 0
