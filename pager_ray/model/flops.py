"""How much arithmetic a panorama is, counted on the network itself, and how much a chip can do."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from pager_ray.model.architecture import FACES, Architecture
from pager_ray.model.memory import meta_network

MATRIX_RATES = (
    ("B200", 2250e12),
    ("H200", 989e12),
    ("GH200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("L40S", 362e12),
    ("A100", 312e12),
    ("A10", 125e12),
    ("V100", 125e12),
    ("L4", 121e12),
    ("T4", 65e12),
)
"""Operations per second of dense float16 matrix products, from the makers' data sheets (without sparsity), by a word of
the device's name; the first that fits counts."""

_HALF = ("float16", "bfloat16")


@lru_cache(maxsize=8)
def panorama_flops(architecture: Architecture) -> float:
    """Floating-point operations of one panorama with one scale head: matrix products, attention and convolutions.

    Counted during a forward pass on shapes alone; a multiplication with its addition is two.
    """
    network, size = meta_network(architecture, torch.float32), architecture.face_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, FACES, 3, size, size, device="meta"), architecture.scale_heads[:1])
    return float(counter.get_total_flops())


def matrix_rate_of(device: str, precision: str) -> float | None:
    """What a chip's data sheet says of matrix products in half precision; None for other chips and precisions.

    Args:
        device: the name that CUDA gives it.
        precision: as a model has it.
    """
    if precision not in _HALF:
        return None
    words = device.replace("-", " ").split()
    for name, rate in MATRIX_RATES:
        # As whole words: an A10 is no A100, and an L4 no L40S.
        wanted = name.split()
        if all(word in words for word in wanted):
            return rate
    return None
