from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pager_ray.model import PagerModel
from tests.model.conftest import Golden, assert_within, random_faces


def levels_of(model: PagerModel, faces: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return model.network.backbone(faces, model.network.camera_tokens)


def test_levels_match_golden(golden: Golden):
    """The four levels of tokens are the released ones."""
    for number, level in enumerate(levels_of(golden.model, golden.faces)):
        assert_within(level.unflatten(0, (2, 6)), golden.expected[f"feat{number}"], 1e-4)


def test_panoramas_do_not_mix_but_faces_do(unified: Golden):
    """Changing one face changes every face of its panorama and nothing of the other."""
    changed = unified.faces.clone()
    changed[0, 4] += 1.0
    before, after = (levels_of(unified.model, faces)[3].unflatten(0, (2, 6)) for faces in (unified.faces, changed))
    difference = (before - after).abs().amax(dim=(2, 3))
    assert (difference[0] > 1e-3).all()
    assert difference[1].max() < 1e-5


@pytest.mark.parametrize("alt_start", [4, 5, 10])
def test_faces_are_alone_before_the_alternating_part(random_model: Callable[..., PagerModel], alt_start: int):
    """Up to the first global block a face's tokens know nothing of the other faces."""
    model = random_model(
        backbone={"alt_start": alt_start, "qknorm_start": 2, "rope_start": 6, "out_layers": [3, 4, 7, 9]}
    )
    faces = random_faces(1)
    changed = faces.clone()
    changed[0, 0] += 1.0
    before, after = levels_of(model, faces), levels_of(model, changed)
    for layer, one, other in zip((3, 4, 7, 9), before, after, strict=True):
        mixes = any(i % 2 == 1 for i in range(alt_start, layer + 1))
        assert ((one[1:] - other[1:]).abs().max() > 1e-4) == mixes


@pytest.mark.parametrize("depth", [6, 7, 13])
def test_local_output_layer_repeats_itself_normalised(random_model: Callable[..., PagerModel], depth: int):
    """An output layer that is local gives its tokens twice, the second time through the final LayerNorm."""
    layers = [1, 2, 4, depth - 1]
    model = random_model(
        backbone={"depth": depth, "out_layers": layers, "alt_start": 3, "qknorm_start": 4, "rope_start": 0}
    )
    backbone = model.network.backbone
    assert len(backbone.blocks) == depth
    for layer, level in zip(layers, levels_of(model, random_faces(2)), strict=True):
        local, output = level.chunk(2, dim=-1)
        assert level.shape == (12, 16, 64)
        assert torch.allclose(backbone.norm(local), output, atol=1e-5) == (not backbone.is_global(layer))


def test_positions_are_learned_ones_on_their_own_grid(random_model: Callable[..., PagerModel]):
    """At the pretraining's 37×37 patches the learned positions are used as they are."""
    backbone = random_model(face_size=14 * 37).network.backbone
    torch.testing.assert_close(backbone.patch_positions, backbone.pos_embed[:, 1:], rtol=0, atol=0)
    torch.testing.assert_close(backbone.class_token, backbone.cls_token + backbone.pos_embed[:, :1])
