"""The job, end to end on one Ray: what comes out equals what the pure functions give, and nothing is lost."""

from __future__ import annotations

import gc
import json
import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.config import load_config
from pager_ray.errors import ConfigError, ErrorBudgetExceeded
from pager_ray.pipeline.job import run_job
from pager_ray.prediction import Prediction
from pager_ray.reader.status import read_status
from pager_ray.reader.verify import verify_output
from pager_ray.runs import RunLayout
from pager_ray.runs.lease import Lease
from pager_ray.storage import Folder
from tests.harness.jobs import config_of, run_in_process
from tests.test_here_outputs import check_equal, expected

__all__ = ["expected"]

pytestmark = pytest.mark.usefixtures("ray_cluster")


ENOUGH_SECONDS = 300
"""For processes to end; they take less than one."""


@pytest.mark.parametrize(
    "keys", [(), ("output.projection=cubemap", "output.format=npz")], ids=["default", "npz-cubemap"]
)
def test_outputs_equal_single_predictions(
    tmp_path: Path, samples: Path, tiny_unified: Path, expected: dict[str, Prediction], keys: tuple[str, ...]
) -> None:
    """Batches on Ray give what single predictions give in this process; the run file says what computed them."""
    keys = (*keys, "compute.batch_size=3", "output.previews=true")
    assert run_job(config_of(samples, tiny_unified, tmp_path / "run", *keys)).exit_code == 0
    check_equal(tmp_path / "run", expected)
    [start] = pager_ray.open_run(tmp_path / "run").manifest["starts"]
    assert [worker["precision"] for worker in start["workers"]] == ["float32"]


def test_names_may_be_written_in_any_script(tmp_path: Path, samples: Path, tiny_unified: Path) -> None:
    """Outputs and inputs with spaces, signs of URIs and letters beyond ASCII are folders and files like others."""
    pictures = tmp_path / "Räume #1, 100%"
    pictures.mkdir()
    shutil.copy(min(samples.parent.glob("*.jpg")), pictures / "küche 日本 #2.jpg")
    output = tmp_path / "Läufe 日本?" / "1 #100%"
    assert run_job(config_of(pictures, tiny_unified, output, "scene_mode=indoor")).exit_code == 0
    assert len(pager_ray.open_run(output)) == 1


