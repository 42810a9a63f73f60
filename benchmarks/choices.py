"""What the choices of a run move in its results: precision, faces as uint8, batches, projection, codecs.

The same rendered panoramas (half of them outdoors, 1024×512) go through the job in this process (``run_here``), or
through its predictor where the choice lies there, and everything is compared with one way of doing it: float32, a
panorama per batch, uint8 faces, ERP maps stored exactly. Differences are over all pixels that the latter gives a depth,
weighted by solid angle: of depth in per cent of it, of normals in degrees, of sky in probability. Beside them stands
what the choice does to the error against the rendered truth, without sky and to 75 m: mean AbsRel and mean angle.

With random weights this measures little; with trained ones it says what a choice is worth.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.frame import Report
from pager_ray import load_model, open_run
from pager_ray.config import load_config
from pager_ray.geometry import erp_to_cubemap, stitch_maps
from pager_ray.here import run_here
from pager_ray.infer import FacePrediction, Predictor
from pager_ray.model import PagerModel, resolve_checkpoint
from pager_ray.read import decode_panorama
from pager_ray.samples import write_samples
from pager_ray.stages.settings import inference_settings

HEIGHT, FAR = 512, 75.0
BATCHES = (4, 8)
PRECISIONS = ("float16", "bfloat16", "int8", "fp8")
STORED = {
    "output.codec=default": {"output.codec": "default"},
    "output.codec=small": {"output.codec": "small"},
    "output.codec=portable": {"output.codec": "portable"},
    "output.projection=cubemap, exact": {"output.projection": "cubemap"},
    "output.projection=cubemap, default": {"output.projection": "cubemap", "output.codec": "default"},
}
COLUMNS = {
    "depth p50, %": ".3f",
    "depth p99, %": ".3f",
    "normals, °": ".3f",
    "normals p99, °": ".3f",
    "sky": ".5f",
    "AbsRel, %": "+.3f",
    "angle, °": "+.3f",
}


@dataclass(frozen=True)
class Maps:
    """One panorama's ERP maps; sky is probability."""

    depth: np.ndarray
    normals: np.ndarray
    sky: np.ndarray


Way = Mapping[str, Maps]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default="embedded", metavar="SOURCE")
    parser.add_argument("--count", type=int, default=24, help="panoramas, half of them outdoors (default: 24)")


