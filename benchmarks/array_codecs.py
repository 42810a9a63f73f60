"""Encode and decode times, sizes and errors of every array codec, beside NumPy's own files, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/array_codecs.py

The maps imitate what a network leaves: a furnished room with a window, softened edges, noise at the scale of patches
and of pixels; as six faces at 504 px, and as an ERP of 2048×4096 stretched from what those faces resolve. Random
weights would give noise and rendered ground truth would be too clean: both mislead about sizes.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable

import cv2
import numpy as np

from pager_ray.encode import Kind, codec_names, get_codec

Maps = dict[Kind, np.ndarray]

ROOM_LOW = np.array([-2, -1.6, -3], dtype=np.float32)
ROOM_HIGH = np.array([4, 1.3, 2.5], dtype=np.float32)


def erp_rays(height: int, width: int) -> np.ndarray:
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    latitude = ((0.5 - (np.arange(height) + 0.5) / height) * np.pi)[:, None]
    rays = np.cos(latitude) * np.cos(longitude), np.sin(latitude) + 0 * longitude, np.cos(latitude) * np.sin(longitude)
    return np.stack(rays, -1).astype(np.float32)


def face_rays(size: int) -> np.ndarray:
    u, v = np.meshgrid(np.linspace(-1, 1, size), -np.linspace(-1, 1, size))
    one = np.ones_like(u)
    axes = [(one, v, u), (-u, v, one), (-one, v, -u), (u, v, -one), (-v, one, u), (v, -one, u)]
    rays = np.stack([np.stack(face, -1) for face in axes])
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


def trace(rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, normal and sky mask of a room full of balls."""
    safe = np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
    walls = np.where(rays > 0, ROOM_HIGH, ROOM_LOW) / safe
    depth, axis = walls.min(-1), walls.argmin(-1)
    normals = -np.sign(np.take_along_axis(safe, axis[..., None], -1)) * np.eye(3, dtype=np.float32)[axis]
    rng = np.random.default_rng(0)
    for _ in range(25):
        centre = rng.uniform(ROOM_LOW + 0.5, ROOM_HIGH - 0.5).astype(np.float32)
        radius = np.float32(rng.uniform(0.15, 0.5))
        along = rays @ centre
        inside = along**2 - (centre @ centre - radius**2)
        hit = along - np.sqrt(inside.clip(np.float32(0)))
        seen = (np.dot(centre, centre) > 0.8) & (inside > 0) & (hit > 0) & (hit < depth)
        depth = np.where(seen, hit, depth)
        normals = np.where(seen[..., None], (rays * hit[..., None] - centre) / radius, normals)
    points = rays * depth[..., None]
    window = (points[..., 0] > 3.99) & (np.abs(points[..., 1]) < 0.8) & (np.abs(points[..., 2]) < 1.2)
    return depth, normals, window


def imitate_network(depth: np.ndarray, normals: np.ndarray, window: np.ndarray) -> Maps:
    rng = np.random.default_rng(1)

    def blur(maps: np.ndarray, sigma: float) -> np.ndarray:
        images = maps.astype(np.float32).reshape(-1, *maps.shape[-2:])
        return np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images]).reshape(maps.shape)

    def noise(*scales: tuple[float, float]) -> np.ndarray:
        total = np.zeros(depth.shape, dtype=np.float32)
        for sigma, strength in scales:
            layer = blur(rng.standard_normal(depth.shape, dtype=np.float32), sigma)
            total += layer * (strength / layer.std())
        return total

    log_depth = blur(np.where(window, np.float32(math.log(75)), np.log(depth)), 0.8) + noise(
        (12, 0.01), (2, 0.003), (0.5, 5e-4)
    )
    components = [blur(normals[..., i], 0.8) + noise((12, 0.02), (2, 0.01), (0.5, 2e-3)) for i in range(3)]
    directions = np.stack(components, -1)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    logits = blur(window * 12.0 - 6, 1.5) + noise((8, 0.3))
    return {"depth": np.exp(log_depth), "normals": directions, "sky": 1 / (1 + np.exp(-logits))}


def stretch(maps: Maps, height: int, width: int) -> Maps:
    resized = {kind: cv2.resize(array, (width, height)) for kind, array in maps.items()}
    resized["normals"] /= np.linalg.norm(resized["normals"], axis=-1, keepdims=True)
    return resized


def best_ms(work: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def largest_error(unit: str, array: np.ndarray, back: np.ndarray) -> float:
    if unit == "degree":
        a, b = (
            v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=-1, keepdims=True) for v in (array, back)
        )
        return float(np.degrees(2 * np.arcsin(np.linalg.norm(a - b, axis=-1) / 2)).max())
    difference = np.abs(back.astype(np.float64) - array)
    return float((difference / array if unit == "relative" else difference).max())


def numpy_file(array: np.ndarray, save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, array)
    return buffer.getvalue()


def report(title: str, maps: Maps) -> None:
    print(f"\n{title}")
    print(f"{'':20} {'encode ms':>9} {'decode ms':>9} {'MB':>8}   largest error (stated)")
    for kind, array in maps.items():
        for name in codec_names(kind):
            codec = get_codec(kind, name)
            blob = codec.encode(array)
            error = largest_error(codec.error_unit, array, codec.decode(blob, array.shape))
            encode = best_ms(lambda: codec.encode(array))  # noqa: B023 - called at once
            decode = best_ms(lambda: codec.decode(blob, array.shape))  # noqa: B023
            bound = (
                f"{error:.3g} ({codec.max_error:.3g} {codec.error_unit})" if codec.max_error else f"{error:.0g} (exact)"
            )
            print(f"{kind + '/' + name:20} {encode:9.1f} {decode:9.1f} {len(blob) / 1e6:8.2f}   {bound}")
        for save, repeats in ((np.savez, 3), (np.savez_compressed, 1)):
            blob = numpy_file(array, save)
            encode = best_ms(lambda: numpy_file(array, save), repeats)  # noqa: B023
            decode = best_ms(lambda: np.load(io.BytesIO(blob))["arr_0"], repeats)  # noqa: B023
            print(
                f"{kind + ' np.' + save.__name__:20.20} {encode:9.1f} {decode:9.1f} {len(blob) / 1e6:8.2f}   0 (exact)"
            )


def main() -> None:
    cv2.setNumThreads(1)
    report("six faces, 504 px", imitate_network(*trace(face_rays(504))))
    report("ERP, 2048×4096", stretch(imitate_network(*trace(erp_rays(1008, 2016))), 2048, 4096))


if __name__ == "__main__":
    main()
