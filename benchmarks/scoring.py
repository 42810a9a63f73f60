"""Panoramas per second that one core scores in an evaluation, at 2048×4096.

Calls the stage's own block function on one thread, from predicted 504-px faces (or stored predictions) and ground truth
on a local disk to a row of metrics: decode, stitch, align, score. The released way, timed in the same run, is
pytorch360convert's stitching and whole-array float32 metrics in torch, from the same files. Ground truth is a rendered
scene in the layout of Replica360_4K (.dpt and a mask) or Stanford2D3DS (16-bit PNG). Each case runs in a process of its
own, whose peak memory is printed. Times are processor time.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.frame import Report, in_own_process, median_seconds

HEIGHT, WIDTH, FACE = 2048, 4096, 504
REPLICA, STANFORD, SYNTHETIC = "Replica360_4K", "Stanford2D3DS", "synthetic"
SCENE = "camera_0_office_0"

# name → dataset, alignments, families, resampling floor, error maps, stored predictions instead of faces
CASES: dict[str, tuple[str, list[str], list[str], bool, bool, bool]] = {
    "depth, one alignment": (REPLICA, ["metric"], ["depth"], False, False, False),
    "  from 16-bit PNG": (STANFORD, ["metric"], ["depth"], False, False, False),
    "  three alignments": (REPLICA, ["metric", "scale", "scale_and_shift"], ["depth"], False, False, False),
    "  and seams": (REPLICA, ["metric"], ["depth", "seams"], False, False, False),
    "  and resampling floor": (REPLICA, ["metric"], ["depth"], True, False, False),
    "  and error maps": (REPLICA, ["metric"], ["depth"], False, True, False),
    "  from npz predictions": (REPLICA, ["metric"], ["depth"], False, False, True),
    "the defaults": (REPLICA, ["metric", "scale", "scale_and_shift"], ["depth", "seams"], True, True, False),
    "the defaults, with normals": (
        SYNTHETIC,
        ["metric", "scale", "scale_and_shift"],
        ["depth", "normals", "seams"],
        True,
        True,
        False,
    ),
}
RELEASED = "released way, one alignment"


def write_inputs(root: Path) -> None:
    """Ground truth in both layouts, predicted faces and a stored prediction."""
    from pager_ray.encode.npz import encode_npz
    from pager_ray.geometry import cubemap_to_erp, erp_to_cubemap
    from pager_ray.samples import make_scene, render

    rendered = render(make_scene(0, "indoor"), HEIGHT // 2, WIDTH // 2, supersample=1)
    depth = cv2.resize(rendered.depth, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    rgb = cv2.cvtColor(cv2.resize(rendered.rgb, (WIDTH, HEIGHT)), cv2.COLOR_RGB2BGR)
    replica = root / REPLICA / "room_0"
    replica.mkdir(parents=True)
    header = np.float32(202021.25).tobytes() + np.array([WIDTH, HEIGHT], "<i4").tobytes()
    (replica / "0000_depth_pano.dpt").write_bytes(header + depth.tobytes())
    cv2.imwrite(str(replica / "0000_mask_pano.png"), (depth > 0).astype(np.uint8) * 255)
    cv2.imwrite(str(replica / "0000_rgb_pano.jpg"), rgb)
    stanford = root / STANFORD / "area_1" / "pano"
    for folder in ("rgb", "depth"):
        (stanford / folder).mkdir(parents=True)
    stem = f"{SCENE}_frame_equirectangular_domain"
    cv2.imwrite(str(stanford / "rgb" / f"{stem}_rgb.png"), rgb)
    cv2.imwrite(str(stanford / "depth" / f"{stem}_depth.png"), np.rint(depth * 65535 / 128).astype(np.uint16))

    scenes = root / SYNTHETIC
    (scenes / "ground_truth").mkdir(parents=True)
    cv2.imwrite(str(scenes / "room.jpg"), rgb)
    (scenes / "samples.csv").write_text("uri,id,scene\nroom.jpg,room,indoor\n", encoding="utf-8")
    normals = cv2.resize(rendered.normals, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    np.savez(scenes / "ground_truth" / "room.npz", depth=depth, normals=normals, sky=depth == 0)

    rng = np.random.default_rng(0)
    np.save(root / "normals.npy", erp_to_cubemap(normals, FACE).astype(np.float16))
    faces = erp_to_cubemap(depth[..., None], FACE)[..., 0]
    faces *= (1 + 0.1 * rng.standard_normal(faces.shape)).clip(0.5, 1.5).astype(np.float32)
    np.save(root / "faces.npy", faces)
    stored = root / "stored" / "depth" / "preds"
    stored.mkdir(parents=True)
    stitched = cubemap_to_erp(faces[..., None], HEIGHT, WIDTH)[..., 0]
    (stored / "room_0_0000.npz").write_bytes(encode_npz("depth", stitched))


def measure_ours(root: Path, name: str, repeats: int) -> dict[str, float]:
    """Median seconds of the stage's block function on one row."""
    from pager_ray.datasets import open_dataset
    from pager_ray.evaluate import ScoreSettings
    from pager_ray.stages.rows import INFER_SCHEMA, blob, to_table
    from pager_ray.stages.score import ScoreStageSettings, make_face_score_fn, make_stored_score_fn
    from pager_ray.stages.truth import sample_json

    dataset, alignments, families, floor, pictures, stored = CASES[name]
    settings = ScoreStageSettings(
        dataset=dataset,
        data_path=str(root / SYNTHETIC if dataset == SYNTHETIC else root),
        scoring=ScoreSettings(
            tuple(families), tuple(alignments), floor=floor, face_size=FACE, fov=90.0, pictures=pictures
        ),
        half_normals=True,
        predictions=str(root / "stored") if stored else None,
    )
    [sample] = open_dataset(dataset, settings.data_path).samples()
    row = {
        "id": sample.id,
        "uri": sample.uri,
        "scene": sample.scene,
        "sample": sample_json(sample),
        "width": WIDTH,
        "height": HEIGHT,
        "depth": blob(np.load(root / "faces.npy")),
        "normals": blob(np.load(root / "normals.npy")),
    }
    table = to_table([row], INFER_SCHEMA, 1, "infer")
    score = make_stored_score_fn(settings) if stored else make_face_score_fn(settings)
    return _timed(lambda: score(table), repeats, lambda result: result.column("error_class")[0].as_py())


