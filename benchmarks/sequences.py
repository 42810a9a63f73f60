"""Jitter of metric scale on rendered walks, over exact depth: as predicted, filtered by scales alone, and by depths.

A camera walks a metre and a half through a furnished room in six seconds and turns by a radian; a frame's error is
the median of ln(predicted depth / exact depth) over all directions. Jitter is the root of the mean squared change from
one frame to the next, as a share; spread is the errors' deviation. ``scales`` smooths the column log_scale alone,
``depths`` is what ``scale.sequence=robust`` does.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise

import numpy as np

from benchmarks.frame import Report
from pager_ray.consistency import agreement, consistent_scale, jitter
from pager_ray.geometry import erp_to_cubemap
from pager_ray.infer import Predictor
from pager_ray.infer.settings import InferenceSettings
from pager_ray.model import load_model
from pager_ray.ranges import DepthRange, SkySettings
from pager_ray.samples import RenderedPanorama, make_scene, render

_RATE = 10
_THIN = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default="embedded", metavar="SOURCE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 4], help="rooms (default: 0 1 2 4)")
    parser.add_argument("--frames", type=int, default=60, help="per walk (default: 60)")
    parser.add_argument("--device", default="cpu")


def walk(seed: int, count: int, height: int) -> list[RenderedPanorama]:
    """A slow curve through the middle of a room, turning."""
    scene = make_scene(seed, "indoor")
    along = np.linspace(-1, 1, count)
    x, z = scene.eye[0] + 0.6 * along, scene.eye[2] + 0.3 * np.sin(2 * along)
    return [
        render(
            replace(scene, eye=(float(x[k]), scene.eye[1], float(z[k])), heading=scene.heading + 0.5 * along[k]),
            height,
            2 * height,
        )
        for k in range(count)
    ]


def measure(options: argparse.Namespace, report: Report) -> None:
    model = load_model(options.checkpoint, options.device)
    size, fov = model.architecture.face_size, model.architecture.cube_fov
    settings = InferenceSettings(DepthRange(0.01, 75.0), SkySettings(0.3, 0.15, 5), fill=False, scene_mode="indoor")
    predict = Predictor(model, settings)
    columns = {f"{what}, {way}": "" for what in ("jitter", "spread") for way in ("predicted", "scales", "depths")}
    table = report.table(f"{options.frames} frames a walk, {options.checkpoint}", columns, "walk", width=20)
    still = np.zeros(options.frames, np.int64)
    for seed in options.seeds:
        errors, scales, maps = [], [], []
        for panorama in walk(seed, options.frames, size // 2):
            faces = erp_to_cubemap(panorama.rgb, size, fov)[None]
            found = predict(faces.copy(), ["indoor"])[0]
            truth = erp_to_cubemap(panorama.depth[..., None], size, fov)[..., 0]
            if found.depth is None or found.log_scale is None:
                raise SystemExit(f"{options.checkpoint}: has no scale heads")
            errors.append(float(np.median(np.log(found.depth[truth > 0] / truth[truth > 0]))))
            scales.append(found.log_scale)
            maps.append(np.log(found.depth[:, ::_THIN, ::_THIN]).reshape(-1))
        error, scale, time = np.array(errors), np.array(scales), np.arange(options.frames) / _RATE
        steps = np.array([agreement(one, other) for one, other in pairwise(maps)])
        ways = [error]
        for given in (None, steps):
            ways.append(error + consistent_scale(scale, time, given).log_scale - scale)
        shown = [f"{100 * jitter(one, still):.2f} %" for one in ways] + [f"{100 * one.std():.2f} %" for one in ways]
        table.row(str(seed), *shown)
        for name, one in zip(("as predicted", "by scales", "by depths"), ways, strict=True):
            report.figure(f"walk {seed}, jitter {name}", jitter(one, still), "")
