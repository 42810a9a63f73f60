"""Figures: of every metric, not blank, the same for the same numbers."""

from __future__ import annotations

import copy
import io
from functools import cache

import numpy as np
from PIL import Image

from pager_ray.report.evaluation import EvaluationState, make_report
from pager_ray.report.figures import depth_by_range_figure, distribution_figure, pick_examples
from tests.report.scores import ALIGNMENTS, FAMILIES, facts, score_rows, state_of

STATE = state_of(score_rows(30))
REPORT = make_report(STATE, facts())


def ink_of(content: bytes) -> float:
    with Image.open(io.BytesIO(content)) as image:
        return float((np.asarray(image.convert("L")) < 250).mean())


@cache
def distribution() -> bytes:
    return distribution_figure(STATE, REPORT)


@cache
def by_range() -> bytes:
    return depth_by_range_figure(REPORT)


def test_figures_are_pictures() -> None:
    """Both figures are PNG files with something on them, and drawing again gives the same bytes."""
    for drawn, draw in (
        (distribution, lambda: distribution_figure(STATE, REPORT)),
        (by_range, lambda: depth_by_range_figure(REPORT)),
    ):
        content = drawn()
        assert content.startswith(b"\x89PNG")
        assert 0.02 < ink_of(content) < 0.8
        assert draw() == content


def test_figures_show_intervals_and_every_alignment() -> None:
    """Another interval, or other values of one alignment alone, give another picture."""
    report = copy.deepcopy(REPORT)
    report["metrics"]["seam_severity"]["high"] *= 1.5
    assert distribution_figure(STATE, report) != distribution()
    for alignment in ALIGNMENTS:
        report = copy.deepcopy(REPORT)
        stats = report["pixel_slices"]["depth_range"]["2…4 m"]["metrics"][f"depth_{alignment}_delta1_acc"]
        stats["mean"] = (stats["low"] + stats["mean"]) / 2
        assert depth_by_range_figure(report) != by_range()


def test_there_is_no_figure_of_nothing() -> None:
    """Without rows, or without depth, there is nothing to draw."""
    empty = EvaluationState(FAMILIES, ALIGNMENTS, floor=True)
    assert distribution_figure(empty, make_report(empty, facts())) is None
    normals = EvaluationState(("normals",), (), floor=False)
    assert depth_by_range_figure(make_report(normals, facts(families=("normals",), alignments=()))) is None


def test_examples_are_worst_median_and_best() -> None:
    """Nine different panoramas in that order; which way is worse depends on the metric."""
    ids = [f"p{number:02d}" for number in range(21)]
    values = np.arange(21.0)
    assert list(pick_examples(ids, values, higher_is_better=False).values()) == [
        "p20", "p19", "p18", "p11", "p10", "p09", "p00", "p01", "p02",
    ]  # fmt: skip
    assert list(pick_examples(ids, values, higher_is_better=True).values())[:3] == ["p00", "p01", "p02"]


def test_few_panoramas_are_shown_once() -> None:
    """With fewer than nine panoramas each is shown once; ties are told apart by id."""
    chosen = pick_examples(["a", "b", "c", "d"], np.zeros(4), higher_is_better=False)
    assert sorted(chosen.values()) == ["a", "b", "c", "d"]
    assert next(iter(chosen)) == "1_worst"
    assert pick_examples([], np.zeros(0), higher_is_better=False) == {}
