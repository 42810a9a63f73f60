"""Comparisons: paired, signed by the metric's direction, and gates that fail when B is worse."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pager_ray.cli import exit_code
from pager_ray.errors import ConfigError
from pager_ray.metrics.catalogue import metrics_of
from pager_ray.report.compare import compare_outputs, compare_states, parse_gate
from pager_ray.report.evaluation import make_report
from pager_ray.runs import EvaluationLayout, write_shard
from pager_ray.storage import Folder
from tests.report.scores import ALIGNMENTS, FAMILIES, SCHEMA, facts, score_rows, score_table, state_of

ROWS = score_rows(31)
NAMES = ("A", "B")


def changed(column: str, change: Any) -> list[dict[str, Any]]:
    rows = copy.deepcopy(ROWS)
    for row in rows:
        row[column] = change(row[column])
    return rows


def overall(comparison: Any) -> dict[str, Any]:
    return {item.column: item for item in comparison.differences if not item.kind}


def test_an_evaluation_does_not_differ_from_itself() -> None:
    """Same rows: every difference, interval and effect is exactly zero, and no gate fails."""
    gates = [parse_gate(f"{metric.column}>0") for metric in metrics_of(FAMILIES, ALIGNMENTS)]
    comparison = compare_states(state_of(ROWS), state_of(ROWS), names=NAMES, gates=[*gates, parse_gate("missing>0")])
    assert len(comparison.differences) > 300
    assert {(d.difference, d.low, d.high, d.effect) for d in comparison.differences} == {(0.0, 0.0, 0.0, 0.0)}
    assert comparison.failed == []
    assert comparison.only_in_a == comparison.only_in_b == []


def test_differences_are_paired() -> None:
    """The mean difference is the mean of per-panorama differences, with an interval far tighter than unpaired ones."""
    rng = np.random.default_rng(0)
    rows = changed("normals_mean", lambda value: value + 1 + 0.1 * rng.standard_normal())
    item = overall(compare_states(state_of(ROWS), state_of(rows), names=NAMES))["normals_mean"]
    before = {row["id"]: row["normals_mean"] for row in ROWS}
    changes = [row["normals_mean"] - before[row["id"]] for row in rows]
    assert item.difference == pytest.approx(np.mean(changes), rel=1e-9)
    assert 0.9 < item.low < item.difference < item.high < 1.1
    assert item.effect == pytest.approx(-np.mean(changes) / np.std(changes, ddof=1), rel=1e-9)


@pytest.mark.parametrize(
    ("column", "change", "is_worse"),
    [
        ("depth_metric_abs_relative_difference", lambda value: value * 1.1, True),
        ("depth_metric_abs_relative_difference", lambda value: value * 0.9, False),
        ("depth_scale_delta1_acc", lambda value: value * 0.9, True),
        ("depth_scale_delta1_acc", lambda value: value * 1.1, False),
    ],
)
def test_gates_know_which_way_is_worse(column: str, change: Any, is_worse: bool) -> None:
    """A gate fails when B is worse by more than the amount, whatever the metric's direction; better never fails."""
    mean = np.mean([row[column] for row in ROWS])
    bounds = ("0", "9%", "11%", f"{0.09 * mean:.6f}", f"{0.11 * mean:.6f}")
    gates = [parse_gate(f"{column}>{bound}") for bound in bounds]
    comparison = compare_states(state_of(ROWS), state_of(changed(column, change)), names=NAMES, gates=gates)
    assert (overall(comparison)[column].effect < 0) == is_worse
    told = [
        any(re.search(rf"{re.escape(f'{column}>{bound}')}(?![\d.%])", line) for line in comparison.failed)
        for bound in bounds
    ]
    assert told == [is_worse, is_worse, False, is_worse, False]


def test_lost_panoramas_are_named_and_gated() -> None:
    """What only one side scored is named, left out of the differences, and a gate of its own."""
    comparison = compare_states(
        state_of(ROWS), state_of(ROWS[2:]), names=NAMES, gates=[parse_gate("missing>1"), parse_gate("missing>2")]
    )
    assert comparison.only_in_a == sorted(row["id"] for row in ROWS[:2])
    assert overall(comparison)["normals_mean"].samples == len(ROWS) - 2
    assert len(comparison.failed) == 1
    assert "missing>1" in comparison.failed[0]
    assert any("2 only in A: " in line for line in comparison.lines())


