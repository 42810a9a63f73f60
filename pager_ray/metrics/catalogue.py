"""Every metric there is: its column in the per-sample table, its released name, and how people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from pager_ray.errors import ConfigError

FAMILIES: Final = ("depth", "normals", "seams")
ALIGNMENTS: Final = ("metric", "scale", "scale_and_shift")

RANGE_EDGES: Final = (0.01, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 75.0)
"""Edges of the bins of ground-truth depth in metres; a bin holds its lower edge and not its upper one."""

LATITUDE_EDGES: Final = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0)
"""Edges of the latitude bands in degrees, south to north; a band holds its lower edge and not its upper one."""

SOLID_ANGLE_SUFFIX: Final = "_solid_angle"
FLOOR_PREFIX: Final = "floor_"


@dataclass(frozen=True)
class Metric:
    """One scalar per sample.

    Attributes:
        column: its name in the per-sample table, e.g. ``"depth_scale_delta1_acc_solid_angle"``.
        family: ``"depth"``, ``"normals"`` or ``"seams"``.
        alignment: what the prediction went through before it was compared; None outside ``"depth"`` and for the
            resampling floor, which needs none.
        name: the released name, which text summaries are keyed by, e.g. ``"delta_22.5"``.
        label: for people, e.g. ``"δ1"``; the same for both weightings, alignments and the floor.
        unit: ``"m"``, ``"°"``, ``"°²"``, or ``""`` for shares and ratios.
        higher_is_better: the direction of an improvement.
        solid_angle: pixels count by the solid angle they cover (cos latitude), not one each as released.
    """

    column: str
    family: str
    alignment: str | None
    name: str
    label: str
    unit: str
    higher_is_better: bool
    solid_angle: bool

    @property
    def is_floor(self) -> bool:
        """The metric scores the ground truth sent through a cubemap and back, not a prediction."""
        return self.column.startswith(FLOOR_PREFIX)


@dataclass(frozen=True)
class _Kind:
    column: str
    name: str
    label: str
    unit: str
    higher_is_better: bool = False


_KINDS: Final = {
    "depth": (
        _Kind("depth_{}abs_relative_difference", "abs_relative_difference", "AbsRel", ""),
        _Kind("depth_{}squared_relative_difference", "squared_relative_difference", "SqRel", "m"),
        _Kind("depth_{}rmse_linear", "rmse_linear", "RMSE", "m"),
        _Kind("depth_{}delta1_acc", "delta1_acc", "δ1", "", higher_is_better=True),
    ),
    "normals": (
        _Kind("normals_{}mean", "mean", "mean angle", "°"),
        _Kind("normals_{}mse", "mse", "mean squared angle", "°²"),
        _Kind("normals_{}delta_5", "delta_5", "angle < 5°", "", higher_is_better=True),
        _Kind("normals_{}delta_22_5", "delta_22.5", "angle < 22.5°", "", higher_is_better=True),
    ),
    "seams": (
        _Kind("seam_{}defect_density", "seam_defect_density", "seam defect density", ""),
        _Kind("seam_{}prevalence", "seam_prevalence", "seam prevalence", ""),
        _Kind("seam_{}severity", "seam_severity", "seam severity", ""),
    ),
}


def metrics_of(families: Sequence[str], alignments: Sequence[str], solid_angle: bool = True) -> list[Metric]:
    """List the metrics that score predictions, in the order that tables show them.

    Args:
        families: which of :data:`FAMILIES`; their order is kept.
        alignments: which of :data:`ALIGNMENTS` depth is scored in; their order is kept. Other families ignore it.
        solid_angle: also list the solid-angle-weighted version of each metric, after the released ones of its
            family and alignment. Seams have none.

    Raises:
        ConfigError: an unknown family or alignment.
    """
    for family in families:
        _check_known("family", family, FAMILIES)
    for alignment in alignments:
        _check_known("alignment", alignment, ALIGNMENTS)
    return [
        found
        for family in families
        for alignment in (alignments if family == "depth" else (None,))
        for weighted in _weightings(family, solid_angle)
        for found in _group(family, alignment, weighted, floor=False)
    ]


def floor_metrics_of(families: Sequence[str], solid_angle: bool = True) -> list[Metric]:
    """List the metrics of the resampling floor: ground truth through a cubemap and back, without alignment.

    Args:
        families: which of :data:`FAMILIES`; seams have no floor and add nothing.
        solid_angle: as in :func:`metrics_of`.

    Raises:
        ConfigError: an unknown family.
    """
    for family in families:
        _check_known("family", family, FAMILIES)
    return [
        found
        for family in families
        if family != "seams"
        for weighted in _weightings(family, solid_angle)
        for found in _group(family, None, weighted, floor=True)
    ]


def floor_columns(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Give the scores of a resampled ground truth (depth in alignment ``metric``) under their columns of the floor.

    What the floor does not report, slices and pixel counts, is left out.
    """
    found = {f"{FLOOR_PREFIX}{column.replace('depth_metric_', 'depth_', 1)}": value for column, value in scores.items()}
    return {column: value for column, value in found.items() if column in _by_column()}


def metric(column: str) -> Metric:
    """Find a metric, floors included, by its column.

    Raises:
        ConfigError: no such column; the message offers close ones.
    """
    known = _by_column()
    if column not in known:
        close = get_close_matches(column, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"one is {next(iter(known))}"
        raise ConfigError(f"unknown metric {column!r}; {hint}")
    return known[column]


@lru_cache(maxsize=1)
def _by_column() -> dict[str, Metric]:
    return {found.column: found for found in (*metrics_of(FAMILIES, ALIGNMENTS), *floor_metrics_of(FAMILIES))}


def _weightings(family: str, solid_angle: bool) -> tuple[bool, ...]:
    return (False, True) if solid_angle and family != "seams" else (False,)


def _group(family: str, alignment: str | None, weighted: bool, floor: bool) -> list[Metric]:
    inserted = f"{alignment}_" if alignment else ""
    prefix, suffix = FLOOR_PREFIX if floor else "", SOLID_ANGLE_SUFFIX if weighted else ""
    return [
        Metric(
            column=f"{prefix}{kind.column.format(inserted)}{suffix}",
            family=family,
            alignment=alignment,
            name=kind.name,
            label=kind.label,
            unit=kind.unit,
            higher_is_better=kind.higher_is_better,
            solid_angle=weighted,
        )
        for kind in _KINDS[family]
    ]


def _check_known(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"unknown {what} {value!r}; known are {', '.join(known)}")
