"""Shards: Parquet files of predictions and rejects, readable without this package.

What a column means travels in its field's metadata: unit, ray type, frame, codec and the codec's error bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.encode import get_codec
from pager_ray.listing.kept import with_kept
from pager_ray.modalities import MAPS
from pager_ray.runs.columnar import with_scalars
from pager_ray.runs.layout import SHARD_SUFFIX, RunLayout
from pager_ray.runs.ledger import record_of
from pager_ray.runs.valid_column import VALID
from pager_ray.storage import safe_name

SCHEMA_VERSION = "2"

MAX_SHARD_ROWS = 1 << 18
"""Far more than a writer puts into one: as many as fit into a part of a listing."""

LARGE_COLUMNS = (*MAPS, "picture", "valid")
"""Columns of compressed bytes, of which a reader wants one row at a time."""

FRAME = "x forward (ERP centre), y up, z right"

_MEANING: dict[str, dict[str, str]] = {
    "id": {"description": "unique in the run: given by the listing, or derived from the URI"},
    "uri": {"description": "where the panorama was read, without credentials"},
    "scene": {"description": "indoor or outdoor: the scale head that ran, or what the listing said"},
    "sequence": {"description": "sequence or video that it is of; null where nothing says so"},
    "time": {"description": "when it was taken: since 1970, or since the video's first picture", "unit": "second"},
    "p_outdoor": {"description": "the scene router's probability; null where it was not asked"},
    "log_scale": {"description": "ln(metric depth / scale-invariant depth); null without scale heads"},
    "width": {"description": "width of the full source panorama", "unit": "pixel"},
    "height": {"description": "height of the full source panorama", "unit": "pixel"},
    "coverage": {"description": "share of the sphere that the source image covers; the rest was black"},
    "stretch": {"description": "how much more the source was scaled across than down to be 2:1; 1: not at all"},
    "blank_fraction": {
        "description": "share of the panorama's pixels that carry nothing: beyond the source's part of "
        "the sphere, transparent, black bars or the black round of a dual fisheye"
    },
    "suspect": {"description": "black_bars or dual_fisheye where the source looks like that; else null"},
    "remarks": {"description": "what was noticed about the source file, separated by commas; null for nothing"},
    "digest": {"description": "digest of the source file's bytes"},
    "valid_fraction": {"description": "share of the source panorama's pixels that are valid; null where nobody looked"},
    "valid": {
        "description": "which pixels of the source panorama mean something: those of the rectangle (left, top, width, "
        "height of panorama_width x panorama_height), nadir_degrees and zenith_degrees away from straight down and up, "
        "and white in mask, a PNG over the rectangle; null for all",
        "unit": "pixel, degree",
    },
    "pose_heading": {
        "description": "of the picture's centre, clockwise from north, as its GPano metadata say; null where not",
        "unit": "degree",
    },
    "pose_pitch": {
        "description": "of the picture's centre above the horizon, as its GPano metadata say; null where not",
        "unit": "degree",
    },
    "pose_roll": {
        "description": "by which the horizon is turned counterclockwise in the picture, as its GPano metadata say; "
        "null where not",
        "unit": "degree",
    },
    "level_pitch": {
        "description": "pitch, as of pose_pitch, by which the sphere was levelled for the network (input.upright); "
        "null where it was not. Stored faces are those of the levelled sphere, ERP maps those of the picture",
        "unit": "degree",
    },
    "level_roll": {
        "description": "roll, as of pose_roll, by which it was levelled, the pitch before it; null where it was not",
        "unit": "degree",
    },
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
    "scale_disagreement": {
        "description": "how far the log scales of the indoor and the outdoor head are apart; null where one alone ran"
    },
    "depth": {"unit": "metre", "ray_type": "euclidean", "description": "distance along the pixel's ray"},
    "normals": {"unit": "unit vector", "frame": FRAME, "description": "surface normals"},
    "sky": {"unit": "probability", "description": "probability of sky"},
}

PREDICTION_COLUMNS = [
    "id", "uri", "width", "height", "coverage", "stretch", "blank_fraction", "suspect", "remarks", "digest",
    "pose_heading", "pose_pitch", "pose_roll", "level_pitch", "level_roll",
    "sequence", "time", "valid_fraction", "scene", "p_outdoor", "log_scale", "sky_fraction",
    "depth_p01", "depth_p05", "depth_p50", "depth_p95", "depth_p99", "range_limit_fraction", "median_confidence",
    "scale_disagreement", "map_height", "map_width",
]  # fmt: skip

LATER_COLUMNS = {
    "stretch": pa.float32(),
    "blank_fraction": pa.float32(),
    "suspect": pa.string(),
    "remarks": pa.string(),
    "sequence": pa.string(),
    "time": pa.float64(),
    "valid_fraction": pa.float32(),
    "pose_heading": pa.float32(),
    "pose_pitch": pa.float32(),
    "pose_roll": pa.float32(),
    "level_pitch": pa.float32(),
    "level_roll": pa.float32(),
    "scale_disagreement": pa.float32(),
}
"""Prediction columns that shards of earlier versions lack; they are read as nulls."""

REJECT_COLUMNS = ["id", "uri", "stage", "error_class", "message", "attempts"]


def predictions_schema(
    rows: pa.Schema,
    arrays: tuple[str, ...],
    *,
    codec: str | None,
    projection: str,
    face_size: int,
    fov: float,
    kept: Sequence[pa.Field] = (),
) -> pa.Schema:
    """The schema of prediction shards, with what every column means in its metadata.

    Args:
        rows: schema of the rows that arrive at the writer.
        arrays: those of ``depth``, ``normals`` and ``sky`` that the checkpoint gives.
        codec: the codecs' name; None keeps arrays out of the shards (they are npz files).
        projection, face_size, fov: how arrays are laid out.
        kept: columns of the listing that come out again; see :mod:`pager_ray.listing.kept`.
    """
    fields = [rows.field(name).with_metadata(_MEANING[name]) for name in PREDICTION_COLUMNS]
    fields += [VALID.with_metadata(_MEANING["valid"]), *kept]
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


def write_shard(layout: RunLayout, name: str, rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Write one block of finished rows: npz files and previews, then results, then rejects.

    Nothing of it counts until its record is committed to the ledger.

    Returns:
        The record: ``LEDGER_SCHEMA``, and what the columnar copy will have of a run's predictions.

    Raises:
        StorageError: something cannot be written.
    """
    failed = pc.is_valid(rows.column("error_class"))
    results, rejects = rows.filter(pc.invert(failed)), rows.filter(failed)
    _write_npz(layout, results, [array for array in MAPS if array not in schema.names])
    _write_previews(layout, results)
    digest, stored = None, schema.empty_table()
    if results.num_rows:
        stored = with_kept(results, schema).select(schema.names).cast(schema)
        content = _encode(stored, large_columns=LARGE_COLUMNS)
        layout.results.write(f"{name}{SHARD_SUFFIX}", content)
        digest = hashlib.sha256(content).hexdigest()
    if rejects.num_rows:
        put_rejects(layout, name, rejects)
    # Results first, as in the files: a row's place in a file is its place in the record.
    ids = pa.concat_tables([part.select(["id", "error_class"]) for part in (results, rejects)])
    record = record_of(name, ids.column("id").to_pylist(), ids.column("error_class").to_pylist(), digest)
    if not layout.HAS_COPY:
        return record
    return with_scalars(record, stored.select([column for column in schema.names if column not in LARGE_COLUMNS]))


def put_rejects(layout: RunLayout, name: str, rejects: pa.Table) -> None:
    """Put a shard's rejects; without rows its file is deleted.

    Raises:
        StorageError: it cannot be written.
    """
    file_name = f"{name}{SHARD_SUFFIX}"
    if rejects.num_rows:
        layout.rejects.write(file_name, _encode(rejects.select(REJECT_COLUMNS), large_columns=()))
    else:
        layout.rejects.delete([file_name])


def _encode(table: pa.Table, large_columns: tuple[str, ...]) -> pa.Buffer:
    large = [column for column in table.column_names if column in large_columns]
    small = [column for column in table.column_names if column not in large]
    maps = [column for column in large if column != VALID.name]
    masks = [f"{VALID.name}.{part}" for part in VALID.type.names] if VALID.name in large else []
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        # One row per group: a reader of one panorama fetches its own megabytes only.
        row_group_size=1 if maps else None,
        # Arrays are compressed already; a second pass would cost time and gain nothing.
        compression=dict.fromkeys([*maps, *masks], "none") | dict.fromkeys(small, "zstd"),
        use_dictionary=False,
        write_statistics=small,
    )
    return sink.getvalue()


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
