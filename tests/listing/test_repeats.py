"""Repeated texts are found exactly, whatever their hashes are and however few are compared at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.listing import repeats as module
from pager_ray.listing.repeats import Numbered, hashes_of, repeats


def found(parts: list[list[str]]) -> dict[int, int]:
    """Number of each text that is there more than once → the first number with it."""

    def numbered() -> Iterator[Numbered]:
        first = 0
        for part in parts:
            yield pa.chunked_array([part], pa.string()), np.arange(first, first + len(part))
            first += len(part)

    return {int(n): int(first) for numbers, firsts in repeats(numbered) for n, first in zip(numbers, firsts)}  # noqa: B905


@pytest.mark.parametrize("hashes", ["own", "all alike", "of lengths"])
@settings(max_examples=60)
@given(parts=st.lists(st.lists(st.text("abü~", max_size=3), max_size=6), max_size=5))
def test_repeats_are_exact(hashes: str, parts: list[list[str]]) -> None:
    """Within parts and across them; texts that share a hash by chance are no repetition."""
    texts = [text for part in parts for text in part]
    expected = {n: texts.index(text) for n, text in enumerate(texts) if texts.count(text) > 1}
    with pytest.MonkeyPatch.context() as patched:
        if hashes != "own":
            lengths = {"all alike": lambda text: 0, "of lengths": len}[hashes]
            patched.setattr(
                module, "hashes_of", lambda column: np.array([lengths(t) for t in column.to_pylist()], np.int64)
            )
        patched.setattr(module, "_TOGETHER", 2)
        patched.setattr(module, "_WAITING", 1)
        assert found(parts) == expected


def test_hashes_are_those_of_the_texts() -> None:
    """Equal texts have equal hashes, in whichever chunk they are."""
    column = pa.chunked_array([["a", "b"], [], ["a", "ü"]], pa.string())
    hashes = hashes_of(column)
    assert hashes.dtype == np.int64
    assert hashes[0] == hashes[2]
    assert len({*hashes.tolist()}) == 3
