from __future__ import annotations

import torch

from tests.model.conftest import Golden, assert_within


def test_sky_matches_golden(unified: Golden):
    """Sky logits are the released ones."""
    assert_within(unified.model(unified.faces)["sky"], unified.expected["sky"], 1e-4)


def test_sky_reads_the_two_deepest_levels_and_the_depth_trunk(unified: Golden):
    """Levels 2 and 3 and the depth head's last map matter to the sky; levels 0 and 1 do not."""
    network = unified.model.network
    with torch.no_grad():
        levels = network.backbone(unified.faces[:1], network.camera_tokens)
        trunk = network.head("depth")(levels).trunk
        sky = network.head("sky")
        base = sky(levels, trunk)
        assert (sky(levels, torch.zeros_like(trunk)) - base).abs().max() > 1e-3
        for number in range(4):
            changed = [level.flip(1) if i == number else level for i, level in enumerate(levels)]
            assert ((sky(changed, trunk) - base).abs().max() > 1e-3) == (number >= 2)
