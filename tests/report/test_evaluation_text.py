"""What people and older scripts read says the same as report.json."""

from __future__ import annotations

import pytest

from pager_ray.metrics.catalogue import metrics_of
from pager_ray.report.evaluation import make_report
from pager_ray.report.evaluation_text import NAMED_EXCLUDED, markdown, released_summaries, summary_text
from tests.report.scores import ALIGNMENTS, FAMILIES, facts, score_rows, state_of

STATE = state_of(score_rows(17))
REPORT = make_report(STATE, facts(excluded=NAMED_EXCLUDED + 5))


def test_the_protocol_stands_above_the_numbers() -> None:
    """Every knob is in the markdown before the first metric, every metric with its own alignment."""
    text = markdown(REPORT, [])
    head, table = text.split("## Metrics")
    for knob in ("protocol.height | 2048", "protocol.depth_range | [0.01, 75.0]", "settings.seams.pixel | 0.01",
                 "checkpoint.name | prs-eth/PaGeR", "dataset.name | Rooms"):  # fmt: skip
        assert knob in head
    rows = [line for line in table.split("## ")[0].splitlines() if line.startswith("| ")][2:]
    metrics = metrics_of(FAMILIES, ALIGNMENTS, solid_angle=False)
    assert len(rows) == len(metrics)
    for line, metric in zip(rows, metrics, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        stats = REPORT["metrics"][metric.column]
        assert cells[0].startswith(metric.label)
        assert cells[1] == (metric.alignment or "–")
        assert cells[2] == f"{stats['mean']:.4f}"
        assert cells[3] == f"{stats['low']:.4f}…{stats['high']:.4f}"
        if metric.family != "seams":
            assert cells[5] == f"{REPORT['metrics'][metric.column + '_solid_angle']['mean']:.4f}"
            floor = metric.column.replace(f"depth_{metric.alignment}_", "depth_")
            assert cells[6] == f"{REPORT['resampling_floor'][floor]['mean']:.4f}"


def test_excluded_panoramas_are_counted_and_named() -> None:
    """The markdown has their number, classes and first names, and where the rest is."""
    text = markdown(REPORT, [])
    assert "25 panoramas could not be scored (bad_ground_truth 12, missing_prediction 13)" in text
    assert "`bad_00`" in text
    assert "5 more in report.json" in text
    assert "Every panorama was scored" in markdown(make_report(STATE, facts()), [])


def test_tables_stay_tables() -> None:
    """Labels and messages with a pipe in them break no row."""
    text = markdown(REPORT, ["1_worst_a.jpg"])
    assert "hall\\|way" in text
    assert "![1_worst_a.jpg](pictures/1_worst_a.jpg)" in text
    for block in text.split("\n\n"):
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, block


def test_summaries_are_read_by_existing_scripts() -> None:
    """Names, files and four decimals as released: one file per alignment, one for normals, one for seams."""
    files = released_summaries(REPORT)
    assert set(files) == {
        "depth/evaluation_metrics_metric.txt",
        "depth/evaluation_metrics_scale.txt",
        "normals/evaluation_metrics.txt",
        "seams/evaluation_metrics.txt",
    }
    parsed = {
        path: {name: float(value) for name, value in (line.split(": ") for line in text.splitlines())}
        for path, text in files.items()
    }
    assert set(parsed["depth/evaluation_metrics_scale.txt"]) == {
        "abs_relative_difference", "squared_relative_difference", "rmse_linear", "delta1_acc"
    }  # fmt: skip
    assert set(parsed["normals/evaluation_metrics.txt"]) == {"mean", "mse", "delta_5", "delta_22.5"}
    assert set(parsed["seams/evaluation_metrics.txt"]) == {"seam_defect_density", "seam_prevalence", "seam_severity"}
    value = parsed["normals/evaluation_metrics.txt"]["delta_22.5"]
    assert value == pytest.approx(REPORT["metrics"]["normals_delta_22_5"]["mean"], abs=5e-5)
    assert all(len(line.split(".")[-1]) == 4 for text in files.values() for line in text.splitlines())


def test_the_terminal_shows_headlines_and_what_is_missing() -> None:
    """A few lines: panoramas scored, headline metrics with intervals and floors, what is not in the means."""
    lines = summary_text(REPORT)
    assert lines[0] == "Rooms: 17 of 40 panoramas scored"
    assert any(line.strip().startswith("AbsRel (metric)") and "resampling floor" in line for line in lines)
    assert lines[-1] == "not in the means: 25 (bad_ground_truth 12, missing_prediction 13)"
    assert len(lines) < 12
