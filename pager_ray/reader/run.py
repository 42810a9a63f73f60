"""Open a run's output, finished or still growing, from any machine and without Ray."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pager_ray.encode import codec_from_metadata
from pager_ray.errors import ConfigError, RunNotFoundError, StorageError
from pager_ray.prediction import Prediction
from pager_ray.storage import Folder, client_errors, safe_name
from pager_ray.write.layout import ARRAY_NAMES, SHARD_SUFFIX, RunLayout
from pager_ray.write.reconcile import read_columns
from pager_ray.write.runfile import read_run_file
from pager_ray.write.shards import PREDICTION_COLUMNS, REJECT_COLUMNS


class _Place(NamedTuple):
    """Where a prediction lies: shard, and row in it (a row is a row group where shards hold arrays)."""

    shard: str
    row: int


class Run:
    """A run's output.

    It shows what was committed when it was opened; :meth:`refresh` looks again. Rows of a writer that died are not
    shown: they are done again.

    Attributes:
        manifest: content of ``run.json``: configuration, checkpoint, versions, counts, state.
        uri: where the run lies.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self._layout = RunLayout(Folder(os.fspath(uri)))
        self.uri = str(self._layout.root)
        self.refresh()

    def __repr__(self) -> str:
        """Name the run, its state and size."""
        return f"Run({self.uri!r}, {self.manifest['state']}, {len(self)} predictions)"

    def refresh(self) -> None:
        """Look at the output again, for a run that still grows.

        Raises:
            RunNotFoundError: there is no run.
        """
        manifest = read_run_file(self._layout.root)
        if manifest is None:
            raise RunNotFoundError(f"{self.uri}: holds no run (no run.json); give the output.uri of a run")
        self.manifest: dict[str, Any] = manifest
        self._shards = self._layout.committed_shards()
        self._places: dict[str, _Place] | None = None

    def __len__(self) -> int:
        """Number of predictions."""
        return len(self._index())

    def __contains__(self, id: object) -> bool:
        """Whether ``id`` has a prediction."""
        return id in self._index()

    def __iter__(self) -> Iterator[Prediction]:
        """Every prediction, shard by shard."""
        for id in self.ids():
            yield self[id]

    def ids(self) -> list[str]:
        """Ids of all predictions, shard by shard."""
        return list(self._index())

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row per prediction, without pixels.

        Args:
            columns: a selection of the prediction columns; all when None.

        Raises:
            ConfigError: a column does not exist.
        """
        wanted = list(columns) if columns is not None else PREDICTION_COLUMNS
        if unknown := [name for name in wanted if name not in PREDICTION_COLUMNS]:
            raise ConfigError(f"columns: {', '.join(unknown)} unknown; takes {', '.join(PREDICTION_COLUMNS)}")
        table = read_columns(self._layout.predictions, self._shards, wanted)
        return table.select(wanted) if table is not None else pa.table({name: pa.array([]) for name in wanted})

    def rejects(self) -> pa.Table:
        """One row per input that gave no prediction: id, uri, stage, error_class, message, attempts."""
        table = read_columns(self._layout.rejects, self._shards, REJECT_COLUMNS)
        return table if table is not None else pa.table({name: pa.array([], pa.string()) for name in REJECT_COLUMNS})

    def __getitem__(self, id: str) -> Prediction:
        """The prediction of one panorama; its maps are read when they are first asked for.

        Raises:
            RunNotFoundError: the run has no prediction under this id.
        """
        place = self._index().get(id)
        if place is None:
            raise RunNotFoundError(
                f"{self.uri}: has no prediction with id {id!r}; rejects() tells why inputs gave none"
            )
        folder, name = self._layout.predictions, place.shard + SHARD_SUFFIX
        scalars = ["id", "uri", "scene", "p_outdoor", "log_scale", "map_height", "map_width"]
        try:
            with folder.filesystem.open(folder.join(name), "rb") as file:
                parquet = pq.ParquetFile(file)
                stored = [array for array in ARRAY_NAMES if array in parquet.schema_arrow.names]
                # Shards with arrays have one row per group, so this reads one panorama's megabytes.
                if stored:
                    row = parquet.read_row_group(place.row, columns=scalars + stored)
                else:
                    row = parquet.read(columns=scalars).slice(place.row, 1)
        except (*client_errors(), pa.ArrowException) as error:
            raise StorageError(f"{folder.uri(name)}: is no readable shard ({error})") from error
        values = {column: row.column(column)[0].as_py() for column in scalars}
        height, width = values.pop("map_height"), values.pop("map_width")
        shape = self._stored_shape(height, width)
        loaders = (
            {array: partial(_decode, row, array, shape) for array in stored if row.column(array)[0].is_valid}
            if stored
            else self._npz_loaders(id)
        )
        fov = self.manifest["checkpoint"]["cube_fov"]
        return Prediction(**values, height=height, width=width, fov=fov, loaders=loaders)

    def _stored_shape(self, height: int, width: int) -> tuple[int, ...]:
        if self.manifest["config"]["output"]["projection"] == "erp":
            return (height, width)
        size = self.manifest["checkpoint"]["face_size"]
        return (6, size, size)

    def _npz_loaders(self, id: str) -> dict[str, Any]:
        arrays = [name for name in ARRAY_NAMES if name in self.manifest["checkpoint"]["modalities"]]
        return {name: partial(_read_npz, self._layout.npz(name), f"{safe_name(id)}.npz", name) for name in arrays}

    def _index(self) -> dict[str, _Place]:
        """Where every prediction lies, by id; read once, ids only."""
        if self._places is None:
            places: dict[str, _Place] = {}
            folder = self._layout.predictions
            for name in folder.names(SHARD_SUFFIX):
                shard = name.removesuffix(SHARD_SUFFIX)
                table = read_columns(folder, {shard}, ["id"]) if shard in self._shards else None
                if table is not None:
                    places.update({id: _Place(shard, row) for row, id in enumerate(table.column("id").to_pylist())})
            self._places = places
        return self._places


def open_run(uri: str | os.PathLike[str]) -> Run:
    """Open the output of a finished or running job.

    Args:
        uri: the job's ``output.uri``.

    Raises:
        RunNotFoundError: there is no run.
    """
    return Run(uri)


def _decode(row: pa.Table, name: str, shape: tuple[int, ...]) -> np.ndarray:
    field = row.schema.field(name)
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    codec = codec_from_metadata(name, metadata)  # type: ignore[arg-type]
    return codec.decode(row.column(name)[0].as_buffer(), (*shape, 3) if name == "normals" else shape)


def _read_npz(folder: Folder, file_name: str, name: str) -> np.ndarray:
    """An array in the released layout as (H, W[, 3]) or (6, S, S[, 3])."""
    try:
        with np.load(io.BytesIO(folder.read(file_name)), allow_pickle=False) as archive:
            array = archive["arr_0"]
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise StorageError(f"{folder.uri(file_name)}: is no npz file with one float32 array ({error})") from error
    return np.moveaxis(array, -3, -1) if name == "normals" else np.squeeze(array, -3)
