"""Time and memory of scoring a panorama, beside the textbook evaluation in torch, on one thread.

The baseline writes every formula down once over whole float32 arrays: mask, fit, means, the same weighted by solid
angle, means by range and latitude. It is timed with everything that ours gives, and with the released scores alone
("released": no weights, no slices; ours still with them). Both must agree to 1e-5 before anything is timed.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.frame import Report, median_seconds
from pager_ray.geometry import face_map
from pager_ray.metrics import (
    ALIGNMENTS,
    LATITUDE_EDGES,
    RANGE_EDGES,
    bootstrap_intervals,
    depth_scores,
    normal_scores,
    seam_scores,
    seams,
)

HEIGHT, WIDTH = 2048, 4096
Tensors = dict[str, torch.Tensor]


def extra_megabytes(call: Callable[[], object]) -> float:
    """Peak of resident memory during a call above what was resident before; NaN outside Linux with glibc."""
    try:
        # What earlier calls freed and the allocator kept would hide what this one takes.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return math.nan
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def latitude_rows() -> torch.Tensor:
    return (0.5 - (torch.arange(HEIGHT) + 0.5) / HEIGHT) * math.pi


def means(values: Tensors, mask: torch.Tensor, everything: bool) -> dict[str, float]:
    """Means of per-pixel values (H, W) over a mask, also by solid angle where everything is asked for."""
    scores = {name: value[mask].mean().item() for name, value in values.items()}
    if everything:
        weights = torch.cos(latitude_rows())[:, None].expand(HEIGHT, WIDTH)[mask]
        for name, value in values.items():
            scores[f"{name}_solid_angle"] = ((value[mask] * weights).sum() / weights.sum()).item()
    return scores


def slices(
    name: str, values: torch.Tensor, mask: torch.Tensor, bins: torch.Tensor, count: int
) -> dict[str, list[float]]:
    return {name: [values[mask & (bins == index)].mean().item() for index in range(count)]}


def latitude_bins() -> torch.Tensor:
    edges = torch.tensor(LATITUDE_EDGES[1:-1])
    return torch.bucketize(torch.rad2deg(latitude_rows()), edges, right=True)[:, None].expand(HEIGHT, WIDTH)


def textbook_depth(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    mask: torch.Tensor,
    alignments: Sequence[str],
    everything: bool = True,
) -> dict[str, object]:
    scores: dict[str, object] = {}
    for alignment in alignments:
        aligned = prediction
        if alignment == "scale":
            p, g = prediction[mask], truth[mask]
            aligned = prediction * ((p * g).sum() / (p * p).sum())
        elif alignment == "scale_and_shift":
            weight = mask.float()
            pp, p, n = (weight * prediction * prediction).sum(), (weight * prediction).sum(), weight.sum()
            pg, g = (weight * prediction * truth).sum(), (weight * truth).sum()
            determinant = pp * n - p * p
            aligned = prediction * ((n * pg - p * g) / determinant) + (pp * g - p * pg) / determinant
        difference = aligned - truth
        values = {
            "abs_relative_difference": difference.abs() / truth,
            "squared_relative_difference": difference**2 / truth,
            "rmse_linear": difference**2,
            "delta1_acc": (torch.maximum(aligned / truth, truth / aligned) < 1.25).float(),
        }
        prefix = f"depth_{alignment}_"
        for name, value in means(values, mask, everything).items():
            scores[prefix + name] = math.sqrt(value) if name.startswith("rmse") else value
        if everything:
            ranges = torch.bucketize(truth, torch.tensor(RANGE_EDGES[1:-1]), right=True)
            for name in ("abs_relative_difference", "delta1_acc"):
                scores |= slices(f"{prefix}{name}_by_range", values[name], mask, ranges, 7)
                scores |= slices(f"{prefix}{name}_by_latitude", values[name], mask, latitude_bins(), 6)
    return scores


def textbook_normals(
    prediction: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor, everything: bool = True
) -> dict[str, object]:
    p, t = (torch.nn.functional.normalize(vectors, dim=-1) for vectors in (prediction, truth))
    angle = torch.rad2deg(torch.acos((p * t).sum(-1).clamp(-1, 1)))
    values = {"mean": angle, "mse": angle**2, "delta_5": (angle < 5).float(), "delta_22_5": (angle < 22.5).float()}
    scores: dict[str, object] = {f"normals_{name}": value for name, value in means(values, mask, everything).items()}
    if everything:
        scores |= slices("normals_mean_by_latitude", angle, mask, latitude_bins(), 6)
    return scores


def textbook_seams(depth: torch.Tensor) -> dict[str, object]:
    """The quantiles, and whole-array differences masked by the edges; the face map is given away for free."""
    low, high = torch.quantile(depth.flatten(), torch.tensor([0.01, 0.99]))
    unit = ((depth - low) / (high - low)).clamp(0, 1)
    jumps, edges = [], []
    for here, there, face_here, face_there in (
        (unit, unit.roll(-1, 1), FACES, FACES.roll(-1, 1)),
        (unit[:-1], unit[1:], FACES[:-1], FACES[1:]),
    ):
        apart = face_here != face_there
        jumps.append((here - there).abs()[apart])
        edges.append((torch.minimum(face_here, face_there) * 6 + torch.maximum(face_here, face_there))[apart])
    jump, edge = torch.cat(jumps), torch.cat(edges)
    of_edge = [jump[edge == index] for index in edge.unique()]
    return {
        "seam_defect_density": (jump > 0.010).float().mean().item(),
        "seam_prevalence": float(np.mean([(part > 0.010).float().mean().item() > 0.05 for part in of_edge])),
        "seam_severity": float(np.mean([part.mean().item() > 0.008 for part in of_edge])),
    }


FACES = torch.from_numpy(face_map(HEIGHT, WIDTH))


def check_agreement(ours: dict, theirs: dict) -> None:
    assert theirs
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, err_msg=name)


def panorama() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Smooth rooms of 0.2 to 40 m with noise, a twentieth of the pixels not valid, and normals about 10° apart."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(np.log(0.2), np.log(40), (16, 32)).astype(np.float32)
    truth = np.exp(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR))
    prediction = 1.2 * truth * np.exp(0.1 * rng.standard_normal(truth.shape, dtype=np.float32)) + np.float32(0.1)
    mask = rng.random(truth.shape, dtype=np.float32) < 0.95
    true_normals = rng.standard_normal((HEIGHT, WIDTH, 3), dtype=np.float32)
    true_normals /= np.linalg.norm(true_normals, axis=-1, keepdims=True)
    normals = true_normals + 0.15 * rng.standard_normal(true_normals.shape, dtype=np.float32)
    return prediction.astype(np.float32), truth, mask, normals, true_normals


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7, help="timed calls per line, of which the median is shown")


def cases_of() -> list[tuple[str, Callable[[], dict], Callable[[], dict], Callable[[], dict]]]:
    """Name, our way, the textbook's, and the released scores alone."""
    prediction, truth, mask, normals, true_normals = panorama()
    depth_maps, normal_maps = (prediction, truth, mask), (normals, true_normals, mask)
    tensors = [torch.from_numpy(array) for array in (prediction, truth, mask)]
    torch_normals = torch.from_numpy(normals), torch.from_numpy(true_normals), tensors[2]
    torch_depth = tensors[0], tensors[1], tensors[2]
    cases: list[tuple[str, Callable[[], dict], Callable[[], dict], Callable[[], dict]]] = [
        (
            f"depth, {label}",
            partial(depth_scores, *depth_maps, alignments),
            partial(textbook_depth, *torch_depth, alignments),
            partial(textbook_depth, *torch_depth, alignments, everything=False),
        )
        for label, alignments in (("metric", ("metric",)), ("scale", ("scale",)), ("all three", ALIGNMENTS))
    ]
    cases.append(
        (
            "normals",
            partial(normal_scores, *normal_maps),
            partial(textbook_normals, *torch_normals),
            partial(textbook_normals, *torch_normals, everything=False),
        )
    )
    seams_of = partial(textbook_seams, torch_depth[0])
    return [*cases, ("seams", partial(seam_scores, prediction), seams_of, seams_of)]


