"""Bytes stored per 2048×4096 panorama, and the errors they cost.

The panoramas are the project's own sample scenes, rendered with exact depth, normals and sky and then made into what a
network would predict at its own resolution, six faces of 504 px (:func:`predicted_faces`). Random weights would give
noise, rendered ground truth would be too clean: both mislead about sizes. The noise is stated as the share of depth and
the angle of normals that it moves at three scales: 14-px patches, the convolutions after them, and single pixels, where
half-precision arithmetic alone leaves 5e-4 of depth. ``--noise 2`` doubles all of it.

Every map is stored with every codec, stitched to 2048×4096 and as faces (``projection: cubemap``), written as a shard
of the job, read back and compared. The baseline is the released layout, float32 depth and normals in npz files,
measured in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.frame import Report
from pager_ray.encode import PURPOSES, Kind, get_codec
from pager_ray.encode.npz import encode_npz
from pager_ray.geometry import FACE_AXES, erp_to_cubemap, stitch_maps
from pager_ray.runs import RunLayout, predictions_schema, write_shard
from pager_ray.samples import Kind as SceneKind
from pager_ray.samples import make_scene, render
from pager_ray.stages.rows import ENCODE_SCHEMA, to_table
from pager_ray.storage import Folder

HEIGHT, WIDTH, FACE = 2048, 4096, 504
KINDS: tuple[Kind, ...] = ("depth", "normals", "sky")
FARTHEST = 75.0
"""Metres that a network puts the sky at: the end of its range."""
MOST = {"erp": 1 / 6, "cubemap": 1 / 25}
"""Largest share of the released layout's bytes that the default codec may take, worst scene."""

# Blur of the noise in pixels, share of depth, angle of normals in radians.
_NOISE = ((12.0, 0.01, 0.02), (2.0, 0.003, 0.01), (0.5, 5e-4, 2e-3))

Maps = dict[Kind, np.ndarray]


def predicted_faces(kind: SceneKind, seed: int, noise: float = 1.0) -> Maps:
    """Depth, normals and sky of a sample scene as a network would predict them.

    Edges are softened by 0.8 px, which is what a dense head's last upsampling leaves, the sky's by 1.5 px. Noise has
    three scales. The sky is at the end of the depth range, with normals that face the camera.

    Args:
        kind: ``"indoor"`` or ``"outdoor"``.
        seed: of the scene.
        noise: factor of the noise's strength.

    Returns:
        ``depth`` (6, 504, 504), ``normals`` (6, 504, 504, 3) and ``sky`` (6, 504, 504), float32.
    """
    rendered = render(make_scene(seed, kind), HEIGHT // 2, WIDTH // 2, supersample=1)
    depth = np.where(rendered.sky, np.float32(FARTHEST), rendered.depth.clip(0.01, FARTHEST))
    log_depth = erp_to_cubemap(np.log(depth, dtype=np.float32)[..., None], FACE)[..., 0]
    normals = erp_to_cubemap(rendered.normals, FACE)
    sky = erp_to_cubemap(rendered.sky.astype(np.float32)[..., None], FACE)[..., 0]
    normals -= sky[..., None] * _face_rays()
    rng = np.random.default_rng(seed)

    def disturbed(faces: np.ndarray, strengths: tuple[float, ...]) -> np.ndarray:
        result = _blurred(faces, 0.8)
        for (sigma, *_), strength in zip(_NOISE, strengths, strict=True):
            layer = _blurred(rng.standard_normal(faces.shape, dtype=np.float32), sigma)
            result += layer * np.float32(noise * strength / layer.std())
        return result

    depth_noise, normal_noise = tuple(scale[1] for scale in _NOISE), tuple(scale[2] for scale in _NOISE)
    vectors = np.stack([disturbed(normals[..., axis], normal_noise) for axis in range(3)], axis=-1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    logits = _blurred(sky * 12 - 6, 1.5)
    uncertainty = _blurred(rng.standard_normal(sky.shape, dtype=np.float32), 8)
    logits += uncertainty * np.float32(0.3 * noise / uncertainty.std())
    return {"depth": np.exp(disturbed(log_depth, depth_noise)), "normals": vectors, "sky": 1 / (1 + np.exp(-logits))}


def _blurred(faces: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(face, (0, 0), sigma) for face in faces])


def _face_rays() -> np.ndarray:
    plane = np.linspace(-1, 1, FACE)
    right, down, forward = (FACE_AXES[:, None, None, axis] for axis in range(3))
    rays = forward + plane[None, None, :, None] * right + plane[None, :, None, None] * down
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


def stitched(faces: Maps, height: int, width: int) -> Maps:
    """Faces as ERP maps, the way the job stitches them."""
    depth, normals, sky = stitch_maps(faces["depth"], faces["normals"], faces["sky"], height, width)
    assert depth is not None
    assert normals is not None
    assert sky is not None
    return {"depth": depth, "normals": normals, "sky": sky}


def largest_error(unit: str, array: np.ndarray, back: np.ndarray) -> float:
    """Largest error of ``back``, in a codec's unit; computed in float64, some rows at a time."""
    return max(map(_largest_error, [unit] * 64, np.array_split(array, 64), np.array_split(back, 64)))


def _largest_error(unit: str, array: np.ndarray, back: np.ndarray) -> float:
    array, back = array.astype(np.float64), back.astype(np.float64)
    if unit == "degree":
        array, back = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) for vectors in (array, back))
        return float(np.degrees(2 * np.arcsin(np.linalg.norm(array - back, axis=-1) / 2)).max(initial=0))
    difference = np.abs(back - array)
    return float((difference / array if unit == "relative" else difference).max(initial=0))


