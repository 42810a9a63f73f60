"""Open a run's output, finished or still growing, from any machine and without Ray."""

from __future__ import annotations

import bisect
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import check_footer, size_of
from pager_ray.config.inputs import InputConfig
from pager_ray.config.section import one_or_many
from pager_ray.encode import codec_from_metadata
from pager_ray.encode.npz import decode_npz
from pager_ray.errors import ConfigError, RunNotFoundError, ShapeError, StorageError
from pager_ray.geometry.level import MAX_PITCH, MAX_ROLL
from pager_ray.limits import MAX_MAP_PIXELS
from pager_ray.masking import mask_uri
from pager_ray.modalities import MAPS, maps_of
from pager_ray.prediction import VALID, Prediction
from pager_ray.runs.layout import RUN_FILE, SHARD_SUFFIX, RunLayout
from pager_ray.runs.ledger import shards_of
from pager_ray.runs.reconcile import read_scalars, read_standing, standing_rejects
from pager_ray.runs.runfile import faces_told, read_run_file
from pager_ray.runs.scales import SEQUENCE_SCALE, Corrections
from pager_ray.runs.shards import PREDICTION_COLUMNS, REJECT_COLUMNS
from pager_ray.storage import Folder, client_errors, error_reason, safe_name
from pager_ray.validity import Validity, validity_of

_RESTORE = "restore it from a copy, or start the run anew with --overwrite"

MAX_LOG_SCALE = 100.0

LEVEL_COLUMNS = ("level_pitch", "level_roll")

# Columns of shards that are not float32.
_TYPES = {
    **dict.fromkeys(
        ("id", "uri", "scene", "sequence", "digest", "suspect", "remarks", "stage", "error_class", "message"),
        pa.string(),
    ),
    **dict.fromkeys(("width", "height", "map_height", "map_width", "attempts"), pa.int32()),
    "time": pa.float64(),
}


class _Place(NamedTuple):
    """Where a prediction lies: shard, and row in it (a row is a row group where shards hold arrays)."""

    shard: str
    row: int


class _Index:
    """Where predictions lie, by id: twelve bytes for each beside the ledger's own.

    Args:
        results: the ledger's rows of results; those of a shard are in its order.
    """

    def __init__(self, results: pa.Table) -> None:
        self._ids, self._shards = results.column("id"), results.column("shard").dictionary_encode()
        self._order = pc.sort_indices(self._ids).to_numpy()
        codes = np.zeros(0, np.int32)
        if results.num_rows:
            codes = self._shards.unify_dictionaries().combine_chunks().indices.to_numpy()
        together = np.argsort(codes, kind="stable")
        sizes = np.bincount(codes)
        self._rows = np.empty(results.num_rows, np.int32)
        self._rows[together] = np.arange(results.num_rows) - np.repeat(np.cumsum(sizes) - sizes, sizes)

    def find(self, id: str) -> _Place | None:
        """The place of a prediction; None where there is none under this id."""
        after = bisect.bisect_right(self._order, id, key=self._id)
        if not after or self._id(self._order[after - 1]) != id:
            return None
        row = int(self._order[after - 1])
        return _Place(self._shards[row].as_py(), int(self._rows[row]))

    def _id(self, row: np.integer) -> str:
        return self._ids[int(row)].as_py()


