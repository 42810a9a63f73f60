"""What the list is sorted and filtered by: a run's quality columns, compact enough for a browser to hold all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.prediction import QUALITY_COLUMNS
from pager_ray.runs.shards import PREDICTION_COLUMNS

SCENES = ("unknown", "indoor", "outdoor")

CARD_COLUMNS = ("depth_p50", "sky_fraction")
"""Shown on every card."""

# Label and unit; metres become "relative" in a run without scale.
_LABELS = {
    "sky_fraction": ("sky", "share"),
    "depth_p01": ("depth 1 %", "m"),
    "depth_p05": ("depth 5 %", "m"),
    "depth_p50": ("median depth", "m"),
    "depth_p95": ("depth 95 %", "m"),
    "depth_p99": ("depth 99 %", "m"),
    "range_limit_fraction": ("at range limit", "share"),
    "median_confidence": ("median confidence", ""),
    "scale_disagreement": ("scale heads apart", ""),
    "p_outdoor": ("probability outdoor", ""),
    "log_scale": ("log scale", ""),
    "coverage": ("coverage", "share"),
    "valid_fraction": ("valid", "share"),
    "blank_fraction": ("without picture", "share"),
    "stretch": ("stretched", ""),
    "width": ("source width", "px"),
    "height": ("source height", "px"),
}

NUMBERS = tuple(name for name in dict.fromkeys((*QUALITY_COLUMNS, *_LABELS)) if name in PREDICTION_COLUMNS)
"""Columns of a run that are numbers to sort and filter by."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a gallery, in the order of their ids.

    Attributes:
        ids, uris: of each row.
        scenes: uint8, places in :data:`SCENES`.
        values: float32 for each column that has any value; NaN where a row has none.
        metric: whether any row has a metric scale.
    """

    ids: list[str]
    uris: list[str]
    scenes: np.ndarray
    values: dict[str, np.ndarray]
    metric: bool

    @property
    def unit(self) -> str:
        """Unit of depths: metres, or none where the checkpoint gives no scale."""
        return "m" if self.metric else "relative"

    def described(self) -> list[dict[str, str]]:
        """Name, label and unit of each column, as the page shows them."""
        return [
            {"name": name, "label": label, "unit": unit} for name in self.values for label, unit in [self._of(name)]
        ]

    def numbers_of(self, row: int) -> dict[str, float | None]:
        """One row's values."""
        found = {name: float(array[row]) for name, array in self.values.items()}
        return {name: value if np.isfinite(value) else None for name, value in found.items()}

    def _of(self, name: str) -> tuple[str, str]:
        label, unit = _LABELS.get(name, (name.replace("_", " "), ""))
        return label, self.unit if unit == "m" else unit


def rows_of(table: pa.Table) -> Rows:
    """The rows of a run's table without pixels; an id that stands there twice counts once."""
    ids = table.column("id").combine_chunks()
    order = pc.sort_indices(ids).to_numpy()
    sorted_ids = ids.take(pa.array(order)).to_pylist()
    first = [k for k, id in enumerate(sorted_ids) if k == 0 or id != sorted_ids[k - 1]]
    kept = table.take(pa.array(order[first]))
    values = {name: _floats(kept.column(name)) for name in NUMBERS if name in kept.column_names}
    known = {name: array for name, array in values.items() if np.isfinite(array).any()}
    codes = {name: code for code, name in enumerate(SCENES)}
    scenes = np.array([codes.get(scene, 0) for scene in kept.column("scene").to_pylist()], np.uint8)
    return Rows([sorted_ids[k] for k in first], kept.column("uri").to_pylist(), scenes, known, "log_scale" in known)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    numbers = column.cast(pa.float32(), safe=False).to_numpy()
    # No number for what is infinite either: a browser could neither sort nor draw it.
    return np.where(np.isfinite(numbers), numbers, np.float32(np.nan)).astype(np.float32)
