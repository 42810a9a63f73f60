"""How good a checkpoint is on rendered panoramas that training never saw, beside three baselines and a control.

Panoramas are those of ``pager-ray samples``, seeds 0 upwards of both kinds, 512×256. Figures are weighted by solid
angle; depth leaves out sky and what is beyond 75 m; *scaled* comes after the median of log-depth, *metric* from the
scale head of the panorama's own kind. Baselines: one depth everywhere, the mean of training scenes per latitude, and an
untrained network of the same size. Control: each panorama's prediction is scored against another panorama of its kind;
whoever looks at the picture gets worse. Intervals are 95 % of a bootstrap over panoramas; differences are paired.

``--photographs FOLDER`` adds checks on real panoramas, which have no truth: where the ground is, which way its normals
point, sky overhead, and what the router says. The mean per latitude passes most of them: they find faults, not quality.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.frame import Report
from pager_ray import load_model, predict
from pager_ray.metrics.bootstrap import bootstrap_interval
from pager_ray.model import PagerModel
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.prediction import Prediction
from pager_ray.samples import Kind, make_scene, render
from pager_ray.train.figures import HIGHER_IS_BETTER, erp_weights, figures
from pager_ray.train.scenes import render_training_panorama

KINDS: tuple[Kind, ...] = ("indoor", "outdoor")
HEIGHT = 256
COLUMNS = {
    "absrel_scaled": ".3f",
    "delta1_scaled": ".3f",
    "absrel_metric": ".3f",
    "normals_mean": ".1f",
    "sky_iou": ".3f",
    "false_sky": ".3f",
}
LINES = {
    "indoor": {
        "absrel_scaled": 0.14,
        "delta1_scaled": 0.82,
        "absrel_metric": 0.18,
        "normals_mean": 15.0,
        "false_sky": 0.02,
    },
    "outdoor": {"absrel_scaled": 0.20, "delta1_scaled": 0.80, "normals_mean": 15.0, "sky_iou": 0.94},
}
SWAPPED_LOSS = {"indoor": 0.15, "outdoor": 0.08}
BETTER_SHARE = 0.85
Maps = tuple[np.ndarray, np.ndarray, np.ndarray]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's own options."""
    parser.add_argument("--checkpoint", default="embedded", help="what is scored (default: %(default)s)")
    parser.add_argument("--count", type=int, default=36, help="panoramas of each kind (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="first seed (default: %(default)s)")
    parser.add_argument("--prior", type=int, default=100, help="training scenes of the means (default: %(default)s)")
    parser.add_argument("--photographs", type=Path, help="folder of real panoramas")
    parser.add_argument("--outdoor", nargs="*", default=[], help="names of the photographs taken outdoors")


@dataclass(frozen=True)
class Truth:
    """A rendered panorama."""

    kind: Kind
    style: str
    rgb: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


@dataclass
class Means:
    """What is known of training scenes without looking at a picture."""

    log_depth: np.ndarray = field(default_factory=lambda: np.zeros(HEIGHT))
    hits: np.ndarray = field(default_factory=lambda: np.zeros(HEIGHT))
    normals: np.ndarray = field(default_factory=lambda: np.zeros((HEIGHT, 3)))
    sky: np.ndarray = field(default_factory=lambda: np.zeros(HEIGHT))
    medians: list[float] = field(default_factory=list)

    def add(self, depth: np.ndarray, normals: np.ndarray) -> None:
        """Take a panorama into the means; normals in the frame of their own azimuth."""
        solid = depth > 0
        log_depth = np.log(np.where(solid, np.clip(depth, 0.05, 75), 1.0))
        self.log_depth += log_depth.sum(1)
        self.hits += solid.sum(1)
        self.sky += (~solid).mean(1)
        self.medians.append(float(np.median(log_depth[solid])))
        c, s = _azimuth()
        x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
        self.normals += np.stack([(x * c + z * s).mean(1), y.mean(1), (z * c - x * s).mean(1)], 1)

    def per_latitude(self) -> Maps:
        """The mean log-depth, normal and sky of each row."""
        one = np.ones((1, 2 * HEIGHT))
        unit = self.normals / np.maximum(np.linalg.norm(self.normals, axis=1, keepdims=True), 1e-9)
        c, s = _azimuth()
        toward, up, aside = (unit[:, k : k + 1] for k in range(3))
        normals = np.stack([toward * c - aside * s, up * one, toward * s + aside * c], -1)
        depth = np.exp(self.log_depth / np.maximum(self.hits, 1))[:, None] * one
        return depth, normals, (self.sky / len(self.medians))[:, None] * one

    def constant(self) -> Maps:
        """One depth everywhere, normals up, no sky."""
        shape = (HEIGHT, 2 * HEIGHT)
        up = np.zeros((*shape, 3))
        up[..., 1] = 1
        return np.full(shape, math.exp(float(np.mean(self.medians)))), up, np.zeros(shape)


def _azimuth() -> tuple[np.ndarray, np.ndarray]:
    longitude = ((np.arange(2 * HEIGHT) + 0.5) / (2 * HEIGHT) - 0.5) * 2 * np.pi
    return np.cos(longitude), np.sin(longitude)


def measure(options: argparse.Namespace, report: Report) -> None:
    """Score, print, and hold the figures against their lines."""
    model = load_model(options.checkpoint, device="cpu")
    report.line(f"{model.identity.title}: {sum(p.numel() for p in model.network.parameters()) / 1e6:.1f} M parameters")
    means = _means(options.prior)
    truths = [_truth(seed, kind) for kind in KINDS for seed in range(options.first, options.first + options.count)]
    began = time.process_time()
    routed = [predict(truth.rgb, model, scene=None if model.routes_itself else truth.kind) for truth in truths]
    report.details["predict_cpu_seconds"] = (time.process_time() - began) / len(truths)
    # Where the router is right, the scale is that of the panorama's own kind already.
    predicted = [
        _maps(found if found.scene == truth.kind else predict(truth.rgb, model, scene=truth.kind))
        for found, truth in zip(routed, truths, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(folder, model.architecture.to_config())
        untrained = load_model(folder, device="cpu")
        blind = [_maps(predict(truth.rgb, untrained, scene=truth.kind)) for truth in truths]
    contestants = {
        "constant depth": [means[truth.kind].constant() for truth in truths],
        "mean per latitude": [means[truth.kind].per_latitude() for truth in truths],
        "untrained network": blind,
        "checkpoint": predicted,
        "checkpoint, swapped": _swapped(truths, predicted),
    }
    weights = erp_weights(HEIGHT, 2 * HEIGHT)
    scores = {
        name: [figures(maps, (t.depth, t.normals), weights) for maps, t in zip(found, truths, strict=True)]
        for name, found in contestants.items()
    }
    for kind in KINDS:
        _tell(report, kind, truths, scores)
    _tell_styles(report, truths, scores["checkpoint"])
    if model.routes_itself:
        right = [found.scene == truth.kind for found, truth in zip(routed, truths, strict=True)]
        report.figure("router right on renders", float(np.mean(right)), "of panoramas")
    if options.photographs is not None:
        _photographs(report, model, options.photographs, set(options.outdoor))


def _truth(seed: int, kind: Kind) -> Truth:
    scene = make_scene(seed, kind)
    shot = render(scene, HEIGHT, 2 * HEIGHT)
    return Truth(kind, scene.style, shot.rgb, shot.depth, shot.normals)


def _means(count: int) -> dict[Kind, Means]:
    """Means of training scenes, indoors and outdoors."""
    means: dict[Kind, Means] = {kind: Means() for kind in KINDS}
    for index in range(count):
        panorama = render_training_panorama(index, 1, HEIGHT)
        kind: Kind = "outdoor" if panorama.outdoor else "indoor"
        means[kind].add(panorama.depth.astype(np.float32), panorama.normals.astype(np.float32) / 127)
    return means


def _maps(prediction: Prediction) -> Maps:
    assert prediction.depth is not None
    assert prediction.normals is not None
    assert prediction.sky is not None
    return prediction.depth, prediction.normals, prediction.sky


def _swapped(truths: list[Truth], predicted: list[Maps]) -> list[Maps]:
    """The prediction of another panorama of the same kind, half the list and one away: of another style."""
    result = list(predicted)
    for kind in KINDS:
        own = [k for k, truth in enumerate(truths) if truth.kind == kind]
        for at, k in enumerate(own):
            result[k] = predicted[own[(at + len(own) // 2 + 1) % len(own)]]
    return result


def _tell(report: Report, kind: Kind, truths: list[Truth], scores: dict[str, list[dict[str, float]]]) -> None:
    rows = [k for k, truth in enumerate(truths) if truth.kind == kind]
    columns = {name: form for name, form in COLUMNS.items() if name != "sky_iou" or kind == "outdoor"}
    table = report.table(f"{kind}, {len(rows)} panoramas", columns)
    values = {
        name: {column: np.array([found[k][column] for k in rows]) for column in columns}
        for name, found in scores.items()
    }
    for name, own in values.items():
        table.row(name, *(float(np.nanmean(own[column])) for column in columns))
    own, prior, swapped = values["checkpoint"], values["mean per latitude"], values["checkpoint, swapped"]
    table.row("  95 % from", *(bootstrap_interval(own[column])[0] for column in columns))
    table.row("  95 % to", *(bootstrap_interval(own[column])[1] for column in columns))
    table.row("  less the latitude mean", *(float(np.nanmean(own[c] - prior[c])) for c in columns))
    table.row("    95 % from", *(bootstrap_interval(own[c] - prior[c])[0] for c in columns))
    table.row("    95 % to", *(bootstrap_interval(own[c] - prior[c])[1] for c in columns))
    for column in columns:
        line = LINES[kind].get(column)
        bound = {} if line is None else {"least" if column in HIGHER_IS_BETTER else "most": line}
        unit = "°" if column == "normals_mean" else ""
        report.figure(f"{kind} {column}", float(np.nanmean(own[column])), unit, **bound)
    better = float((own["delta1_scaled"] > prior["delta1_scaled"]).mean())
    report.figure(f"{kind} better than the latitude mean", better, "of panoramas", least=BETTER_SHARE)
    lost = float((own["delta1_scaled"] - swapped["delta1_scaled"]).mean())
    report.figure(f"{kind} delta1 lost when swapped", lost, "", least=SWAPPED_LOSS[kind])


def _tell_styles(report: Report, truths: list[Truth], own: list[dict[str, float]]) -> None:
    table = report.table("by style", COLUMNS)
    for style in dict.fromkeys(truth.style for truth in truths):
        found = [row for row, truth in zip(own, truths, strict=True) if truth.style == style]
        values = [[row[column] for row in found] for column in COLUMNS]
        table.row(style, *(None if np.isnan(v).all() else float(np.nanmean(v)) for v in values))


def _photographs(report: Report, model: PagerModel, folder: Path, outdoor: set[str]) -> None:
    """Checks that need no truth."""
    columns = {"nadir m": ".2f", "ground °": ".1f", "zenith sky": ".2f", "p outdoor": ".2f", "": ""}
    table = report.table("photographs", columns, width=32)
    checks: dict[str, list[bool]] = {"nadir": [], "ground": [], "zenith": [], "router": []}
    for file in sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")):
        kind = "outdoor" if file.stem in outdoor else "indoor"
        routed = predict(file, model) if model.routes_itself else None
        found = predict(file, model, scene=kind)
        nadir, ground, zenith = _seen(found)
        p_outdoor = routed.p_outdoor if routed is not None else None
        said = routed.scene if routed is not None else None
        table.row(file.stem, nadir, ground, zenith, p_outdoor, f"{said}, is {kind}")
        checks["nadir"].append(1.0 <= nadir <= 2.6)
        checks["ground"].append(ground <= 10)
        checks["zenith"].append(zenith > 0.6 if kind == "outdoor" else zenith < 0.03)
        checks["router"].append(said in (None, kind))
    for name, passed in checks.items():
        report.figure(f"photographs, {name}", float(np.mean(passed)) if passed else None, "pass")


def _seen(prediction: Prediction) -> tuple[float, float, float]:
    """Depth straight down, angle of the ground's normals from up between 60° and 80° below, sky overhead."""
    depth, normals, sky = _maps(prediction)
    height = depth.shape[0]

    def row(degrees: float) -> int:
        return int((0.5 - degrees / 180) * height)

    nadir = float(np.median(depth[row(-85) :]))
    up = np.median(normals[row(-60) : row(-80), :, 1])
    return nadir, math.degrees(math.acos(min(1.0, float(up)))), float(sky[: row(70)].mean())
