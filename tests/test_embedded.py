"""The checkpoint that comes with the package is the one that its card tells of, and its predictions mean something."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import pager_ray
from pager_ray import load_model, predict
from pager_ray.model import PagerModel, resolve_checkpoint
from pager_ray.model.checkpoint import EMBEDDED
from pager_ray.samples import Kind, make_scene, render
from pager_ray.train.figures import erp_weights, figures

FOLDER = Path(pager_ray.__file__).parent / "checkpoints" / "embedded"
LARGEST = 24 << 20


@pytest.fixture(scope="module")
def model() -> PagerModel:
    return load_model(EMBEDDED, device="cpu")


def test_card_tells_of_this_file() -> None:
    """Digest, licence and note of the card are those of the files; it is small enough for a package."""
    checkpoint, card = resolve_checkpoint(EMBEDDED), (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"[0-9a-f]{64}", card) == [checkpoint.sha256]
    assert checkpoint.licence == "Apache-2.0"
    assert f"license: {checkpoint.licence.lower()}" in card
    assert checkpoint.note == "small, rendered scenes"
    assert checkpoint.title == "embedded (small, rendered scenes)"
    assert checkpoint.weights.stat().st_size <= LARGEST


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        ("indoor", {"absrel_scaled": 0.2, "absrel_metric": 0.3, "normals_mean": 20.0, "false_sky": 0.02}),
        ("outdoor", {"absrel_scaled": 0.3, "absrel_metric": 0.4, "normals_mean": 22.0, "false_sky": 0.05}),
    ],
)
def test_predictions_mean_something(model: PagerModel, kind: Kind, bounds: dict[str, float]) -> None:
    """On a rendered panorama the errors are what the card says, give or take, and the scene is told."""
    truth = render(make_scene(1, kind), 256, 512)
    prediction = predict(truth.rgb, model)
    assert prediction.scene == kind
    maps = (prediction.depth, prediction.normals, prediction.sky)
    found = figures(maps, (truth.depth, truth.normals), erp_weights(256, 512))
    for name, most in bounds.items():
        assert found[name] <= most, name
    if kind == "outdoor":
        assert found["sky_iou"] >= 0.85


def test_looks_at_the_picture(model: PagerModel) -> None:
    """Turned by a quarter, the prediction turns along."""
    rgb = render(make_scene(2, "indoor"), 256, 512).rgb
    straight = np.log(predict(rgb, model).depth)
    turned = np.log(predict(np.roll(rgb, 128, axis=1), model).depth)
    moved = np.abs(np.roll(straight, 128, axis=1) - turned).mean()
    assert moved < 0.5 * np.abs(straight - turned).mean()
