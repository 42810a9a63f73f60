"""Encode and decode times, sizes and errors of every array codec, beside NumPy's own files, on one thread.

    python benchmarks/array_codecs.py [--scene indoor] [--seed 2]

The maps are a sample scene's as a network would predict them (``predicted_faces`` in ``output_size.py``, which measures
sizes over many scenes): six faces at 504 px, and stitched to 2048×4096. Times are the best of five.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable

import cv2
import numpy as np
from output_size import HEIGHT, WIDTH, Maps, largest_error, predicted_faces, stitched

from pager_ray.encode import codec_names, get_codec


def best_ms(work: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", choices=["indoor", "outdoor"], default="indoor", help="kind of the sample scene")
    parser.add_argument("--seed", type=int, default=2, help="of the sample scene")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    faces = predicted_faces(arguments.scene, arguments.seed)
    report("six faces, 504 px", faces)
    report(f"ERP, {HEIGHT}×{WIDTH}", stitched(faces, HEIGHT, WIDTH))


if __name__ == "__main__":
    main()
