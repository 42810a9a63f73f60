"""Scores know the predictions that they are of wherever those lie; all else of the job is in ``ray/``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pager_ray.pipeline.evaluation import _as_named_before
from pager_ray.runs import EvaluationLayout
from pager_ray.runs.runfile import new_run_file
from pager_ray.storage import Folder


@pytest.mark.parametrize("inside", [True, False])
def test_predictions_are_named_as_they_were(tmp_path: Path, inside: bool) -> None:
    """Reached by a link or ``..``, and moved with the scores in them, they are the same ones; others are others."""
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    output = tmp_path / "run" / "scores" / "x" if inside else tmp_path / "scores"
    layout = EvaluationLayout(Folder(str(output)))
    assert _as_named_before(layout, f"{tmp_path}/run") == f"{tmp_path}/run"
    layout.root.make()
    before = f"{tmp_path}/sub/../run"
    layout.root.write_json("run.json", new_run_file({}, {"job": "score", "predictions": before}))
    for uri in (f"{tmp_path}/run", f"{tmp_path}/link", before):
        assert _as_named_before(layout, uri) == before
    assert _as_named_before(layout, f"{tmp_path}/other") == f"{tmp_path}/other"
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = EvaluationLayout(Folder(str(tmp_path / "moved" / "scores" / "x"))) if inside else layout
    assert _as_named_before(moved, f"{tmp_path}/moved") == (before if inside else f"{tmp_path}/moved")
