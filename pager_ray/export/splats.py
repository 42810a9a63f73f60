"""A prediction as 3D Gaussian splats: a flat disc on the surface behind each pixel, as large as what the pixel saw.

The file is the PLY that 3DGS viewers read: per splat its centre, normal, colour as the constant spherical harmonic,
opacity as a logit, standard deviations as logarithms and rotation as a quaternion, w first. A pixel is a small
parallelogram of directions, which cut the surface in an ellipse; that is longer where the surface is seen at a grazing
angle, and larger where thinning left one splat for several pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray import geometry
from pager_ray.export.axes import FRAMES, turn, turn_components
from pager_ray.export.points import Cleaning, colors_of, points_kept

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, UInt8

    from pager_ray.prediction import Prediction

COLUMNS: Final = (
    *("x", "y", "z"),
    *("nx", "ny", "nz"),
    *("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacity",
    *("scale_0", "scale_1", "scale_2"),
    *("rot_0", "rot_1", "rot_2", "rot_3"),
)
"""Properties of a splat, float32, in the order of the reference implementation."""

SH_CONSTANT: Final = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 √π): a colour in [0, 1] is 0.5 + this · f_dc."""

OPACITY: Final = 0.99
SPREAD: Final = 0.6
"""Standard deviation of a splat as a share of the side of what its pixel saw: neighbours melt into one surface."""

THICKNESS: Final = 0.1
"""Standard deviation across the surface, as a share of the smaller one along it."""

GRAZING: Final = 0.1
"""The least cosine between ray and normal that is believed: no splat is stretched more than tenfold."""

_AT_ONCE = 1 << 15
_Vector = tuple[np.ndarray, np.ndarray, np.ndarray]