def test_pairs_are_found_by_id() -> None:
    """Panoramas that only one side has, before and between the common ones, move nobody to another's partner."""
    ordered = sorted(ROWS, key=lambda row: row["id"])
    a, b = [*ordered[:3], *ordered[6:]], ordered[2:]
    comparison = compare_states(state_of(a), state_of(b), names=NAMES)
    assert comparison.only_in_a == [row["id"] for row in ordered[:2]]
    assert comparison.only_in_b == [row["id"] for row in ordered[3:6]]
    assert {(item.difference, item.effect) for item in comparison.differences} == {(0.0, 0.0)}


def test_changes_are_relative_to_a() -> None:
    """Half of A's mean is −50 %, twice is +100 %."""
    for factor, relative in ((0.5, -0.5), (2.0, 1.0)):
        rows = changed("normals_mean", lambda value, factor=factor: value * factor)
        item = overall(compare_states(state_of(ROWS), state_of(rows), names=NAMES))["normals_mean"]
        assert item.relative == pytest.approx(relative)


def test_rounding_is_no_effect() -> None:
    """Last bits are no difference; a change that is the same everywhere but for them is beyond any spread."""
    rounded = changed("normals_mean", lambda value: float(np.nextafter(value, math.inf)))
    item = overall(compare_states(state_of(ROWS), state_of(rounded), names=NAMES))["normals_mean"]
    assert item.difference > 0
    assert item.effect == 0
    shifted = changed("normals_mean", lambda value: value + 0.1)
    assert overall(compare_states(state_of(ROWS), state_of(shifted), names=NAMES))["normals_mean"].effect == -math.inf


def test_slices_of_few_panoramas_do_not_lead_the_table() -> None:
    """One pair has no effect, few are in the JSON only; every line says how many pairs it stands on."""
    rng = np.random.default_rng(3)
    a = copy.deepcopy(ROWS)
    for number, row in enumerate(a):
        row["labels"] = json.dumps({"scene": "lone" if number == 0 else "few" if number < 5 else "crowd"})
    b = copy.deepcopy(a)
    for row in b:
        row["normals_mean"] += float(rng.standard_normal())
    comparison = compare_states(state_of(a), state_of(b), names=NAMES)
    lone = [item for item in comparison.differences if item.value == "lone" and item.column == "normals_mean"]
    assert [(item.samples, item.effect) for item in lone] == [(1, None)]
    text = "\n".join(comparison.lines())
    assert "lone" not in text
    assert "few" not in text
    assert "scene=crowd normals_mean" in text
    assert any(line.split()[:2] == ["normals_mean", str(len(ROWS))] for line in comparison.lines())
    written = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert {"lone", "few", "crowd"} <= {item["value"] for item in written["differences"]}


def test_other_ground_truths_are_refused() -> None:
    """The same ids with other valid pixels, or other pixels per bin, are other data; they are named."""
    for column, value in (("valid_pixels", 999), ("pixels_by_range", [1] * 7), ("pixels_by_latitude", [1] * 6)):
        rows = copy.deepcopy(ROWS)
        rows[4][column] = value
        with pytest.raises(ConfigError, match=f"1 of 31 common panoramas have other ground truths.*{rows[4]['id']}"):
            compare_states(state_of(ROWS), state_of(rows), names=NAMES)


def test_settings_that_differ_are_shown(tmp_path: Path) -> None:
    """Knobs of the predictions may differ, but never silently; what one report does not name is left out."""
    common = {"seams": {"pixel": 0.01}, "scene_mode": "auto"}
    a = write_output(tmp_path / "a", ROWS, settings=common | {"precision": "fp32"})
    b = write_output(tmp_path / "b", ROWS, settings=common | {"scene_mode": "indoor"})
    comparison = compare_outputs(a, b)
    assert comparison.settings == {"settings.scene_mode": ("auto", "indoor")}
    assert "settings.scene_mode: 'auto' in A, 'indoor' in B" in comparison.lines()


def test_harm_comes_first() -> None:
    """Sorted by effect: what B made worse first, improvements last; constant changes are beyond any spread."""
    rows = changed("normals_mse", lambda value: value + 2**-10)
    for row in rows:
        row["seam_severity"] *= 0.5
    comparison = compare_states(state_of(ROWS), state_of(rows), names=NAMES)
    effects = [item.effect or 0.0 for item in comparison.differences]
    assert effects == sorted(effects)
    assert effects[0] == -math.inf
    assert comparison.differences[0].column == "normals_mse"
    assert comparison.differences[-1].column == "seam_severity"
    json.dumps(comparison.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth_metric_abs_rel>0", "unknown metric .*; did you mean .*depth_metric_abs_relative_difference"),
        ("normals_mean", "takes METRIC>AMOUNT"),
        ("normals_mean>-1", "takes METRIC>AMOUNT"),
        ("normals_mean<1", "takes METRIC>AMOUNT"),
        ("missing>5%", "missing takes a number of panoramas, no percentage"),
    ],
)
def test_wrong_gates_are_told(text: str, message: str) -> None:
    """A gate that is none says what it takes."""
    with pytest.raises(ConfigError, match=f"^--fail-if: got {re.escape(repr(text))}; {message}"):
        parse_gate(text)


