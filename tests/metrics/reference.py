"""The scores by their formulas: whole arrays, double precision, one line each."""

from __future__ import annotations

import functools
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pager_ray.geometry import face_map
from pager_ray.metrics import LATITUDE_EDGES, RANGE_EDGES

GOLDEN = Path(__file__).parents[1] / "golden"


@functools.cache
def golden_inputs() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "metrics.npz", allow_pickle=False) as archive:
        return dict(archive)


@functools.cache
def golden_scores() -> dict[str, Any]:
    return json.loads((GOLDEN / "metrics.json").read_text())


def latitudes(height: int, width: int) -> np.ndarray:
    """Degrees of latitude at pixel centres, rounded so that a centre on an edge is on it."""
    degrees = np.round((0.5 - (np.arange(height) + 0.5) / height) * 180, 12)
    return np.broadcast_to(degrees[:, None], (height, width))


def bins_of(values: np.ndarray, edges: tuple[float, ...], mask: np.ndarray) -> list[np.ndarray]:
    return [mask & (low <= values) & (values < high) for low, high in pairwise(edges)]


def mean_in(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else float("nan")


def depth_reference(
    prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray, scale: float = 1.0, shift: float = 0.0
) -> dict[str, Any]:
    """Scores of scale · prediction + shift, without the prefix of an alignment; invalid pixels are never touched."""
    aligned = np.full(truth.shape, np.nan)
    true = aligned.copy()
    aligned[mask] = scale * prediction[mask].astype(np.float64) + shift
    true[mask] = truth[mask]
    with np.errstate(divide="ignore"):
        per_pixel = {
            "abs_relative_difference": np.abs(aligned - true) / true,
            "squared_relative_difference": (aligned - true) ** 2 / true,
            "rmse_linear": (aligned - true) ** 2,
            "delta1_acc": np.maximum(aligned / true, true / aligned) < 1.25,
        }
    latitude = latitudes(*truth.shape)
    weights = np.cos(np.deg2rad(latitude))[mask]
    scores: dict[str, Any] = {}
    for name, values in per_pixel.items():
        root = np.sqrt if name == "rmse_linear" else float
        scores[name] = float(root(values[mask].mean()))
        scores[f"{name}_solid_angle"] = float(root((values[mask] * weights).sum() / weights.sum()))
    for name in ("abs_relative_difference", "delta1_acc"):
        for suffix, bins in (
            ("by_range", bins_of(truth, RANGE_EDGES, mask)),
            ("by_latitude", bins_of(latitude, LATITUDE_EDGES, mask)),
        ):
            scores[f"{name}_{suffix}"] = np.array([mean_in(per_pixel[name], where) for where in bins])
    return scores


def normals_reference(prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    """Scores of normals by their released names, each also weighted by solid angle, and by latitude."""
    p, t = (np.where(mask[..., None], vectors, 0).astype(np.float64) for vectors in (prediction, truth))
    valid = mask & (np.linalg.norm(t, axis=-1) >= 1e-6)
    unit = [vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6) for vectors in (p, t)]
    angle = np.degrees(np.arccos(np.clip((unit[0] * unit[1]).sum(-1), -1, 1)))
    latitude = latitudes(*mask.shape)
    weights = np.cos(np.deg2rad(latitude))[valid]
    scores: dict[str, Any] = {}
    for name, values in (("mean", angle), ("mse", angle**2), ("delta_5", angle < 5), ("delta_22_5", angle < 22.5)):
        scores[name] = float(values[valid].mean())
        scores[f"{name}_solid_angle"] = float((values[valid] * weights).sum() / weights.sum())
    bands = bins_of(latitude, LATITUDE_EDGES, valid)
    return scores | {"mean_by_latitude": np.array([mean_in(angle, where) for where in bands])}


def seam_reference(depth: np.ndarray, pixel: float, fraction: float, edge: float) -> tuple[float, float, float]:
    """Defect density, prevalence and severity, pair by pair."""
    height, width = depth.shape
    values = depth.astype(np.float64)
    low, high = np.quantile(values, (0.01, 0.99))
    unit = np.clip((values - low) / (high - low), 0, 1)
    faces = face_map(height, width)
    jumps: dict[frozenset[int], list[float]] = {}
    for row in range(height):
        for column in range(width):
            for other in ((row, (column + 1) % width), (row + 1, column)):
                if other[0] < height and faces[row, column] != faces[other]:
                    pair = frozenset((int(faces[row, column]), int(faces[other])))
                    jumps.setdefault(pair, []).append(abs(unit[row, column] - unit[other]))
    assert len(jumps) == 12
    every = np.concatenate([np.array(of_edge) for of_edge in jumps.values()])
    broken = [np.mean(np.array(of_edge) > pixel) > fraction for of_edge in jumps.values()]
    severe = [np.mean(of_edge) > edge for of_edge in jumps.values()]
    return float(np.mean(every > pixel)), float(np.mean(broken)), float(np.mean(severe))