def measure(options: argparse.Namespace, report: Report) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    cases = cases_of()
    columns = {"torch ms": ".1f", "released ms": ".1f", "ours ms": ".1f", "ratio": ".1f", "to released": ".1f"}
    table = report.table(f"{HEIGHT}x{WIDTH}, one thread", columns)
    for name, ours, theirs, released in cases:
        check_agreement(ours(), theirs())
        slow, short, fast = (1e3 * median_seconds(call, options.repeats) for call in (theirs, released, ours))
        table.row(name, slow, short, fast, slow / fast, short / fast)
        report.ratio(f"metrics: {name}", "torch", slow, fast)
    memory = report.table("peak of memory beyond the inputs, MB", {"torch": ".0f", "ours": ".0f"})
    for name, ours, theirs, _ in cases:
        memory.row(name, extra_megabytes(theirs), extra_megabytes(ours))
    seams.seam_pairs.cache_clear()
    start = time.perf_counter()
    seams.seam_pairs(HEIGHT, WIDTH)
    report.line(f"\nseam pairs, once per size and process: {1e3 * (time.perf_counter() - start):.0f} ms")
    values = np.random.default_rng(0).random((2000, 30))
    bootstrap = 1e3 * median_seconds(partial(bootstrap_intervals, values), 1)
    report.line(f"bootstrap of 2000 samples x 30 metrics x 1000 replicates: {bootstrap:.0f} ms")
