"""Deaths on order: every point that can be ordered is a function that there is."""

from __future__ import annotations

import importlib

import pytest

from tests.harness import faults


@pytest.mark.parametrize("point", faults.STAGES)
def test_every_point_is_a_function(point: str) -> None:
    """A function that was renamed is a death that never comes, in a test that waits for it."""
    module, owner, name = faults.STAGES[point]
    place = importlib.import_module(module)
    assert callable(getattr(getattr(place, owner) if owner else place, name))