def test_a_second_job_is_refused_while_the_first_lives(tmp_path, samples, tiny_unified, capsys):
    """An output that a living job holds is refused in one line, with or without --overwrite, and left as it was."""
    run_in_process(config_of(samples, tiny_unified, tmp_path / "run"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    before = {path: changed for path, changed in before.items() if path.parent.name != "lease"}
    with Lease(RunLayout(Folder(str(tmp_path / "run"))).lease).take():
        command = [f"input.uris={samples}", f"output.uri={tmp_path / 'run'}", f"checkpoint={tiny_unified}",
                   "compute.gpus_per_worker=0", "output.codec=exact"]  # fmt: skip
        for options in ([], ["--overwrite"]):
            assert exit_code(["run", *command, *options]) == 1
            message = capsys.readouterr().err
            assert message.splitlines()[-1].startswith("pager-ray: output.uri: a job on ")
            assert "writes to this output and is running; wait for it or stop it" in message
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run_job(config_of(samples, tiny_unified, tmp_path / "run")).fresh == 0


def test_rejects_are_done_again_on_request(tmp_path, samples, tiny_unified, capsys):
    """--retry-rejects does a class again: what succeeds moves to the predictions, the rest counts its attempts."""
    pictures = sorted(samples.parent.glob("*.jpg"))
    late, text = tmp_path / "late.jpg", tmp_path / "text.jpg"
    text.write_text("these are words, not pixels")
    names = ["late", "never", "text", "good", "good"]
    places = [late, tmp_path / "never.jpg", text, pictures[0], pictures[1]]
    rows = [f"{name},{place},indoor" for name, place in zip(names, places, strict=True)]
    listing = tmp_path / "list.csv"
    listing.write_text("id,uri,scene\n" + "\n".join(rows) + "\n")
    keys = [f"input.uris={listing}", f"output.uri={tmp_path / 'run'}", f"checkpoint={tiny_unified}"]
    command = ["run", *keys, "compute.gpus_per_worker=0"]
    config = load_config(None, command[1:])
    run_in_process(config)

    def told():
        run = pager_ray.open_run(tmp_path / "run")
        assert verify_output(tmp_path / "run").problems == []
        rejects = {row["id"]: (row["error_class"], row["attempts"]) for row in run.rejects().to_pylist()}
        # Readers that know no ledger see the same.
        files = [pq.read_table(path) for path in (tmp_path / "run" / "rejects").iterdir()]
        assert sorted(name for file in files for name in file.column("id").to_pylist()) == sorted(rejects)
        return sorted(run.ids()), rejects

    listed = {"good~2": ("duplicate_id", 1)}
    missing = {"late": ("missing", 1), "never": ("missing", 1), "text": ("not_an_image", 1)}
    assert told() == (["good"], missing | listed)

    late.write_bytes(pictures[2].read_bytes())
    assert exit_code(command) == 3
    assert told() == (["good"], missing | listed)

    run_in_process(config, retry_rejects="missing")
    assert told() == (["good", "late"], {"never": ("missing", 2), "text": ("not_an_image", 1)} | listed)
    (tmp_path / "never.jpg").write_bytes(pictures[3].read_bytes())
    text.write_bytes(pictures[4].read_bytes())
    # The bare option, with an override behind it.
    assert exit_code(["run", "--retry-rejects", *command[1:]]) == 3
    assert told() == (["good", "late", "never", "text"], listed)

    capsys.readouterr()
    assert exit_code([*command, "--retry-rejects=transient"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "--retry-rejects: " in message
    assert "has no reject of class 'transient' to try again; it has duplicate_id (1)" in message
    # What is refused stays as it was.
    assert pager_ray.open_run(tmp_path / "run").manifest["state"] == "complete"
    assert exit_code([*command, "--retry-rejects", "--overwrite"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_the_error_budget_stops_the_run(tmp_path, samples, tiny_unified, capsys, ray_cluster):
    """More rejects than allowed end the job with the reason, and a larger budget goes on to completion.

    The actors of the job that failed end while its error is kept and nobody looks for cycles: the next has the whole
    cluster.
    """
    listing = tmp_path / "list.csv"
    good = [str(samples.parent / f"{name}") for name in sorted(p.name for p in samples.parent.glob("*.jpg"))]
    listing.write_text("uri\n" + "\n".join([*good, *(f"/absent/{n}.jpg" for n in range(5))]) + "\n")
    arguments = [
        f"input.uris={listing}",
        f"output.uri={tmp_path / 'run'}",
        f"checkpoint={tiny_unified}",
        "scene_mode=indoor",
        "compute.gpus_per_worker=0",
    ]
    whole = ray.cluster_resources()["CPU"]
    with pytest.raises(ErrorBudgetExceeded, match=r"errors\.max_rejects allows 2") as kept:
        run_job(load_config(None, [*arguments, "errors.max_rejects=2"]))
    patience = time.monotonic() + ENOUGH_SECONDS
    gc.disable()
    try:
        while ray.available_resources().get("CPU") != whole and time.monotonic() < patience:
            time.sleep(0.1)
        assert ray.available_resources().get("CPU") == whole
    finally:
        gc.enable()
    assert kept.value is not None
    assert pager_ray.open_run(tmp_path / "run").manifest["state"] == "failed"
    assert read_status(tmp_path / "run").reason == f"ErrorBudgetExceeded: {kept.value}"
    assert exit_code(["status", str(tmp_path / "run"), "--watch"]) == 4
    capsys.readouterr()
    assert exit_code(["run", *arguments, "errors.max_rejects=5"]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == f"5 rejects: {tmp_path / 'run'}/rejects"
    assert len(pager_ray.open_run(tmp_path / "run")) == 8


def test_gpus_that_are_not_there_are_named(tmp_path, samples, tiny_unified):
    """On a machine without a GPU the default is refused with the key to set, instead of waiting for ever."""
    config = config_of(samples, tiny_unified, tmp_path / "run", "compute.gpus_per_worker=1")
    with pytest.raises(ConfigError, match=r"compute\.gpus_per_worker: got 1, but this machine has no GPU; set it to 0"):
        run_job(config)


def test_a_traced_job_shows_driver_stages_and_network(tmp_path, samples, tiny_unified):
    """From the command line: the driver's steps, every stage's blocks with their rows, and the network's operations;
    and the run says how near it came to what its model workers could do."""
    trace = tmp_path / "trace.json"
    keys = [f"input.uris={samples}", f"output.uri={tmp_path / 'run'}", f"checkpoint={tiny_unified}"]
    keys += ["compute.gpus_per_worker=0", "output.rows_per_shard=2", "compute.acceleration=eager"]
    assert exit_code(["run", "--trace", str(trace), *keys]) == 0
    events = [one for one in json.loads(trace.read_text())["traceEvents"] if one["ph"] == "X"]
    names = {one["name"] for one in events}
    assert {"find the checkpoint", "list inputs", "claim the output", "pipeline", "load the model"} <= names
    for stage in ("read", "infer", "stitch"):
        assert sum(one["args"]["rows"] for one in events if one["cat"] == "stage" and one["name"] == stage) == 8
    assert any(name.startswith("aten::") for name in names)
    assert any(one["cat"] == "samples" for one in events)
    [start] = pager_ray.open_run(tmp_path / "run").manifest["starts"]
    limit = start["stages"]["limit"]
    assert 0 < limit["share"] <= 1
    assert limit["panoramas_per_second"] <= limit["workers_could"] * 1.001
    assert start["workers"][0]["acceleration"] == "eager (as asked)"
