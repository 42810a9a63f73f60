"""Shards: Parquet files of predictions and rejects, readable without this package.

What a column means travels in its field's metadata: unit, ray type, frame, codec and the codec's error bound.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.encode import get_codec
from pager_ray.storage import Folder, safe_name
from pager_ray.write.layout import ARRAY_NAMES, SHARD_SUFFIX, RunLayout

SCHEMA_VERSION = "1"

LARGE_COLUMNS = (*ARRAY_NAMES, "picture")
"""Columns of compressed bytes, of which a reader wants one row at a time."""

FRAME = "x forward (ERP centre), y up, z right"

_MEANING: dict[str, dict[str, str]] = {
    "id": {"description": "unique in the run: given by the listing, or derived from the URI"},
    "uri": {"description": "where the panorama was read, without credentials"},
    "scene": {"description": "indoor or outdoor: the scale head that ran, or what the listing said"},
    "p_outdoor": {"description": "the scene router's probability; null where it was not asked"},
    "log_scale": {"description": "ln(metric depth / scale-invariant depth); null without scale heads"},
    "width": {"description": "width of the full source panorama", "unit": "pixel"},
    "height": {"description": "height of the full source panorama", "unit": "pixel"},
    "coverage": {"description": "share of the sphere that the source image covers; the rest was black"},
    "digest": {"description": "digest of the source file's bytes"},
    "map_height": {"description": "height of the ERP maps (of the stitched ones, where faces are stored)"},
    "map_width": {"description": "width of the ERP maps (of the stitched ones, where faces are stored)"},
    "sky_fraction": {"description": "share of face pixels with sky probability above the threshold"},
    "depth_p01": {"description": "1 % quantile of depth over face pixels", "unit": "metre"},
    "depth_p05": {"description": "5 % quantile of depth over face pixels", "unit": "metre"},
    "depth_p50": {"description": "median of depth over face pixels", "unit": "metre"},
    "depth_p95": {"description": "95 % quantile of depth over face pixels", "unit": "metre"},
    "depth_p99": {"description": "99 % quantile of depth over face pixels", "unit": "metre"},
    "range_limit_fraction": {"description": "share of face pixels at or beyond a limit of the depth range"},
    "median_confidence": {"description": "median of the depth head's confidence (1 + exp of its logit)"},
    "depth": {"unit": "metre", "ray_type": "euclidean", "description": "distance along the pixel's ray"},
    "normals": {"unit": "unit vector", "frame": FRAME, "description": "surface normals"},
    "sky": {"unit": "probability", "description": "probability of sky"},
}

PREDICTION_COLUMNS = [
    "id", "uri", "width", "height", "coverage", "digest", "scene", "p_outdoor", "log_scale", "sky_fraction",
    "depth_p01", "depth_p05", "depth_p50", "depth_p95", "depth_p99", "range_limit_fraction", "median_confidence",
    "map_height", "map_width",
]  # fmt: skip

REJECT_COLUMNS = ["id", "uri", "stage", "error_class", "message", "attempts"]


def predictions_schema(
    rows: pa.Schema, arrays: tuple[str, ...], *, codec: str | None, projection: str, face_size: int, fov: float
) -> pa.Schema:
    """The schema of prediction shards, with what every column means in its metadata.

    Args:
        rows: schema of the rows that arrive at the writer.
        arrays: those of ``depth``, ``normals`` and ``sky`` that the checkpoint gives.
        codec: the codecs' name; None keeps arrays out of the shards (they are npz files).
        projection, face_size, fov: how arrays are laid out.
    """
    fields = [rows.field(name).with_metadata(_MEANING[name]) for name in PREDICTION_COLUMNS]
    if codec is not None:
        layout = {
            "projection": projection,
            "shape": "[map_height, map_width]" if projection == "erp" else f"[6, {face_size}, {face_size}]",
            "faces": "F, R, B, L, U, D",
            "face_fov_degrees": f"{fov:g}",
        }
        for name in arrays:
            metadata = _MEANING[name] | layout | get_codec(name, codec).metadata()  # type: ignore[arg-type]
            if name == "normals":
                metadata["shape"] = metadata["shape"].replace("]", ", 3]")
            fields.append(pa.field(name, pa.large_binary(), metadata=metadata))
    return pa.schema(fields, metadata={"pager_ray.schema_version": SCHEMA_VERSION})


def write_shard(layout: RunLayout, name: str, rows: pa.Table, schema: pa.Schema) -> tuple[int, int]:
    """Write one block of finished rows: npz files and previews, then predictions, then rejects.

    Safe to repeat under the same name, also when the outcome of a row changed in between: a file that this time has
    no rows is deleted.

    Returns:
        Numbers of predictions and rejects.

    Raises:
        StorageError: something cannot be written.
    """
    failed = pc.is_valid(rows.column("error_class"))
    predictions, rejects = rows.filter(pc.invert(failed)), rows.filter(failed)
    _write_npz(layout, predictions, [name for name in ARRAY_NAMES if name not in schema.names])
    _write_previews(layout, predictions)
    _put_or_delete(layout.results, name, predictions.select(schema.names).cast(schema), large_columns=LARGE_COLUMNS)
    _put_or_delete(layout.rejects, name, rejects.select(REJECT_COLUMNS), large_columns=())
    return predictions.num_rows, rejects.num_rows


def _put_or_delete(folder: Folder, name: str, table: pa.Table, large_columns: tuple[str, ...]) -> None:
    file_name = f"{name}{SHARD_SUFFIX}"
    if table.num_rows == 0:
        folder.delete([file_name])
        return
    large = [column for column in table.column_names if column in large_columns]
    small = [column for column in table.column_names if column not in large]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        # One row per group: a reader of one panorama fetches its own megabytes only.
        row_group_size=1 if large else None,
        # Arrays are compressed already; a second pass would cost time and gain nothing.
        compression={column: "none" if column in large else "zstd" for column in table.column_names},
        use_dictionary=False,
        write_statistics=small,
    )
    folder.write(file_name, sink.getvalue())


def _write_npz(layout: RunLayout, predictions: pa.Table, arrays: list[str]) -> None:
    for array in arrays:
        if array not in predictions.column_names:
            continue
        folder = layout.npz(array)
        for identity, data in zip(predictions.column("id"), predictions.column(array), strict=True):
            if data.is_valid:
                folder.write(f"{safe_name(identity.as_py())}.npz", data.as_buffer())


def _write_previews(layout: RunLayout, predictions: pa.Table) -> None:
    if "preview" not in predictions.column_names:
        return
    for identity, data in zip(predictions.column("id"), predictions.column("preview"), strict=True):
        if data.is_valid:
            layout.previews.write(f"{safe_name(identity.as_py())}.jpg", data.as_buffer())
