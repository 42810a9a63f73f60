from __future__ import annotations

import pytest
import torch

from pager_ray.errors import ConfigError
from pager_ray.model import load_model
from tests.model.conftest import Golden, random_faces


@pytest.mark.skipif(torch.cuda.is_available(), reason="what happens without a GPU")
def test_replay_needs_a_gpu(unified: Golden):
    """On a CPU replaying is refused with the way out, and the model still predicts."""
    with pytest.raises(ConfigError, match=r"replay: takes a model on a CUDA device, got cpu"):
        unified.model.replay()
    assert "depth" in unified.model(unified.faces)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records graphs on a GPU")
def test_replays_equal_forward_passes(unified: Golden):
    """Replayed, batches of any size and route give what they give eagerly, and results stay as they were given."""
    eager, replayed = (load_model(unified.folder, device="cuda") for _ in range(2))
    replayed.replay()
    given = []
    for seed, scenes in enumerate([["indoor"], ["outdoor"], ["indoor", "outdoor"], ["indoor"], ["outdoor", "indoor"]]):
        faces = random_faces(len(scenes), seed=seed)
        given.append((eager(faces, scenes), replayed(faces, scenes)))
    for expected, ours in given:
        assert ours.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(ours[name], value, atol=2e-2, rtol=2e-2, msg=name)
