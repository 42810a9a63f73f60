"""From rows of scores to the report: means, intervals, slices, in an order and precision that nothing else decides.

Sums over panoramas are exact (:class:`~pager_ray.metrics.accumulate.ExactMean`) and the bootstrap draws from values
sorted by id, so the report is a function of the set of rows: shards, their order and the merging of states leave no
trace, down to the last byte.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from pager_ray.errors import PagerError, RunNotFoundError, StorageError
from pager_ray.metrics.accumulate import ExactMean
from pager_ray.metrics.bootstrap import bootstrap_intervals
from pager_ray.metrics.catalogue import (
    FLOOR_PREFIX,
    LATITUDE_EDGES,
    RANGE_EDGES,
    Metric,
    floor_metrics_of,
    metrics_of,
)

if TYPE_CHECKING:
    from jaxtyping import Float64

    from pager_ray.storage import Folder

SCHEMA_VERSION: Final = "1"
REPORT: Final = "report.json"
BOOTSTRAP: Final[dict[str, Any]] = {"seed": 0, "replicates": 1000, "level": 0.95}
SKY_EDGES: Final = (0.0, 0.01, 0.2, 0.5)
"""Lower edges of the bins of predicted sky share."""

_ANEW: Final = "evaluate anew with --overwrite"

IDENTITY_COLUMNS: Final = ("id", "scene", "labels", "sky_fraction", "valid_pixels")
PIXEL_SLICES: Final = {"depth_range": "range", "latitude_band": "latitude"}
"""Kinds of slices that divide pixels, not panoramas, and how their columns end."""


@dataclass(frozen=True)
class EvaluationFacts:
    """What a report says beside its numbers.

    Attributes:
        dataset: name, data path (masked), digest of the listing.
        protocol: sizes, decoding, depth range; see ``Dataset.protocol``.
        families, alignments: what was computed, in the order of tables.
        settings: every further knob that changes numbers.
        checkpoint: where the predictions come from.
        samples: how many the dataset has.
        excluded: one mapping per reject: ``id``, ``uri``, ``stage``, ``error_class``, ``message``.
        created: the time; with ``versions`` all that two reports of the same rows may differ in.
    """

    dataset: Mapping[str, Any]
    protocol: Mapping[str, Any]
    families: Sequence[str]
    alignments: Sequence[str]
    settings: Mapping[str, Any]
    checkpoint: Mapping[str, Any]
    samples: int
    excluded: Sequence[Mapping[str, Any]]
    created: str
    versions: Mapping[str, Any]


@dataclass
class EvaluationState:
    """Scores of any number of panoramas, ready to be merged with those of others.

    Args:
        families, alignments: what was computed.
        floor: whether the rows have a resampling floor.
    """

    families: Sequence[str]
    alignments: Sequence[str]
    floor: bool
    _rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    _means: dict[tuple[str, str, str], ExactMean] = field(default_factory=dict)

    @property
    def scalars(self) -> list[Metric]:
        """The metrics with one number per panorama, floors last."""
        scored = metrics_of(self.families, self.alignments)
        return scored + (floor_metrics_of(self.families) if self.floor else [])

    @property
    def columns(self) -> list[str]:
        """The columns that :meth:`add` needs."""
        return [*IDENTITY_COLUMNS, *(metric.column for metric in self.scalars), *self._lists()]

    def _lists(self) -> list[str]:
        names = []
        for kind, suffix in PIXEL_SLICES.items():
            names += [f"{column}_by_{suffix}" for column in self.sliced(kind)]
            if "depth" in self.families:
                names.append(f"pixels_by_{suffix}")
        return names

    def sliced(self, kind: str) -> list[str]:
        """The metrics that are there per bin of a kind of :data:`PIXEL_SLICES`."""
        names = []
        if "depth" in self.families:
            for alignment in self.alignments:
                names += [f"depth_{alignment}_{name}" for name in ("abs_relative_difference", "delta1_acc")]
        if "normals" in self.families and kind == "latitude_band":
            names.append("normals_mean")
        return names

    def groups(self, id: str) -> list[tuple[str, str]]:
        """Kind and value of every slice that a panorama is in."""
        return _groups(self._rows[id])

    def truth_counts(self, id: str) -> tuple[Any, ...]:
        """Pixels with ground truth, in all and per bin: what scores of the same truth have in common."""
        row = self._rows[id]
        return row["valid_pixels"], *(row[name] for name in self._lists() if name.startswith("pixels_by_"))

    def bin_values(self, ids: Sequence[str], kind: str, place: int) -> Float64[np.ndarray, "n m"]:
        """The :meth:`sliced` metrics of one bin, a row per id; NaN where it has no pixel there."""
        columns = [f"{column}_by_{PIXEL_SLICES[kind]}" for column in self.sliced(kind)]
        rows = [[self._rows[id][column][place] for column in columns] for id in ids]
        return np.array(rows, np.float64).reshape(len(ids), len(columns))

    def add(self, table: pa.Table) -> None:
        """Take in rows with at least :attr:`columns`.

        Raises:
            PagerError: an id comes twice, a score is not finite, a bin is neither finite nor NaN, or a label or sky
                share is none: no sample with such values has a row.
        """
        for row in table.select(self.columns).to_pylist():
            if row["id"] in self._rows:
                raise PagerError(f"the scores hold {row['id']!r} twice, and the mean would count it twice; {_ANEW}")
            for metric in self.scalars:
                if row[metric.column] is None or not math.isfinite(row[metric.column]):
                    raise PagerError(
                        f"the scores of {row['id']!r} hold {row[metric.column]} as {metric.column}; {_ANEW}"
                    )
            self._check_slices(row)
            self._rows[row["id"]] = row
            groups = [("", ""), *_groups(row)]
            for metric in self.scalars:
                for kind, value in groups:
                    self._mean(kind, value, metric.column).add(row[metric.column])
            for kind, suffix in PIXEL_SLICES.items():
                for column in self.sliced(kind):
                    for place, value in enumerate(row[f"{column}_by_{suffix}"]):
                        if math.isfinite(value):
                            self._mean(kind, str(place), column).add(value)

    def _check_slices(self, row: Mapping[str, Any]) -> None:
        """Refuse what would be in no slice, or twice in one."""
        broken = []
        labels = json.loads(row["labels"] or "{}")
        taken = {"", "setting", "sky_share", *PIXEL_SLICES}
        if not all(isinstance(value, str) for value in labels.values()) or taken & labels.keys():
            broken.append("labels")
        # Not the other way round: NaN is on neither side of anything.
        if row["sky_fraction"] is not None and not 0 <= row["sky_fraction"] <= 1:
            broken.append("sky_fraction")
        bins = {suffix: len(bin_names(kind)) for kind, suffix in PIXEL_SLICES.items()}
        for name in self._lists():
            values = row[name]
            fits = values is not None and len(values) == bins[name.rsplit("_", 1)[1]]
            if not fits or any(value is None or math.isinf(value) for value in values):
                broken.append(name)
        if broken:
            raise PagerError(f"the scores of {row['id']!r} hold {row[broken[0]]!r} as {broken[0]}; {_ANEW}")

    def merge(self, other: EvaluationState) -> None:
        """Take in another state's panoramas.

        Raises:
            PagerError: a panorama is in both.
        """
        if both := self._rows.keys() & other._rows.keys():
            raise PagerError(f"the scores hold {min(both)!r} twice, and the mean would count it twice; {_ANEW}")
        self._rows.update(other._rows)
        for key, mean in other._means.items():
            self._mean(*key).merge(mean)

    def _mean(self, kind: str, value: str, column: str) -> ExactMean:
        return self._means.setdefault((kind, value, column), ExactMean())

    def values(self, columns: Sequence[str]) -> tuple[list[str], Float64[np.ndarray, "n m"]]:
        """Ids in order, and a row of the named scalar columns for each."""
        ids = sorted(self._rows)
        rows = [[self._rows[id][column] for column in columns] for id in ids]
        return ids, np.array(rows, np.float64).reshape(len(ids), len(columns))

    def summarise(self) -> dict[str, Any]:
        """Metrics, floor and slices of everything taken in, ready for JSON."""
        ids, values = self.values([metric.column for metric in self.scalars])
        everyone = np.ones(len(ids), bool)
        overall = self._summary("", "", everyone, values, [metric.column for metric in self.scalars])
        result = {
            "metrics": {name: stats for name, stats in overall.items() if not name.startswith(FLOOR_PREFIX)},
            "resampling_floor": {
                name.removeprefix(FLOOR_PREFIX): stats
                for name, stats in overall.items()
                if name.startswith(FLOOR_PREFIX)
            },
            "slices": self._sample_slices(ids, values),
            "pixel_slices": {kind: self._pixel_slices(ids, kind) for kind in PIXEL_SLICES},
        }
        return result

    def _summary(
        self, kind: str, value: str, members: np.ndarray, values: np.ndarray, columns: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Mean, interval, median and number of samples per column, over the rows that are members."""
        chosen = values[members]
        if not len(chosen):
            return {}
        intervals = bootstrap_intervals(
            chosen, seed=BOOTSTRAP["seed"], replicates=BOOTSTRAP["replicates"], level=BOOTSTRAP["level"]
        )
        summary = {}
        for place, column in enumerate(columns):
            present = chosen[~np.isnan(chosen[:, place]), place]
            if len(present):
                summary[column] = {
                    "mean": self._mean(kind, value, column).mean,
                    "low": float(intervals[place, 0]),
                    "high": float(intervals[place, 1]),
                    "median": float(np.median(present)),
                    "samples": len(present),
                }
        return summary

    def _sample_slices(self, ids: list[str], values: np.ndarray) -> dict[str, Any]:
        columns = [metric.column for metric in self.scalars]
        members: dict[str, dict[str, list[int]]] = {}
        for number, id in enumerate(ids):
            for kind, value in _groups(self._rows[id]):
                members.setdefault(kind, {}).setdefault(value, []).append(number)
        slices: dict[str, Any] = {}
        for kind in sorted(members):
            slices[kind] = {}
            for value in sorted(members[kind]):
                chosen = np.zeros(len(ids), bool)
                chosen[members[kind][value]] = True
                summary = self._summary(kind, value, chosen, values, columns)
                scored = {name: stats for name, stats in summary.items() if not name.startswith(FLOOR_PREFIX)}
                slices[kind][value] = {"samples": int(chosen.sum()), "metrics": scored}
        return slices

    def _pixel_slices(self, ids: list[str], kind: str) -> dict[str, Any]:
        columns = self.sliced(kind)
        slices = {}
        for place, name in enumerate(bin_names(kind)):
            values = self.bin_values(ids, kind, place)
            summary = self._summary(kind, str(place), np.ones(len(ids), bool), values, columns) if columns else {}
            slices[name] = {"metrics": summary}
            if "depth" in self.families:
                slices[name]["pixels"] = sum(self._rows[id][f"pixels_by_{PIXEL_SLICES[kind]}"][place] for id in ids)
        return slices


