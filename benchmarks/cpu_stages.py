"""What the CPU stages of a run take, beside the libraries that the released code uses.

Decode and project (a JPEG to six 504-px uint8 faces), stitch (six faces to an ERP of the source's size) and encode, at
4096×2048 and 8192×4096. Beside them Pillow, pytorch360convert (``e2c`` with the float copy it needs, ``c2e`` once per
map, normals scaled to length 1 after it) and ``np.savez`` of float32. The picture is noise whose amplitude falls with
frequency as in photographs (decoding time depends on how many coefficients there are), saved as cameras do: baseline,
4:2:0, quality 90; or ``--image FILE``. Depth, normals and sky are a sample scene's as a network would predict them.

- *one thread*: the median of at least three calls each, in turn, in a warm process (of one call where it takes over
  8 s), in processor time; *first* is a call that finds no tables, as the first panorama of a size does.
- *all cores*: as many processes at once as there are cores, each with one thread, because that is how Ray runs tasks;
  calls per second of all of them.

Ours brings panoramas wider than 4096 px down to that while it decodes them, the library samples all their pixels.
*Project a cubemap* is from six faces of a quarter of that width, from which the library's way is over an ERP.
Results are compared in the same run; where the library darkens the cube corners, its pixels are left out.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytorch360convert  # type: ignore[import-untyped]
import torch
from PIL import Image

from benchmarks.frame import Report, median_seconds
from benchmarks.output_size import FACE, KINDS, Maps, predicted_faces, stitched
from pager_ray import geometry
from pager_ray.encode import get_codec
from pager_ray.encode.npz import encode_npz
from pager_ray.geometry import cubes, sampling, stitch
from pager_ray.geometry.face_positions import face_positions
from pager_ray.read import decode_panorama

WORKING_WIDTH = 4096
LEAST_RATIO = {"decode + project": 5.0, "stitch all five": 15.0}
"""Least ratio on one thread at 4096×2048."""
LEAST_TURNS = 3
SECONDS_PER_CASE = 8.0
"""Calls that take long are made less often than ``--repeats``: for so many seconds, and at least three times. One that
takes longer by itself is made once."""

SIDES = ("library", "ours")
CONVERT = "pytorch360convert"
BASELINES = {"decode": "Pillow", "project": CONVERT, "stitch": CONVERT, "library's": CONVERT, "encode": "`np.savez`"}
"""By the first word of a case's name."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One stage, both ways."""

    name: str
    library: Call
    ours: Call


def natural_picture(width: int, height: int) -> np.ndarray:
    """Noise whose amplitude falls with frequency as in photographs (1/f), (height, width, 3) uint8."""
    rng = np.random.default_rng(0)
    picture = np.zeros((height, width, 3), dtype=np.float32)
    for octave in range(height.bit_length() - 3):
        shape = height >> octave, width >> octave, 3
        layer = rng.standard_normal(shape, dtype=np.float32) * np.float32(1.5**octave)
        picture += cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC)
    picture *= 50 / picture.std()
    return np.clip(picture + 120, np.float32(0), np.float32(255)).astype(np.uint8)


