"""What one panorama gave, however it is stored."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from pager_ray import geometry
from pager_ray.errors import ConfigError, ShapeError
from pager_ray.modalities import MAPS
from pager_ray.shapes import Bool, Float, Shaped, UInt8
from pager_ray.validity import Validity

QUALITY_COLUMNS = (
    "sky_fraction",
    "depth_p01",
    "depth_p05",
    "depth_p50",
    "depth_p95",
    "depth_p99",
    "range_limit_fraction",
    "median_confidence",
    "scale_disagreement",
)
"""Numbers per panorama that a run is filtered by without opening a pixel; None where the heads for one are missing.

``scale_disagreement`` is how far the two scale heads' log scales are apart: on GPUs, for panoramas whose scene the
router decides, where both heads run.
"""


VALID = "valid"
"""What readers call the pixels that mean something."""

ArrayLoader = Callable[[], np.ndarray]

# Where its points, its mesh and its files are made: above this module, loaded when they are asked for.
_TAKING = "pager_ray.export.taking"


class Prediction:
    """Geometry of one panorama as ERP maps; what the checkpoint does not give is None.

    Maps are decoded, and stitched where the run stored cube faces, when they are first asked for, and kept.

    Args:
        loaders: for each of ``depth``, ``normals`` and ``sky`` that exists, a function that gives the stored array: an
            ERP map (H, W[, 3]), or six faces (6, S, S[, 3]) in the order F, R, B, L, U, D.
        height, width: size of the ERP maps.
        fov: field of view of stored faces, in degrees.
        level: pitch and roll in degrees that stored faces were levelled by, as of
            :func:`pager_ray.geometry.level_rotation`; they are turned back while they are stitched.
        reading: how its source was read: further arguments of :func:`pager_ray.read.decode_panorama`.
        log_scale_sequence: what ``log_scale`` becomes, and depth with it; None leaves both as they are.
        picture: gives the source at the size of the maps, where it is at hand.
        validity: gives which pixels of the source mean something, or None for all.

    Attributes:
        id, uri: which panorama this is.
        scene: ``indoor`` or ``outdoor``; None where neither the listing nor the network's routing told.
        p_outdoor: the scene router's probability; None where it was not asked.
        level: pitch and roll in degrees of the levelled sphere that faces are of; None where they are the picture's.
            Maps are the picture's in either case.
        log_scale: ln(metric depth / scale-invariant depth), of ``depth`` as it is here; None without scale heads.
        log_scale_raw: the same as the network gave it, where a sequence has a scale of its own.
    """

    def __init__(
        self,
        *,
        id: str,
        uri: str,
        height: int,
        width: int,
        fov: float,
        loaders: Mapping[str, ArrayLoader],
        scene: str | None = None,
        p_outdoor: float | None = None,
        log_scale: float | None = None,
        level: tuple[float, float] | None = None,
        log_scale_sequence: float | None = None,
        reading: Mapping[str, Any] | None = None,
        picture: ArrayLoader | None = None,
        validity: Callable[[], Validity | None] | None = None,
    ) -> None:
        self.id = id
        self.uri = uri
        self.scene = scene
        self.p_outdoor = p_outdoor
        self.log_scale_raw = log_scale
        self.log_scale = log_scale if log_scale_sequence is None else log_scale_sequence
        self.height = height
        self.width = width
        self.fov = fov
        self.level = level
        self.reading = dict(reading or {})
        self._loaders = dict(loaders)
        self._picture = picture
        self._validity = validity

    def __repr__(self) -> str:
        """Name the panorama, its size and what it has."""
        return f"Prediction(id={self.id!r}, {self.height}x{self.width}, {', '.join(self._loaders) or 'no maps'})"

    @cached_property
    def depth(self) -> Float[np.ndarray, "h w"] | None:
        """(H, W) float32, metres along the ray (Euclidean); metric where ``log_scale`` is given."""
        return self._scalar_map("depth")

    @cached_property
    def si_depth(self) -> Float[np.ndarray, "h w"] | None:
        """(H, W) float32, scale-invariant depth along the ray; None where the checkpoint has no scale heads."""
        if self.depth is None or self.log_scale is None:
            return None
        return self.depth * np.float32(np.exp(-self.log_scale))

    @cached_property
    def normals(self) -> Float[np.ndarray, "h w 3"] | None:
        """(H, W, 3) float32 unit vectors: x forward (ERP centre), y up, z right; zero where the sky was filled."""
        stored = self._load("normals")
        if stored is None or stored.ndim == 3:
            return stored
        faces, rotation = np.asarray(stored, dtype=np.float32), self._rotation()
        if rotation is not None:
            faces = geometry.turned_back(faces, rotation)
        stitched = geometry.cubemap_to_erp(faces, self.height, self.width, self.fov, rotation)
        return geometry.normalise_normals(stitched)

    @cached_property
    def sky(self) -> Float[np.ndarray, "h w"] | None:
        """(H, W) float32, probability of sky."""
        return self._scalar_map("sky")

    @cached_property
    def validity(self) -> Validity | None:
        """Which pixels of the source mean something, in its own terms; None where all do."""
        found = self._validity() if self._validity is not None else None
        return None if found is None or found.is_whole else found

    @cached_property
    def valid(self) -> Bool[np.ndarray, "h w"]:
        """(H, W) bool: the pixels that mean something: in the source's part of the sphere, in no cap, under no mask.

        A pixel is valid where the source's pixel in which its centre lies is. Maps have values everywhere.
        """
        if self.validity is None:
            return np.ones((self.height, self.width), bool)
        return self.validity.erp(self.height, self.width)

    def faces(self, name: str) -> Shaped[np.ndarray, "6 s s ..."] | None:
        """Stored faces of ``depth``, ``normals`` or ``sky``, (6, S, S[, 3]); None where the run stored ERP maps.

        They lie, and normals point, in the frame of the levelled sphere where :attr:`level` says so. Those of ``valid``
        are (6, S, S) bool: a pixel is valid where the source's pixel nearest to it is.

        Raises:
            ConfigError: another name.
        """
        if name == VALID:
            stored = next((faces for other in self._loaders if (faces := self.faces(other)) is not None), None)
            if stored is None or self.validity is None:
                return None if stored is None else np.ones(stored.shape[:3], bool)
            return self.validity.faces(stored.shape[1], self.fov, self._rotation())
        if name not in MAPS:
            raise ConfigError(f"faces: {name!r} unknown; takes {', '.join((*MAPS, VALID))}")
        stored = self._load(name)
        is_cubemap = stored is not None and stored.shape[0] == 6 and stored.ndim == (4 if name == "normals" else 3)
        return stored if is_cubemap else None

    @cached_property
    def picture(self) -> UInt8[np.ndarray, "h w 3"] | None:
        """(H, W, 3) uint8 RGB, the source at the size of the maps; None where only a run is at hand."""
        return self._picture() if self._picture is not None else None

    def points(self, picture: UInt8[np.ndarray, "h w 3"] | None = None, **cleaning: Any) -> Any:
        """Its points, cleaned and thinned as ``pager-ray export`` does it.

        Args:
            picture: (H, W, 3) RGB at the size of the maps, to colour by; by default :attr:`picture`, else normals.
            cleaning: fields of :class:`pager_ray.export.points.Cleaning`, such as ``max_points=None``.

        Returns:
            :class:`pager_ray.export.points.PointCloud`: ``xyz`` float32 (N, 3) metres, ``colors`` uint8, ``normals``.

        Raises:
            InputError: nothing is left, or a map is lacking.
            ShapeError: ``picture`` is none of that size.
            ConfigError: a setting is none, or the library for cleaning is not installed.
        """
        return importlib.import_module(_TAKING).points(self, picture, cleaning)

    def mesh(self, max_triangles: int | None = 500_000, **cleaning: Any) -> Any:
        """Its surface as triangles, broken at jumps in depth; see :mod:`pager_ray.export.mesh`.

        Args:
            max_triangles: the budget; None keeps every pixel.
            cleaning: fields of :class:`pager_ray.export.points.Cleaning`; ``edge_relative=None`` bridges jumps.

        Returns:
            :class:`pager_ray.export.mesh.Mesh`: ``xyz`` float32 (N, 3) metres, ``faces`` (T, 3), ``uv`` in the picture.

        Raises:
            InputError: there is no surface, or no depth.
            ConfigError: a setting is none.
        """
        return importlib.import_module(_TAKING).mesh(self, max_triangles, cleaning)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
        **settings: Any,
    ) -> None:
        """Write it to a file of another program, as a whole.

        Args:
            path: or any fsspec URL. Its suffix says the format: ``.glb``, ``.ply`` and ``.laz`` are points, ``.exr``
                and ``.png`` depth, ``.rrd`` is a recording.
            format: another one, as of ``pager-ray export --to``, such as ``mesh`` or ``splats``.
            picture: as in :meth:`points`.
            settings: fields of :class:`pager_ray.export.formats.ExportSettings`, such as ``axes="z-up"``.

        Raises:
            ConfigError: the suffix says no format, the format is of several files, or a setting is none.
            ShapeError: as in :meth:`points`.
            InputError: this panorama cannot be had in it.
            StorageError: the file cannot be written.
        """
        importlib.import_module(_TAKING).save(self, os.fspath(path), format, picture, settings)

    def _load(self, name: str) -> np.ndarray | None:
        loader = self._loaders.get(name)
        stored = loader() if loader is not None else None
        if name != "depth" or stored is None or self.log_scale == self.log_scale_raw:
            return stored
        assert self.log_scale is not None
        assert self.log_scale_raw is not None
        return np.asarray(stored, np.float32) * np.float32(np.exp(self.log_scale - self.log_scale_raw))

    def _scalar_map(self, name: str) -> Float[np.ndarray, "h w"] | None:
        stored = self._load(name)
        if stored is None or stored.ndim == 2:
            return stored
        faces = np.asarray(stored, dtype=np.float32)[..., None]
        return geometry.cubemap_to_erp(faces, self.height, self.width, self.fov, self._rotation())[..., 0]

    def _rotation(self) -> np.ndarray | None:
        return None if self.level is None else geometry.levelling(*self.level)


def array_of(value: Any, name: str, takes: str) -> np.ndarray:
    """An array of what a caller gives as one: an array, a PIL image, a tensor.

    Args:
        value: what was given.
        name: of the argument.
        takes: what it takes.

    Raises:
        ShapeError: it holds no numbers, as the bytes of a file or a list of paths do not.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"{name}: got {type(value).__name__} ({error}), takes {takes}") from error
    if array.dtype.kind not in "biufc":
        raise ShapeError(f"{name}: got {type(value).__name__}, takes {takes}")
    return array
