from __future__ import annotations

import torch

from pager_ray.model.camera_token import CameraTokenEncoder, face_poses
from tests.model.conftest import Golden, assert_within


def test_camera_tokens_match_golden(golden: Golden):
    """The six tokens that a loaded model holds are the released ones."""
    assert_within(golden.model.network.camera_tokens, golden.expected["cam_token"][0], 1e-4)


def test_tokens_depend_on_the_field_of_view():
    """Another field of view gives other poses, and so other tokens."""
    torch.manual_seed(0)
    encoder = CameraTokenEncoder(32)
    narrow, wide = (encoder(face_poses(56, fov)[None]) for fov in (90.0, 95.0))
    assert narrow.shape == (1, 6, 32)
    assert (narrow - wide).abs().max() > 1e-3
