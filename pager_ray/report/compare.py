"""Two evaluations of the same panoramas: what changed, where, and whether it matters."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np

from pager_ray.errors import ConfigError
from pager_ray.metrics.bootstrap import bootstrap_intervals
from pager_ray.metrics.catalogue import Metric, metric, metrics_of
from pager_ray.report.evaluation import (
    BOOTSTRAP,
    PIXEL_SLICES,
    EvaluationState,
    bin_names,
    read_report,
    summarise_tables,
)
from pager_ray.runs.layout import EvaluationLayout
from pager_ray.runs.reconcile import iterate_shards
from pager_ray.storage import Folder

MISSING: Final = "missing"
NAMED: Final = 5
FEWEST_PAIRS: Final = 5
"""Slices of fewer panoramas are in the JSON alone: their effects are large by chance."""

_SHOWN: Final = 40
_GATE: Final = re.compile(r"\s*([\w.]+)\s*>\s*([0-9]*\.?[0-9]+(?:[eE][+-]?\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Difference:
    """One metric's change on one slice, over the panoramas that both have.

    Attributes:
        kind, value: the slice; both empty for all panoramas.
        column, label: the metric, and what people call it.
        samples: how many panoramas are paired.
        a, b: the two means.
        difference: mean of B − A; low, high: its paired bootstrap interval.
        relative: difference over A's mean; None where that is 0.
        effect: mean difference in standard deviations of the differences, positive where B is better; 0 where the
            mean difference is no more than rounding, infinite (None in JSON) where all differences are equal to
            something else, None for a single pair, which has no spread.
    """

    kind: str
    value: str
    column: str
    label: str
    samples: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    relative: float | None
    effect: float | None


@dataclass(frozen=True)
class Gate:
    """A bound on how much worse B may be: ``amount``, or that share of A's mean."""

    text: str
    column: str
    amount: float
    is_share: bool


@dataclass(frozen=True)
class Comparison:
    """What two evaluations differ in.

    Attributes:
        a, b: where they lie.
        differences: sorted by effect, what B made worse first.
        only_in_a, only_in_b: ids that only one of them scored.
        failed: one line per gate that failed.
        settings: what the predictions were made with where the reports name different values: key to (A's, B's).
    """

    a: str
    b: str
    differences: list[Difference]
    only_in_a: list[str]
    only_in_b: list[str]
    failed: list[str]
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A table for terminals: everything overall, then the slices with the largest effects, then gates."""
        overall = [item for item in self.differences if not item.kind]
        slices = [item for item in self.differences if item.kind]
        lines = [f"A  {self.a}", f"B  {self.b}", f"{overall[0].samples:,} panoramas in both"]
        for name, ids in (("A", self.only_in_a), ("B", self.only_in_b)):
            if ids:
                more = ", …" if len(ids) > NAMED else ""
                lines.append(f"{len(ids):,} only in {name}: {', '.join(ids[:NAMED])}{more}")
        lines += [f"{key}: {first!r} in A, {second!r} in B" for key, (first, second) in self.settings.items()]
        lines += ["", *_table([(item.column, item) for item in overall])]
        ranked = [item for item in slices if item.effect and item.samples >= FEWEST_PAIRS]
        strongest = sorted(ranked, key=lambda item: -abs(_effect(item)))[:_SHOWN]
        if strongest:
            shown = sorted(strongest, key=_effect)
            named = [(f"{item.kind}={item.value} {item.column}", item) for item in shown]
            lines += ["", f"slices with the largest effects, worst first ({len(named)} of {len(slices)})"]
            lines += _table(named)
        return lines + [""] * bool(self.failed) + self.failed

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for JSON; an infinite effect is null."""

        def plain(item: Difference) -> dict[str, Any]:
            return asdict(item) | {"effect": item.effect if math.isfinite(_effect(item)) else None}

        return {
            "a": self.a,
            "b": self.b,
            "settings": {key: list(values) for key, values in self.settings.items()},
            "bootstrap": BOOTSTRAP,
            "differences": [plain(item) for item in self.differences],
            "only_in_a": self.only_in_a,
            "only_in_b": self.only_in_b,
            "failed": self.failed,
        }


