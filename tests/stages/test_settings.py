"""Settings of stages that hold a model: what one stage sends is what the next one reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.model import load_model
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.stages.settings import half_normals


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "int8", "fp8"])
def test_normals_arrive_as_they_are_sent(precision: str, tmp_path: Path) -> None:
    """The stitch is told the type in which the predictor really hands normals on, in every precision."""
    model = load_model(write_random_checkpoint(tmp_path, modalities=["normals"]), device="cpu", precision=precision)
    size = model.architecture.face_size
    (sent,) = Predictor(model, InferenceSettings())(np.zeros((1, 6, size, size, 3), np.uint8), [None])
    assert sent.normals is not None
    assert (sent.normals.dtype == np.float16) == half_normals(precision, on_gpu=False)
