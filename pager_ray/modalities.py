"""What a checkpoint can predict, by the names that its configuration, shards and files use."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

MAPS: Final = ("depth", "normals", "sky")
"""The maps, one value or vector per pixel, in the order in which they are stored."""

SCALE_HEADS: Final = ("scale_indoor", "scale_outdoor")


def maps_of(modalities: Collection[str]) -> tuple[str, ...]:
    """Those of :data:`MAPS` that a checkpoint with these heads gives."""
    return tuple(name for name in MAPS if name in modalities)


def is_metric(modalities: Collection[str]) -> bool:
    """Whether depth is in metres: a lone depth head predicts metres, with others beside it they need a scale head."""
    return list(modalities) == ["depth"] or any(name in SCALE_HEADS for name in modalities)
