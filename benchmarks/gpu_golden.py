"""The golden checkpoints on a device: errors against the released implementation's arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.frame import ROOT
from benchmarks.gpu_context import Context
from benchmarks.model import as_model
from pager_ray.model.architecture import Architecture, parse_architecture
from pager_ray.model.serving import PRECISIONS
from pager_ray.model.weights import load_network

GOLDEN = ROOT / "tests" / "golden"
GOLDEN_NAMES = ("tiny_unified", "tiny_metric_depth", "tiny_normals")
MODALITIES = ("depth", "normals", "sky")
MOST_GOLDEN_ERROR = {"cpu": 1e-4, "cuda": 1e-3}
"""Of a standard deviation, in float32 without TF32; kernels of a GPU add in another order than a CPU's."""


def golden_architecture(folder: Path) -> Architecture:
    """A golden checkpoint's network, also where there is no PyYAML."""
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    return parse_architecture(plain_yaml(text), where=str(folder))


def plain_yaml(text: str) -> dict[str, Any]:
    """Mappings of mappings, lists of numbers and words, and scalars: what the golden configurations are made of."""
    result: dict[str, Any] = {}
    section = result
    items: list[Any] = []
    for line in text.splitlines():
        indented, stripped = line.startswith("  "), line.strip()
        if stripped.startswith("- "):
            items.append(_scalar(stripped[2:]))
            continue
        key, _, value = stripped.partition(":")
        target = section if indented else result
        if value.strip():
            target[key] = _scalar(value.strip())
            continue
        # A list or a section: only the next line says which.
        following = text.split(line + "\n", 1)[1].splitlines()[0]
        items = []
        target[key] = items if following.strip().startswith("- ") else {}
        if isinstance(target[key], dict):
            section = target[key]
    return result


def _scalar(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def golden(context: Context) -> None:
    """Errors of the golden checkpoints."""
    report, folder = context.report, Path(context.options.golden)
    ways = [("float32", "float32", False), ("float32, TF32", "float32", True)] if context.on_gpu else []
    ways = ways or [("float32", "float32", False)]
    ways += [(name, name, False) for name in ("float16", "bfloat16")]
    columns = {f"{name} most": ".2e" for name in MODALITIES} | {f"{name} mean": ".2e" for name in MODALITIES}
    table = report.table("golden checkpoints, errors in standard deviations", columns, width=34)
    for name in GOLDEN_NAMES:
        for title, precision, tf32 in ways:
            scaled = golden_errors(context.device, folder / name, precision, tf32=tf32)
            most = [float(scaled[key].max()) if key in scaled else None for key in MODALITIES]
            mean = [float(scaled[key].mean()) if key in scaled else None for key in MODALITIES]
            table.row(f"{name}, {title}", *most, *mean)
            bound = MOST_GOLDEN_ERROR[context.device.type] if title == "float32" else None
            for key, values in scaled.items():
                figure = f"{name}, {title}: largest error of {key}"
                report.figure(figure, float(values.max()), "standard deviations", most=bound)


def golden_errors(
    device: torch.device, folder: Path, precision: str, *, tf32: bool = False, way: str = "eager"
) -> dict[str, np.ndarray]:
    """Errors of a golden checkpoint by modality, in standard deviations of what is expected."""
    architecture = golden_architecture(folder)
    with np.load(folder / "expected.npz") as archive:
        faces = torch.from_numpy(archive["cubemap"]).float()
        expected = {key: archive[key] for key in MODALITIES if key in archive}
    allow_tf32(tf32)
    try:
        weights = folder / "model.safetensors"
        network = load_network(architecture, weights, device=device, dtype=PRECISIONS[precision])
        model = as_model(network, device, precision)
        model.accelerate(way)
        raw = model(faces)
    finally:
        allow_tf32(True)
    return {key: np.abs(raw[key].float().cpu().numpy() - values) / values.std() for key, values in expected.items()}


def allow_tf32(allowed: bool) -> None:
    """Let float32 products run in TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
