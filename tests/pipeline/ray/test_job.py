"""The job, end to end on one Ray: what comes out equals what the pure functions give, and nothing is lost."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import ray

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.config import load_config
from pager_ray.errors import ConfigError, ErrorBudgetExceeded, RunMismatchError
from pager_ray.geometry import cubemap_to_erp
from pager_ray.listing import list_inputs
from pager_ray.pipeline.job import run_job
from pager_ray.reader.verify import verify_output
from pager_ray.runs import RunLayout
from pager_ray.runs.growing import Growing
from pager_ray.runs.lease import Lease
from pager_ray.storage import Folder

pytestmark = pytest.mark.usefixtures("ray_cluster")


ENOUGH_SECONDS = 300
"""For processes to end; they take less than one."""


def config_of(samples, checkpoint, output, *overrides):
    return load_config(
        None,
        [
            f"input.uris={samples}",
            f"output.uri={output}",
            f"checkpoint={checkpoint}",
            "compute.gpus_per_worker=0",
            "output.codec=exact",
            *overrides,
        ],
    )


@pytest.fixture(scope="module")
def expected(samples, tiny_unified):
    """Every sample predicted in this process, without Ray, files or codecs."""
    model = pager_ray.load_model(tiny_unified)
    rows = list_inputs([str(samples)])
    return {row.id: pager_ray.predict(row.uri, model, scene=row.scene) for row in rows}


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
@pytest.mark.parametrize("output_format", ["parquet", "npz"])
def test_outputs_equal_single_predictions(tmp_path, samples, tiny_unified, expected, projection, output_format):
    """Every panorama comes back once, at its source's size, equal to what ``predict`` gives for it alone."""
    config = config_of(
        samples,
        tiny_unified,
        tmp_path / "run",
        f"output.projection={projection}",
        f"output.format={output_format}",
        "compute.batch_size=3",
        "output.previews=true",
    )
    summary = run_job(config)
    assert summary.exit_code == 0
    run = pager_ray.open_run(tmp_path / "run")
    assert sorted(run.ids()) == sorted(expected)
    assert run.manifest["state"] == "complete"
    assert [worker["precision"] for worker in run.manifest["starts"][0]["workers"]] == ["float32"]
    assert run.rejects().num_rows == 0
    for prediction in run:
        single = expected[prediction.id]
        assert (prediction.height, prediction.width) == (128, 256)
        assert prediction.scene == single.scene
        # Batches sum in another order than single panoramas: equal to rounding, no more.
        assert prediction.log_scale == pytest.approx(single.log_scale, abs=1e-4)
        for name in ("depth", "si_depth", "normals", "sky"):
            got, want = getattr(prediction, name), getattr(single, name)
            assert got.dtype == np.float32, name
            assert got.shape == want.shape
            assert np.abs(got - want).max() < 2e-4 * max(1, np.abs(want).max()), name
    pictures = sorted(path.name for path in (tmp_path / "run" / "previews").iterdir())
    assert pictures == sorted(f"{name}.jpg" for name in expected)


def test_npz_files_have_the_released_layout(tmp_path, samples, tiny_unified, expected):
    """Names, array names, shapes and dtypes are those that the released evaluation reads."""
    run_job(config_of(samples, tiny_unified, tmp_path / "run", "output.format=npz"))
    name = next(iter(expected))
    for array, channels in (("depth", 1), ("normals", 3), ("sky", 1)):
        with np.load(tmp_path / "run" / array / "preds" / f"{name}.npz", allow_pickle=False) as archive:
            assert archive.files == ["arr_0"]
            assert archive["arr_0"].shape == (channels, 128, 256)
            assert archive["arr_0"].dtype == np.float32