def test_gates_on_what_was_not_computed_are_told() -> None:
    """A metric that neither evaluation has is wrong usage, not a passed gate."""
    gate = parse_gate("depth_scale_and_shift_delta1_acc>0")
    with pytest.raises(
        ConfigError, match=r"^--fail-if: depth_scale_and_shift_delta1_acc was not computed; these were: depth_"
    ):
        compare_states(state_of(ROWS), state_of(ROWS), names=NAMES, gates=[gate])


def write_output(root: Path, rows: list[dict[str, Any]], **changes: Any) -> str:
    layout = EvaluationLayout(Folder(str(root)))
    layout.make()
    table = score_table(rows)
    for name in ("stage", "error_class", "message", "attempts"):
        table = table.append_column(name, [[None] * table.num_rows])
    layout.ledger.begin(1)
    layout.ledger.commit(1, "0123456789ab-00000000", write_shard(layout, "0123456789ab-00000000", table, SCHEMA))
    layout.metrics.write_json("report.json", make_report(state_of(rows), facts(**changes)))
    return str(root)


def test_outputs_are_compared_from_storage(tmp_path: Path) -> None:
    """Two output folders: the same differences as from memory."""
    rows = changed("normals_mean", lambda value: value * 1.5)
    a, b = write_output(tmp_path / "a", ROWS), write_output(tmp_path / "b", rows)
    comparison = compare_outputs(a, b, ["normals_mean>10%"])
    assert comparison.differences == compare_states(state_of(ROWS), state_of(rows), names=(a, b)).differences
    assert len(comparison.failed) == 1
    assert comparison.lines()[-1].startswith("FAILED normals_mean>10%")


def test_what_is_no_evaluation_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs, whose predictions nobody scored, are no trouble of a store: the line says what to give."""
    assert exit_code(["compare", str(tmp_path), str(tmp_path / "nowhere")]) == 1
    line = capsys.readouterr().err
    assert line.startswith(
        f"pager-ray: {tmp_path}/metrics: holds no report.json; give the output of a `pager-ray evaluate`"
    )
    assert "such as RUN/scores/DATASET" in line


def test_a_failed_gate_is_exit_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``pager-ray compare`` exits with 5 when a gate fails, 0 when none does, and leaves the comparison as JSON."""
    worse = changed("normals_mean", lambda value: value * 1.5)
    a, b = write_output(tmp_path / "a", ROWS), write_output(tmp_path / "b", worse)
    path = tmp_path / "comparison.json"
    assert exit_code(["compare", a, b, "--fail-if", "normals_mean>10%", "--json", str(path)]) == 5
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED normals_mean>10%: B is worse by ")
    written = json.loads(path.read_text(encoding="utf-8"))
    assert len(written["failed"]) == 1
    assert exit_code(["compare", b, a, "--fail-if", "normals_mean>10%"]) == 0
    assert exit_code(["compare", a, b]) == 0
    assert exit_code(["compare", a, b, "--json", str(tmp_path / "absent" / "x.json")]) == 1
    assert (
        f"--json: {tmp_path}/absent/x.json cannot be written (No such file or directory); choose"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"dataset": {"name": "Halls"}}, "dataset: 'Rooms' and 'Halls'"),
        ({"protocol": {"height": 1024, "width": 2048}}, "protocol.height: 2048 and 1024"),
        ({"settings": {"seams": {"pixel": 0.02}}}, "settings.seams"),
    ],
)
def test_other_protocols_never_stand_in_one_column(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    """Evaluations of other data or protocols are refused with the differing knobs and both values."""
    a, b = write_output(tmp_path / "a", ROWS), write_output(tmp_path / "b", ROWS, **changes)
    with pytest.raises(ConfigError, match="were scored differently") as caught:
        compare_outputs(a, b)
    assert key in str(caught.value)
    assert str(caught.value).endswith("; evaluate both in the same way")


def test_evaluations_without_a_common_panorama_are_refused() -> None:
    """Nothing in common is nothing to compare."""
    with pytest.raises(ConfigError, match="A and B have no panorama in common; evaluate both on the same data"):
        compare_states(state_of(ROWS[:3]), state_of(ROWS[3:]), names=NAMES)