def measure_released(root: Path, repeats: int) -> dict[str, float]:
    """The same row in the released way: whole-array float32 metrics on a stitched panorama."""
    import pytorch360convert  # type: ignore[import-untyped]
    import torch

    torch.set_num_threads(1)
    faces = np.load(root / "faces.npy")
    scene = root / REPLICA / "room_0"

    def score() -> tuple[float, float, float, float]:
        content = (scene / "0000_depth_pano.dpt").read_bytes()
        truth = torch.from_numpy(np.frombuffer(content, "<f4", offset=12).reshape(HEIGHT, WIDTH).copy())
        scene_mask = np.asarray(cv2.imread(str(scene / "0000_mask_pano.png"), cv2.IMREAD_GRAYSCALE))
        truth = truth.clamp(0.01, 75)
        mask = (truth > 0.0101) & (truth < 74.25) & torch.from_numpy(scene_mask > 0)
        stitched = pytorch360convert.c2e(torch.from_numpy(faces)[:, None], HEIGHT, WIDTH, cube_format="stack")[0]
        count = mask.sum()
        absolute = (stitched - truth).abs()
        relative = torch.where(mask, absolute / truth, 0.0).sum() / count
        squared_relative = torch.where(mask, absolute**2 / truth, 0.0).sum() / count
        rmse = (torch.where(mask, absolute**2, 0.0).sum() / count).sqrt()
        ratio = torch.maximum(stitched / truth, truth / stitched)
        delta = torch.where(mask, (ratio < 1.25).float(), 0.0).sum() / count
        return float(relative), float(squared_relative), float(rmse), float(delta)

    return _timed(score, repeats, lambda _: None)


def _timed(call: Any, repeats: int, failure: Any) -> dict[str, float]:
    cv2.setNumThreads(1)
    if reason := failure(call()):
        raise SystemExit(f"the benchmark's row was rejected: {reason}")
    seconds = median_seconds(call, repeats)
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def in_case(name: str, root: str, repeats: int) -> dict[str, float]:
    """One case, in this process."""
    return measure_released(Path(root), repeats) if name == RELEASED else measure_ours(Path(root), name, repeats)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7, help="timed calls per case, of which the median is shown")


def measure(options: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder))
        columns = {"ms": ".0f", "per s": ".1f", "ratio": ".1f", "peak GiB": ".2f"}
        table = report.table(f"{HEIGHT}x{WIDTH}, one thread", columns, width=32)
        baseline = 0.0
        for name in (RELEASED, *CASES):
            figures = in_own_process("scoring:in_case", name, folder, options.repeats)
            seconds = figures["seconds"]
            baseline = baseline or seconds
            table.row(name, 1e3 * seconds, 1 / seconds, baseline / seconds, figures["peak"])
            if name == "depth, one alignment":
                report.ratio("score a panorama", "released way", 1e3 * baseline, 1e3 * seconds)