def bin_names(kind: str) -> list[str]:
    """What the bins of ``depth_range`` or ``latitude_band`` are called."""
    edges, unit = (RANGE_EDGES, " m") if kind == "depth_range" else (LATITUDE_EDGES, "°")
    return [f"{low:g}…{high:g}{unit}" for low, high in pairwise(edges)]


def _groups(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kind and value of every slice that a panorama is in."""
    groups = sorted(json.loads(row["labels"] or "{}").items())
    if row["scene"]:
        groups.append(("setting", row["scene"]))
    if row["sky_fraction"] is not None:
        place = max(number for number, low in enumerate(SKY_EDGES) if row["sky_fraction"] >= low)
        high = SKY_EDGES[place + 1] if place + 1 < len(SKY_EDGES) else 1.0
        groups.append(("sky_share", f"{SKY_EDGES[place]:.0%}…{high:.0%}"))
    return groups


def make_report(state: EvaluationState, facts: EvaluationFacts) -> dict[str, Any]:
    """Everything that ``report.json`` holds.

    What may differ between two evaluations of the same samples stands under ``created`` and ``versions`` alone.
    """
    excluded = sorted((dict(item) for item in facts.excluded), key=lambda item: item["id"])
    classes = Counter(item["error_class"] for item in excluded)
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": dict(facts.dataset),
        "protocol": dict(facts.protocol)
        | {"families": list(facts.families), "alignments": list(facts.alignments), "mean": "per panorama, then plain"},
        "settings": dict(facts.settings),
        "checkpoint": dict(facts.checkpoint),
        "bootstrap": BOOTSTRAP,
        "counts": {
            "samples": facts.samples,
            "scored": len(state._rows),
            "excluded": len(excluded),
            "excluded_by_class": {name: classes[name] for name in sorted(classes)},
        },
        "excluded": excluded,
        **state.summarise(),
        "created": facts.created,
        "versions": dict(facts.versions),
    }


def summarise_tables(
    tables: Iterable[pa.Table], families: Sequence[str], alignments: Sequence[str], *, floor: bool
) -> EvaluationState:
    """The state of all rows in some tables, each taken in by a state of its own and merged."""
    whole = EvaluationState(families, alignments, floor)
    for table in tables:
        part = EvaluationState(families, alignments, floor)
        part.add(table)
        whole.merge(part)
    return whole


def read_report(folder: Folder) -> dict[str, Any]:
    """The report in an evaluation's ``metrics`` folder.

    Raises:
        RunNotFoundError: there is none.
        StorageError: it cannot be read, or is no report of this version.
    """
    if not folder.exists(REPORT):
        raise RunNotFoundError(
            f"{folder}: holds no {REPORT}; give the output of a `pager-ray evaluate` or `score` that has ended, such "
            "as RUN/scores/DATASET"
        )
    report = folder.read_json(REPORT)
    if report.get("schema_version") != SCHEMA_VERSION:
        raise StorageError(
            f"{folder}: its {REPORT} has schema version {report.get('schema_version')!r}; this pager_ray reads version "
            f"{SCHEMA_VERSION}; evaluate again with this one"
        )
    return report
