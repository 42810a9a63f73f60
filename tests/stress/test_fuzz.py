"""Hostile files under hostile names, through the job as users start it: nothing lost, nothing outside of the output."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pager_ray.errors import ConfigError
from pager_ray.listing import list_inputs
from tests.harness.mutations import REFUSED_IDS, SECRET_IDS
from tests.stress.fuzz import run_fuzz

COUNT = 48


def test_hostile_inputs_do_not_hurt_a_job(tmp_path: Path) -> None:
    """Every input ends once, no worker dies, no file appears or changes outside of the output, and it verifies."""
    result = run_fuzz(tmp_path, COUNT, seed=1, bomb_pixels=2**22)
    assert result.problems == []
    assert result.predictions + sum(result.rejects.values()) == COUNT
    assert result.predictions > COUNT / 8
    assert result.rejects["corrupt_image"] > COUNT / 4
    assert "worker_death" not in result.rejects
    assert result.verified == "verified: nothing lost, nothing twice"


@pytest.mark.parametrize(
    ("identity", "what"),
    [
        *((identity, "id takes") for identity in REFUSED_IDS),
        *((each, "the id carries credentials") for each in SECRET_IDS),
    ],
)
def test_ids_that_no_listing_may_have_stop_a_job_before_it_starts(tmp_path: Path, identity: str, what: str) -> None:
    """An id that is no printable text of a sane length, or is a secret, is a usage error in one line that names its row
    and shows no secret."""
    listing = tmp_path / "listing.csv"
    with listing.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("uri", "id"), ("a.jpg", "fine"), ("b.jpg", identity)])
    with pytest.raises(ConfigError, match=f"row 2: {what}") as caught:
        list_inputs([str(listing)])
    assert str(caught.value).isprintable()
    assert identity not in str(caught.value)
