"""Ray casting of a scene into one ERP panorama with exact depth, normals and sky.

Ground truth comes from one ray per pixel, through the pixel's centre. The picture takes that ray's colour too, except
where neighbouring pixels differ in surface or brightness: only those are sampled again on a finer grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.samples.index import Index, index_around
from pager_ray.samples.kernels import first_hits, surfaces
from pager_ray.samples.lighting import irradiance, metered_exposure, srgb, tone_curve
from pager_ray.samples.textures import shade_texture

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8
    from numpy import ndarray

    from pager_ray.samples.scene import Kind, Scene

# Rays that are followed at once on edges, which bounds the memory of large pictures.
_RAYS = 1 << 19
# A step of brightness (square root of linear) between neighbours that the eye sees as a jagged edge.
_EDGE = 0.06


@dataclass(frozen=True)
class RenderedPanorama:
    """A rendered ERP with its ground truth; x forward (centre), y up, z right.

    Attributes:
        rgb: (H, W, 3) uint8, sRGB.
        depth: (H, W) float32, metres along the ray through the pixel's centre; 0 where the ray meets only sky.
        normals: (H, W, 3) float32 unit vectors on the camera's side of the surface; zero vectors at sky.
        sky: (H, W) bool, true where the ray meets no surface.
        scene: ``"indoor"`` or ``"outdoor"``.
    """

    rgb: UInt8[ndarray, "h w 3"]
    depth: Float[ndarray, "h w"]
    normals: Float[ndarray, "h w 3"]
    sky: Bool[ndarray, "h w"]
    scene: Kind


def render(scene: Scene, height: int, width: int, supersample: int = 2) -> RenderedPanorama:
    """Render a scene as an ERP panorama.

    Args:
        scene: what to render and from where.
        height: rows, at least 2.
        width: columns, twice the height.
        supersample: grid of n×n rays for pixels on edges; 1 takes the centre ray only.

    Returns:
        Picture and ground truth.

    Raises:
        ShapeError: the size is no ERP's, or ``supersample`` is below 1.
    """
    if height < 2 or width != 2 * height or supersample < 1:
        raise ShapeError(
            f"cannot render {height}x{width} with supersample {supersample}; takes H×2H with H ≥ 2, and supersample ≥ 1"
        )
    camera = scene.camera
    index = index_around(scene.packed, np.asarray(scene.eye, np.float64))
    shot = _shoot(scene, index, camera @ erp_rays(height, width), np.pi / height)
    exposure = scene.exposure if scene.metered is None else scene.metered * metered_exposure(shot.color, height)
    tone = tone_curve(shot.color, exposure)
    if supersample > 1:
        edges = _edges(tone.reshape(3, height, width), shot.surface.reshape(height, width)).ravel()
        jagged = np.flatnonzero(edges)
        for part in np.array_split(jagged, max(1, jagged.size * supersample**2 // _RAYS)):
            tone[:, part] = _resample(scene, index, camera, exposure, part, height, width, supersample)
    sky = shot.surface < 0
    return RenderedPanorama(
        rgb=np.ascontiguousarray(srgb(tone).T).reshape(height, width, 3),
        depth=np.where(sky, 0.0, shot.distance).astype(np.float32).reshape(height, width),
        normals=np.ascontiguousarray((camera.T @ shot.normal).T, np.float32).reshape(height, width, 3),
        sky=sky.reshape(height, width),
        scene=scene.kind,
    )


@lru_cache(maxsize=4)
def erp_rays(height: int, width: int) -> Float[ndarray, "3 n"]:
    """Unit rays (cos φ cos θ, sin φ, cos φ sin θ) through the pixel centres of an ERP, row by row, float64."""
    row, column = np.divmod(np.arange(height * width), width)
    rays = _rays(row + 0.5, column + 0.5, height, width)
    rays.setflags(write=False)
    return rays


def _rays(y: Float[ndarray, "n"], x: Float[ndarray, "n"], height: int, width: int) -> Float[ndarray, "3 n"]:
    latitude, longitude = (0.5 - y / height) * np.pi, (x / width - 0.5) * 2 * np.pi
    across = np.cos(latitude)
    return np.stack([across * np.cos(longitude), np.sin(latitude), across * np.sin(longitude)])


@dataclass(frozen=True)
class _Shot:
    """What n rays meet: linear colour, distance, normal toward the camera and surface id (−1 sky)."""

    color: Float[ndarray, "3 n"]
    distance: Float[ndarray, "n"]
    normal: Float[ndarray, "3 n"]
    surface: Int[ndarray, "n"]


def _shoot(scene: Scene, index: Index, ray: Float[ndarray, "3 n"], pixel: float) -> _Shot:
    """Follow rays from the camera; ``pixel`` is the angle that one of them stands for."""
    eye = np.asarray(scene.eye, np.float64)
    distance, solid = first_hits(scene.packed, index, eye, ray)
    point, normal, coordinates, texture, face = surfaces(scene.packed, eye, ray, distance, solid, pixel)
    surface = np.where(solid < 0, -1, solid * 64 + face)
    # Solids that share a texture are sampled together, so points go by texture from here on.
    number = np.append(_merged(scene), -1)[texture]
    order = np.argsort(number.astype(np.int16) if len(scene.textures) < 2**15 else number, kind="stable")
    beyond, hit = np.split(order, [int((solid < 0).sum())])
    color = np.zeros_like(ray)
    if hit.size:
        p, n = point[:, hit], normal[:, hit]
        albedo, glow = _albedo(scene, number[hit], coordinates[:, hit], p)
        light = irradiance(scene, p, n)
        light += glow
        light *= albedo
        if scene.sky is not None:
            air = 1 - np.exp(-distance[hit] / scene.haze)
            light += (np.asarray(scene.sky.horizon)[:, None] - light) * air
        color[:, hit] = light
    if scene.sky is not None and beyond.size:
        color[:, beyond] = scene.sky.radiance(ray[:, beyond], scene.sun).T
    return _Shot(color, distance, normal, surface)


def _merged(scene: Scene) -> Int[ndarray, "t"]:
    """For each texture of the scene the number of the first one that is the same."""
    same: dict[int, int] = {}
    return np.array([same.setdefault(id(texture), k) for k, texture in enumerate(scene.textures)])


def _albedo(
    scene: Scene, number: Int[ndarray, "n"], coordinates: Float[ndarray, "3 n"], p: Float[ndarray, "3 n"]
) -> tuple[Float[ndarray, "3 n"], Float[ndarray, "n"]]:
    """Colour and emission of surface points that are sorted by the number of their texture."""
    albedo, glow = np.empty_like(p), np.zeros(p.shape[1])
    u, v, footprint = coordinates
    borders = np.flatnonzero(np.diff(number)) + 1
    for start, stop in zip([0, *borders], [*borders, number.size], strict=True):
        texture, own = scene.textures[number[start]], slice(start, stop)
        albedo[:, own] = shade_texture(texture, u[own], v[own], p[:, own], footprint[own]).T
        glow[own] = texture.emission
    return albedo, glow


def _edges(tone: Float[ndarray, "3 h w"], surface: Int[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    gray = np.sqrt(tone.mean(axis=0))
    edge = np.zeros(surface.shape, bool)
    across = (np.abs(gray - np.roll(gray, -1, axis=1)) > _EDGE) | (surface != np.roll(surface, -1, axis=1))
    edge |= across | np.roll(across, 1, axis=1)
    down = (np.abs(np.diff(gray, axis=0)) > _EDGE) | (np.diff(surface, axis=0) != 0)
    edge[:-1] |= down
    edge[1:] |= down
    return edge


def _resample(
    scene: Scene,
    index: Index,
    camera: Float[ndarray, "3 3"],
    exposure: float,
    pixels: Int[ndarray, "k"],
    height: int,
    width: int,
    n: int,
) -> Float[ndarray, "3 k"]:
    """Mean colour of n×n rays in each pixel."""
    steps = (np.arange(n) + 0.5) / n
    dy, dx = (step.ravel()[:, None] for step in np.meshgrid(steps, steps, indexing="ij"))
    row, column = np.divmod(pixels, width)
    rays = _rays((row + dy).ravel(), (column + dx).ravel(), height, width)
    shot = _shoot(scene, index, camera @ rays, np.pi / height / n)
    return tone_curve(shot.color, exposure).reshape(3, n * n, -1).mean(axis=1)