class Run:
    """A run's output.

    It shows what was committed when it was opened; :meth:`refresh` looks again. Rows of a writer that died are not
    shown: they are done again.

    Args:
        uri: the job's ``output.uri``.
        scale: ``auto``: depth has the scale of its sequence, where the run has such scales; ``raw``: as the network
            gave it.

    Attributes:
        manifest: content of ``run.json``: configuration, checkpoint, versions, counts, state.
        uri: where the run lies.
        maps: those of ``depth``, ``normals`` and ``sky`` that its predictions have.
        face_shape: (6, S, S) where faces are stored, None where ERP maps are.
        fov: field of view of its faces, in degrees.
        kept: columns of its listing that came out again.
        scales_digest: of the scales of its sequences, which depth is given with; None where it is as predicted.
        is_rescaled: whether any of these scales is another one than was predicted.
        levelled: whether panoramas may have been levelled (``input.upright``).
    """

    def __init__(self, uri: str | os.PathLike[str], scale: Literal["auto", "raw"] = "auto") -> None:
        if scale not in ("auto", "raw"):
            raise ConfigError(f"scale: got {scale!r}; takes auto or raw")
        self._scale = scale
        self._layout = RunLayout(Folder(os.fspath(uri)))
        self.uri = str(self._layout.root)
        self.refresh()

    def __repr__(self) -> str:
        """Name the run, its state and size."""
        return f"Run({self.uri!r}, {self._state}, {len(self)} predictions)"

    def refresh(self) -> None:
        """Look at the output again, for a run that still grows.

        Raises:
            RunNotFoundError: there is no run.
            StorageError: its ``run.json`` cannot be understood.
        """
        manifest = read_run_file(self._layout.root)
        if manifest is None:
            raise RunNotFoundError(f"{self.uri}: holds no run (no run.json); give the output.uri of a run")
        job = manifest.get("identity", {}).get("job") if isinstance(manifest.get("identity"), dict) else None
        if job is not None:
            raise RunNotFoundError(
                f"{self.uri}: holds scores of `pager-ray {job}`, no predictions of a run; read metrics/report.json and "
                "metrics/samples/*.parquet there"
            )
        try:
            stores_erp = manifest["config"]["output"]["projection"] == "erp"
            checkpoint = manifest["checkpoint"]
            face_size, self.fov = faces_told(checkpoint)
            self.face_shape = None if stores_erp else (6, face_size, face_size)
            self.maps = maps_of(checkpoint["modalities"])
            self._state = str(manifest["state"])
            asked = manifest["config"].get("input", {})
            self.kept = tuple(str(name) for name in asked.get("keep_columns") or [])
            self.levelled = asked.get("upright", "off") != "off"
            known = {name: asked[name] for name in InputConfig().reading() if name in asked}
            self._reading = InputConfig(**known).reading()
        except KeyError as error:
            raise StorageError(f"{self.uri}: its {RUN_FILE} lacks {error}; {_RESTORE}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise StorageError(f"{self.uri}: its {RUN_FILE} cannot be understood ({error}); {_RESTORE}") from error
        self.manifest: dict[str, Any] = manifest
        self._standing = read_standing(self._layout, manifest, compact=True)
        errors = self._standing.column("error_class")
        are_all = errors.null_count == len(errors)
        self._results = self._standing if are_all else self._standing.filter(pc.is_null(errors))
        self._count: int | None = None
        self._corrections = Corrections(self._layout, wanted=self._scale == "auto")
        self.scales_digest = self._corrections.digest
        self.is_rescaled = self._corrections.change
        # At once: threads that read single predictions would each build one.
        self._index = _Index(self._results)

    def __len__(self) -> int:
        """Number of predictions."""
        if self._count is None:
            self._count = pc.count_distinct(self._results.column("id")).as_py()
        return self._count

    def __contains__(self, id: object) -> bool:
        """Whether ``id`` has a prediction."""
        return isinstance(id, str) and self._index.find(id) is not None

    def __iter__(self) -> Iterator[Prediction]:
        """Every prediction, shard by shard."""
        for id in self.ids():
            yield self[id]

    def ids(self) -> list[str]:
        """Ids of all predictions, shard by shard."""
        ids = self._results.column("id")
        return (ids if len(self) == len(ids) else pc.unique(ids)).to_pylist()

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row per prediction, without pixels.

        Args:
            columns: a selection of the prediction columns and the kept ones (``input.keep_columns``), or the name of a
                single one; all when None.

        Raises:
            ConfigError: a column does not exist.
        """
        scales = [] if self.scales_digest is None else [SEQUENCE_SCALE]
        there = list(dict.fromkeys([*PREDICTION_COLUMNS, *self.kept, *scales]))
        wanted = list(one_or_many(columns)) if columns is not None else there
        if unknown := [name for name in wanted if name not in there]:
            raise ConfigError(f"columns: {', '.join(unknown)} unknown; takes {', '.join(there)}")
        stored = list(dict.fromkeys(name for name in wanted if name != SEQUENCE_SCALE))
        if SEQUENCE_SCALE in wanted:
            stored = list(dict.fromkeys([*stored, "id", "log_scale"]))
        table = read_scalars(self._layout, self._results, stored)
        if table is None:
            return _empty(wanted)
        return (self._corrections.added_to(table) if SEQUENCE_SCALE in wanted else table).select(wanted)

    def files(self) -> list[str]:
        """URIs of the Parquet shards that count, for other readers; the folder may hold more while a job runs."""
        return [self._layout.results.uri(shard + SHARD_SUFFIX) for shard in sorted(shards_of(self._results))]

    def schema(self) -> pa.Schema:
        """Columns of the shards, maps included, with what each means in its metadata.

        Raises:
            RunNotFoundError: there is no prediction yet.
            StorageError: a shard cannot be read.
        """
        shards = sorted(shards_of(self._results))
        if not shards:
            raise RunNotFoundError(f"{self.uri}: has no prediction yet; look again when it has, with refresh()")
        with self._open(shards[0]) as parquet:
            return parquet.schema_arrow

    def rejects(self) -> pa.Table:
        """One row per input that gave no prediction: id, uri, stage, error_class, message, attempts."""
        table = standing_rejects(self._layout, self._standing, REJECT_COLUMNS)
        return table if table is not None else _empty(REJECT_COLUMNS)

    def __getitem__(self, id: str) -> Prediction:
        """The prediction of one panorama; its maps are read here, and decoded when they are first asked for.

        Raises:
            RunNotFoundError: the run has no prediction under this id.
            StorageError: it cannot be read.
        """
        return self.read(id, self.maps)

    def read(self, id: str, maps: Sequence[str]) -> Prediction:
        """The prediction of one panorama with some of its maps; the others are neither read nor there.

        Raises:
            RunNotFoundError: the run has no prediction under this id.
            ConfigError: there is no such map.
            StorageError: it cannot be read.
        """
        maps = one_or_many(maps)
        if unknown := [str(name) for name in maps if name not in MAPS]:
            raise ConfigError(f"maps: {', '.join(unknown)} unknown; takes {', '.join(MAPS)}")
        # A number or a slice, as of a list, or a scalar of Arrow's.
        if not isinstance(id, str):
            raise RunNotFoundError(
                f"{self.uri}: has no prediction with id {id!r} ({type(id).__name__}); ids are text: take one of ids()"
            )
        place = self._index.find(id)
        if place is None:
            raise RunNotFoundError(
                f"{self.uri}: has no prediction with id {id!r}; take one of ids(), or look into rejects() for why"
            )
        scalars = ["id", "uri", "scene", "p_outdoor", "log_scale", "map_height", "map_width"]
        wanted = [name for name in MAPS if name in maps]
        with self._open(place.shard) as parquet:
            # Shards of earlier versions lack them.
            scalars += [name for name in LEVEL_COLUMNS if name in parquet.schema_arrow.names]
            has_arrays = any(name in parquet.schema_arrow.names for name in MAPS)
            # Shards with arrays have one row per group, so this reads one panorama's megabytes.
            extra = [VALID] if VALID in parquet.schema_arrow.names else []
            if has_arrays:
                if parquet.metadata.row_group(place.row).num_rows != 1:
                    raise ValueError(f"row group {place.row} holds more than a row")
                row = parquet.read_row_group(place.row, columns=scalars + wanted + extra)
            else:
                row = parquet.read(columns=scalars + extra).slice(place.row, 1)
            row.validate(full=True)
            values = {column: row.column(column)[0].as_py() for column in scalars}
            height, width = _map_size(values.pop("map_height"), values.pop("map_width"))
            level = level_of({name: values.pop(name, None) for name in LEVEL_COLUMNS})
            for name in ("p_outdoor", "log_scale"):
                if not isinstance(values[name], float | None) or abs(values[name] or 0.0) > MAX_LOG_SCALE:
                    raise ValueError(f"{name} is {values[name]!r}")
            for name in ("id", "uri", "scene"):
                values[name] = values[name] if isinstance(values[name], str | None) else str(values[name])
        shape, shown = self.face_shape or (height, width), self._layout.results.uri(place.shard + SHARD_SUFFIX)
        loaders = (
            {
                name: partial(_decode, row, name, shape, f"{shown}: {name} of {id!r}")
                for name in wanted
                if name in row.column_names and row.column(name)[0].is_valid
            }
            if has_arrays
            else self._npz_loaders(id, shape, wanted)
        )
        return Prediction(
            **values,
            log_scale_sequence=self._corrections.of(id, values["log_scale"]),
            height=height,
            width=width,
            fov=self.fov,
            loaders=loaders,
            level=level,
            reading=self._reading,
            validity=partial(_validity, row, f"{shown}: {VALID} of {id!r}") if extra else None,
        )

    @contextlib.contextmanager
    def _open(self, shard: str) -> Iterator[pq.ParquetFile]:
        folder, name = self._layout.results, shard + SHARD_SUFFIX
        try:
            with folder.open(name) as file:
                # Buffered: Arrow asks for neighbouring ranges together.
                parquet = pq.ParquetFile(file, pre_buffer=True)
                check_footer(parquet.metadata, size_of(file))
                yield parquet
        except (*client_errors(), pa.ArrowException, LookupError, ValueError, TypeError, OverflowError) as error:
            raise StorageError(
                f"{folder.uri(name)}: is no readable shard ({error_reason(error)}); {_RESTORE}"
            ) from error

    def _npz_loaders(self, id: str, shape: tuple[int, ...], names: Sequence[str]) -> dict[str, Any]:
        file_name = f"{safe_name(id)}.npz"
        return {name: partial(_read_npz, self._layout.npz(name), file_name, name, shape) for name in names}


def open_run(uri: str | os.PathLike[str], scale: Literal["auto", "raw"] = "auto") -> Run:
    """Open the output of a finished or running job.

    Args:
        uri: the job's ``output.uri``.
        scale: ``auto`` gives depth with the scale of its sequence where the run has such scales (``scale.sequence``),
            ``raw`` as the network gave it.

    Raises:
        ConfigError: another ``scale``.
        RunNotFoundError: there is no run.
        StorageError: its ``run.json`` cannot be understood.
    """
    return Run(uri, scale)


def _map_size(height: Any, width: Any) -> tuple[int, int]:
    """Size of stored maps, as a shard tells it.

    Raises:
        ValueError: no size that a panorama has.
    """
    known = isinstance(height, int) and isinstance(width, int)
    if not known or height < 1 or width < 1 or height * width > MAX_MAP_PIXELS:
        raise ValueError(f"maps of {height}×{width} pixels; at most {MAX_MAP_PIXELS} are read")
    return height, width


def level_of(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Pitch and roll by which a row's faces were levelled; None where they were not.

    Raises:
        ValueError: they are no angles.
    """
    pitch, roll = (row.get(name) for name in LEVEL_COLUMNS)
    # Other readers of Parquet have NaN where there is nothing.
    if any(value is None or value != value for value in (pitch, roll)):
        return None
    if not (isinstance(pitch, float) and isinstance(roll, float) and abs(pitch) <= MAX_PITCH and abs(roll) <= MAX_ROLL):
        raise ValueError(f"level_pitch is {pitch!r} and level_roll {roll!r}")
    return pitch, roll


def _empty(columns: Sequence[str]) -> pa.Table:
    """No rows, with the types that shards have."""
    return pa.schema([(name, _TYPES.get(name, pa.float32())) for name in columns]).empty_table()


def _decode(row: pa.Table, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    field = row.schema.field(name)
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    try:
        codec = codec_from_metadata(name, metadata)  # type: ignore[arg-type]
        return codec.decode(row.column(name)[0].as_buffer(), (*shape, 3) if name == "normals" else shape)
    except (StorageError, ShapeError, AttributeError) as error:
        raise StorageError(f"{where}: {error}") from error


def _validity(row: pa.Table, where: str) -> Validity | None:
    try:
        return validity_of(row.column(VALID)[0].as_py())
    except StorageError as error:
        raise StorageError(f"{where}: {error}; {_RESTORE}") from error


def _read_npz(folder: Folder, file_name: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array in the released layout as (H, W[, 3]) or (6, S, S[, 3]); ``shape`` is without channels."""
    content, where = folder.read(file_name), mask_uri(folder.uri(file_name))
    channels = 3 if name == "normals" else 1
    wanted = (*shape[:-2], channels, *shape[-2:])
    try:
        array = decode_npz(content, wanted)
    except ShapeError as error:
        raise StorageError(
            f"{where}: is no npz file with one float32 array of shape {wanted}: {error}; {_RESTORE}"
        ) from error
    if array.dtype != np.float32 or array.shape != wanted:
        raise StorageError(
            f"{where}: is no npz file with one float32 array of shape {wanted}, but holds {array.dtype} {array.shape}; "
            f"{_RESTORE}"
        )
    return np.moveaxis(array, -3, -1) if name == "normals" else np.squeeze(array, -3)
