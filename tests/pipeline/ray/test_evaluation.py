"""The evaluation jobs, end to end: what they report equals what the pure functions give, however the work was split."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.config import EvaluateConfig, ScoreConfig, load_config
from pager_ray.datasets import open_dataset
from pager_ray.errors import ConfigError, ErrorBudgetExceeded, RunMismatchError
from pager_ray.evaluate import PredictedMaps, ScoreSettings, score_sample
from pager_ray.metrics.catalogue import floor_metrics_of, metrics_of
from pager_ray.pipeline.evaluation import run_evaluation, run_scoring
from pager_ray.runs import EvaluationLayout
from pager_ray.storage import Folder
from tests.datasets.folders import write_dataset
from tests.harness import faults

ROOT = Path(__file__).parents[3]

ALL = ("depth", "normals", "seams")
ALIGNMENTS = ("metric", "scale", "scale_and_shift")


def settings_of(scenes: Path, checkpoint: Any, output: Path, *overrides: str) -> list[str]:
    return [
        "evaluation.dataset=synthetic",
        f"evaluation.data_path={scenes}",
        f"output.uri={output}",
        f"checkpoint={checkpoint}",
        "compute.gpus_per_worker=0",
        *overrides,
    ]


def evaluate(*arguments: Any) -> Any:
    return run_evaluation(load_config(None, settings_of(*arguments), EvaluateConfig))


def report_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "metrics" / "report.json").read_text(encoding="utf-8"))


def timeless(output: Path) -> str:
    """The report's text without what may differ between two evaluations that are the same."""
    report = report_of(output)
    del report["created"], report["versions"]
    return json.dumps(report, indent=2, ensure_ascii=False)


def rows_of(output: Path) -> dict[str, dict[str, Any]]:
    table = pq.read_table(output / "metrics" / "samples")
    return {row["id"]: row for row in table.drop_columns(["picture"] * ("picture" in table.column_names)).to_pylist()}


@pytest.fixture(scope="module")
def scenes(samples: Path) -> Path:
    """The rendered samples as a dataset."""
    return samples.parent


