from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pager_ray.model import PagerModel
from pager_ray.model.dense_head import DenseHead, confidence
from pager_ray.model.spherical_padding import Borders, SphericalPadding
from tests.model.conftest import Golden, assert_within, random_faces, tiny_architecture


def test_outputs_match_golden(golden: Golden):
    """Log depth, its confidence and normals are the released ones, for two panoramas in one forward."""
    raw = golden.model(golden.faces)
    names = [name for name in ("depth", "depth_conf", "normals") if name in golden.expected]
    assert names
    for name in names:
        assert_within(raw[name], golden.expected[name], 1e-4)


@torch.no_grad()
@pytest.mark.parametrize("fov", [90.0, 95.0, 110.0])
def test_shortcuts_equal_the_straightforward_head(fov: float):
    """Keeping room instead of cropping and padding gives the plain pad–resize–crop–pad–convolve head, at any fov."""
    torch.manual_seed(0)
    architecture = tiny_architecture(cube_fov=fov)
    head = DenseHead("depth", architecture, Borders(fov))
    levels = [torch.randn(6, 16, 64) for _ in range(4)]
    expected = head(levels).values
    rooms = [m for m in head.modules() if getattr(m, "keep_room", False) or getattr(m, "has_room", False)]
    assert len(rooms) == 4
    for module in rooms:
        for name in ("keep_room", "has_room"):
            if hasattr(module, name):
                setattr(module, name, False)
    branch = head.head_modules["depth"]
    branch.face_uv.inside = slice(None)
    torch.testing.assert_close(head(levels).values, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", [{"cube_fov": 100.0}, {"valid_conv_padding": False}])
def test_padding_options_reach_the_output(random_model: Callable[..., PagerModel], change: dict):
    """Field of view and padding change the numbers, not the shapes; everything stays finite."""
    faces = random_faces(1)
    before, after = random_model(), random_model(**change)
    one, other = before(faces)["depth"], after(faces)["depth"]
    assert one.shape == other.shape == (1, 6, 1, 56, 56)
    assert other.isfinite().all()
    assert (one - other).abs().max() > 1e-3


def test_zero_padding_needs_no_tables(random_model: Callable[..., PagerModel]):
    """Without valid_conv_padding faces are convolved and resized on their own: no padding module exists."""
    network = random_model(valid_conv_padding=False).network
    assert not [m for m in network.modules() if isinstance(m, SphericalPadding)]


@pytest.mark.parametrize("face_size", [28, 70])
def test_other_face_sizes(random_model: Callable[..., PagerModel], face_size: int):
    """Even and odd patch grids give maps of the face's size."""
    raw = random_model(face_size=face_size)(random_faces(1, face_size))
    assert raw["depth"].shape == (1, 6, 1, face_size, face_size)
    assert raw["depth"].isfinite().all()


def test_linear_depth_is_exponentiated(random_model: Callable[..., PagerModel]):
    """With log_depth false the same weights give z-depth instead of its logarithm."""
    faces = random_faces(1)
    log, linear = random_model()(faces), random_model(log_depth=False)(faces)
    torch.testing.assert_close(linear["depth"], log["depth"].exp())
    torch.testing.assert_close(linear["depth_conf"], log["depth_conf"])


def test_confidence_is_above_one():
    """Confidence is exp(logit) + 1."""
    torch.testing.assert_close(confidence(torch.tensor([-100.0, 0.0, 1.0])), torch.tensor([1.0, 2.0, 3.7182818]))
