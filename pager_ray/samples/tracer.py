"""Ray casting of a scene into one ERP panorama with exact depth, normals and sky.

Ground truth comes from one ray per pixel, through the pixel's centre. The picture takes that ray's colour too, except
where neighbouring pixels differ in surface or brightness: only those are sampled again on a finer grid. The picture is
worked on in square tiles, because nearby rays meet few solids and one test of bounding spheres leaves the others out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.samples.lighting import irradiance, srgb, tone_curve
from pager_ray.samples.solids import may_meet
from pager_ray.samples.textures import shade_texture

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8
    from numpy import ndarray

    from pager_ray.samples.scene import Kind, Scene

_TILE = 128
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
    pixels = height * width
    tone, normal = np.empty((3, pixels)), np.empty((3, pixels))
    distance, surface = np.empty(pixels), np.empty(pixels, np.int32)
    rays = erp_rays(height, width)
    for tile in _tiles(height, width):
        shot = _shoot(scene, _turn(rays[:, tile], scene.heading), np.pi / height)
        tone[:, tile] = tone_curve(shot.color, scene.exposure)
        normal[:, tile], distance[tile], surface[tile] = shot.normal, shot.distance, shot.surface
    if supersample > 1:
        edges = _edges(tone.reshape(3, height, width), surface.reshape(height, width)).ravel()
        for tile in _tiles(height, width):
            jagged = tile[edges[tile]]
            if jagged.size:
                tone[:, jagged] = _resample(scene, jagged, height, width, supersample)
    sky = surface < 0
    return RenderedPanorama(
        rgb=np.ascontiguousarray(srgb(tone).T).reshape(height, width, 3),
        depth=np.where(sky, 0.0, distance).astype(np.float32).reshape(height, width),
        normals=np.ascontiguousarray(_turn(normal, -scene.heading).T, np.float32).reshape(height, width, 3),
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


def _turn(v: Float[ndarray, "3 n"], heading: float) -> Float[ndarray, "3 n"]:
    c, s = np.cos(heading), np.sin(heading)
    return np.stack([c * v[0] - s * v[2], v[1], s * v[0] + c * v[2]])


@lru_cache(maxsize=4)
def _tiles(height: int, width: int) -> tuple[Int[ndarray, "k"], ...]:
    index = np.arange(height * width).reshape(height, width)
    corners = [(y, x) for y in range(0, height, _TILE) for x in range(0, width, _TILE)]
    return tuple(index[y : y + _TILE, x : x + _TILE].ravel() for y, x in corners)


@dataclass(frozen=True)
class _Shot:
    """What n rays meet: linear colour, distance, normal toward the camera and surface id (−1 sky)."""

    color: Float[ndarray, "3 n"]
    distance: Float[ndarray, "n"]
    normal: Float[ndarray, "3 n"]
    surface: Int[ndarray, "n"]


def _shoot(scene: Scene, ray: Float[ndarray, "3 n"], pixel: float) -> _Shot:
    """Follow neighbouring rays from the camera; ``pixel`` is the angle that one of them stands for."""
    eye = np.asarray(scene.eye, np.float64)[:, None]
    distance, solid = _nearest(scene, eye, ray)
    color, normal = np.zeros_like(ray), np.zeros_like(ray)
    surface = np.full(ray.shape[1], -1, np.int32)
    albedo, glow = np.zeros_like(ray), np.zeros(ray.shape[1])
    for k in np.unique(solid[solid >= 0]):
        at = np.flatnonzero(solid == k)
        p = eye + distance[at] * ray[:, at]
        outward, u, v, which = scene.solids[k].surface(p)
        facing = (outward * ray[:, at]).sum(axis=0)
        normal[:, at] = outward * np.where(facing > 0, -1.0, 1.0)
        surface[at] = k * 64 + which
        footprint = distance[at] * pixel / np.maximum(np.abs(facing), 0.05)
        for t, texture in enumerate(scene.solids[k].textures):
            own = np.flatnonzero(which == t)
            if own.size:
                albedo[:, at[own]] = shade_texture(texture, u[own], v[own], p[:, own], footprint[own]).T
                glow[at[own]] = texture.emission
    hit = np.flatnonzero(solid >= 0)
    if hit.size:
        p = eye + distance[hit] * ray[:, hit]
        color[:, hit] = albedo[:, hit] * (irradiance(scene, p, normal[:, hit]) + glow[hit])
    if scene.sky is not None:
        beyond = np.flatnonzero(solid < 0)
        if beyond.size:
            color[:, beyond] = scene.sky.radiance(ray[:, beyond], scene.sun).T
        air = 1 - np.exp(-distance[hit] / scene.haze)
        color[:, hit] += (np.asarray(scene.sky.horizon)[:, None] - color[:, hit]) * air
    return _Shot(color, distance, normal, surface)


def _nearest(
    scene: Scene, origin: Float[ndarray, "3 1"], ray: Float[ndarray, "3 n"]
) -> tuple[Float[ndarray, "n"], Int[ndarray, "n"]]:
    """Distance to the nearest solid and its index (inf and −1 where there is none)."""
    best = np.full(ray.shape[1], np.inf)
    which = np.full(ray.shape[1], -1, np.int32)
    for k in _in_cone(scene, origin, ray):
        solid = scene.solids[k]
        near = may_meet(solid, origin, ray, best)
        if near.size:
            t = solid.hit(origin, ray[:, near])
            closer = t < best[near]
            best[near[closer]], which[near[closer]] = t[closer], k
    return best, which


def _in_cone(scene: Scene, origin: Float[ndarray, "3 1"], ray: Float[ndarray, "3 n"]) -> list[int]:
    """Solids whose bounding sphere reaches into the cone around the rays, nearest first."""
    axis = ray.mean(axis=1)
    axis /= max(float(np.linalg.norm(axis)), 1e-9)
    half_angle = np.arccos(np.clip((axis @ ray).min(), -1, 1))
    center, radius = scene.bounds
    to = center - origin
    far = np.linalg.norm(to, axis=0)
    off = np.arccos(np.clip(axis @ to / np.maximum(far, 1e-9), -1, 1))
    inside = far <= radius
    wide = np.arcsin(np.clip(radius / np.maximum(far, 1e-9), 0, 1))
    kept = np.flatnonzero(inside | (off <= half_angle + wide + 1e-6))
    # Near solids first: what they cover, farther ones need not be tested for.
    return [int(k) for k in kept[np.argsort(np.where(inside, 0.0, far - radius)[kept])]]


def _edges(tone: Float[ndarray, "3 h w"], surface: Int[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    gray = np.sqrt(tone.mean(axis=0))
    edge = np.zeros(surface.shape, bool)
    across = (np.abs(gray - np.roll(gray, -1, axis=1)) > _EDGE) | (surface != np.roll(surface, -1, axis=1))
    edge |= across | np.roll(across, 1, axis=1)
    down = (np.abs(np.diff(gray, axis=0)) > _EDGE) | (np.diff(surface, axis=0) != 0)
    edge[:-1] |= down
    edge[1:] |= down
    return edge


def _resample(scene: Scene, pixels: Int[ndarray, "k"], height: int, width: int, n: int) -> Float[ndarray, "3 k"]:
    """Mean colour of n×n rays in each pixel."""
    steps = (np.arange(n) + 0.5) / n
    dy, dx = (step.ravel()[:, None] for step in np.meshgrid(steps, steps, indexing="ij"))
    row, column = np.divmod(pixels, width)
    rays = _rays((row + dy).ravel(), (column + dx).ravel(), height, width)
    shot = _shoot(scene, _turn(rays, scene.heading), np.pi / height / n)
    return tone_curve(shot.color, scene.exposure).reshape(3, n * n, -1).mean(axis=1)
