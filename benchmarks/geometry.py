"""Time of sampling faces and stitching panoramas, beside pytorch360convert, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/geometry.py [--repeats N]

Three kinds of result per direction: a warm process (tables built), the first panorama of a size (tables built on the
way), and the exact gathers that stand in where OpenCV rounds positions (version 4).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import cv2
import numpy as np
import pytorch360convert  # type: ignore[import-untyped]
import torch

from pager_ray import geometry
from pager_ray.geometry import project, sampling, stitch

HEIGHT, WIDTH, FACE = 2048, 4096, 504


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def cold(call: Callable[[], object]) -> None:
    project._face_positions.cache_clear()
    stitch._erp_positions.cache_clear()
    call()


def gathered(call: Callable[[], object]) -> None:
    with mock.patch.object(sampling, "opencv_is_exact", return_value=False):
        call()


def library_faces(erp: np.ndarray) -> np.ndarray:
    image = torch.from_numpy(erp).permute(2, 0, 1).float() / 255
    faces = pytorch360convert.e2c(image, face_w=FACE, cube_format="stack")
    return faces.numpy()


def library_erp(faces: np.ndarray) -> np.ndarray:
    channels_first = torch.from_numpy(faces).permute(0, 3, 1, 2)
    return pytorch360convert.c2e(channels_first, HEIGHT, WIDTH, cube_format="stack").numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="timed calls per line, of which the median is shown")
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    erp = cv2.resize(rng.integers(0, 256, (64, 128, 3), dtype=np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    cases: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        (
            f"ERP {HEIGHT}x{WIDTH} uint8 -> 6x{FACE}^2",
            partial(geometry.erp_to_cubemap, erp, FACE),
            partial(library_faces, erp),
        )
    ]
    for channels in (1, 3):
        faces = rng.random((6, FACE, FACE, channels), dtype=np.float32)
        cases.append(
            (
                f"6x{FACE}^2 float32 x{channels} -> ERP {HEIGHT}x{WIDTH}",
                partial(geometry.cubemap_to_erp, faces, HEIGHT, WIDTH),
                partial(library_erp, faces),
            )
        )
    print(f"OpenCV {cv2.__version__} ({'exact' if sampling.opencv_is_exact() else 'rounds positions'}), one thread, ms")
    print(f"{'':40}{'library':>9}{'ours':>9}{'ratio':>8}{'first':>9}{'gathers':>9}")
    for name, ours, library in cases:
        theirs, warm = milliseconds(library, repeats), milliseconds(ours, repeats)
        first, exact = milliseconds(partial(cold, ours), repeats), milliseconds(partial(gathered, ours), repeats)
        print(f"{name:40}{theirs:9.1f}{warm:9.1f}{theirs / warm:7.1f}x{first:9.1f}{exact:9.1f}")


if __name__ == "__main__":
    main()