def compare_outputs(a: str, b: str, gates: Sequence[str] = ()) -> Comparison:
    """Compare two evaluation outputs panorama by panorama.

    Args:
        a, b: outputs of ``pager-ray evaluate`` or ``score``.
        gates: conditions under which B counts as worse; see :func:`parse_gate`.

    Raises:
        ConfigError: they are not comparable, have no panorama in common, or a gate is none.
        RunNotFoundError: one of them holds no report.
        StorageError: a report cannot be read.
    """
    parsed = [parse_gate(text) for text in gates]
    layouts = [EvaluationLayout(Folder(uri)) for uri in (a, b)]
    reports = [read_report(layout.metrics) for layout in layouts]
    _check_comparable(*reports)
    protocol = reports[0]["protocol"]
    states = []
    for layout in layouts:
        state = EvaluationState(protocol["families"], protocol["alignments"], floor=False)
        tables = iterate_shards(layout.results, layout.committed_shards(), state.columns)
        states.append(summarise_tables(tables, state.families, state.alignments, floor=False))
    comparison = compare_states(*states, names=(str(layouts[0].root), str(layouts[1].root)), gates=parsed)
    return replace(comparison, settings=_other_settings(*reports))


def parse_gate(text: str) -> Gate:
    """``METRIC>AMOUNT`` or ``METRIC>AMOUNT%``; METRIC is a column of the scores, or ``missing``.

    Raises:
        ConfigError: it is neither, or there is no such metric.
    """
    match = _GATE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--fail-if: got {text!r}; takes METRIC>AMOUNT or METRIC>AMOUNT%, such as "
            "'depth_metric_abs_relative_difference>2%', or missing>0"
        )
    column, amount, percent = match.groups()
    if column != MISSING:
        try:
            metric(column)
        except ConfigError as error:
            raise ConfigError(f"--fail-if: got {text!r}; {error}") from error
    elif percent:
        raise ConfigError(f"--fail-if: got {text!r}; missing takes a number of panoramas, no percentage")
    return Gate(text.strip(), column, float(amount) / (100 if percent else 1), bool(percent))


def compare_states(
    a: EvaluationState, b: EvaluationState, *, names: tuple[str, str], gates: Sequence[Gate] = ()
) -> Comparison:
    """Compare two states with the same families and alignments; see :func:`compare_outputs`.

    Raises:
        ConfigError: they have no panorama in common, their ground truths differ, or a gate's metric was not computed.
    """
    metrics = metrics_of(a.families, a.alignments)
    columns = [found.column for found in metrics]
    (ids_a, values_a), (ids_b, values_b) = a.values(columns), b.values(columns)
    common = sorted(set(ids_a) & set(ids_b))
    if not common:
        raise ConfigError(
            f"compare: {names[0]} and {names[1]} have no panorama in common; evaluate both on the same data"
        )
    if other := [id for id in common if a.truth_counts(id) != b.truth_counts(id)]:
        more = ", …" if len(other) > NAMED else ""
        raise ConfigError(
            f"compare: {len(other):,} of {len(common):,} common panoramas have other ground truths in A and B "
            f"({', '.join(other[:NAMED])}{more}); evaluate both on the same data"
        )
    places_a, places_b = ({id: place for place, id in enumerate(ids)} for ids in (ids_a, ids_b))
    first = values_a[[places_a[id] for id in common]]
    second = values_b[[places_b[id] for id in common]]
    differences = _differences("", "", metrics, first, second)
    members: dict[tuple[str, str], list[int]] = {}
    for number, id in enumerate(common):
        for group in a.groups(id):
            members.setdefault(group, []).append(number)
    for (kind, value), chosen in sorted(members.items()):
        differences += _differences(kind, value, metrics, first[chosen], second[chosen])
    for kind in PIXEL_SLICES:
        sliced = [metric(column) for column in a.sliced(kind)]
        for place, value in enumerate(bin_names(kind) if sliced else ()):
            pairs = (state.bin_values(common, kind, place) for state in (a, b))
            differences += _differences(kind, value, sliced, *pairs)
    only_a = sorted(set(ids_a) - set(ids_b))
    only_b = sorted(set(ids_b) - set(ids_a))
    overall = {item.column: item for item in differences if not item.kind}
    failed = [line for gate in gates if (line := _failure(gate, overall, len(only_a)))]
    order = sorted(differences, key=lambda item: (_effect(item), item.kind, item.value, item.column))
    return Comparison(*names, order, only_a, only_b, failed)