def jpeg(width: int, image: Path | None, *, progressive: bool = False) -> bytes:
    """A panorama of the given width as a JPEG file."""
    if image is None:
        picture = Image.fromarray(natural_picture(width, width // 2))
    else:
        picture = Image.open(image).convert("RGB").resize((width, width // 2), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, progressive=progressive)
    return buffer.getvalue()


def pillow(data: bytes) -> np.ndarray:
    """All pixels of a JPEG."""
    return np.asarray(Image.open(io.BytesIO(data)))


def pillow_reduced(data: bytes, *, draft: bool = False) -> np.ndarray:
    """At most 4096 wide: decoded whole or, with ``draft``, at a fraction, and averaged over areas for the rest."""
    image = Image.open(io.BytesIO(data))
    if draft:
        image.draft("RGB", (WORKING_WIDTH, WORKING_WIDTH // 2))
    if image.width > WORKING_WIDTH:
        return np.asarray(image.resize((WORKING_WIDTH, WORKING_WIDTH // 2), Image.Resampling.BOX))
    return np.asarray(image)


def library_faces(erp: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 → (6, 3, S, S) in [0, 1]."""
    image = torch.from_numpy(np.array(erp)).permute(2, 0, 1).float() / 255
    return pytorch360convert.e2c(image, face_w=FACE, cube_format="stack")


def library_faces_of_cubemap(faces: np.ndarray) -> torch.Tensor:
    """(6, N, N, 3) uint8 → (6, 3, S, S) in [0, 1], over an ERP."""
    size = faces.shape[1]
    erp = library_erp(faces.astype(np.float32), 2 * size, 4 * size)
    return library_faces(erp.round().byte().permute(1, 2, 0).numpy())


def library_erp(faces: np.ndarray, height: int, width: int) -> torch.Tensor:
    """(6, S, S, C) → (C, H, W)."""
    channels_first = torch.from_numpy(faces).permute(0, 3, 1, 2)
    return pytorch360convert.c2e(channels_first, height, width, cube_format="stack")


def library_normals(faces: np.ndarray, height: int, width: int) -> torch.Tensor:
    """(6, S, S, 3) → (3, H, W), of unit length."""
    return torch.nn.functional.normalize(library_erp(faces, height, width), dim=0, eps=1e-6)


def library_maps(faces: Maps, height: int, width: int) -> list[torch.Tensor]:
    """Depth, normals and sky, one after another."""
    depth, sky = (library_erp(faces[kind][..., None], height, width) for kind in ("depth", "sky"))  # type: ignore[index]
    return [depth, library_normals(faces["normals"], height, width), sky]


def library_maps_at_once(faces: Maps, height: int, width: int) -> list[torch.Tensor]:
    """Depth, normals and sky, in one call of five channels."""
    joined = np.concatenate([faces["depth"][..., None], faces["normals"], faces["sky"][..., None]], axis=-1)
    depth, *normals, sky = library_erp(joined, height, width)
    return [depth, torch.nn.functional.normalize(torch.stack(normals), dim=0, eps=1e-6), sky]


def cases(folder: Path, width: int) -> list[Case]:
    """Every stage at one size, with its input ready in memory."""
    data = (folder / f"{width}.jpg").read_bytes()
    with np.load(folder / "faces.npz") as archive:
        faces: Maps = {kind: archive[kind] for kind in KINDS}
    height = width // 2
    whole, working = pillow(data), decode_panorama(data).erp
    maps = stitched(faces, height, width)
    cubemap = geometry.erp_to_cubemap(working, working.shape[1] // 4)

    def encode(*kinds: str) -> list[bytes]:
        return [get_codec(kind).encode(maps[kind]) for kind in kinds]  # type: ignore[arg-type, index]

    def save(*kinds: str) -> list[bytes]:
        return [encode_npz(kind, maps[kind]) for kind in kinds]  # type: ignore[index]

    five = partial(geometry.stitch_maps, faces["depth"], faces["normals"], faces["sky"], height, width)
    return [
        Case("decode", partial(pillow, data), lambda: decode_panorama(data).erp),
        Case("project", partial(library_faces, whole), partial(geometry.erp_to_cubemap, working, FACE)),
        Case(
            "decode + project",
            lambda: library_faces(pillow(data)),
            lambda: geometry.erp_to_cubemap(decode_panorama(data).erp, FACE),
        ),
        Case(
            "project a cubemap",
            partial(library_faces_of_cubemap, cubemap),
            partial(cubes.resample_cubemap, cubemap, FACE),
        ),
        Case(
            "stitch depth (sky)",
            partial(library_erp, faces["depth"][..., None], height, width),
            partial(geometry.cubemap_to_erp, faces["depth"][..., None], height, width),
        ),
        Case(
            "stitch normals",
            partial(library_normals, faces["normals"], height, width),
            partial(geometry.stitch_maps, None, faces["normals"], None, height, width),
        ),
        Case("stitch all five", partial(library_maps, faces, height, width), five),
        Case("  library's in one", partial(library_maps_at_once, faces, height, width), five),
        *(Case(f"encode {kind}", partial(save, kind), partial(encode, kind)) for kind in KINDS),
        Case("encode all three", partial(save, *KINDS), partial(encode, *KINDS)),
    ]


def forget_tables() -> None:
    """Drop the tables of sample positions."""
    face_positions.cache_clear()
    cubes._face_positions.cache_clear()
    stitch._erp_positions.cache_clear()


def use_one_thread() -> None:
    """As in a Ray task."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def work(folder: Path, connection: Connection) -> None:
    """Make calls on demand: get (width, case, side, count, first), say ready, wait, answer with the times."""
    use_one_thread()
    ready: dict[tuple[int, str], Case] = {}
    warm = set()
    while (order := connection.recv()) is not None:
        width, name, side, count, first = order
        if (width, name) not in ready:
            # The last size's are dropped first: they hold hundreds of megabytes.
            ready = {}
            ready = {(width, case.name): case for case in cases(folder, width)}
        call: Call = getattr(ready[width, name], side)
        if not first and (width, name, side) not in warm:
            call()
            warm.add((width, name, side))
        connection.send("ready")
        connection.recv()
        times = []
        for _ in range(count):
            if first:
                forget_tables()
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
        connection.send(times)


class Workers:
    """As many processes as there are cores, of one thread each."""

    def __init__(self, folder: Path, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connections = []
        for _ in range(number):
            here, there = context.Pipe()
            context.Process(target=work, args=(folder, there), daemon=True).start()
            self.connections.append(here)

    def call(
        self, number: int, width: int, name: str, side: str, count: int, *, first: bool = False
    ) -> tuple[list[float], float]:
        """Have ``number`` processes make ``count`` calls each.

        Returns:
            Seconds of the first process's calls, and calls per second of all.
        """
        chosen = self.connections[:number]
        for connection in chosen:
            connection.send((width, name, side, count, first))
        for connection in chosen:
            connection.recv()
        start = time.perf_counter()
        for connection in chosen:
            connection.send("go")
        times = [connection.recv() for connection in chosen]
        return times[0], number * count / (time.perf_counter() - start)

    def measure(self, width: int, name: str, repeats: int) -> tuple[float, float]:
        """Median milliseconds of the library's call and of ours in one process, alone, in turn.

        What else the machine does meets both alike. Of two calls in a row the second counts: the first finds the
        caches, and the tables' pages, as the other side left them.
        """
        times: dict[str, list[float]] = {side: [] for side in SIDES}
        count = LEAST_TURNS
        while len(times["ours"]) < count:
            for side in SIDES:
                times[side].append(self.call(1, width, name, side, 2)[0][-1])
            longest = max(times[side][0] for side in SIDES)
            count = max(LEAST_TURNS, min(repeats, int(SECONDS_PER_CASE / longest)))
        theirs, ours = (1e3 * float(np.median(times[side])) for side in SIDES)
        return theirs, ours

    def measure_first(self, width: int, name: str) -> float:
        """Median milliseconds of three calls of ours, each of which finds no tables."""
        return 1e3 * float(np.median(self.call(1, width, name, "ours", 3, first=True)[0]))

    def stop(self) -> None:
        """Let the processes end."""
        for connection in self.connections:
            connection.send(None)


def compare_times(report: Report, workers: Workers, width: int, names: list[str], repeats: int) -> None:
    """One size's table and figures."""
    cores = len(workers.connections)
    columns = {"library ms": ".1f", "ours ms": ".1f", "ratio": ".1f", "first ms": ".1f"}
    columns |= {"library/s": ".2f", "ours/s": ".2f", "of all cores": ".1f"}
    table = report.table(f"{width}×{width // 2}; milliseconds on one thread, rates of {cores} processes", columns)
    for name in names:
        theirs, ours = workers.measure(width, name, repeats)
        samples = "project" in name or "stitch" in name
        first = workers.measure_first(width, name) if samples else None
        rates = []
        for side, milliseconds in zip(SIDES, (theirs, ours), strict=True):
            count = max(1, min(2 * repeats, int(1e3 * SECONDS_PER_CASE / milliseconds)))
            rates.append(workers.call(cores, width, name, side, count)[1])
        table.row(name, theirs, ours, theirs / ours, first, *rates, rates[1] / rates[0])
        least = LEAST_RATIO.get(name) if width == WORKING_WIDTH else None
        report.ratio(f"{name.strip()}, {width}×{width // 2}", BASELINES[name.split()[0]], theirs, ours, least=least)


def compare_results(report: Report, folder: Path, width: int) -> None:
    """How far results are from the library's."""
    data, height = (folder / f"{width}.jpg").read_bytes(), width // 2
    with np.load(folder / "faces.npz") as archive:
        faces: Maps = {kind: archive[kind] for kind in KINDS}
    erp = decode_panorama(data).erp
    rows: list[tuple[str, np.ndarray, float, str]] = []
    decoded = np.abs(erp.astype(np.int16) - pillow_reduced(data))
    rows.append(("decode", decoded, 0 if width == WORKING_WIDTH else 16, "levels"))
    projected = library_faces(erp).permute(0, 2, 3, 1).numpy() * 255
    # Half a level of rounding, and what the library's own positions in float32 are off by.
    rows.append(("project", np.abs(geometry.erp_to_cubemap(erp, FACE) - projected), 0.75, "levels"))
    inside = library_erp(np.ones((6, FACE, FACE, 1), np.float32), height, width)[0].numpy() > 1 - 1e-5
    depth, normals, sky = (theirs.numpy() for theirs in library_maps(faces, height, width))
    ours = stitched(faces, height, width)
    # Positions in float32 are good to a ten-thousandth of a pixel, of the step between two pixels.
    rows.append(("stitch depth", (np.abs(ours["depth"] - depth[0]) / depth[0])[inside], 1e-3, "of depth"))
    rows.append(("stitch normals", np.abs(ours["normals"] - np.moveaxis(normals, 0, -1))[inside], 1e-3, "of length 1"))
    rows.append(("stitch sky", np.abs(ours["sky"] - sky[0])[inside], 1e-3, "of probability 1"))
    title = f"differences from the library at {width}×{height}; {np.sum(~inside)} pixels at cube corners left out"
    table = report.table(title, {"mean": ".2g", "most": ".2g", "of": ""})
    for name, difference, most, unit in rows:
        table.row(name, float(difference.mean()), float(difference.max()), unit)
        shown = f"{name}, {width}×{height}: largest difference from the library"
        report.figure(shown, float(difference.max()), unit, most=most)
    sizes = report.table("encoded", {"npz MB": ".2f", "ours MB": ".2f", "smaller": ".1f"})
    for kind in KINDS:
        plain, encoded = len(encode_npz(kind, ours[kind])), len(get_codec(kind).encode(ours[kind]))
        sizes.row(kind, plain / 1e6, encoded / 1e6, plain / encoded)


def decode_table(report: Report, image: Path | None, repeats: int) -> None:
    """Decoding times at more sizes, beside both ways of Pillow."""
    columns = {"MB": ".1f", "Pillow ms": ".1f", "draft ms": ".1f", "ours ms": ".1f", "ratio": ".1f", "mean": ".2f"}
    table = report.table(
        f"JPEG to an RGB array at most {WORKING_WIDTH} wide, one thread; differences from Pillow's",
        columns | {"most": "d"},
    )
    for width, progressive in ((4096, False), (4096, True), (6000, False), (8192, False), (16384, False)):
        data = jpeg(width, image, progressive=progressive)
        ways: list[Callable[[bytes], np.ndarray]] = [
            pillow_reduced,
            partial(pillow_reduced, draft=True),
            lambda data: decode_panorama(data).erp,
        ]
        plain, draft, ours = (1e3 * median_seconds(partial(way, data), repeats) for way in ways)
        difference = np.abs(decode_panorama(data).erp.astype(np.int16) - pillow_reduced(data))
        title = f"{width}×{width // 2}{', progressive' if progressive else ''}"
        table.row(
            title, len(data) / 1e6, plain, draft, ours, plain / ours, float(difference.mean()), int(difference.max())
        )


def gather_table(report: Report, folder: Path, width: int, repeats: int) -> None:
    """What sampling takes at a size where OpenCV rounds positions and NumPy has to do it."""
    exact = "samples exactly" if sampling.opencv_is_exact() else "rounds positions"
    title = f"OpenCV {cv2.__version__} {exact}; gathers in NumPy where it rounds, {width} wide, one thread"
    table = report.table(title, {"as here ms": ".1f", "gathers ms": ".1f"})
    for case in cases(folder, width):
        if case.name in ("project", "stitch depth (sky)", "stitch normals", "stitch all five"):
            times = []
            for gathers in (False, True):
                with mock.patch.object(sampling, "opencv_is_exact", return_value=False) if gathers else nullcontext():
                    times.append(1e3 * median_seconds(case.ours, repeats))
            table.row(case.name, *times)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--widths", type=int, nargs="+", default=[4096, 8192], help="of the panoramas, twice as wide")
    parser.add_argument("--repeats", type=int, default=9, help="timed calls per figure, fewer where one takes seconds")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="of the second half of the table")
    parser.add_argument("--image", type=Path, help="a panorama to take instead of noise, resized and saved again")
    parser.add_argument("--brief", action="store_true", help="only the table with the bounds and the comparison")


def measure(options: argparse.Namespace, report: Report) -> None:
    use_one_thread()
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for width in options.widths:
            (folder / f"{width}.jpg").write_bytes(jpeg(width, options.image))
        np.savez(folder / "faces.npz", **predicted_faces("indoor", 2))  # type: ignore[arg-type]
        names = [case.name for case in cases(folder, min(options.widths))]
        forget_tables()
        workers = Workers(folder, options.processes)
        try:
            for width in options.widths:
                compare_times(report, workers, width, names, options.repeats)
        finally:
            workers.stop()
        for width in options.widths:
            compare_results(report, folder, width)
        if not options.brief:
            decode_table(report, options.image, options.repeats)
            nearest = min(options.widths, key=lambda width: abs(width - WORKING_WIDTH))
            gather_table(report, folder, nearest, options.repeats)