def measure(options: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        listing = write_samples(folder / "panoramas", options.count, height=HEIGHT)
        truth = {path.stem: np.load(path) for path in sorted((listing.parent / "ground_truth").glob("*.npz"))}
        model = load_model(options.checkpoint, "cpu", "float32")
        stored = lambda name, model, **more: run(folder / name, listing, options.checkpoint, model, more)  # noqa: E731
        base = stored("base", model)
        title = f"{options.count} panoramas, {options.checkpoint}: differences to float32 stored exactly"
        table = report.table(title, COLUMNS, first="choice", width=36)

        def tell(choice: str, way: Way) -> None:
            values = differences(way, base, truth)
            table.row(choice, *values.values())
            for name, value in values.items():
                report.figure(f"{choice}: {name}", value, "")

        for precision in PRECISIONS:
            tell(f"precision={precision}", stored(precision, load_model(options.checkpoint, "cpu", precision)))
        config = load_config(None, ["input.uris=in", "output.uri=out", f"checkpoint={options.checkpoint}"])
        predict = Predictor(model, inference_settings(config))
        given = {path.stem: path for path in sorted(listing.parent.glob("*.jpg"))}
        tell("not stored", predicted(given, model, predict, 1))
        for size in BATCHES:
            tell(f"batches of {size}", predicted(given, model, predict, size))
        tell("compute.project_on=gpu", unrounded(given, model, predict))
        for number, (choice, more) in enumerate(STORED.items()):
            tell(choice, stored(f"stored-{number}", model, **more))


def run(output: Path, listing: Path, source: str, model: PagerModel, more: Mapping[str, str]) -> Way:
    """A run of this process, read back."""
    given = {"input.uris": listing, "output.uri": output, "checkpoint": source, "output.codec": "exact"} | dict(more)
    given |= {"compute.gpus_per_worker": 0, "precision": model.precision}
    config = load_config(None, [f"{key}={value}" for key, value in given.items()])
    run_here(config, resolve_checkpoint(source), Predictor(model, inference_settings(config)))
    done = open_run(output)
    return {id: maps_of(done[id].depth, done[id].normals, done[id].sky) for id in done.ids()}


def maps_of(*maps: np.ndarray | None) -> Maps:
    """All three of a checkpoint that has every head."""
    given = [each for each in maps if each is not None]
    if len(given) < len(maps):
        raise SystemExit("--checkpoint: takes one that predicts depth, normals and sky")
    return Maps(*given)


def predicted(given: Mapping[str, Path], model: PagerModel, predict: Predictor, size: int) -> Way:
    """Maps of batches of some size, stitched and not stored."""
    architecture, found = model.architecture, dict[str, Maps]()
    names = list(given)
    for start in range(0, len(names), size):
        batch = names[start : start + size]
        erps = [decode_panorama(given[name].read_bytes()).erp for name in batch]
        faces = np.stack([erp_to_cubemap(erp, architecture.face_size, architecture.cube_fov) for erp in erps])
        scenes: list[str | None] = [scene_of(name) for name in batch]
        for name, faces_of in zip(batch, predict(faces, scenes), strict=True):
            found[name] = stitched(faces_of, architecture.cube_fov)
    return found


def unrounded(given: Mapping[str, Path], model: PagerModel, predict: Predictor) -> Way:
    """Maps of faces that were sampled beside the network."""
    found = {}
    for name, path in given.items():
        erp = decode_panorama(path.read_bytes()).erp
        (faces,) = predict.submit_panoramas([erp], [scene_of(name)]).result()
        found[name] = stitched(faces, model.architecture.cube_fov)
    return found


def scene_of(name: str) -> str:
    """What the listing of the samples says, by the style in the name."""
    return "outdoor" if name.split("-")[1] in ("street", "park", "plaza") else "indoor"


def stitched(faces: FacePrediction, fov: float) -> Maps:
    """ERP maps as a run's stitch stage makes them."""
    return maps_of(*stitch_maps(faces.depth, faces.normals, faces.sky, HEIGHT, 2 * HEIGHT, fov))


def differences(way: Way, base: Way, truth: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Every column, over all panoramas."""
    weights = np.cos((0.5 - (np.arange(HEIGHT) + 0.5) / HEIGHT) * np.pi)[:, None] * np.ones((1, 2 * HEIGHT))
    moved, angle, sky, weight = [], [], [], []
    errors: list[list[float]] = [[], []]
    turns: list[list[float]] = [[], []]
    for id, theirs in base.items():
        mine, exact = way[id], truth[id]
        some = theirs.depth > 0
        moved.append(100 * np.abs(mine.depth[some] / theirs.depth[some] - 1))
        angle.append(angles(mine.normals, theirs.normals)[some])
        sky.append(np.abs(mine.sky - theirs.sky)[some])
        weight.append(weights[some])
        seen = (exact["depth"] > 0) & (exact["depth"] <= FAR) & (exact["sky"] < 0.5)
        for maps, error, turn in zip((mine, theirs), errors, turns, strict=True):
            relative = np.abs(maps.depth[seen] / exact["depth"][seen] - 1)
            error.append(100 * float(np.average(relative, weights=weights[seen])))
            turn.append(float(np.average(angles(maps.normals, exact["normals"])[seen], weights=weights[seen])))
    parts = [np.concatenate(each) for each in (moved, angle, sky)]
    of_all = np.concatenate(weight)
    return dict(
        zip(
            COLUMNS,
            (
                quantile(parts[0], of_all, 0.5),
                quantile(parts[0], of_all, 0.99),
                float(np.average(parts[1], weights=of_all)),
                quantile(parts[1], of_all, 0.99),
                float(np.average(parts[2], weights=of_all)),
                float(np.mean(errors[0]) - np.mean(errors[1])),
                float(np.mean(turns[0]) - np.mean(turns[1])),
            ),
            strict=True,
        )
    )


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between vectors, by the length of their difference: exact for small ones, too."""
    half = np.linalg.norm(unit(a) - unit(b), axis=-1) / 2
    return np.asarray(np.degrees(2 * np.arcsin(np.clip(half, 0, 1))))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; none stays none."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))


def quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value below which a share of the weight lies."""
    order = np.argsort(values)
    place = np.searchsorted(np.cumsum(weights[order]), share * weights.sum())
    return float(values[order[min(place, len(order) - 1)]])
