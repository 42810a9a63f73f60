"""How much bytes may become when they are unpacked: maps compress ten times, files made to harm a million times."""

from __future__ import annotations

from typing import Final

from pager_ray.errors import ShapeError

FREE_BYTES: Final = 128 << 20
"""A map of so many bytes is unpacked from whatever few: a sky without any, of 8192×16384 pixels, takes 76."""

EXPANSION: Final = 1024


def is_bomb(unpacked: int, packed: int) -> bool:
    """Whether so many bytes from so few are no map."""
    return unpacked > FREE_BYTES and unpacked > EXPANSION * packed


def check_unpacked(unpacked: int, packed: int) -> None:
    """Refuse before anything is allocated.

    Raises:
        ShapeError: says how much would become of how little.
    """
    if is_bomb(unpacked, packed):
        raise ShapeError(f"would unpack {unpacked} bytes from {packed}, which no map does")
