"""What a single prediction in Python gives to other programs: its points, its mesh, a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from numpy import uint8

from pager_ray.errors import ConfigError, InputError, ShapeError
from pager_ray.export.formats import ALIASES, FORMATS, ExportSettings, export_files, find_format
from pager_ray.export.libraries import load
from pager_ray.export.mesh import Mesh, surface_mesh
from pager_ray.export.points import Cleaning, PointCloud, point_cloud
from pager_ray.prediction import array_of
from pager_ray.storage import Folder

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy import ndarray

    from pager_ray.prediction import Prediction

SUFFIXES: Mapping[str, str] = {name: ALIASES.get(name, name) for name in ("glb", "ply", "laz", *ALIASES)} | {
    "rrd": "rerun"
}
"""The format that each suffix of a file means."""


def points(prediction: Prediction, picture: UInt8[ndarray, "h w 3"] | None, cleaning: Mapping[str, Any]) -> PointCloud:
    """See :meth:`pager_ray.Prediction.points`."""
    return point_cloud(prediction, _picture(prediction, picture), _made(Cleaning, cleaning))


def mesh(prediction: Prediction, max_triangles: int | None, cleaning: Mapping[str, Any]) -> Mesh:
    """See :meth:`pager_ray.Prediction.mesh`."""
    return surface_mesh(prediction, _made(Cleaning, cleaning), max_triangles)


def save(
    prediction: Prediction,
    path: str,
    format: str | None,
    picture: UInt8[ndarray, "h w 3"] | None,
    settings: Mapping[str, Any],
) -> None:
    """See :meth:`pager_ray.Prediction.save`."""
    suffix = os.path.splitext(path)[1].lower().lstrip(".")
    name = ALIASES.get(format, format) if format is not None else SUFFIXES.get(suffix)
    if name is None:
        raise ConfigError(
            f"save: {path} does not say by its suffix what it is to be; takes .{', .'.join(SUFFIXES)}, or format= "
            f"with one of {', '.join(FORMATS)}"
        )
    unit = "metre" if prediction.log_scale is not None else "relative"
    asked = _made(ExportSettings, {"format": name, "unit": unit} | dict(settings))
    found = find_format(name)
    for module in found.libraries:
        load(module, found.extra)
    shown = _picture(prediction, picture) if found.coloured and asked.color == "rgb" else None
    files = export_files(prediction, shown, asked)
    if len(files) != 1:
        raise ConfigError(f"save: {name} is {len(files)} files; export it with pager-ray convert or export")
    folder, _, file = path.rpartition("/")
    (content,) = files.values()
    Folder(folder or ("/" if path.startswith("/") else ".")).write(file, content)


def _picture(prediction: Prediction, picture: UInt8[ndarray, "h w 3"] | None) -> UInt8[ndarray, "h w 3"] | None:
    """What to colour by; None for normals."""
    height, width = prediction.height, prediction.width
    shown = prediction.picture
    if picture is not None:
        takes = f"uint8 ({height}, {width}, 3), as numpy.asarray gives of a PIL image"
        shown = array_of(picture, "picture", takes)
        if shown.dtype != uint8:
            raise ShapeError(f"picture: got {shown.dtype} {shown.shape}, takes {takes}")
    if shown is not None and shown.shape != (height, width, 3):
        raise ShapeError(f"picture: got {shown.shape}, and the maps are {height}×{width}; takes (H, W, 3)")
    if shown is None and prediction.normals is None:
        raise InputError("no_map", f"{prediction.id}: has neither a picture nor normals to colour by; give picture=")
    return shown


def _made(kind: type, values: Mapping[str, Any]) -> Any:
    known = [one.name for one in fields(kind)]
    if unknown := [name for name in values if name not in known]:
        raise ConfigError(f"{', '.join(unknown)}: unknown; takes {', '.join(known)}")
    return kind(**values)
