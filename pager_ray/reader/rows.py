"""Rows of prediction shards, read by whatever reads Parquet, with their maps as arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pager_ray.encode import codec_from_metadata
from pager_ray.errors import ConfigError, ShapeError, StorageError
from pager_ray.modalities import MAPS
from pager_ray.prediction import VALID, Prediction
from pager_ray.reader.run import LEVEL_COLUMNS, Run, level_of, open_run
from pager_ray.validity import Validity, validity_of

if TYPE_CHECKING:
    import numpy as np

    from pager_ray.encode import Codec

_SIZES = ("map_height", "map_width")


class RowDecoder:
    """Turns the bytes of a run's maps into arrays; stateless, picklable, safe in threads.

    It holds what a run's shards say of their columns, so it needs neither the run nor the columns' metadata when it
    is called, which most readers of Parquet drop.

    Args:
        codecs: of the maps to decode.
        shape: of a stored map without components: None for ERP maps of each row's own size, or (6, S, S).
        fov: field of view of stored faces, in degrees.
        levelled: whether faces may lie otherwise than their panorama, which each row says.
    """

    def __init__(
        self,
        codecs: Mapping[str, Codec],
        shape: tuple[int, int, int] | None,
        fov: float,
        *,
        levelled: bool = False,
    ) -> None:
        self._codecs = dict(codecs)
        self._shape = shape
        self._fov = fov
        self._levelled = levelled and shape is not None

    def __repr__(self) -> str:
        """Name the maps."""
        return f"RowDecoder({', '.join(self._codecs)})"

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Decode one row, as ``ray.data.Dataset.map`` and a DataFrame's rows have it.

        Args:
            row: ``map_height``, ``map_width`` and the bytes of each map; of a run with cube faces and ``input.upright``
                ``level_pitch`` and ``level_roll``, too; other columns pass through.

        Returns:
            The same row, where ``depth`` (metres along the ray) and ``sky`` (probability) are float32 (H, W), and
            ``normals`` float32 (H, W, 3), unit vectors, x forward (ERP centre), y up, z right. Faces are stitched.
            Where the row has ``valid``, it becomes bool (H, W): the pixels that mean something.

        Raises:
            ConfigError: the row lacks a column.
            StorageError: bytes are damaged.
        """
        unknown = [name for name in LEVEL_COLUMNS if self._levelled and name not in row]
        if lacking := [*(name for name in (*_SIZES, *self._codecs) if row.get(name) is None), *unknown]:
            raise ConfigError(
                f"row {row.get('id', '')!r}: lacks {', '.join(lacking)}; read these columns too, or decode other maps"
            )
        height, width = (int(row[name]) for name in _SIZES)
        level = None
        if self._levelled:
            # NumPy's numbers, as DataFrames have them.
            given = {name: row[name] if row[name] is None else float(row[name]) for name in LEVEL_COLUMNS}
            try:
                level = level_of(given)
            except ValueError as error:
                raise StorageError(f"row {row.get('id', '')!r}: {error}") from error
        prediction = Prediction(
            id=str(row.get("id", "")),
            uri=str(row.get("uri", "")),
            height=height,
            width=width,
            fov=self._fov,
            level=level,
            loaders={name: partial(self._decode, row, name, (height, width)) for name in self._codecs},
            validity=partial(_validity, row),
        )
        names = [*self._codecs, *([VALID] if VALID in row else [])]
        return {**row, **{name: getattr(prediction, name) for name in names}}

    def batch(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Decode columns of several rows, as ``datasets.Dataset.with_transform`` has them.

        Raises:
            ConfigError: a column is lacking.
            StorageError: bytes are damaged.
        """
        decoded = [self(dict(zip(rows, values, strict=True))) for values in zip(*rows.values(), strict=True)]
        return {name: [row[name] for row in decoded] for name in rows}

    def _decode(self, row: Mapping[str, Any], name: str, size: tuple[int, int]) -> np.ndarray:
        shape = self._shape or size
        try:
            return self._codecs[name].decode(row[name], (*shape, 3) if name == "normals" else shape)
        except (StorageError, ShapeError) as error:
            raise StorageError(f"{name} of {row.get('id', '')!r}: {error}") from error


def _validity(row: Mapping[str, Any]) -> Validity | None:
    try:
        return validity_of(row.get(VALID))
    except StorageError as error:
        raise StorageError(f"{VALID} of {row.get('id', '')!r}: {error}") from error


def row_decoder(uri: str | os.PathLike[str], maps: Sequence[str] | None = None) -> RowDecoder:
    """A function that decodes the rows of a run's prediction shards, whoever reads them.

    .. code-block:: python

        run = pager_ray.open_run("s3://bucket/run")
        ray.data.read_parquet(run.files()).map(pager_ray.row_decoder(run.uri))

    Args:
        uri: the job's ``output.uri``.
        maps: those of ``depth``, ``normals`` and ``sky`` to decode; all that the run stores when None.

    Raises:
        RunNotFoundError: there is no run, or it has no prediction yet.
        ConfigError: the run does not store such a map, or stores maps as npz files.
        StorageError: it cannot be read.
    """
    run = open_run(uri)
    schema = run.schema()
    if not any(name in schema.names for name in MAPS):
        raise ConfigError(
            f"{run.uri}: stores its maps as npz files, so its rows hold none; use open_run or torch_dataset, which "
            "read them"
        )
    wanted = wanted_maps(run, maps)
    metadata = {
        name: {key.decode(): value.decode() for key, value in (schema.field(name).metadata or {}).items()}
        for name in wanted
    }
    codecs = {name: codec_from_metadata(name, metadata[name]) for name in wanted}  # type: ignore[arg-type]
    return RowDecoder(codecs, run.face_shape, run.fov, levelled=run.levelled)


def wanted_maps(run: Run, maps: Sequence[str] | None) -> tuple[str, ...]:
    """The maps that are asked for, each of which the run has; all of the run's when ``maps`` is None.

    Raises:
        ConfigError: it has no such map, or none is asked for.
    """
    if maps is None:
        return run.maps
    names = (maps,) if isinstance(maps, str) else tuple(maps)
    if not names or (unknown := [name for name in names if name not in run.maps]):
        got = ", ".join(unknown) if names else "none"
        raise ConfigError(f"maps: got {got}; {run.uri} takes {', '.join(run.maps)}")
    return names