def encode_splats(
    prediction: Prediction,
    picture: UInt8[np.ndarray, "h w 3"] | None,
    cleaning: Cleaning | None = None,
    *,
    axes: str = "y-down",
    unit: str = "metre",
) -> bytearray:
    """The PLY of a prediction's splats; unit and frame as comments.

    Args:
        prediction: with depth; without normals, those of its depth's surface are taken.
        picture: (H, W, 3) RGB at the size of the maps, whose sRGB values are the splats' colours, as 3DGS optimises and
            viewers show them; None colours by normals.
        cleaning: which pixels become splats; thinned ones grow by what they stand for.
        axes: a name of :data:`pager_ray.export.axes.FRAMES`.
        unit: of depth.

    Raises:
        InputError: ``no_points``: nothing is left of it; ``no_map``: it lacks depth.
    """
    pixels, xyz, chances = points_kept(prediction, cleaning or Cleaning())
    normals = prediction.normals
    if normals is None:
        assert prediction.depth is not None
        normals = surface_normals(prediction.depth)
    height, width = normals.shape[:2]
    header = _header(len(pixels), f"unit: {unit}", f"frame: {FRAMES[axes]}")
    # Filled in place: all pixels of a large panorama would not fit into memory twice.
    content = bytearray(len(header) + 4 * len(COLUMNS) * len(pixels))
    content[: len(header)] = header
    splats = np.frombuffer(content, "<f4", offset=len(header)).reshape(-1, len(COLUMNS))
    across, along = pixel_extents(height, width, chances)
    theta = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    phi = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    (sin_theta, cos_theta), (sin_phi, cos_phi) = (
        (np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)) for angle in (theta, phi)
    )
    flat_normals = normals.reshape(-1, 3)
    for first in range(0, len(pixels), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        row, column = np.divmod(pixels[some], width)
        seen = flat_normals[pixels[some]]
        st, ct, sp, cp = sin_theta[column], cos_theta[column], sin_phi[row], cos_phi[row]
        east, north, ray = (-st, np.zeros_like(st), ct), (-sp * ct, cp, -sp * st), (cp * ct, sp, cp * st)
        normal = _facing((seen[:, 0], seen[:, 1], seen[:, 2]), ray)
        distance = np.sqrt(np.einsum("ij,ij->i", xyz[some], xyz[some]))
        east, north, ray, normal = (turn_components(vector, axes) for vector in (east, north, ray, normal))
        out = splats[some]
        out[:, 0:3] = turn(xyz[some], axes)
        for axis in range(3):
            out[:, 3 + axis] = normal[axis]
        out[:, 6:9] = (colors_of(pixels[some], picture, seen) * np.float32(1 / 255) - 0.5) / np.float32(SH_CONSTANT)
        out[:, 9] = np.log(OPACITY / (1 - OPACITY))
        _place(out, distance, ray, normal, (east, across[row]), (north, along[row]))
    return content


def pixel_extents(
    height: int, width: int, chances: Float[np.ndarray, " h"]
) -> tuple[Float32[np.ndarray, " h"], Float32[np.ndarray, " h"]]:
    """Radians along a row and across rows that a splat stands for, by row; their product is its solid angle.

    That of its pixel over its chance to stay in thinning. What stays lies about evenly in all directions: such a splat
    is as wide as high, as long as it is no lower than a pixel.
    """
    phi = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    solid = (2 * np.pi / width) * (np.pi / height) * np.cos(phi) / chances
    along = np.maximum(np.pi / height, np.sqrt(solid))
    return (solid / along).astype(np.float32), along.astype(np.float32)


def surface_normals(depth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """Unit normals of the surface through neighbouring pixels' points; zero where there is none."""
    points = depth[..., None] * geometry.erp_rays(*depth.shape)
    across = np.roll(points, -1, axis=1) - np.roll(points, 1, axis=1)
    down = np.gradient(points, axis=0)
    normals = np.cross(across, down)
    length = np.sqrt(np.einsum("ijk,ijk->ij", normals, normals))[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(length) & (length > 0), normals / length, 0).astype(np.float32)


def _header(count: int, *comments: str) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {text}" for text in comments)]
    lines += [f"element vertex {count}", *(f"property float {name}" for name in COLUMNS)]
    # Numbers begin at a whole multiple of their size.
    size = len("\n".join([*lines, "end_header", ""]))
    lines[2] += " " * (-size % 4)
    return "\n".join([*lines, "end_header", ""]).encode("ascii")


def _dot(a: _Vector, b: _Vector) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _facing(normal: _Vector, ray: _Vector) -> _Vector:
    """The normals, towards the camera; where there is none, as in filled sky, the direction to it."""
    is_none = _dot(normal, normal) < 0.25
    sign = np.where(_dot(normal, ray) > 0, np.float32(-1), np.float32(1))
    x, y, z = (np.where(is_none, -r, sign * n) for n, r in zip(normal, ray, strict=True))
    return x, y, z


def _place(
    out: Float32[np.ndarray, "n 17"],
    distance: Float32[np.ndarray, " n"],
    ray: _Vector,
    normal: _Vector,
    *sides: tuple[_Vector, np.ndarray],
) -> None:
    """Fill in scales and rotations: the ellipse that a pixel's two sides, projected along its ray, span on the surface.

    A splat looks the same from behind: its third axis is the normal or its opposite, whichever has z ≥ 0, so that the
    shortest rotation from z to it and the tangents which that brings along have no singularity.
    """
    flip = np.where(normal[2] < 0, np.float32(-1), np.float32(1))
    x, y, z = (flip * component for component in normal)
    fall = 1 / (1 + z)
    first: _Vector = (1 - x * x * fall, -x * y * fall, -x)
    second: _Vector = (first[1], 1 - y * y * fall, -y)
    towards = _dot((x, y, z), ray)
    towards = np.copysign(np.maximum(np.abs(towards), np.float32(GRAZING)), towards)
    across, along = _dot(first, ray), _dot(second, ray)
    # Each side's two coordinates on the surface; together they are a matrix whose singular values are the half axes.
    ((p, u), (q, w)) = (
        (
            (_dot(first, side) - slide * across) * length,
            (_dot(second, side) - slide * along) * length,
        )
        for side, length in sides
        for slide in (_dot((x, y, z), side) / towards,)
    )
    a, b, d = p * p + q * q, p * u + q * w, u * u + w * w
    half = (a + d) / 2
    large = half + np.sqrt(((a - d) / 2) ** 2 + b * b)
    # By the determinant, which loses nothing where the ellipse is long.
    area = np.abs(p * w - q * u)
    size = SPREAD * distance
    longer = np.sqrt(large)
    out[:, 10] = np.log(size * longer)
    out[:, 11] = np.log(size * area / longer)
    out[:, 12] = out[:, 11] + np.float32(np.log(THICKNESS))
    # The rotation from z to the normal, behind one about z by the angle of the longer axis.
    quarter = np.arctan2(2 * b, a - d) / 4
    cosine, sine = np.cos(quarter) / np.sqrt(2 * (1 + z)), np.sin(quarter) / np.sqrt(2 * (1 + z))
    out[:, 13] = (1 + z) * cosine
    out[:, 14] = -y * cosine + x * sine
    out[:, 15] = x * cosine + y * sine
    out[:, 16] = (1 + z) * sine
