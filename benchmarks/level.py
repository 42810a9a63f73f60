"""What a tilted camera costs a checkpoint, with and without levelling, and what levelling costs the CPU stages.

*Errors*: the rendered scenes of ``pager-ray samples``, seeds 0 upwards of both kinds, 512×256, each from an upright
camera and from one that is tilted by 5, 15, 30 and 60° about a level axis, another one for every scene. Predictions are
made from the tilted picture as it is, and with its pitch and roll given; both are scored against the tilted camera's
own exact truth, normals in its own frame, weighted by solid angle, depth without sky and to 75 m, after the median of
log-depth (``absrel``) or as the scale head says (``metric``). A ratio is to the error of the upright picture: 1 is what
a tilt should cost.

*Cost*: processor seconds of stages *read* (a JPEG of 4096×2048 to six 504-px faces) and *stitch* (faces to encoded maps
of 4096×2048) on one thread, as a run calls them, of a picture without a pose, of one whose GPano says 0°, and of tilted
ones; the least of several calls in turn, after one that compiles and builds tables.
"""

from __future__ import annotations

import argparse
import math
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from benchmarks.cpu_stages import jpeg
from benchmarks.frame import Report
from benchmarks.output_size import FACE, predicted_faces
from pager_ray import load_model, predict
from pager_ray.config.schema import OutputConfig
from pager_ray.model import PagerModel
from pager_ray.prediction import Prediction
from pager_ray.retrying import Retry
from pager_ray.samples import Kind, make_scene, render
from pager_ray.stages.read import ReadSettings, project_row
from pager_ray.stages.rows import INFER_SCHEMA, blob, to_table
from pager_ray.stages.stitch import StitchSettings, make_stitch_fn
from pager_ray.train.figures import erp_weights, figures

KINDS: tuple[Kind, ...] = ("indoor", "outdoor")
HEIGHT = 256
TILTS = (5, 15, 30, 60)
HELD = 30
"""The tilt whose errors have a bound."""

MOST_OF_LEVEL = 1.10
"""Most that a levelled panorama's error may be of the upright one's."""

MOST_COST = 1.20
"""Most processor time of a levelled panorama's CPU stages, of those of one that is not levelled."""

MOST_OF_NOTHING = 1.03
"""Most for one that is level already: what two measurements of the same code differ by."""

ERRORS = "errors"
"""What the title of their table begins with."""

