"""Pictures of an evaluation's numbers: how metrics are distributed, how error grows with distance, what to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pager_ray.metrics.catalogue import metrics_of

if TYPE_CHECKING:
    from jaxtyping import Float64
    from matplotlib.figure import Figure

    from pager_ray.report.evaluation import EvaluationState

_COLUMNS: Final = 4
_COLOURS: Final = ("#2f6db3", "#c2562d", "#3c8f5a")
EXAMPLES: Final = 3


def pick_examples(ids: Sequence[str], values: Float64[np.ndarray, " n"], higher_is_better: bool) -> dict[str, str]:
    """Which panoramas to look at: the worst, the median and the best three, fewer where there are not that many.

    Args:
        ids: in order; equal values are told apart by it.
        values: the metric to order by.

    Returns:
        Names such as ``1_worst`` to ids, in the order to show them; no id twice.
    """
    order = np.argsort(values if higher_is_better else -values, kind="stable")
    middle = max(0, len(order) // 2 - EXAMPLES // 2)
    parts = {"worst": order[:EXAMPLES], "median": order[middle : middle + EXAMPLES], "best": order[::-1][:EXAMPLES]}
    chosen: dict[str, str] = {}
    for name, places in parts.items():
        for place in places:
            if ids[place] not in chosen.values():
                chosen[f"{len(chosen) + 1}_{name}"] = ids[place]
    return chosen


def distribution_figure(state: EvaluationState, report: Mapping[str, Any]) -> bytes | None:
    """A histogram of every released metric over panoramas, with its mean and interval, as PNG; None without rows."""
    shown = [
        m for m in metrics_of(state.families, state.alignments, solid_angle=False) if m.column in report["metrics"]
    ]
    if not shown:
        return None
    _, values = state.values([metric.column for metric in shown])
    rows = -(-len(shown) // _COLUMNS)
    figure = _figure(3.1 * _COLUMNS, 2.3 * rows)
    for place, metric in enumerate(shown):
        axes = figure.add_subplot(rows, _COLUMNS, place + 1)
        column, stats = values[:, place], report["metrics"][metric.column]
        axes.hist(column, bins=min(40, max(8, len(column) // 4)), color=_COLOURS[0], alpha=0.75)
        axes.axvspan(stats["low"], stats["high"], color=_COLOURS[1], alpha=0.25, linewidth=0)
        axes.axvline(stats["mean"], color=_COLOURS[1], linewidth=1.5)
        unit = f" ({metric.unit})" if metric.unit else ""
        axes.set_title(f"{metric.label}{unit}" + (f", {metric.alignment}" if metric.alignment else ""), fontsize=9)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="y", integer=True)
        axes.locator_params(axis="x", nbins=5)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("panoramas by metric; line: mean, band: its 95 % interval", fontsize=10)
    return _png(figure)


def depth_by_range_figure(report: Mapping[str, Any]) -> bytes | None:
    """AbsRel and δ1 by range of the true depth, with intervals and shares of pixels; None without depth."""
    if "depth" not in report["protocol"]["families"]:
        return None
    bins = report["pixel_slices"]["depth_range"]
    names, pixels = list(bins), np.array([item["pixels"] for item in bins.values()], float)
    figure = _figure(10, 4.2)
    for place, (name, title) in enumerate((("abs_relative_difference", "AbsRel"), ("delta1_acc", "δ1"))):
        axes = figure.add_subplot(1, 2, place + 1)
        shares = axes.twinx()
        shares.bar(range(len(names)), pixels / max(pixels.sum(), 1), color="#000000", alpha=0.08, width=0.9)
        shares.set_ylim(0, 1)
        shares.set_ylabel("share of pixels", fontsize=8, color="#777777")
        shares.tick_params(labelsize=7, colors="#777777")
        for number, alignment in enumerate(report["protocol"]["alignments"]):
            points = [item["metrics"].get(f"depth_{alignment}_{name}") for item in bins.values()]
            where = [at for at, stats in enumerate(points) if stats is not None]
            found = [stats for stats in points if stats is not None]
            means = np.array([stats["mean"] for stats in found])
            # Rounding may leave a mean a hair outside of its own interval.
            ends = np.abs([means - [stats["low"] for stats in found], [stats["high"] for stats in found] - means])
            offset = 0.12 * (number - 1)
            axes.errorbar(
                np.array(where) + offset, means, yerr=ends, marker="o", markersize=4, capsize=2, linewidth=1.2,
                color=_COLOURS[number % len(_COLOURS)], label=alignment,
            )  # fmt: skip
        axes.set_zorder(shares.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.set_xticks(range(len(names)), names, fontsize=7, rotation=20)
        axes.set_title(f"{title} by range of the true depth", fontsize=10)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8, frameon=False)
        axes.spines["top"].set_visible(False)
        shares.spines["top"].set_visible(False)
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    # Loaded here: no other part of the package needs it, and it takes a second.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    # Without a date the same numbers give the same file.
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
