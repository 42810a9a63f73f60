"""A checkpoint that brings a router needs no CLIP, and what is known of a row stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pager_ray import load_model, predict
from pager_ray.errors import ShapeError
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.infer.routing import needs_clip
from pager_ray.model.random_checkpoint import random_architecture, write_random_checkpoint
from tests.train.conftest import TINY


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("routing"), TINY, face_size=28)


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 6, 28, 28, 3), dtype=np.uint8)


def test_unknown_rows_are_routed_and_known_ones_stand(checkpoint: Path) -> None:
    """In one batch; the scale of a row is that of its own head."""
    predictor = Predictor(load_model(checkpoint, device="cpu"), InferenceSettings())
    pixels = faces(3)
    mixed = predictor(pixels, ["outdoor", None, "indoor"])
    assert [row.scene for row in mixed][::2] == ["outdoor", "indoor"]
    assert [row.p_outdoor is None for row in mixed] == [True, False, True]
    assert mixed[1].scene == ("outdoor" if mixed[1].p_outdoor >= 0.5 else "indoor")
    forced = predictor(pixels, ["outdoor", mixed[1].scene, "indoor"])
    for one, other in zip(mixed, forced, strict=True):
        assert one.log_scale == pytest.approx(other.log_scale, abs=1e-5)


def test_probability_follows_the_head(checkpoint: Path) -> None:
    """With the head's bias the decision goes one way or the other."""
    model = load_model(checkpoint, device="cpu")
    projection = model.network.get_submodule("model.scene_router.proj")
    for bias, scene in ((50.0, "outdoor"), (-50.0, "indoor")):
        with torch.no_grad():
            projection.bias.fill_(bias)
        image = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
        prediction = predict(image, model)
        assert prediction.scene == scene
        assert prediction.p_outdoor == pytest.approx(float(bias > 0), abs=1e-3)


def test_without_a_router_somebody_must_say(checkpoint: Path, tmp_path: Path) -> None:
    """The same network without the head asks for CLIP or a scene."""
    plain = write_random_checkpoint(tmp_path, {**TINY, "scene_router": False}, face_size=28)
    predictor = Predictor(load_model(plain, device="cpu"), InferenceSettings())
    with pytest.raises(ShapeError, match="need a router"):
        predictor(faces(1), [None])


def test_named_clip_weights_take_its_place() -> None:
    """Only then, and only with two scales."""
    own = random_architecture(TINY, face_size=28)
    assert not needs_clip(own)
    assert needs_clip(own, "clip.safetensors")
    assert needs_clip(random_architecture({**TINY, "scene_router": False}, face_size=28))
    assert not needs_clip(random_architecture(TINY, modalities=["depth", "scale_indoor"], face_size=28), "clip")
