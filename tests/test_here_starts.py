"""Starts that follow each other on one output: what stands is kept, what is lost or asked for is done again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import pager_ray
from pager_ray.errors import ConfigError, ErrorBudgetExceeded, RunMismatchError
from pager_ray.listing import list_inputs
from pager_ray.reader.verify import verify_output
from pager_ray.runs.growing import Growing
from tests.harness.jobs import config_of, run_in_process


def test_the_same_command_again_does_nothing(tmp_path: Path, samples: Path, tiny_unified: Path) -> None:
    """A complete run is complete: no shard is added or touched."""
    config = config_of(samples, tiny_unified, tmp_path / "run")
    run_in_process(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "predictions").iterdir()}
    done = run_in_process(config)
    assert done.fresh == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "predictions").iterdir()} == before
    assert len(pager_ray.open_run(tmp_path / "run")) == 8


def test_a_folder_that_grows_is_one_run(tmp_path: Path, samples: Path, tiny_unified: Path) -> None:
    """Grown twice, stopped in between and changed once: one run, every input once, in order and out of it."""
    pictures = [Path(row.uri) for row in list_inputs([str(samples)])]
    folder = tmp_path / "in"
    folder.mkdir()

    def put(name, picture):
        (folder / name).write_bytes(pictures[picture].read_bytes())

    put("b.jpg", 0)
    one = ("output.rows_per_shard=1", "scene_mode=indoor")
    config = config_of(folder, tiny_unified, tmp_path / "run", *one)
    assert run_in_process(config).fresh == 1
    put("a.jpg", 1)
    (folder / "c.jpg").write_bytes(b"no picture")
    strict = config_of(folder, tiny_unified, tmp_path / "run", *one, "errors.max_rejects=0")
    with pytest.raises(ErrorBudgetExceeded):
        run_in_process(strict, growing=Growing())
    put("c.jpg", 2)
    put("d.jpg", 3)
    (folder / "b.jpg").unlink()
    with pytest.raises(ConfigError, match=r"1 inputs were replaced since they were listed \(first: c\)"):
        run_in_process(config, growing=Growing())
    assert run_in_process(config, growing=Growing(redo_changed=True)).reconciliation.is_whole
    run = pager_ray.open_run(tmp_path / "run")
    assert sorted(run.ids()) == ["a", "b", "c", "d"]
    assert run.rejects().num_rows == 0
    assert verify_output(tmp_path / "run").problems == []
    assert run_in_process(config, growing=Growing()).fresh == 0


def test_another_configuration_is_refused(
    tmp_path: Path, samples: Path, tiny_unified: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings that change results are refused on a standing output, by name; --overwrite starts anew."""
    run_in_process(config_of(samples, tiny_unified, tmp_path / "run"))
    other = config_of(samples, tiny_unified, tmp_path / "run", "scene_mode=indoor")
    with pytest.raises(RunMismatchError, match="scene_mode: was 'auto', now 'indoor'"):
        run_in_process(other)
    done = run_in_process(other, overwrite=True)
    assert done.fresh == 8
    assert {prediction.scene for prediction in pager_ray.open_run(tmp_path / "run")} == {"indoor"}


def test_a_refused_output_is_left_alone(tmp_path: Path, samples: Path, tiny_unified: Path) -> None:
    """Files of somebody else get no lease or anything else beside them."""
    (tmp_path / "run" / "predictions").mkdir(parents=True)
    (tmp_path / "run" / "predictions" / "mine.parquet").write_bytes(b"x")
    with pytest.raises(RunMismatchError, match="belong to no run"):
        run_in_process(config_of(samples, tiny_unified, tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()] == ["mine.parquet"]


def test_lost_shards_are_done_again(tmp_path: Path, samples: Path, tiny_unified: Path) -> None:
    """A shard that the ledger does not name does not count: readers do not see it, the next start replaces it."""
    config = config_of(samples, tiny_unified, tmp_path / "run", "output.rows_per_shard=2")
    run_in_process(config)
    (ledger,) = (tmp_path / "run" / "state" / "ledger").iterdir()
    standing = pq.read_table(ledger)
    shard = standing.column("shard")[0]
    keep = pc.not_equal(standing.column("shard"), shard)
    lost = standing.filter(pc.invert(keep)).column("id").to_pylist()
    pq.write_table(standing.filter(keep), ledger)
    # As a driver leaves it that was killed: nothing told of an end yet.
    run_file = tmp_path / "run" / "run.json"
    run_file.write_text(json.dumps(json.loads(run_file.read_text()) | {"state": "running", "counts": {}}))
    run = pager_ray.open_run(tmp_path / "run")
    assert not set(lost) & set(run.ids())
    done = run_in_process(config)
    assert done.fresh == len(lost)
    run.refresh()
    assert len(run.ids()) == len(set(run.ids())) == 8
    assert not (tmp_path / "run" / "predictions" / f"{shard}.parquet").exists()


def test_a_run_goes_on_from_another_folder(
    tmp_path: Path, samples: Path, tiny_unified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By other spellings of its inputs, its output and its checkpoint it is the same run, with --append too."""
    (tmp_path / "pics").mkdir()
    for row in list_inputs([str(samples)])[:2]:
        (tmp_path / "pics" / Path(row.uri).name).write_bytes(Path(row.uri).read_bytes())
    (tmp_path / "sub").mkdir()
    indoor = "scene_mode=indoor"
    monkeypatch.chdir(tmp_path)
    assert run_in_process(config_of(Path("pics"), tiny_unified, Path("y"), indoor)).fresh == 2
    monkeypatch.chdir(tmp_path / "sub")
    checkpoint = Path(os.path.relpath(tiny_unified))
    for inputs, output in (("../pics", "../y"), (f"{tmp_path}/sub/..//pics/", f"file://{tmp_path}/sub/../y/")):
        config = config_of(Path(inputs), checkpoint, Path("x"), f"output.uri={output}", indoor)
        assert run_in_process(config).fresh == 0
        assert run_in_process(config, growing=Growing()).fresh == 0
    run = pager_ray.open_run("../y")
    assert run.uri == f"{tmp_path}/y"
    assert len(run) == 2
    assert all(row["uri"].startswith(f"{tmp_path}/pics/") for row in run.table(["uri"]).to_pylist())