@dataclass(frozen=True)
class Stored:
    """One panorama in a shard: bytes of the file, bytes of each map, largest error of each map."""

    file: int
    maps: dict[Kind, int]
    errors: dict[Kind, float]


def store(maps: Maps, purpose: str, projection: str) -> Stored:
    """Write a shard of one panorama and read it back."""
    row = {"id": "panorama", "uri": "panorama.jpg", "width": WIDTH, "height": HEIGHT}
    row |= {"map_height": HEIGHT, "map_width": WIDTH, "scene": "indoor"}
    blobs = {kind: get_codec(kind, purpose).encode(array) for kind, array in maps.items()}
    schema = predictions_schema(ENCODE_SCHEMA, KINDS, codec=purpose, projection=projection, face_size=FACE, fov=90.0)
    with tempfile.TemporaryDirectory() as folder:
        layout = RunLayout(Folder(folder))
        layout.make()
        write_shard(layout, "shard", to_table([row | blobs], ENCODE_SCHEMA, 1, "encode"), schema)
        content = layout.results.read("shard.parquet")
    table = pq.read_table(pa.BufferReader(content))
    errors = {}
    for kind, array in maps.items():
        codec = get_codec(kind, purpose)
        back = codec.decode(table.column(kind)[0].as_py(), array.shape)
        errors[kind] = largest_error(codec.error_unit, array, back)
    return Stored(len(content), {kind: len(blob) for kind, blob in blobs.items()}, errors)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=6, help="scenes of each kind; three styles take turns")
    parser.add_argument("--noise", type=float, default=1.0, help="factor of the noise's strength; bounds hold at 1")


def measure(options: argparse.Namespace, report: Report) -> None:
    cv2.setNumThreads(1)
    results: dict[tuple[str, str], list[Stored]] = {}
    released = 0
    columns = {f"{name} MB": ".2f" for name in ("ERP", *KINDS, "cubemap", *(f"its {kind}" for kind in KINDS))}
    table = report.table(f"per {HEIGHT}×{WIDTH} panorama, default codec, noise ×{options.noise:g}", columns, "scene")
    for seed in range(options.seeds):
        for kind in get_args(SceneKind):
            faces = predicted_faces(kind, seed, options.noise)
            maps = {"erp": stitched(faces, HEIGHT, WIDTH), "cubemap": faces}
            released = sum(len(encode_npz(name, maps["erp"][name])) for name in KINDS[:2])
            sizes: list[float] = []
            for projection, arrays in maps.items():
                for purpose in PURPOSES:
                    results.setdefault((projection, purpose), []).append(store(arrays, purpose, projection))
                stored = results[projection, "default"][-1]
                sizes += [size / 1e6 for size in (stored.file, *stored.maps.values())]
            table.row(f"{kind} {seed}, {make_scene(seed, kind).style}", *sizes)
    summarise(report, results, released)


def summarise(report: Report, results: dict[tuple[str, str], list[Stored]], released: int) -> None:
    """The worst scene of each projection and codec, beside the released layout."""
    report.line(f"\nreleased layout, float32 npz of depth and normals: {released / 1e6:.1f} MB")
    columns = {"MB": ".2f", "smaller": ".1f", "B beside maps": "d"} | {f"{kind} error": ".3g" for kind in KINDS}
    table = report.table("worst scene", columns, width=24)
    for (projection, purpose), scenes in results.items():
        worst = max(scenes, key=lambda stored: stored.file)
        errors = {kind: max(stored.errors[kind] for stored in scenes) for kind in KINDS}
        beside = worst.file - sum(worst.maps.values())
        table.row(f"{projection}, {purpose}", worst.file / 1e6, released / worst.file, beside, *errors.values())
        least = 1 / MOST[projection] if purpose == "default" else None
        report.ratio(
            f"stored as {projection}, codec {purpose}",
            "released layout",
            released / 1e6,
            worst.file / 1e6,
            "{:.1f} MB",
            least=least,
        )
        for kind in KINDS:
            codec = get_codec(kind, purpose)
            name = f"largest error of {kind} as {projection}, codec {purpose}"
            report.figure(name, errors[kind], codec.error_unit, most=codec.max_error)
