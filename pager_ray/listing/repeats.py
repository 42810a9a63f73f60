"""Which of many millions of texts are there more than once: exactly, in the memory of eight bytes for each.

Texts are hashed first. Those whose hash is nobody else's are there once; for the others, usually few, the texts
themselves are compared, in groups by hash that fit into memory, on this machine's disk until their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.listing.parts import Parts

Numbered = tuple[pa.ChunkedArray, np.ndarray]
"""Texts, none of them null, and their numbers."""

_COMPARED: Final = pa.schema([("text", pa.string()), ("number", pa.int64())])
_SLICES: Final = 16
# Texts that are compared at a time; as many groups there are, so many rows of each wait in memory.
_TOGETHER: Final = 1_000_000
_WAITING: Final = 16_384
# What a second hash is of, in front of the text.
_OTHER: Final = "\0"


def repeats(texts: Callable[[], Iterable[Numbered]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of texts that are there more than once, each with the smallest number that has the same text.

    Args:
        texts: gives all of them, the same each time it is called.
    """
    hashed = [hashes_of(part) for part, _ in texts()]
    doubled = _doubled(hashed)
    if not len(doubled):
        return
    is_doubled = [is_among(part, doubled) for part in hashed]
    groups = sum(int(np.count_nonzero(some)) for some in is_doubled) // _TOGETHER + 1
    waiting = [Parts(_COMPARED, _WAITING if groups > 1 else _TOGETHER) for _ in range(groups)]
    for (part, numbers), hashes, some in zip(texts(), hashed, is_doubled, strict=True):
        chosen = pa.table([part.filter(pa.array(some)), pa.array(numbers[some], pa.int64())], schema=_COMPARED)
        group = hashes[some].view(np.uint64) % np.uint64(groups)
        for place in range(groups if len(group) else 0):
            waiting[place].add(chosen.filter(pa.array(group == place)) if groups > 1 else chosen)
    for compared in waiting:
        table = compared.table()
        numbers = table.column("number").to_numpy()
        codes = codes_of(table.column("text"))
        if not len(codes):
            continue
        first = np.full(codes.max() + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, codes, numbers)
        again = np.bincount(codes)[codes] > 1
        yield numbers[again], first[codes[again]]


def hashes_of(texts: pa.ChunkedArray) -> np.ndarray:
    """Python's hash of each text, int64: keyed anew in every process, so that nobody can make texts that collide."""
    values = texts.to_numpy(zero_copy_only=False) if len(texts) else np.empty(0, object)
    return np.fromiter(map(hash, values.tolist()), np.int64, len(values))


def other_hashes_of(texts: pa.ChunkedArray) -> np.ndarray:
    """A second hash of each text, int64, that says nothing of the first."""
    values = texts.to_numpy(zero_copy_only=False).tolist() if len(texts) else []
    return np.fromiter(map(hash, map(_OTHER.__add__, values)), np.int64, len(values))


def is_among(hashes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of the hashes are among the sorted ones, (hashes,) bool."""
    if not len(wanted):
        return np.zeros(len(hashes), dtype=bool)
    # In their order the search stays where it is.
    order = np.argsort(hashes)
    asked = hashes[order]
    places = np.searchsorted(wanted, asked)
    places[places == len(wanted)] = 0
    found = np.empty(len(hashes), dtype=bool)
    found[order] = wanted[places] == asked
    return found


def codes_of(texts: pa.ChunkedArray) -> np.ndarray:
    """A number per text, equal for equal ones, from 0 on."""
    return pc.dictionary_encode(texts).combine_chunks().indices.to_numpy() if len(texts) else np.zeros(0, dtype=int)


def _doubled(hashed: list[np.ndarray]) -> np.ndarray:
    """The hashes that are there more than once, sorted."""
    found = []
    # A slice of them at a time, for no second copy of all.
    for number in range(_SLICES):
        some = np.concatenate([part[(part & (_SLICES - 1)) == number] for part in hashed] or [np.empty(0, np.int64)])
        some.sort()
        found.append(np.unique(some[1:][some[1:] == some[:-1]]))
    return np.sort(np.concatenate(found))