@pytest.fixture(scope="module")
def whole(ray_cluster: None, scenes: Path, tiny_unified: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One evaluation of the tiny checkpoint, its predictions kept."""
    output = tmp_path_factory.mktemp("evaluation") / "whole"
    outcome = evaluate(scenes, tiny_unified, output, "output.predictions=npz")
    assert outcome.exit_code == 0
    return output


def test_rows_equal_what_single_predictions_score(whole: Path, scenes: Path, tiny_unified: Path) -> None:
    """Every sample has one row, and it holds what ``predict`` and the pure metrics give for it alone."""
    model = pager_ray.load_model(tiny_unified, device="cpu")
    dataset = open_dataset("synthetic", str(scenes))
    settings = ScoreSettings(ALL, ALIGNMENTS, face_size=model.architecture.face_size, pictures=False)
    rows = rows_of(whole)
    assert len(rows) == 8
    compared = dataset.samples()[:4]
    assert {sample.scene for sample in compared} == {"indoor", "outdoor"}
    for sample in compared:
        single = pager_ray.predict(dataset.read_rgb(sample), model, scene=sample.scene)
        expected = score_sample(
            PredictedMaps(single.depth, single.normals), dataset.read_ground_truth(sample), settings
        )
        for metric in [*metrics_of(ALL, ALIGNMENTS), *floor_metrics_of(ALL)]:
            assert rows[sample.id][metric.column] == pytest.approx(expected[metric.column], rel=2e-3, abs=2e-3)


def test_the_report_is_complete(whole: Path) -> None:
    """Report, markdown, text summaries and pictures are there, and the means are those of the rows."""
    report, rows = report_of(whole), rows_of(whole)
    assert report["counts"]["scored"] == 8
    for metric in metrics_of(ALL, ALIGNMENTS):
        mean = float(np.mean([row[metric.column] for row in rows.values()]))
        assert report["metrics"][metric.column]["mean"] == pytest.approx(mean, rel=1e-12)
    assert set(report["resampling_floor"])
    assert "Resampling floor" in (whole / "metrics" / "report.md").read_text(encoding="utf-8").replace(
        "resampling", "Resampling"
    )
    summary = (whole / "depth" / "evaluation_metrics_scale.txt").read_text(encoding="utf-8")
    values = dict(line.split(": ") for line in summary.splitlines())
    expected = report["metrics"]["depth_scale_abs_relative_difference"]["mean"]
    assert values["abs_relative_difference"] == f"{expected:.4f}"
    assert (whole / "normals" / "evaluation_metrics.txt").exists()
    assert (whole / "seams" / "evaluation_metrics.txt").exists()
    assert len(list((whole / "metrics" / "pictures").iterdir())) >= 5


def test_kept_predictions_have_the_released_layout(whole: Path, scenes: Path) -> None:
    """One npz file per id and map, ``arr_0``, float32, channels first, at the protocol's size; nothing else beside."""
    ids = sorted(sample.id for sample in open_dataset("synthetic", str(scenes)).samples())
    for name, channels in (("depth", 1), ("normals", 3)):
        folder = whole / name / "preds"
        assert sorted(path.name for path in folder.iterdir()) == [f"{id}.npz" for id in ids]
        for path in folder.iterdir():
            with np.load(path, allow_pickle=False) as archive:
                assert archive.files == ["arr_0"]
                assert (archive["arr_0"].shape, archive["arr_0"].dtype) == ((channels, 128, 256), np.float32)
                if name == "normals":
                    np.testing.assert_allclose(np.linalg.norm(archive["arr_0"], axis=0), 1, atol=1e-4)


def test_the_report_is_the_same_however_it_came_about(
    whole: Path, scenes: Path, tiny_unified: Path, tmp_path: Path, ray_address: str
) -> None:
    """Killed with part of the samples scored, and started again with three model actors in place of one, in shards of
    another size: the same bytes, no sample twice."""
    output, workers = tmp_path / "run", 3
    arguments = settings_of(scenes, tiny_unified, output, "output.predictions=npz", "output.rows_per_shard=1")
    command = [sys.executable, "-m", "tests.harness.faults", "evaluate", *arguments]
    orders = tmp_path / "orders"
    environment = faults.environment(orders, ray_address)
    valve = faults.hold(orders)
    valve.let_through(3)
    first = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 1800
    with faults.killed_in_the_end(first, orders):
        while len(committed(output)) < 3:
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < deadline, "the first start scored nothing"
            time.sleep(0.1)
    before = committed(output)
    assert len(before) == 3
    outcome = run_evaluation(load_config(None, [*arguments, f"compute.gpu_workers={workers}"], EvaluateConfig))
    assert outcome.exit_code == 0
    assert before < committed(output)
    assert exit_code(["verify", str(output)]) == 0
    assert timeless(output) == timeless(whole)
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    # One that comes up when all is done may not be asked for any more.
    assert 1 <= len(run["starts"][1]["workers"]) <= workers
    assert len(list((output / "metrics" / "samples").iterdir())) == 8


def committed(output: Path) -> set[str]:
    """Ids that the ledger has an outcome for."""
    return set(EvaluationLayout(Folder(str(output))).ledger.read().column("id").to_pylist())


@pytest.mark.usefixtures("ray_cluster")
def test_the_oracle_scores_the_resampling_floor(scenes: Path, tmp_path: Path) -> None:
    """Ground truth in place of a network: its scores are the floor of the same report, and small."""
    words = ("evaluation.face_size=64", "evaluation.alignments=metric", "evaluation.pictures=false")
    evaluate(scenes, "oracle", tmp_path / "run", *words)
    report = report_of(tmp_path / "run")
    for floor in floor_metrics_of(("depth", "normals")):
        metric = floor.column.removeprefix("floor_").replace("depth_", "depth_metric_", 1)
        key = floor.column.removeprefix("floor_")
        assert report["resampling_floor"][key]["mean"] == report["metrics"][metric]["mean"]
    assert report["metrics"]["depth_metric_abs_relative_difference"]["mean"] < 0.05
    assert report["metrics"]["depth_metric_delta1_acc"]["mean"] > 0.97


@pytest.mark.usefixtures("ray_cluster")
def test_standing_predictions_score_the_same(whole: Path, scenes: Path, tmp_path: Path) -> None:
    """``score`` on the kept npz files gives the metrics of the evaluation that wrote them, digit for digit."""
    arguments = ["--dataset", "synthetic", "--data-path", str(scenes), "--output", str(tmp_path / "scores")]
    assert exit_code(["score", str(whole), *arguments, "evaluation.pictures=false"]) == 0
    for name in ("metrics", "resampling_floor"):
        assert report_of(tmp_path / "scores")[name] == report_of(whole)[name]


@pytest.mark.usefixtures("ray_cluster")
def test_what_cannot_be_scored_is_named(whole: Path, scenes: Path, tmp_path: Path) -> None:
    """A missing prediction, a NaN in one and an unreadable truth are in the report by name and in no mean."""
    root, names = tmp_path / "scenes", sorted(rows_of(whole))
    shutil.copytree(scenes, root)
    predictions = tmp_path / "predictions"
    for name in ("depth", "normals"):
        shutil.copytree(whole / name / "preds", predictions / name / "preds")
    (predictions / "depth" / "preds" / f"{names[0]}.npz").unlink()
    spoilt = predictions / "normals" / "preds" / f"{names[2]}.npz"
    with np.load(spoilt) as archive:
        array = archive["arr_0"]
    array[:, 60:70, 40:50] = np.nan
    np.savez(spoilt, array)
    truth = root / "ground_truth" / f"{names[5]}.npz"
    truth.write_bytes(truth.read_bytes()[:1000])
    arguments = ["--dataset", "synthetic", "--data-path", str(root)]
    arguments += ["evaluation.face_size=56", "evaluation.pictures=false"]
    assert exit_code(["score", str(predictions), *arguments]) == 3

    output = predictions / "scores" / "synthetic"
    report = report_of(output)
    assert {item["id"]: item["error_class"] for item in report["excluded"]} == {
        names[0]: "missing_prediction",
        names[2]: "non_finite_prediction",
        names[5]: "bad_ground_truth",
    }
    assert (report["counts"]["samples"], report["counts"]["scored"]) == (8, 5)
    kept = [row for name, row in rows_of(whole).items() if name not in (names[0], names[2], names[5])]
    for metric in metrics_of(ALL, ALIGNMENTS):
        mean = float(np.mean([row[metric.column] for row in kept]))
        assert report["metrics"][metric.column]["mean"] == pytest.approx(mean, rel=1e-12)
    markdown = (output / "metrics" / "report.md").read_text(encoding="utf-8")
    assert all(names[number] in markdown for number in (0, 2, 5))
    assert (predictions / "depth" / "evaluation_metrics_metric.txt").exists()

    config = load_config(
        None,
        [f"predictions={predictions}", "evaluation.dataset=synthetic", f"evaluation.data_path={root}",
         f"output.uri={tmp_path / 'strict'}", "errors.max_rejects=2"],
        ScoreConfig,
    )  # fmt: skip
    with pytest.raises(ErrorBudgetExceeded, match="missing_prediction"):
        run_scoring(config)


def test_the_same_command_again_scores_nothing(
    whole: Path, scenes: Path, tiny_unified: Path, ray_cluster: None
) -> None:
    """A complete evaluation is complete: no shard is touched, the report says the same; other settings are refused."""
    before = {path: path.stat().st_mtime_ns for path in (whole / "metrics" / "samples").iterdir()}
    said = timeless(whole)
    evaluate(scenes, tiny_unified, whole, "output.predictions=npz")
    assert {path: path.stat().st_mtime_ns for path in (whole / "metrics" / "samples").iterdir()} == before
    assert timeless(whole) == said
    with pytest.raises(RunMismatchError, match=r"sky\.threshold: was 0\.3, now 0\.4"):
        evaluate(scenes, tiny_unified, whole, "output.predictions=npz", "sky.threshold=0.4")


def test_gates_compare_two_evaluations(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An evaluation is no worse than itself: exit code 0; a gate on what it lacks is wrong usage."""
    gate = "depth_metric_abs_relative_difference>0"
    assert exit_code(["compare", str(whole), str(whole), "--fail-if", gate, "--fail-if", "missing>0"]) == 0
    assert "depth_metric_abs_relative_difference" in capsys.readouterr().out
    assert exit_code(["compare", str(whole), str(whole), "--fail-if", "depth_metric_abs_rel>0"]) == 2
    assert "abs_relative_difference" in capsys.readouterr().err
    assert exit_code(["compare", str(whole), str(tmp_path)]) != 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.dataset=Replica", "unknown|Replica360_4K"),
        ("evaluation.data_path=/absent", "/absent"),
        ("evaluation.data_path=s3://key:secret@bucket/data", "carries credentials"),
        ("evaluation.dataset=PanoInfinigen/indoor", "PanoInfinigen"),
    ],
)
def test_wrong_datasets_are_told_before_any_work(
    scenes: Path, tiny_unified: Path, tmp_path: Path, override: str, message: str
) -> None:
    """A dataset that is not there, or is not scored, is one line before Ray starts."""
    with pytest.raises(ConfigError, match=message) as caught:
        evaluate(scenes, tiny_unified, tmp_path / "run", override)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_the_weights_were_trained_on_is_no_benchmark(tmp_path: Path, tiny_unified: Path) -> None:
    """A dataset of the released weights' training is refused by name, with what to do and what reads it."""
    name = "PanoInfinigen/nature"
    data = write_dataset(name, str(tmp_path / "data"))
    with pytest.raises(ConfigError) as caught:
        evaluate(data, tiny_unified, tmp_path / "run", f"evaluation.dataset={name}")
    message = str(caught.value)
    assert message.startswith(f"evaluation.dataset: {name} is what the released weights were trained on")
    assert "; choose another dataset (pager_ray.datasets.open_dataset reads this one)" in message
    assert not (tmp_path / "run").exists()


def test_predictions_with_credentials_are_refused(scenes: Path, tmp_path: Path) -> None:
    """A password in the predictions' URL is told without itself, before anything is read or written."""
    arguments = ["predictions=s3://key:secret@bucket/run", "evaluation.dataset=synthetic",
                 f"evaluation.data_path={scenes}", f"output.uri={tmp_path / 'run'}"]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        run_scoring(load_config(None, arguments, ScoreConfig))
    assert str(caught.value) == (
        "predictions: s3://bucket/run carries credentials in its URL; give them through the environment or a profile"
    )
    assert not (tmp_path / "run").exists()


GOLDEN_DATASETS = Path(__file__).parents[2] / "golden" / "datasets"


@pytest.mark.usefixtures("ray_cluster")
def test_predictions_of_others_are_scored_on_a_benchmark(tmp_path: Path) -> None:
    """A folder in the released layout, written with NumPy alone, in the released way: means as the formulas say."""
    rng = np.random.default_rng(0)
    dataset = open_dataset("Replica360_4K", str(GOLDEN_DATASETS))
    preds = tmp_path / "checkpoint" / "depth" / "preds"
    preds.mkdir(parents=True)
    expected = []
    for sample in dataset.samples()[:2]:
        truth = dataset.read_ground_truth(sample)
        prediction = truth.depth * rng.uniform(0.7, 1.3, truth.depth.shape).astype(np.float32)
        np.savez_compressed(preds / f"{sample.id}.npz", prediction[None])
        error = np.abs(prediction - truth.depth)[truth.mask] / truth.depth[truth.mask]
        expected.append(error.mean(dtype=np.float64))
    command = ["score", str(tmp_path / "checkpoint"), "--dataset", "Replica360_4K", "--data-path", str(GOLDEN_DATASETS)]
    command += ["evaluation.pictures=false", "evaluation.limit=2"]
    assert exit_code([*command, "--alignment", "metric"]) == 0
    report = report_of(tmp_path / "checkpoint" / "scores" / "Replica360_4K")
    found = report["metrics"]["depth_metric_abs_relative_difference"]
    assert found["mean"] == pytest.approx(np.mean(expected), rel=1e-6)
    assert found["low"] <= found["mean"] <= found["high"]
    text = (tmp_path / "checkpoint" / "depth" / "evaluation_metrics_metric.txt").read_text(encoding="utf-8")
    assert f"abs_relative_difference: {np.mean(expected):.4f}\n" in text
    assert set(report["slices"]) >= {"scene", "room_type"}

    # The released way is a command per alignment: another one adds to what stands, and none of them takes any away.
    for alignment in ("scale", "metric"):
        assert exit_code([*command, "--alignment", alignment]) == 0
        report = report_of(tmp_path / "checkpoint" / "scores" / "Replica360_4K")
        assert report["metrics"]["depth_metric_abs_relative_difference"] == found
        assert report["metrics"]["depth_scale_abs_relative_difference"]["mean"] < found["mean"]
        assert (tmp_path / "checkpoint" / "depth" / f"evaluation_metrics_{alignment}.txt").exists()
    assert exit_code([*command, "--alignment", "scale", "evaluation.face_size=252"]) == 2