def _differences(
    kind: str, value: str, metrics: Sequence[Metric], first: np.ndarray, second: np.ndarray
) -> list[Difference]:
    delta = second - first
    intervals = bootstrap_intervals(
        delta, seed=BOOTSTRAP["seed"], replicates=BOOTSTRAP["replicates"], level=BOOTSTRAP["level"]
    )
    found = []
    for place, one in enumerate(metrics):
        # A bin that a panorama has no pixel in is no pair.
        present = ~np.isnan(delta[:, place])
        if not present.any():
            continue
        changes = delta[present, place]
        mean_a = math.fsum(first[present, place]) / len(changes)
        mean_b = math.fsum(second[present, place]) / len(changes)
        mean = math.fsum(changes) / len(changes)
        # What subtracting two rounded numbers leaves is neither a difference nor a spread.
        noise = 8 * float(np.finfo(np.float64).eps * np.abs([first[present, place], second[present, place]]).max())
        found.append(
            Difference(
                kind=kind,
                value=value,
                column=one.column,
                label=one.label,
                samples=len(changes),
                a=mean_a,
                b=mean_b,
                difference=mean,
                low=float(intervals[place, 0]),
                high=float(intervals[place, 1]),
                relative=mean / mean_a if mean_a else None,
                effect=_effect_size(changes, mean, noise, 1 if one.higher_is_better else -1),
            )
        )
    return found


def _effect_size(changes: np.ndarray, mean: float, noise: float, sign: int) -> float | None:
    if abs(mean) <= noise:
        return 0.0
    if len(changes) == 1:
        return None
    spread = float(np.std(changes, ddof=1))
    return sign * (mean / spread if spread > noise else math.copysign(math.inf, mean))


def _effect(item: Difference) -> float:
    """The effect to order by: a single pair stands with those that have none."""
    return item.effect or 0.0


def _failure(gate: Gate, overall: Mapping[str, Difference], missing: int) -> str | None:
    if gate.column == MISSING:
        return f"FAILED {gate.text}: {missing:,} panoramas are scored in A only" if missing > gate.amount else None
    item = overall.get(gate.column)
    if item is None:
        raise ConfigError(f"--fail-if: {gate.column} was not computed; these were: {', '.join(overall)}")
    worse = -item.difference if metric(gate.column).higher_is_better else item.difference
    allowed = gate.amount * abs(item.a) if gate.is_share else gate.amount
    if worse <= allowed:
        return None
    return f"FAILED {gate.text}: B is worse by {worse:.6g} ({item.a:.6g} → {item.b:.6g})"


def _check_comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse evaluations whose numbers do not belong into one column."""

    def knobs(report: Mapping[str, Any]) -> dict[str, Any]:
        flat = {"dataset": report["dataset"]["name"]} | {f"protocol.{k}": v for k, v in report["protocol"].items()}
        return flat | {"settings.seams": report["settings"].get("seams")}

    first, second = knobs(a), knobs(b)
    differing = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
    if differing:
        changes = "; ".join(f"{key}: {first.get(key)!r} and {second.get(key)!r}" for key in differing)
        raise ConfigError(f"compare: A and B were scored differently ({changes}); evaluate both in the same way")


def _other_settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What changes predictions and may be what is compared; a report that does not name a key says nothing of it."""
    first, second = a["settings"], b["settings"]
    common = sorted((first.keys() & second.keys()) - {"seams", "resampling_floor"})
    return {f"settings.{key}": (first[key], second[key]) for key in common if first[key] != second[key]}


def _table(named: Sequence[tuple[str, Difference]]) -> list[str]:
    """Aligned columns under a line of headers."""
    width = max(len(name) for name, _ in named)
    lines = [f"{'metric':{width}} {'pairs':>7} {'A':>10} {'B':>10} {'B − A':>10}  {'95 % interval':<22} {'effect':>7}"]
    for name, item in named:
        interval = f"[{item.low:+.4f}, {item.high:+.4f}]"
        numbers = f"{item.samples:7,} {item.a:10.4f} {item.b:10.4f} {item.difference:+10.4f}"
        effect = "–" if item.effect is None else f"{item.effect:+.2f}"
        lines.append(f"{name:{width}} {numbers}  {interval:<22} {effect:>7}")
    return lines
