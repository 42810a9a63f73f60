"""The configuration reference is the typed configuration, and the committed page is the reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pager_ray.config import EvaluateConfig, RunConfig, ScoreConfig, describe_keys
from pager_ray.config.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def table(title: str) -> dict[str, list[str]]:
    """Cells of one command's table by key."""
    section = reference().split(f"## `pager-ray {title}`")[1].split("\n## ")[0]
    lines = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


def test_the_committed_page_is_what_the_code_says() -> None:
    """docs/configuration.md is to the byte what the generator prints; after a change, run it again."""
    assert PAGE.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize(("title", "model"), [("run", RunConfig), ("evaluate", EvaluateConfig), ("score", ScoreConfig)])
def test_every_key_stands_once(title: str, model: type) -> None:
    """Each key of a command is in its table with four cells, or in that of run where evaluate shares it."""
    rows = table(title)
    assert all(len(cells) == 3 and all(cells) for cells in rows.values())
    shared = (
        {key for key in table("run") if not key.startswith(("input.", "output.", "scale.", "compute.project_on"))}
        if title == "evaluate"
        else set()
    )
    assert {key for key, _, _ in describe_keys(model)} == rows.keys() | shared


def test_cells_say_what_a_key_takes() -> None:
    """Choices, limits, alternatives and what has no default are told as they are checked."""
    run, evaluate, score = table("run"), table("evaluate"), table("score")
    assert run["output.uri"][1] == "required"
    assert score["output.uri"][1] == "–"
    assert run["output.format"][:2] == ["`parquet`, `npz`", "`parquet`"]
    assert run["depth.min"][:2] == ["number > 0", "`0.01`"]
    assert run["sky.softness"][0] == "number ≥ 0, ≤ 1"
    assert run["compute.gpu_workers"][0] == "whole number or `[min, max]`"
    assert run["errors.max_rejects"][0] == "whole number or text or `null`"
    assert evaluate["evaluation.limit"][0] == "whole number ≥ 1 or `null`"
    assert "oracle" in evaluate["checkpoint"][2]
