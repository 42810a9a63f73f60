"""Standing predictions by id: of one of our runs, or of any program that writes the released npz layout."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pager_ray.datasets.base import file_id
from pager_ray.encode.npz import decode_npz
from pager_ray.errors import ConfigError, InputError, RunNotFoundError, ShapeError, StorageError
from pager_ray.evaluate.maps import PredictedMaps
from pager_ray.listing.growth import stamp_of
from pager_ray.read.fetch import fetch
from pager_ray.runs.layout import RUN_FILE
from pager_ray.runs.runfile import faces_told
from pager_ray.storage import Folder, safe_name

MAPS = ("depth", "normals")

MIN_ROWS = 16
"""Smaller maps do not show all twelve edges of the cube."""


class Predictions(Protocol):
    """Predicted maps of many panoramas."""

    uri: str
    maps: tuple[str, ...]
    """Which of ``depth`` and ``normals`` there are."""
    description: dict[str, Any]
    """For run file and report: where they come from."""
    face_size: int | None
    fov: float | None
    """The cubemap that they were stitched from; None where nobody says."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these predictions from others at the same place."""

    def read(self, id: str, maps: tuple[str, ...]) -> PredictedMaps:
        """The named maps of one panorama.

        Raises:
            InputError: ``missing_prediction`` or ``bad_prediction``.
        """


class RunPredictions:
    """The output of an inference run; ids are the dataset's where the run was given a listing with them."""

    face_size: int | None
    fov: float | None

    def __init__(self, uri: str) -> None:
        from pager_ray.reader import open_run

        # What is scored is the network, not what was made of its scales later.
        self._run = open_run(uri, scale="raw")
        self.uri = self._run.uri
        checkpoint = self._run.manifest["checkpoint"]
        self.maps = tuple(name for name in MAPS if name in checkpoint["modalities"])
        self.face_size, self.fov = faces_told(checkpoint)
        self.identity = {f"predictions.{key}": value for key, value in self._run.manifest.get("identity", {}).items()}
        self.description = dict(checkpoint)

    def read(self, id: str, maps: tuple[str, ...]) -> PredictedMaps:
        """See :class:`Predictions`."""
        try:
            prediction = self._run[id]
        except RunNotFoundError as error:
            raise InputError(
                "missing_prediction",
                f"{self.uri}: has no prediction with id {id!r}; give the run a listing with the dataset's ids",
            ) from error
        except StorageError as error:
            if not _is_damage(error):
                raise
            raise InputError("bad_prediction", str(error)) from error
        try:
            wanted = {name: getattr(prediction, name) if name in maps else None for name in MAPS}
        except StorageError as error:
            raise InputError("bad_prediction", str(error)) from error
        return PredictedMaps(**wanted)


class NpzPredictions:
    """A folder in the released layout: ``depth/preds/<id>.npz`` and ``normals/preds/<id>.npz``."""

    def __init__(self, uri: str) -> None:
        self._root = Folder(uri)
        self.uri = str(self._root)
        self.maps = tuple(name for name in MAPS if (self._root / name).exists("preds"))
        # An evaluation that kept its predictions says what made them; folders of others do not.
        checkpoint = self._root.read_json(RUN_FILE).get("checkpoint") if self._root.exists(RUN_FILE) else None
        self.face_size, self.fov = _faces_of(checkpoint, self.uri)
        known = checkpoint if isinstance(checkpoint, dict) else {}
        self.description: dict[str, Any] = {"name": self.uri} | known | {"modalities": list(self.maps)}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """A digest of the files' names, sizes and times: predictions that are written anew are others."""
        digest = blake2b(digest_size=16)
        for name in self.maps:
            for file, facts in (self._root / name / "preds").facts(".npz").items():
                digest.update(f"{name} {file} {stamp_of(facts)}\n".encode("utf-8", "surrogateescape"))
        return {"predictions.files": digest.hexdigest()}

    def read(self, id: str, maps: tuple[str, ...]) -> PredictedMaps:
        """See :class:`Predictions`."""
        return PredictedMaps(**{name: self._array(name, id) if name in maps else None for name in MAPS})

    def _array(self, name: str, id: str) -> np.ndarray:
        folder = self._root / name / "preds"
        # Others name files by the id as it is; we encode what a file system may not take.
        names = dict.fromkeys([f"{file_id(id)}.npz", f"{safe_name(id)}.npz"])
        for file_name in names:
            try:
                content = fetch(folder.uri(file_name), role="output")
                break
            except InputError as error:
                if error.error_class != "missing":
                    raise
        else:
            raise InputError(
                "missing_prediction", f"{folder}/{next(iter(names))}: does not exist; predict sample {id!r} into it"
            )
        where = f"{folder}/{file_name}"
        try:
            array = decode_npz(content).astype(np.float32, copy=False)
        except ShapeError as error:
            raise InputError("bad_prediction", f"{where}: {error}") from error
        channels = 3 if name == "normals" else 1
        if name == "depth" and array.ndim == 2:
            array = array[None]
        if array.ndim != 3 or array.shape[0] != channels or min(array.shape[1:]) < MIN_ROWS:
            raise InputError(
                "bad_prediction",
                f"{where}: holds {array.shape}, takes ({channels}, H, W) as the ERP's {name}, "
                f"with at least {MIN_ROWS} rows",
            )
        return array[0] if name == "depth" else np.ascontiguousarray(np.moveaxis(array, 0, -1))


def _is_damage(error: StorageError) -> bool:
    """Whether it tells of one file, which is gone or damaged, and not of a store."""
    cause = error.__cause__
    # Arrow tells of some damage with an OSError that has no number.
    is_arrows = type(cause) is OSError and cause.errno is None
    return is_arrows or isinstance(cause, pa.ArrowException | FileNotFoundError | KeyError | ValueError)


def _faces_of(checkpoint: Any, uri: str) -> tuple[int | None, float | None]:
    """Face size and field of view that a run file's checkpoint names; None where it does not.

    Raises:
        StorageError: it names what no network has.
    """
    if not isinstance(checkpoint, dict) or not {"face_size", "cube_fov"} <= checkpoint.keys():
        return None, None
    try:
        return faces_told(checkpoint)
    except (TypeError, ValueError, OverflowError) as error:
        raise StorageError(
            f"{uri}: its {RUN_FILE} cannot be understood ({error}); restore it from a copy, or move it away"
        ) from error


def _stores_maps(manifest: Mapping[str, Any]) -> bool:
    """Whether a run file, which may be anybody's, is that of an inference run."""
    config = manifest.get("config")
    output = config.get("output") if isinstance(config, dict) else None
    return isinstance(output, dict) and "projection" in output


def open_predictions(uri: str) -> RunPredictions | NpzPredictions:
    """Open predictions: a run's output where ``run.json`` says that it is one, else a folder of npz files.

    Raises:
        ConfigError: the folder holds neither.
        StorageError: it cannot be read.
    """
    root = Folder(uri)
    if root.exists(RUN_FILE) and _stores_maps(root.read_json(RUN_FILE)):
        return RunPredictions(uri)
    folder = NpzPredictions(uri)
    if not folder.maps:
        raise ConfigError(
            f"predictions: {folder.uri} is neither a run's output (no {RUN_FILE} of one) nor a folder with "
            "depth/preds/<id>.npz or normals/preds/<id>.npz; give one of them"
        )
    return folder
