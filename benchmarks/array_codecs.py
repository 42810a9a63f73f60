"""Encode and decode times, sizes and errors of every array codec, beside NumPy's own files, on one thread.

The maps are a sample scene's as a network would predict them (``predicted_faces`` in ``output_size.py``, which measures
sizes over many scenes): six faces at 504 px, and stitched to 2048×4096. Times are processor time, the best of five.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable

import cv2
import numpy as np

from benchmarks.frame import Report
from benchmarks.output_size import HEIGHT, WIDTH, Maps, largest_error, predicted_faces, stitched
from pager_ray.encode import codec_names, get_codec


def best_ms(work: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def numpy_file(array: np.ndarray, save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, array)
    return buffer.getvalue()


def show(report: Report, title: str, maps: Maps) -> None:
    columns = {"encode ms": ".1f", "decode ms": ".1f", "MB": ".2f", "largest error (stated)": ""}
    table = report.table(title, columns)
    for kind, array in maps.items():
        for name in codec_names(kind):
            codec = get_codec(kind, name)
            blob = codec.encode(array)
            error = largest_error(codec.error_unit, array, codec.decode(blob, array.shape))
            encode = best_ms(lambda: codec.encode(array))  # noqa: B023 - called at once
            decode = best_ms(lambda: codec.decode(blob, array.shape))  # noqa: B023
            stated = (
                f"{error:.3g} ({codec.max_error:.3g} {codec.error_unit})" if codec.max_error else f"{error:.0g} (exact)"
            )
            table.row(f"{kind}/{name}", encode, decode, len(blob) / 1e6, stated)
            report.figure(f"{kind}/{name}, {title}: largest error", error, codec.error_unit, most=codec.max_error)
        for save, repeats in ((np.savez, 3), (np.savez_compressed, 1)):
            blob = numpy_file(array, save)
            encode = best_ms(lambda: numpy_file(array, save), repeats)  # noqa: B023
            decode = best_ms(lambda: np.load(io.BytesIO(blob))["arr_0"], repeats)  # noqa: B023
            table.row(f"{kind}, np.{save.__name__}", encode, decode, len(blob) / 1e6, "0 (exact)")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scene", choices=["indoor", "outdoor"], default="indoor", help="kind of the sample scene")
    parser.add_argument("--seed", type=int, default=2, help="of the sample scene")


def measure(options: argparse.Namespace, report: Report) -> None:
    cv2.setNumThreads(1)
    faces = predicted_faces(options.scene, options.seed)
    show(report, "six faces, 504 px", faces)
    show(report, f"ERP, {HEIGHT}×{WIDTH}", stitched(faces, HEIGHT, WIDTH))