def test_sky_fill_reaches_the_stored_maps(tmp_path, samples, tiny_unified, expected):
    """With sky.fill the stored depth differs from the prediction where there is sky, and only then."""
    run_job(config_of(samples, tiny_unified, tmp_path / "run", "sky.fill=true", "sky.threshold=0.5"))
    run = pager_ray.open_run(tmp_path / "run")
    changed = {name: not np.allclose(run[name].depth, expected[name].depth, rtol=1e-3) for name in run.ids()}
    fractions = dict(
        zip(run.table().column("id").to_pylist(), run.table().column("sky_fraction").to_pylist(), strict=True)
    )
    assert any(changed.values())
    assert all(fractions[name] > 0 for name, differs in changed.items() if differs)


def test_output_size_and_table(tmp_path, samples, tiny_unified):
    """Maps take the asked size; the table has one row per panorama with its source's size and quality numbers.

    The output's path looks like a partition of a table, and is none.
    """
    run_job(config_of(samples, tiny_unified, tmp_path / "id=7", "output.size=64x128", "output.codec=default"))
    run = pager_ray.open_run(tmp_path / "id=7")
    table = run.table(["id", "width", "height", "depth_p50", "log_scale", "digest"])
    assert table.num_rows == 8
    assert set(table.column("width").to_pylist()) == {256}
    assert all(value > 0 for value in table.column("depth_p50").to_pylist())
    assert all(value.startswith("sha256:") for value in table.column("digest").to_pylist())
    first = run[run.ids()[0]]
    assert first.depth.shape == first.sky.shape == (64, 128)
    np.testing.assert_allclose(np.linalg.norm(first.normals, axis=-1), 1, atol=2e-3)
    with pytest.raises(ConfigError, match="columns: pixels unknown"):
        run.table(["pixels"])


def test_cubemap_runs_keep_the_faces(tmp_path, samples, tiny_unified):
    """A cubemap run gives the faces as predicted, and its maps are their stitching."""
    run_job(config_of(samples, tiny_unified, tmp_path / "run", "output.projection=cubemap"))
    first = next(iter(pager_ray.open_run(tmp_path / "run")))
    faces = first.faces("depth")
    assert faces.shape == (6, 56, 56)
    np.testing.assert_array_equal(first.depth, cubemap_to_erp(faces[..., None], 128, 256)[..., 0])


def test_the_same_command_again_does_nothing(tmp_path, samples, tiny_unified):
    """A complete run is complete: no shard is added or touched."""
    config = config_of(samples, tiny_unified, tmp_path / "run")
    run_job(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "predictions").iterdir()}
    summary = run_job(config)
    assert summary.fresh == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "predictions").iterdir()} == before
    assert len(pager_ray.open_run(tmp_path / "run")) == 8


def test_a_folder_that_grows_is_one_run(tmp_path, samples, tiny_unified):
    """Grown twice, stopped in between and changed once: one run, every input once, in order and out of it."""
    pictures = [Path(row.uri) for row in list_inputs([str(samples)])]
    folder = tmp_path / "in"
    folder.mkdir()

    def put(name, picture):
        (folder / name).write_bytes(pictures[picture].read_bytes())

    put("b.jpg", 0)
    one = ("output.rows_per_shard=1", "scene_mode=indoor")
    config = config_of(folder, tiny_unified, tmp_path / "run", *one)
    assert run_job(config).fresh == 1
    put("a.jpg", 1)
    (folder / "c.jpg").write_bytes(b"no picture")
    strict = config_of(folder, tiny_unified, tmp_path / "run", *one, "errors.max_rejects=0")
    with pytest.raises(ErrorBudgetExceeded):
        run_job(strict, growing=Growing())
    put("c.jpg", 2)
    put("d.jpg", 3)
    (folder / "b.jpg").unlink()
    with pytest.raises(ConfigError, match=r"1 inputs were replaced since they were listed \(first: c\)"):
        run_job(config, growing=Growing())
    assert run_job(config, growing=Growing(redo_changed=True)).reconciliation.is_whole
    run = pager_ray.open_run(tmp_path / "run")
    assert sorted(run.ids()) == ["a", "b", "c", "d"]
    assert run.rejects().num_rows == 0
    assert verify_output(tmp_path / "run").problems == []
    assert run_job(config, growing=Growing()).fresh == 0


