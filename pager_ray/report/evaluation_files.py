"""The end of an evaluation: committed scores to a report on the output storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pager_ray.errors import StorageError
from pager_ray.metrics.catalogue import metrics_of
from pager_ray.plain import get_logger
from pager_ray.report.evaluation import (
    REPORT,
    EvaluationFacts,
    EvaluationState,
    make_report,
    summarise_tables,
)
from pager_ray.report.evaluation_page import page
from pager_ray.report.evaluation_text import markdown, released_summaries
from pager_ray.report.figures import depth_by_range_figure, distribution_figure, pick_examples
from pager_ray.runs.layout import SHARD_SUFFIX, EvaluationLayout
from pager_ray.runs.ledger import shards_of
from pager_ray.runs.reconcile import iterate_shards, standing_rejects
from pager_ray.storage import Folder, client_errors, error_reason, safe_name

if TYPE_CHECKING:
    from pager_ray.evaluate import ScoreSettings

log = get_logger(__name__)

EXCLUDED_COLUMNS = ["id", "uri", "stage", "error_class", "message"]


def report_evaluation(
    layout: EvaluationLayout,
    scoring: ScoreSettings,
    facts: Mapping[str, Any],
    *,
    summaries: Folder | None = None,
) -> dict[str, Any]:
    """Write the report over everything that is committed; safe to repeat.

    Args:
        layout: the evaluation's output.
        scoring: what was computed.
        facts: what :class:`~pager_ray.report.evaluation.EvaluationFacts` takes beside families, alignments and
            excluded samples.
        summaries: where the released text summaries go too, beside the output itself.

    Returns:
        Content of ``report.json``.

    Raises:
        StorageError: scores cannot be read or the report not written.
    """
    standing = layout.ledger.read()
    shards = shards_of(standing)
    state = EvaluationState(scoring.families, scoring.alignments, scoring.floor)
    tables = iterate_shards(layout.results, shards, state.columns)
    state = summarise_tables(tables, scoring.families, scoring.alignments, floor=scoring.floor)
    rejects = standing_rejects(layout, standing, EXCLUDED_COLUMNS)
    excluded = rejects.to_pylist() if rejects is not None else []
    report = make_report(
        state, EvaluationFacts(families=scoring.families, alignments=scoring.alignments, excluded=excluded, **facts)
    )
    pictures = _pictures(layout, shards, state, report, with_maps=scoring.pictures)
    has_reported = layout.metrics.exists(REPORT)
    layout.clear_pictures()
    folder = layout.metrics / "pictures"
    for name, content in pictures.items():
        folder.write(name, content)
    for path, text in released_summaries(report).items():
        layout.root.write(path, text.encode())
        if summaries is not None and not summaries.create(path, text.encode()):
            # There, others' files may lie: of those with this name, only what an earlier report left is ours.
            if has_reported:
                summaries.write(path, text.encode())
            else:
                log.warning("%s/%s is there already and stays; %s/%s has this one", summaries, path, layout.root, path)
    layout.metrics.write("report.html", page(report, pictures).encode())
    layout.metrics.write("report.md", markdown(report, list(pictures)).encode())
    layout.metrics.write_json(REPORT, report)
    return report


def _pictures(
    layout: EvaluationLayout, shards: set[str], state: EvaluationState, report: Mapping[str, Any], *, with_maps: bool
) -> dict[str, bytes]:
    figures = {
        "distributions.png": distribution_figure(state, report),
        "depth_by_range.png": depth_by_range_figure(report),
    }
    pictures = {name: content for name, content in figures.items() if content is not None}
    first = metrics_of(state.families, state.alignments, solid_angle=False)[0]
    ids, values = state.values([first.column])
    if with_maps and ids:
        examples = pick_examples(ids, np.asarray(values[:, 0]), first.higher_is_better)
        maps = _error_maps(layout, shards, set(examples.values()))
        pictures |= {f"{name}_{safe_name(id)}.jpg": maps[id] for name, id in examples.items() if id in maps}
    return pictures


def _error_maps(layout: EvaluationLayout, shards: set[str], wanted: set[str]) -> dict[str, bytes]:
    """The drawn error maps of a few panoramas; rows are row groups, so only theirs are read."""
    maps: dict[str, bytes] = {}
    folder = layout.results
    for shard in sorted(shards):
        name = f"{shard}{SHARD_SUFFIX}"
        if not folder.exists(name):
            continue  # a shard of rejects alone
        try:
            with folder.open(name) as file:
                parquet = pq.ParquetFile(file, pre_buffer=True)
                for place, id in enumerate(parquet.read(columns=["id"]).column("id").to_pylist()):
                    if id in wanted:
                        picture = parquet.read_row_group(place, columns=["picture"]).column("picture")[0].as_py()
                        if picture is not None:
                            maps[id] = picture
        except (*client_errors(), pa.ArrowException) as error:
            raise StorageError(
                f"{folder.uri(name)}: is no readable shard ({error_reason(error)}); restore it from a copy, or "
                "evaluate anew with --overwrite"
            ) from error
    return maps
