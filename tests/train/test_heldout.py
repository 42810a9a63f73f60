"""Held-out panoramas are taken from the whole folder, and scored by kind on the files as they are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from pager_ray.errors import ConfigError
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.train.heldout import read_heldout, score_checkpoint
from tests.train.conftest import TINY


@pytest.mark.parametrize("count", [2, 3, 1 << 20])
def test_all_are_taken_where_more_are_asked_for(scenes: Path, count: int) -> None:
    """Both kinds are among them."""
    assert [panorama.outdoor for panorama in read_heldout(scenes, count)] == [False, True]


def test_figures_of_both_kinds(scenes: Path, tmp_path: Path) -> None:
    """Solid-angle weighted means of depth and normals, indoors and outdoors apart."""
    checkpoint = write_random_checkpoint(tmp_path, TINY, face_size=28)
    found = score_checkpoint(checkpoint, read_heldout(scenes, 2))
    assert {name.partition(".")[0] for name in found} == {"indoor", "outdoor"}
    assert all(name.endswith("_solid_angle") for name in found)
    assert {"indoor.depth_scale_delta1_acc_solid_angle", "outdoor.normals_mean_solid_angle"} <= set(found)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    """Nothing to hold out is an error, not a mean of nothing."""
    with pytest.raises(ConfigError, match="holds no"):
        read_heldout(tmp_path, 2)
