"""What rounding faces to uint8 costs: predictions from rounded faces beside those from faces sampled in float32.

Faces travel from CPUs to the model as uint8; sampled beside the network (``compute.project_on=gpu``) they are not
rounded. The same panoramas go both ways through the same checkpoint in float32; all else is equal. Panoramas are the
project's own sample scenes, half of them outdoors, or a folder's. Errors are those of the benchmark ``low_precision``:
of log-depth the norm of the difference over the norm, and quantiles of |difference| over max(|log-depth|, 1); of
normals the angle in degrees; of sky |difference| of probabilities; of log scale the largest |difference|.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.frame import Report
from benchmarks.low_precision import COLUMNS, KINDS, Outputs, errors
from pager_ray.geometry import erp_to_cubemap
from pager_ray.infer.predictor import IMAGENET_MEAN, IMAGENET_STD
from pager_ray.infer.projection import DeviceProjection
from pager_ray.model import PagerModel, load_model
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.read import decode_panorama, is_image_name
from pager_ray.samples import make_scene, render


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="SOURCE", help="default: random weights of --preset")
    parser.add_argument("--preset", choices=("da3-giant", "mid", "tiny"), default="mid")
    parser.add_argument("--panoramas", type=Path, metavar="FOLDER", help="images to predict (default: rendered ones)")
    parser.add_argument("--count", type=int, default=6, help="panoramas (default: 6)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def panoramas(folder: Path | None, count: int, face_size: int) -> list[tuple[np.ndarray, str]]:
    """ERPs, uint8 (H, W, 3), and the scenes that pick the scale head."""
    if folder is None:
        scenes = [make_scene(index // 2, KINDS[index % 2]) for index in range(count)]
        size = 2 * face_size, 4 * face_size
        return [(picture.rgb, picture.scene) for picture in (render(scene, *size, supersample=1) for scene in scenes)]
    paths = sorted(path for path in folder.iterdir() if is_image_name(path.name))[:count]
    if not paths:
        raise SystemExit(f"{folder}: holds no image")
    return [(decode_panorama(path.read_bytes()).erp, "indoor") for path in paths]


def measure(options: argparse.Namespace, report: Report) -> None:
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        source = options.checkpoint or os.fspath(write_random_checkpoint(folder, options.preset))
        model = load_model(source, device, "float32")
    architecture = model.architecture
    size, fov = architecture.face_size, architecture.cube_fov
    project = DeviceProjection(size, fov, device)
    rounded: Outputs = []
    exact: Outputs = []
    for erp, scene in panoramas(options.panoramas, options.count, size):
        faces = torch.from_numpy(erp_to_cubemap(erp, size, fov)).to(device).permute(0, 3, 1, 2).float()
        rounded.append(predicted(model, faces, scene))
        exact.append(predicted(model, project(erp), scene))
    weights = options.checkpoint or f"random weights, {options.preset}"
    table = report.table(f"{options.count} panoramas, {weights}, face size {size}", COLUMNS, width=20)
    found = errors(rounded, exact, architecture.log_depth)
    table.row("rounded to uint8", *found.values())
    for name, value in found.items():
        report.figure(f"rounding faces, {weights}: {name}", value if np.isfinite(value) else None, "")


def predicted(model: PagerModel, levels: torch.Tensor, scene: str) -> dict[str, np.ndarray]:
    """Raw maps of faces (6, 3, S, S) in levels 0…255, on the host."""
    mean, std = (torch.tensor(values, device=levels.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    raw = model(((levels / 255 - mean) / std).unsqueeze(0), [scene])
    return {name: values[0].cpu().numpy() for name, values in raw.items()}
