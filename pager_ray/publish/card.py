"""The dataset card of a run: licence of the weights, figures, columns, how to read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.datasets.hub import hub_url
from pager_ray.modalities import is_metric
from pager_ray.plain import markdown_code, markdown_text

if TYPE_CHECKING:
    from pager_ray.reader.run import Run

MARK: Final = "<!-- Made by `pager-ray publish`, which writes it anew. Remove this line to keep your own words. -->"

LICENCES: Final = {"CC BY-NC 4.0": "cc-by-nc-4.0", "Apache-2.0": "apache-2.0"}
"""The Hub's identifiers of the licences that the known weights have."""

# Figures of the columns that say most of a collection.
_SHOWN: Final = ("depth_p05", "depth_p50", "depth_p95", "sky_fraction", "range_limit_fraction", "log_scale")
_SIZES: Final = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def dataset_card(run: Run, repository: str, branch: str = "main") -> str:
    """The card, Markdown behind the YAML that the Hub reads.

    Args:
        run: finished.
        repository: ``owner/name``.
        branch: which the card and the run lie on.
    """
    checkpoint, counts = run.manifest["checkpoint"], run.manifest.get("counts") or {}
    licence = checkpoint.get("licence")
    metric = is_metric(checkpoint["modalities"])
    name = repository.rpartition("/")[2]
    told = [
        _front(run, licence, name),
        MARK,
        f"\n# {markdown_text(name)}",
        "Geometry of 360° panoramas, predicted with PaGeR by [pager_ray](https://pypi.org/project/pager_ray/): "
        f"{', '.join(run.maps)}; depth {'in metres' if metric else 'up to a scale of each panorama'}, along the ray.",
        "## Weights and licence\n",
        _table(("", ""), _weights(checkpoint)),
        "The predictions are derived from the weights: their licence goes along. The panoramas themselves are not part "
        "of this dataset; `uri` says where each was read.",
        "## Figures\n",
        _table(("", ""), _counted(len(run), counts, run.rejects())),
        _table(("column", "5 %", "median", "95 %"), _quantiles(run.table([*_SHOWN]))),
    ]
    if run.files():
        told += ["## Columns\n", _table(("column", "type", "meaning"), _columns(run.schema()))]
    told += [
        "Points, normals and rays share one frame: x forward (the panorama's centre), y up, z right.",
        "## Reading it\n",
        _reading(repository, branch),
    ]
    return "\n\n".join(told) + "\n"


def _front(run: Run, licence: Any, name: str) -> str:
    known = LICENCES.get(str(licence))
    values: dict[str, Any] = {"pretty_name": name, "license": known or "other"}
    if known is None:
        values["license_name"] = str(licence or "unknown")
    values |= {
        "task_categories": ["depth-estimation"],
        "tags": ["360", "panorama", "equirectangular", "depth", "surface-normals", "pager_ray"],
        "size_categories": [next((text for limit, text in _SIZES if len(run) < limit), "n>10M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "predictions/*.parquet"}]}],
    }
    # JSON is YAML, and quotes whatever a run says.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in values.items()), "---"])


def _weights(checkpoint: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for key, title in (("name", "checkpoint"), ("revision", "revision"), ("sha256", "sha256"), ("note", "note")):
        if checkpoint.get(key):
            yield title, markdown_text(checkpoint[key])
    yield "licence", markdown_text(checkpoint.get("licence") or "not told by the checkpoint")


def _counted(predictions: int, counts: dict[str, Any], rejects: pa.Table) -> Iterable[tuple[str, str]]:
    if isinstance(counts.get("inputs"), int):
        yield "inputs", f"{counts['inputs']:,}"
    yield "panoramas predicted", f"{predictions:,}"
    classes = pc.value_counts(rejects.column("error_class")).to_pylist() if rejects.num_rows else []
    by_class = ", ".join(
        f"{one['values']} {one['counts']:,}" for one in sorted(classes, key=lambda one: -one["counts"])
    )
    yield "rejected", f"{rejects.num_rows:,}" + (f" ({markdown_text(by_class)})" if by_class else "")


def _quantiles(table: pa.Table) -> Iterable[tuple[str, ...]]:
    for name in table.column_names:
        values = table.column(name).drop_null().to_numpy().astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            yield markdown_code(name), *(f"{value:.3g}" for value in np.quantile(values, (0.05, 0.5, 0.95)))


def _columns(schema: pa.Schema) -> Iterable[tuple[str, str, str]]:
    for field in schema:
        metadata = {key.decode(): value.decode("utf-8", "replace") for key, value in (field.metadata or {}).items()}
        meaning = metadata.get("description", "")
        more = [f"{key} {metadata[key]}" for key in ("unit", "codec", "max_error") if key in metadata]
        told = f"{meaning} ({', '.join(more)})" if more else meaning
        yield markdown_code(field.name), str(field.type), markdown_text(told)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _reading(repository: str, branch: str) -> str:
    target, revision = f"hf://datasets/{repository}", ""
    if branch != "main":
        target, revision = hub_url(repository, branch), f'revision="{branch}", '
    return f"""```python
import datasets, pager_ray

run = pager_ray.open_run("{target}")
run.table().to_pandas()                        # one row per panorama, without pixels
depth = run[run.ids()[0]].depth                # (H, W) float32

rows = datasets.load_dataset("{repository}", {revision}split="train", streaming=True)
decode = pager_ray.row_decoder(run)            # the bytes of a row's maps to arrays
decode(next(iter(rows)))["depth"]
```"""