def test_another_configuration_is_refused(tmp_path, samples, tiny_unified, capsys):
    """Settings that change results are refused on a standing output, by name; --overwrite starts anew."""
    run_job(config_of(samples, tiny_unified, tmp_path / "run"))
    other = config_of(samples, tiny_unified, tmp_path / "run", "scene_mode=indoor")
    with pytest.raises(RunMismatchError, match="scene_mode: was 'auto', now 'indoor'"):
        run_job(other)
    summary = run_job(other, overwrite=True)
    assert summary.fresh == 8
    assert {prediction.scene for prediction in pager_ray.open_run(tmp_path / "run")} == {"indoor"}


def test_a_second_job_is_refused_while_the_first_lives(tmp_path, samples, tiny_unified, capsys):
    """An output that a living job holds is refused in one line, with or without --overwrite, and left as it was."""
    run_job(config_of(samples, tiny_unified, tmp_path / "run"))
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


def test_a_refused_output_is_left_alone(tmp_path, samples, tiny_unified):
    """Files of somebody else get no lease or anything else beside them."""
    (tmp_path / "run" / "predictions").mkdir(parents=True)
    (tmp_path / "run" / "predictions" / "mine.parquet").write_bytes(b"x")
    with pytest.raises(RunMismatchError, match="belong to no run"):
        run_job(config_of(samples, tiny_unified, tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()] == ["mine.parquet"]


def test_lost_shards_are_done_again(tmp_path, samples, tiny_unified):
    """A shard that the ledger does not name does not count: readers do not see it, the next start replaces it."""
    config = config_of(samples, tiny_unified, tmp_path / "run", "output.rows_per_shard=2")
    run_job(config)
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
    summary = run_job(config)
    assert summary.fresh == len(lost)
    run.refresh()
    assert len(run.ids()) == len(set(run.ids())) == 8
    assert not (tmp_path / "run" / "predictions" / f"{shard}.parquet").exists()


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
    command = ["run", f"input.uris={listing}", f"output.uri={tmp_path / 'run'}", f"checkpoint={tiny_unified}",
               "compute.gpus_per_worker=0"]  # fmt: skip
    assert exit_code(command) == 3

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

    assert exit_code([*command, "--retry-rejects", "missing"]) == 3
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


def test_the_error_budget_stops_the_run(tmp_path, samples, tiny_unified, capsys):
    """More rejects than allowed end in exit code 4 with the reason; a larger budget goes on to completion."""
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
    with pytest.raises(ErrorBudgetExceeded, match="missing"):
        run_job(load_config(None, [*arguments, "errors.max_rejects=2"]))
    assert exit_code(["run", *arguments, "errors.max_rejects=2"]) == 4
    assert "errors.max_rejects allows 2" in capsys.readouterr().err
    assert pager_ray.open_run(tmp_path / "run").manifest["state"] == "failed"
    assert exit_code(["run", *arguments, "errors.max_rejects=5"]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == f"5 rejects: {tmp_path / 'run'}/rejects"
    assert len(pager_ray.open_run(tmp_path / "run")) == 8


def test_a_job_that_failed_leaves_nothing_reserved(tmp_path, samples, tiny_unified, ray_cluster):
    """Its actors end while the error is kept and nobody looks for cycles: the next job has the whole cluster."""
    listing = tmp_path / "list.csv"
    listing.write_text("uri\n" + "\n".join(["/absent/1.jpg", *map(str, samples.parent.glob("*.jpg"))]) + "\n")
    whole = ray.cluster_resources()["CPU"]
    with pytest.raises(ErrorBudgetExceeded) as kept:
        run_job(config_of(listing, tiny_unified, tmp_path / "run", "scene_mode=indoor", "errors.max_rejects=0"))
    patience = time.monotonic() + ENOUGH_SECONDS
    gc.disable()
    try:
        while ray.available_resources().get("CPU") != whole and time.monotonic() < patience:
            time.sleep(0.1)
        assert ray.available_resources().get("CPU") == whole
    finally:
        gc.enable()
    assert "errors.max_rejects allows 0" in str(kept.value)


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
