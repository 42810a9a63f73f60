"""The state that a training goes on from: what must hold of it before it is written, and after it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch


def not_finite(state: Any) -> str | None:
    """The name of the first tensor of a state that holds NaN or infinity, such as ``network.head.weight``.

    Args:
        state: tensors in dictionaries and lists, as ``state_dict`` gives them.

    Returns:
        None where all are finite.
    """
    return next((name for name, tensor in _tensors(state, "") if not bool(torch.isfinite(tensor).all())), None)


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = enumerate(value)
    for key, inner in items:
        yield from _tensors(inner, f"{name}.{key}" if name else str(key))
