"""The report as people and older scripts read it: markdown, a few lines for terminals, the released summaries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from pager_ray.metrics.catalogue import SOLID_ANGLE_SUFFIX, Metric, metric, metrics_of
from pager_ray.plain import markdown_code, markdown_text

NAMED_EXCLUDED: Final = 20
"""Excluded samples that the markdown names; all of them stand in report.json and the rejects."""

_MOST_SLICES: Final = 12
_HEADLINES: Final = ("abs_relative_difference", "delta1_acc", "mean", "seam_defect_density")


def markdown(report: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """``report.md``: protocol and knobs, then one table, what is missing from it, slices and pictures.

    Args:
        report: content of ``report.json``.
        pictures: names of files in ``pictures/``, in the order to show them.
    """
    lines = [f"# {markdown_text(title_of(report))}", ""]
    lines += [*protocol_section(report), *metrics_section(report), *others_section(report)]
    if pictures:
        lines += ["## Pictures", ""]
        for name in pictures:
            lines += [f"![{markdown_text(name)}](pictures/{quote(name)})", ""]
    return "\n".join(lines).rstrip() + "\n"


def title_of(report: Mapping[str, Any]) -> str:
    """What was evaluated on what, as plain text."""
    return f"{report['dataset']['name']}: {_checkpoint(report)}"


def protocol_section(report: Mapping[str, Any]) -> list[str]:
    """Lines of markdown: protocol and knobs."""
    return ["## Protocol", "", *_protocol(report), ""]


def metrics_section(report: Mapping[str, Any]) -> list[str]:
    """Lines of markdown: the one table, and what its columns are."""
    counts = report["counts"]
    return [
        "## Metrics",
        "",
        *_main_table(report),
        "",
        f"Means over {counts['scored']:,} of {counts['samples']:,} panoramas. 95 % interval: percentile bootstrap over "
        f"panoramas ({report['bootstrap']['replicates']} replicates, seed {report['bootstrap']['seed']}). Solid angle: "
        "pixels weighted by the solid angle they cover. Resampling floor: the ground truth itself, sent through the "
        "cubemap and back without alignment: what a perfect prediction would score.",
        "",
    ]


def others_section(report: Mapping[str, Any]) -> list[str]:
    """Lines of markdown: what is missing from the means, and slices."""
    return ["## Not in the means", "", *_excluded(report), "", *_slices(report)]


def _checkpoint(report: Mapping[str, Any]) -> str:
    """Name of the checkpoint and what it says it is."""
    checkpoint = report["checkpoint"]
    note = f" ({checkpoint['note']})" if checkpoint.get("note") else ""
    return f"{checkpoint.get('name', 'predictions')}{note}"


def _protocol(report: Mapping[str, Any]) -> list[str]:
    rows = [("dataset", report["dataset"]), ("protocol", report["protocol"]), ("settings", report["settings"])]
    lines = ["| knob | value |", "| --- | --- |"]
    for section, values in rows:
        for key, value in _flat(values):
            lines.append(f"| {_cell(f'{section}.{key}')} | {_cell(value)} |")
    for key in ("name", "note", "revision", "sha256", "licence", "face_size", "cube_fov"):
        if report["checkpoint"].get(key) is not None:
            lines.append(f"| checkpoint.{key} | {_cell(report['checkpoint'][key])} |")
    return lines


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return markdown_text(text)


def _main_table(report: Mapping[str, Any]) -> list[str]:
    lines = [
        "| metric | alignment | mean | 95 % interval | median | solid angle | resampling floor |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for found in _released_metrics(report):
        stats = report["metrics"].get(found.column)
        if stats is None:
            continue
        weighted = report["metrics"].get(f"{found.column}{SOLID_ANGLE_SUFFIX}")
        floor = report["resampling_floor"].get(_floor_key(found))
        lines.append(
            f"| {_title(found)} | {_alignment(found)} | {stats['mean']:.4f} | {stats['low']:.4f}…{stats['high']:.4f} | "
            f"{stats['median']:.4f} | {_number(weighted)} | {_number(floor)} |"
        )
    return lines


def _released_metrics(report: Mapping[str, Any]) -> list[Metric]:
    protocol = report["protocol"]
    return metrics_of(protocol["families"], protocol["alignments"], solid_angle=False)


def _floor_key(found: Metric) -> str:
    return found.column.replace(f"depth_{found.alignment}_", "depth_") if found.alignment else found.column


def _title(found: Metric) -> str:
    unit = f" ({found.unit})" if found.unit else ""
    return f"{found.label}{unit} {'↑' if found.higher_is_better else '↓'}"


def _alignment(found: Metric) -> str:
    return found.alignment or "–"


def _number(stats: Mapping[str, Any] | None) -> str:
    return f"{stats['mean']:.4f}" if stats is not None else "–"


def _excluded(report: Mapping[str, Any]) -> list[str]:
    counts, excluded = report["counts"], report["excluded"]
    if not excluded:
        return ["Every panorama was scored."]
    classes = ", ".join(f"{_cell(name)} {count:,}" for name, count in counts["excluded_by_class"].items())
    lines = [f"{counts['excluded']:,} panoramas could not be scored ({classes}):", ""]
    for item in excluded[:NAMED_EXCLUDED]:
        lines.append(f"- {markdown_code(item['id'])}: {_cell(item['error_class'])}: {_cell(item['message'])}")
    if len(excluded) > NAMED_EXCLUDED:
        lines.append(f"- … and {len(excluded) - NAMED_EXCLUDED:,} more in report.json and rejects/")
    return lines


def _slices(report: Mapping[str, Any]) -> list[str]:
    shown = [found for found in _released_metrics(report) if found.name in _HEADLINES]
    lines: list[str] = []
    for kind, values in [*report["slices"].items(), *report["pixel_slices"].items()]:
        columns = [found for found in shown if any(found.column in item["metrics"] for item in values.values())]
        if not columns or not values:
            continue
        per_pixel = kind in report["pixel_slices"]
        lines += [f"## By {_cell(kind.replace('_', ' '))}", ""]
        headers = [f"{found.label} ({found.alignment})" if found.alignment else found.label for found in columns]
        size = "pixels" if per_pixel else "panoramas"
        lines.append(f"| {_cell(kind)} | {size} | {' | '.join(headers)} |")
        lines.append("| --- " * (len(headers) + 2) + "|")
        ordered = list(values.items())
        if not per_pixel and len(ordered) > _MOST_SLICES:
            # The largest say the most; all of them stand in report.json.
            ordered = sorted(ordered, key=lambda item: (-item[1]["samples"], item[0]))[:_MOST_SLICES]
        for value, item in ordered:
            cells = [_number(item["metrics"].get(found.column)) for found in columns]
            number = item.get("pixels", item.get("samples"))
            lines.append(f"| {_cell(value)} | {f'{number:,}' if number is not None else '–'} | {' | '.join(cells)} |")
        if len(ordered) < len(values):
            lines += ["", f"{len(values) - len(ordered):,} smaller ones in report.json."]
        lines.append("")
    return lines


def released_summaries(report: Mapping[str, Any]) -> dict[str, str]:
    """Text files as the released evaluation leaves them, by path: one ``name: value`` line each, four decimals."""
    files: dict[str, list[str]] = {}
    for found in _released_metrics(report):
        stats = report["metrics"].get(found.column)
        if stats is None:
            continue
        suffix = f"_{found.alignment}" if found.alignment else ""
        lines = files.setdefault(f"{found.family}/evaluation_metrics{suffix}.txt", [])
        lines.append(f"{found.name}: {stats['mean']:.4f}\n")
    return {path: "".join(lines) for path, lines in files.items()}


def summary_text(report: Mapping[str, Any]) -> list[str]:
    """A few lines for a terminal: headline metrics with intervals and floors, and what is missing from them."""
    counts = report["counts"]
    scored = f"{report['dataset']['name']}: {counts['scored']:,} of {counts['samples']:,} panoramas scored"
    lines = [f"{scored}, {_checkpoint(report)}" if report["checkpoint"].get("note") else scored]
    for column, stats in report["metrics"].items():
        found = metric(column)
        if found.name not in _HEADLINES or found.solid_angle:
            continue
        name = f"{found.label} ({found.alignment})" if found.alignment else found.label
        floor = report["resampling_floor"].get(_floor_key(found))
        beside = f", resampling floor {floor['mean']:.4f}" if floor is not None else ""
        lines.append(f"  {name:28}{stats['mean']:8.4f}  [{stats['low']:.4f}, {stats['high']:.4f}]{beside}")
    if counts["excluded"]:
        classes = ", ".join(f"{name} {count:,}" for name, count in counts["excluded_by_class"].items())
        lines.append(f"not in the means: {counts['excluded']:,} ({classes})")
    return lines
