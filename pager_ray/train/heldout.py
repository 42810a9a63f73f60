"""Figures on panoramas that training never sees: the project's own inference and metrics, on the files as shipped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.datasets import GroundTruth
from pager_ray.errors import ConfigError
from pager_ray.evaluate.maps import PredictedMaps
from pager_ray.evaluate.scoring import ScoreSettings, score_sample
from pager_ray.model import load_model
from pager_ray.single import predict
from pager_ray.train.panoramas import TruePanorama, read_panorama, told_normals

if TYPE_CHECKING:
    from pager_ray.model import PagerModel

_NEAREST, _FARTHEST = 0.01 * 1.01, 75.0 * 0.99


def read_heldout(folder: str | os.PathLike[str], count: int) -> list[TruePanorama]:
    """Take ``count`` panoramas, spread over a folder.

    Raises:
        ConfigError: there is none.
    """
    files = sorted(Path(folder).glob("*.npz"))
    if not files:
        raise ConfigError(f"{os.fspath(folder)}: holds no .npz panoramas to hold out; render some first")
    taken = min(count, len(files))
    return [read_panorama(files[k * len(files) // taken]) for k in range(taken)]


def score_checkpoint(
    checkpoint: str | os.PathLike[str], panoramas: Sequence[TruePanorama], device: str = "cpu"
) -> dict[str, float]:
    """Mean of every metric that the checkpoint's maps have, weighted by solid angle, indoors and outdoors apart.

    Names are the evaluation's, with ``indoor.`` or ``outdoor.`` before them.
    """
    model = load_model(checkpoint, device=device)
    rows: dict[str, list[dict[str, float]]] = {}
    for panorama in panoramas:
        kind = "outdoor" if panorama.outdoor else "indoor"
        rows.setdefault(kind, []).append(_score(model, panorama, kind))
    return {
        f"{kind}.{name}": float(np.mean([row[name] for row in found]))
        for kind, found in sorted(rows.items())
        for name in found[0]
    }


def _score(model: PagerModel, panorama: TruePanorama, kind: str) -> dict[str, float]:
    prediction = predict(panorama.rgb, model, scene=kind)
    depth, normals = panorama.depth.astype(np.float32), panorama.normals.astype(np.float32)
    mask = (depth > _NEAREST) & (depth < _FARTHEST) & np.isfinite(normals).all(axis=-1)
    truth = GroundTruth(np.nan_to_num(depth), mask, told_normals(normals))
    families = tuple(
        family for family, given in (("depth", prediction.depth), ("normals", prediction.normals)) if given is not None
    )
    settings = ScoreSettings(families, ("metric", "scale"), floor=False, pictures=False)
    row = score_sample(PredictedMaps(prediction.depth, prediction.normals), truth, settings)
    return {name: float(value) for name, value in row.items() if name.endswith("_solid_angle")}
