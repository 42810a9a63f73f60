"""The formats that a prediction is exported to: what each needs, and the files that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from pager_ray.encode.npz import encode_npz
from pager_ray.errors import ConfigError, InputError
from pager_ray.export import images, pointfiles
from pager_ray.export.axes import Axes, check_axes
from pager_ray.export.colmap import export_panorama, model_files
from pager_ray.export.faces import export_faces
from pager_ray.export.images import Rectangle
from pager_ray.export.libraries import load
from pager_ray.export.mesh import MAX_TRIANGLES, surface_mesh
from pager_ray.export.meshfiles import encode_mesh
from pager_ray.export.nerfstudio import export_nerfstudio
from pager_ray.export.points import Cleaning, PointCloud, check_knob, point_cloud
from pager_ray.export.recording import encode_recording
from pager_ray.export.shown import face_masks, rectangle_of, shown_map, shown_picture
from pager_ray.export.splats import encode_splats
from pager_ray.modalities import MAPS
from pager_ray.preview import colorize_normals
from pager_ray.storage import safe_name

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy import ndarray

    from pager_ray.export.poses import Pose
    from pager_ray.prediction import Prediction
    from pager_ray.storage import Folder

Files = dict[str, bytes | bytearray]
Color = Literal["rgb", "normals"]


@dataclass(frozen=True)
class ExportSettings:
    """What decides the files of one panorama.

    Attributes:
        format: a name of :data:`FORMATS`.
        color: what points and the pictures of faces show: the source picture, or normals.
        cleaning: of point clouds.
        face_size: pixels per side of a face.
        unit: of depth and points: ``metre``, or ``relative`` where the checkpoint has no scale.
        images_from: folder, or web host, that source pictures are read from.
        axes: which way the axes point; None for those that the format's programs expect.
        max_triangles: of a mesh; None keeps every pixel.

    Raises:
        ConfigError: one of them is none that there is.
    """

    format: str
    color: Color = "rgb"
    cleaning: Cleaning = field(default_factory=Cleaning)
    face_size: int = 504
    unit: str = "metre"
    images_from: str | None = None
    axes: Axes | None = None
    max_triangles: int | None = MAX_TRIANGLES

    def __post_init__(self) -> None:
        if self.color not in get_args(Color):
            raise ConfigError(f"color: got {self.color!r}, takes {' or '.join(get_args(Color))}")
        if not isinstance(self.cleaning, Cleaning):
            raise ConfigError(f"cleaning: got {self.cleaning!r}, takes a pager_ray.export.points.Cleaning")
        if self.axes is not None:
            check_axes(self.axes)
        check_knob("face_size", self.face_size, 2, whole=True, optional=False)
        check_knob("max_triangles", self.max_triangles, 1, whole=True)

    @property
    def frame(self) -> Axes:
        """The axes of its files."""
        return self.axes or find_format(self.format).axes or "y-up"

    @property
    def shows_picture(self) -> bool:
        """Whether its files show the source pictures."""
        return find_format(self.format).coloured and self.color == "rgb"


Make = Callable[["Prediction", "UInt8[ndarray, 'h w 3'] | None", ExportSettings], Files]


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        make: prediction, picture (None where it is coloured by normals, or not at all) and settings → its files.
        needs: maps that a checkpoint must give.
        coloured: whether it shows a picture.
        libraries: modules of an extra that it needs.
        extra: which one.
        is_project: whether all panoramas together make one, which :func:`project_files` completes.
        axes: those that programs expect; None where no number of its files depends on them.
    """

    make: Make
    needs: tuple[str, ...]
    coloured: bool = False
    libraries: tuple[str, ...] = ()
    axes: Axes | None = None
    extra: str = "export"
    is_project: bool = False


ALIASES: Mapping[str, str] = {"exr": "depth-exr", "png": "depth-png"}
"""What suffixes are short for, where several formats have one."""


