"""JPEG panoramas to working ERPs: pager_ray beside Pillow, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/decode.py

Both make the same thing, an RGB array at most 4096 wide. Pillow once the plain way (full decode, BOX reduction, which
is area averaging) and once with its own decoder scaling (``draft``). The picture is smooth shapes plus noise of
natural strength: decoding time depends on how many coefficients there are.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from pager_ray.read import decode_panorama

WIDTH = 4096


def natural_picture(width: int, height: int) -> np.ndarray:
    """Noise whose amplitude falls with frequency as in photographs (1/f), (height, width, 3) uint8."""
    rng = np.random.default_rng(0)
    picture = np.zeros((height, width, 3), dtype=np.float32)
    octaves = height.bit_length() - 3
    for octave in range(octaves):
        shape = height >> octave, width >> octave, 3
        layer = rng.standard_normal(shape, dtype=np.float32) * np.float32(1.5**octave)
        picture += cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC)
    picture *= 50 / picture.std()
    return np.clip(picture + 120, np.float32(0), np.float32(255)).astype(np.uint8)


def pillow_plain(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    if image.width > WIDTH:
        return np.asarray(image.resize((WIDTH, WIDTH // 2), Image.Resampling.BOX))
    return np.asarray(image)


def pillow_draft(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (WIDTH, WIDTH // 2))
    if image.width > WIDTH:
        return np.asarray(image.resize((WIDTH, WIDTH // 2), Image.Resampling.BOX))
    return np.asarray(image)


def best_ms(work: Callable[[bytes], object], data: bytes) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work(data)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[bytes], np.ndarray]] = {
        "Pillow": pillow_plain,
        "Pillow, draft": pillow_draft,
        "pager_ray": lambda data: decode_panorama(data).erp,
    }
    for width in (4096, 6000, 8192, 16384):
        buffer = io.BytesIO()
        Image.fromarray(natural_picture(width, width // 2)).save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
        reference = pillow_plain(data).astype(np.int16)
        print(f"\n{width}×{width // 2}, {len(data) / 1e6:.1f} MB")
        plain = best_ms(pillow_plain, data)
        for name, way in ways.items():
            took = plain if way is pillow_plain else best_ms(way, data)
            difference = np.abs(way(data) - reference)
            print(
                f"  {name:14} {took:7.1f} ms  {plain / took:5.2f}× of Pillow's speed, "
                f"differs by {difference.mean():.2f} levels on average, {difference.max()} at most"
            )


if __name__ == "__main__":
    Image.MAX_IMAGE_PIXELS = None
    main()