SCORES = {"absrel": "absrel_scaled", "metric": "absrel_metric", "normals, °": "normals_mean"}
WIDTH = 4096
POSES: dict[str, tuple[float, float] | None] = {
    "no pose": None,
    "0°": (0.0, 0.0),
    "5°": (4.0, -3.0),
    "30°": (20.0, 22.8),
    "60°": (-40.0, 49.3),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's own options."""
    parser.add_argument("--checkpoint", default="embedded", help="what is scored (default: %(default)s)")
    parser.add_argument("--count", type=int, default=8, help="scenes of each kind (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="calls of each stage (default: %(default)s)")


def measure(options: argparse.Namespace, report: Report) -> None:
    """Cost first: it is measured on one thread, and torch has begun none yet."""
    measure_cost(options.repeats, report)
    measure_errors(load_model(options.checkpoint, device="cpu"), options.count, report)


def measure_errors(model: PagerModel, count: int, report: Report) -> None:
    """Errors by tilt, without and with."""
    ways = ["upright", *(f"{tilt}°{way}" for tilt in TILTS for way in ("", ", levelled"))]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(count):
        for kind in KINDS:
            found["upright"].append(score(model, number, kind, 0.0, 0.0, level=False))
            for tilt in TILTS:
                pitch, roll = tilted_by(tilt, 2.4 * number + (0.7 if kind == "outdoor" else 0.0))
                found[f"{tilt}°"].append(score(model, number, kind, pitch, roll, level=False))
                found[f"{tilt}°, levelled"].append(score(model, number, kind, pitch, roll, level=True))
    columns = {name: form for score in SCORES for name, form in ((score, ".3f"), (f"{score} / upright", ".2f"))}
    table = report.table(
        f"errors of {model.identity.title}, {2 * count} rendered scenes", columns, first="tilt", width=24
    )
    means = {way: {name: float(np.mean([one[key] for one in rows])) for name, key in SCORES.items()}
             for way, rows in found.items()}  # fmt: skip
    for way, row in means.items():
        table.row(way, *(value for name in SCORES for value in (row[name], row[name] / means["upright"][name])))
        for name in SCORES:
            bound = {"most": MOST_OF_LEVEL} if way == f"{HELD}°, levelled" and name != "metric" else {}
            if way != "upright":
                ratio = row[name] / means["upright"][name]
                report.figure(f"{way}: {name.partition(',')[0]}", ratio, "of upright", **bound)


def tilted_by(tilt: float, axis: float) -> tuple[float, float]:
    """Pitch and roll in degrees of a camera whose up is so many degrees from the world's, about some level axis."""
    angle = math.radians(tilt)
    pitch = math.asin(math.sin(angle) * math.cos(axis))
    roll = math.acos(min(1.0, math.cos(angle) / math.cos(pitch)))
    return math.degrees(pitch), math.degrees(math.copysign(roll, math.sin(axis)))


def score(model: PagerModel, seed: int, kind: Kind, pitch: float, roll: float, *, level: bool) -> dict[str, float]:
    """Figures of one prediction against the truth of its own camera."""
    # The renderer's roll lifts the right side, GPano's lowers it.
    scene = replace(make_scene(seed, kind), tilt=(math.radians(pitch), math.radians(-roll)))
    shot = render(scene, HEIGHT, 2 * HEIGHT)
    given = (pitch, roll) if level else (None, None)
    prediction = predict(shot.rgb, model, scene=kind, pitch_degrees=given[0], roll_degrees=given[1])
    return figures(maps_of(prediction), (shot.depth, shot.normals), erp_weights(HEIGHT, 2 * HEIGHT))


def maps_of(prediction: Prediction) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Depth, and what else there is."""
    if prediction.depth is None:
        raise SystemExit("--checkpoint: takes one that predicts depth")
    return prediction.depth, prediction.normals, prediction.sky


def measure_cost(repeats: int, report: Report) -> None:
    """Processor time of the CPU stages by pose."""
    cv2.setNumThreads(1)
    picture = jpeg(WIDTH, None)
    calls = {name: stages_of(picture, pose) for name, pose in POSES.items()}
    first = {name: sum(seconds_of(call) for call in both) for name, both in calls.items()}
    least = {name: [math.inf, math.inf] for name in calls}
    for _ in range(repeats):
        for name, both in calls.items():
            least[name] = [min(was, seconds_of(call)) for was, call in zip(least[name], both, strict=True)]
    columns = {"read ms": ".1f", "stitch ms": ".1f", "both ms": ".1f", "of no pose": ".3f", "first ms": ".0f"}
    table = report.table(f"CPU stages of a panorama of {WIDTH}×{WIDTH // 2}, one thread", columns, first="pose")
    nothing = sum(least["no pose"])
    for name, (read, stitch) in least.items():
        ratio = (read + stitch) / nothing
        table.row(name, 1e3 * read, 1e3 * stitch, 1e3 * (read + stitch), ratio, 1e3 * first[name])
        if name != "no pose":
            most = MOST_OF_NOTHING if name == "0°" else MOST_COST
            report.figure(f"CPU stages of a panorama tilted by {name}", ratio, "of one without a pose", most=most)


def seconds_of(call: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def stages_of(picture: bytes, pose: tuple[float, float] | None) -> tuple[Callable[[], object], Callable[[], object]]:
    """Calls of *read* and of *stitch* on a panorama with a pose in its metadata."""
    content = picture if pose is None else with_pose(picture, *pose)
    read = ReadSettings(
        face_size=FACE,
        fov=90.0,
        max_pixels=2**28,
        max_bytes=2**30,
        thumbnail_width=None,
        retry=Retry(0),
        upright="gpano",
    )
    row: dict[str, Any] = {"id": "a", "uri": "a.jpg"}
    known = project_row(row, content, read)
    if known.get("error_class"):
        raise SystemExit(f"the panorama is rejected: {known['message']}")
    arrays = {name: blob(array) for name, array in predicted_faces("indoor", 0).items()}
    inferred = {name: value for name, value in known.items() if name != "faces"} | arrays
    table = to_table([inferred], INFER_SCHEMA, 1, "infer")
    stitch = make_stitch_fn(
        StitchSettings(OutputConfig(uri="out"), FACE, 90.0, half_normals=False, metric=True, preview_sky=None)
    )
    return lambda: project_row(row, content, read), lambda: stitch(table)


def with_pose(picture: bytes, pitch: float, roll: float) -> bytes:
    """A JPEG with GPano metadata that say how it was held."""
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
        f'GPano:PosePitchDegrees="{pitch}" GPano:PoseRollDegrees="{roll}"/></rdf:RDF></x:xmpmeta>'
    )
    body = b"http://ns.adobe.com/xap/1.0/\0" + packet.encode()
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + picture[2:]