def find_format(name: str) -> Format:
    """A format by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in FORMATS:
        raise ConfigError(f"--to: got {name!r}; takes {', '.join(FORMATS)}")
    return FORMATS[name]


def check_possible(settings: ExportSettings, modalities: tuple[str, ...]) -> None:
    """Refuse, before any work, what no row of a run can give or this environment cannot write.

    Raises:
        ConfigError: the checkpoint lacks a map, or a library is missing.
    """
    found = find_format(settings.format)
    needs = [*found.needs, *(["normals"] if found.coloured and settings.color == "normals" else [])]
    if lacking := [name for name in needs if name not in modalities]:
        raise ConfigError(
            f"--to {settings.format}: needs {' and '.join(lacking)}, and the run's checkpoint gives "
            f"{', '.join(modalities)} alone; choose another format or another --color"
        )
    if settings.axes is not None and found.axes is None:
        raise ConfigError(
            f"--axes: {settings.format} has no axes to turn; leave it out, or choose one of "
            f"{', '.join(name for name, one in FORMATS.items() if one.axes is not None)}"
        )
    for module in found.libraries:
        load(module, found.extra)
    if settings.shows_picture and settings.images_from is None:
        raise ConfigError(
            f"--images-from: got nothing, and {settings.format} shows the source pictures; the run alone says where "
            "they lie, and may be anybody's: name the folder or the web host that they are read from, or give "
            "--color normals"
        )


def export_files(prediction: Prediction, picture: UInt8[ndarray, "h w 3"] | None, settings: ExportSettings) -> Files:
    """Files of one panorama, by name below the export's folder; the first one stands for all.

    Args:
        prediction: the panorama.
        picture: its source at the size of the maps; None where the format shows none, or shows normals.
        settings: what to make.

    Raises:
        InputError: this panorama cannot be exported.
        ConfigError: a library is missing.
    """
    return find_format(settings.format).make(prediction, picture, settings)


def project_files(output: Folder, poses: Mapping[str, Pose], settings: ExportSettings) -> Files:
    """What completes a project of panoramas whose own files are made, by name below the export's folder.

    Args:
        output: the export's folder.
        poses: of the panoramas in it, by id; see :func:`pager_ray.export.poses.read_poses`.
        settings: as for the panoramas.

    Raises:
        StorageError: a panorama's files cannot be read.
    """
    return {**model_files(output, poses, settings.face_size, settings.frame)}


def _points(suffix: str, encode: Callable[[PointCloud, str], bytes]) -> Make:
    def make(prediction: Prediction, picture: Any, settings: ExportSettings) -> Files:
        cloud = point_cloud(prediction, picture, settings.cleaning).turned(settings.frame)
        return {f"{safe_name(prediction.id)}.{suffix}": encode(cloud, settings.unit)}

    return make


def _splats(prediction: Prediction, picture: Any, settings: ExportSettings) -> Files:
    if picture is None:
        shown_map(prediction, "normals")
    content = encode_splats(prediction, picture, settings.cleaning, axes=settings.frame, unit=settings.unit)
    return {f"{safe_name(prediction.id)}.ply": content}


def _mesh(prediction: Prediction, picture: Any, settings: ExportSettings) -> Files:
    shown = shown_picture(prediction, picture, colorize_normals)
    mesh = surface_mesh(prediction, settings.cleaning, settings.max_triangles).turned(settings.frame)
    return {f"{safe_name(prediction.id)}.glb": encode_mesh(mesh, shown, settings.unit)}


def _image(name: str, suffix: str, encode: Callable[[Any, ExportSettings, Rectangle | None], bytes]) -> Make:
    def make(prediction: Prediction, _: Any, settings: ExportSettings) -> Files:
        content = encode(shown_map(prediction, name), settings, rectangle_of(prediction))
        return {f"{safe_name(prediction.id)}.{suffix}": content}

    return make


def _npz(prediction: Prediction, *_: Any) -> Files:
    maps = {name: getattr(prediction, name) for name in MAPS}
    files: Files = {
        f"{name}/preds/{safe_name(prediction.id)}.npz": encode_npz(name, array)
        for name, array in maps.items()
        if array is not None
    }
    if not files:
        raise InputError("no_map", f"{prediction.id}: has no map at all; predict it again")
    return files


def _faces(prediction: Prediction, picture: Any, settings: ExportSettings) -> Files:
    shown = shown_picture(prediction, picture, colorize_normals)
    depth = shown_map(prediction, "depth") if prediction.depth is not None else None
    files = export_faces(prediction.id, shown, depth, settings.face_size, settings.unit, settings.frame)
    files |= {f"masks/{name}.jpg.png": mask for name, mask in face_masks(prediction, settings.face_size).items()}
    return {f"{safe_name(prediction.id)}/{name}": content for name, content in files.items()}


def _nerfstudio(prediction: Prediction, picture: Any, settings: ExportSettings) -> Files:
    shown = shown_picture(prediction, picture, colorize_normals)
    files = export_nerfstudio(prediction, shown, settings.cleaning, settings.face_size, settings.unit, settings.frame)
    return {f"{safe_name(prediction.id)}/{name}": content for name, content in files.items()}


def _colmap(prediction: Prediction, picture: Any, settings: ExportSettings) -> Files:
    shown = shown_picture(prediction, picture, colorize_normals)
    return {**export_panorama(prediction, shown, settings.cleaning, settings.face_size, settings.unit, settings.frame)}


def _rerun(prediction: Prediction, picture: Any, settings: ExportSettings) -> Files:
    shown = shown_picture(prediction, picture, colorize_normals)
    content = encode_recording(prediction, shown, settings.cleaning, settings.face_size, settings.unit, settings.frame)
    return {f"{safe_name(prediction.id)}.rrd": content}


_CLEANING = ("scipy",)

FORMATS: Mapping[str, Format] = {
    "glb": Format(_points("glb", pointfiles.encode_glb), ("depth",), True, _CLEANING, "y-up"),
    "ply": Format(_points("ply", pointfiles.encode_ply), ("depth",), True, ("plyfile", *_CLEANING), "y-up"),
    "laz": Format(_points("laz", pointfiles.encode_laz), ("depth",), True, ("laspy", "lazrs", *_CLEANING), "z-up"),
    "splats": Format(_splats, ("depth",), True, _CLEANING, "y-down"),
    "mesh": Format(_mesh, ("depth",), True, axes="y-up"),
    "depth-exr": Format(
        _image("depth", "exr", lambda array, settings, _: images.encode_depth_exr(array, settings.unit)),
        ("depth",),
        libraries=("OpenEXR",),
    ),
    "depth-png": Format(
        _image("depth", "png", lambda array, settings, part: images.encode_depth_png(array, settings.unit, part)),
        ("depth",),
    ),
    "normals-exr": Format(
        _image("normals", "exr", lambda array, settings, _: images.encode_normals_exr(array, settings.frame)),
        ("normals",),
        libraries=("OpenEXR",),
        axes="y-up",
    ),
    "normals-png": Format(
        _image("normals", "png", lambda array, settings, part: images.encode_normals_png(array, settings.frame, part)),
        ("normals",),
        axes="y-up",
    ),
    "sky-png": Format(_image("sky", "png", lambda array, _, part: images.encode_sky_png(array, part)), ("sky",)),
    "npz": Format(_npz, ()),
    "faces": Format(_faces, (), True, ("OpenEXR",), "y-up"),
    "nerfstudio": Format(_nerfstudio, ("depth",), True, ("plyfile", *_CLEANING), "z-up"),
    "colmap": Format(_colmap, ("depth",), True, ("OpenEXR", "plyfile", *_CLEANING), "z-up", is_project=True),
    "rerun": Format(_rerun, ("depth",), True, ("rerun", *_CLEANING), "y-up", "rerun"),
}
"""By the name that ``--to`` takes."""
