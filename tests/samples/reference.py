"""A slow ray caster in plain NumPy, written from the solids' definitions: every ray against every solid."""

from __future__ import annotations

import numpy as np

from pager_ray.samples.lighting import srgb, tone_curve
from pager_ray.samples.scene import Lamp, Scene
from pager_ray.samples.solids import Cylinder, Ground, Solid, Sphere
from pager_ray.samples.textures import shade_texture
from pager_ray.samples.tracer import erp_rays

NEAREST = 1e-6
PENUMBRA = ((0.9, 0.4), (-0.4, 0.9), (-0.9, -0.4), (0.4, -0.9))


def _first(enter: np.ndarray, leave: np.ndarray) -> np.ndarray:
    return np.where((enter <= leave) & (leave > NEAREST), np.where(enter > NEAREST, enter, leave), np.inf)


def hit(solid: Solid, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Distance along rays d (3, n) from o (3, n) or (3, 1)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(solid, Ground):
            t = np.where(d[1] < 0, (solid.height - o[1]) / d[1], np.inf)
            return np.where(t > NEAREST, t, np.inf)
        if isinstance(solid, Sphere):
            to = np.array(solid.center)[:, None] - o
            middle = (to * d).sum(axis=0)
            under = solid.radius**2 - ((to - middle * d) ** 2).sum(axis=0)
            half = np.sqrt(np.maximum(under, 0))
            return np.where(under >= 0, _first(middle - half, middle + half), np.inf)
        if isinstance(solid, Cylinder):
            x, y, z = o - np.array(solid.foot)[:, None]
            a, b = d[0] ** 2 + d[2] ** 2, x * d[0] + z * d[2]
            under = solid.radius**2 * a - (x * d[2] - z * d[0]) ** 2
            half = np.sqrt(np.maximum(under, 0))
            caps = np.sort([-y / d[1], (solid.height - y) / d[1]], axis=0)
            mantle = np.where(under >= 0, [(-b - half) / a, (-b + half) / a], [[np.inf], [-np.inf]])
            return _first(np.maximum(caps[0], mantle[0]), np.minimum(caps[1], mantle[1]))
        enter, leave = np.full(d.shape[1], -np.inf), np.full(d.shape[1], np.inf)
        for face in solid.faces:
            along, room = np.array(face.normal) @ d, face.offset - np.array(face.normal) @ o
            enter = np.where(along < 0, np.maximum(enter, room / along), enter)
            leave = np.where(along > 0, np.minimum(leave, room / along), leave)
            enter = np.where((along == 0) & (room < 0), np.inf, enter)
        return _first(enter, leave)


def surface(solid: Solid, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outward normal, u, v and number of the face at points p (3, n) of a solid's surface."""
    flat = np.zeros(p.shape[1], int)
    if isinstance(solid, Ground):
        return np.stack([flat, flat + 1, flat]).astype(float), p[0], p[2], flat
    if isinstance(solid, Sphere):
        n = (p - np.array(solid.center)[:, None]) / solid.radius
        return n, np.arctan2(n[2], n[0]) * solid.radius, np.arcsin(np.clip(n[1], -1, 1)) * solid.radius, flat
    if isinstance(solid, Cylinder):
        x, y, z = p - np.array(solid.foot)[:, None]
        cap = np.minimum(np.abs(y), np.abs(y - solid.height)) < np.abs(np.hypot(x, z) - solid.radius)
        n = np.where(cap, [flat, np.where(y > solid.height / 2, 1, -1), flat], np.stack([x, flat, z]) / np.hypot(x, z))
        return n, np.where(cap, x, np.arctan2(z, x) * solid.radius), np.where(cap, z, y), cap.astype(int)
    which = np.argmin([np.abs(np.array(face.normal) @ p - face.offset) for face in solid.faces], axis=0)
    n, o, u, v = (
        np.array([getattr(f, name) for f in solid.faces])[which].T for name in ("normal", "origin", "u_axis", "v_axis")
    )
    return n, ((p - o) * u).sum(axis=0), ((p - o) * v).sum(axis=0), which


def _dark(scene: Scene, o: np.ndarray, d: np.ndarray, reach: np.ndarray | float) -> np.ndarray:
    return np.any([hit(solid, o, d) < reach for solid in scene.solids if solid.shadow], axis=0)


def _lamplight(scene: Scene, lamp: Lamp, start: np.ndarray, normal: np.ndarray) -> np.ndarray:
    spots = PENUMBRA if lamp.spread > 0 else ((0.0, 0.0),)
    total = np.zeros(start.shape[1])
    for a, b in spots:
        to = np.add(lamp.position, (a * lamp.spread, 0, b * lamp.spread))[:, None] - start
        distance = np.linalg.norm(to, axis=0)
        to /= distance
        share = np.maximum((to * normal).sum(axis=0), 0) / (0.15 + distance**2)
        if lamp.shadows:
            share[(share > 0.02 / max(lamp.color)) & _dark(scene, start, to, distance)] = 0
        total += share / len(spots)
    return total


def _light(scene: Scene, p: np.ndarray, n: np.ndarray) -> np.ndarray:
    above, below = np.array(scene.ambient)
    light = below[:, None] + np.outer(above - below, 0.5 + 0.5 * n[1])
    if scene.room is not None:
        low, high = np.array(scene.room)[:, :, None]
        gap = np.minimum(np.abs(p - low), np.abs(high - p))
        light *= np.prod(1 - 0.38 * np.exp(-gap / 0.35) * (1 - np.abs(n)), axis=0)
    start = p + 1e-3 * n
    for lamp in scene.lamps:
        light += np.outer(lamp.color, _lamplight(scene, lamp, start, n))
    if scene.sun is not None:
        toward = np.repeat(np.array(scene.sun.direction)[:, None], p.shape[1], axis=1)
        sunny = np.maximum((n * toward).sum(axis=0), 0) * ~_dark(scene, start, toward, np.inf)
        light += np.outer(scene.sun.color, sunny)
    return light


def cast(scene: Scene, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture without anti-aliasing, depth (0 at sky) and normals in the camera's frame."""
    rays = scene.camera @ erp_rays(height, 2 * height)
    eye = np.array(scene.eye)[:, None]
    hits = np.stack([hit(solid, eye, rays) for solid in scene.solids])
    distance, nearest = hits.min(axis=0), hits.argmin(axis=0)
    albedo, glow, normals = np.zeros_like(rays), np.zeros(rays.shape[1]), np.zeros_like(rays)
    points = eye + np.where(np.isfinite(distance), distance, 0) * rays
    for k, solid in enumerate(scene.solids):
        own = np.flatnonzero((nearest == k) & np.isfinite(distance))
        n, u, v, which = surface(solid, points[:, own])
        facing = (n * rays[:, own]).sum(axis=0)
        normals[:, own] = n * np.where(facing > 0, -1, 1)
        footprint = distance[own] * np.pi / height / np.maximum(np.abs(facing), 0.05)
        for t, texture in enumerate(solid.textures):
            here = np.flatnonzero(which == t)
            if here.size:
                shade = shade_texture(texture, u[here], v[here], points[:, own[here]], footprint[here])
                albedo[:, own[here]], glow[own[here]] = shade.T, texture.emission
    color = albedo * (_light(scene, points, normals) + glow)
    if scene.sky is not None:
        color += (np.array(scene.sky.horizon)[:, None] - color) * (1 - np.exp(-distance / scene.haze))
    beyond = np.isinf(distance)
    if scene.sky is not None:
        color[:, beyond] = scene.sky.radiance(rays[:, beyond], scene.sun).T
    rgb = srgb(tone_curve(color, scene.exposure)).T.reshape(height, 2 * height, 3)
    depth = np.where(beyond, 0, distance).reshape(height, 2 * height)
    return rgb, depth, (scene.camera.T @ normals).T.reshape(height, 2 * height, 3)
