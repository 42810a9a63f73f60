"""Arithmetic of a panorama, counted on the network, and the rates of known chips."""

from __future__ import annotations

import pytest

from pager_ray.model.flops import matrix_rate_of, panorama_flops
from pager_ray.model.random_checkpoint import random_architecture


def test_a_linear_layers_work_is_counted_on_the_actual_network() -> None:
    """More heads are more work, and a quarter of the pixels is less than a third of it."""
    tiny = panorama_flops(random_architecture("tiny"))
    assert panorama_flops(random_architecture("tiny", modalities=["depth"])) < tiny
    assert panorama_flops(random_architecture("tiny", face_size=28)) < tiny / 3


def test_the_released_network_is_thirty_teraflop_a_panorama() -> None:
    """Of the full-size layout with all five heads, one scale head running: 29.5 TFLOP."""
    assert panorama_flops(random_architecture("da3-giant")) == pytest.approx(29.5e12, rel=1e-2)


@pytest.mark.parametrize(
    ("device", "rate"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("Tesla V100-SXM2-16GB", 125e12),
        ("NVIDIA GeForce RTX 4090", None),
        ("CPU (2 threads)", None),
    ],
)
def test_known_chips_by_name(device: str, rate: float | None) -> None:
    """Names are compared by whole words, so that no chip gets another one's rate; unknown ones get none."""
    assert matrix_rate_of(device, "float16") == rate
    assert matrix_rate_of(device, "float32") is None
