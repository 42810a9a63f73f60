"""The command line's options become the request that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pager_ray.cli import exit_code
from pager_ray.export.points import Cleaning
from pager_ray.pipeline import export as job
from pager_ray.pipeline.export import ExportRequest
from pager_ray.report.outcomes import ExportOutcome
from tests.export.runs import scene_run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ExportRequest]:
    """The requests that were made; none is carried out."""
    requests: list[ExportRequest] = []

    def note(request: ExportRequest) -> ExportOutcome:
        requests.append(request)
        return ExportOutcome("/out", 1, 1, 1, 10, 1.0)

    monkeypatch.setattr(job, "run_export", note)
    return requests


def test_defaults_are_the_released_cleaning(asked: list[ExportRequest], capsys: pytest.CaptureFixture[str]) -> None:
    """Without options: every panorama, coloured by its picture, cleaned as released."""
    assert exit_code(["export", "run", "--to", "glb"]) == 0
    (request,) = asked
    assert request.settings.cleaning == Cleaning()
    assert (request.run, request.settings.format, request.settings.color) == ("run", "glb", "rgb")
    assert (request.ids, request.where, request.output, request.local, request.overwrite) == (None,) * 3 + (False,) * 2
    assert capsys.readouterr().out == "1 of 1 panoramas exported in 1 s (1 in this start, 1.0 panoramas/s)\n" + (
        "output    /out (0.0 MB)\n"
    )


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        (["--max-points", "0"], "max_points", None),
        (["--seed", "7"], "seed", 7),
        (["--sky-threshold", "1"], "sky_threshold", None),
        (["--sky-threshold", "0.6"], "sky_threshold", 0.6),
        (["--keep-edges"], "edge_relative", None),
        (["--keep-saturated"], "saturation", None),
        (["--keep-clusters"], "far_percentile", None),
    ],
)
def test_each_option_changes_its_own(asked: list[ExportRequest], option: list[str], field: str, value: Any) -> None:
    """One step of the cleaning, and no other."""
    assert exit_code(["export", "run", "--to", "glb", *option]) == 0
    assert vars(asked[0].settings.cleaning) == vars(Cleaning()) | {field: value}


def test_the_rest_is_passed_on(asked: list[ExportRequest]) -> None:
    """Selection, place and kind of the export."""
    options = ["--ids", "a,b", "--where", "width > 1", "--output", "s3://b/x", "--overwrite", "--local"]
    more = [
        "--color",
        "normals",
        "--face-size",
        "64",
        "--address",
        "auto",
        "--images-from",
        "https://host",
        "--axes",
        "z-up",
        "--max-triangles",
        "0",
    ]
    assert exit_code(["export", "run", "--to", "faces", *options, *more]) == 0
    (request,) = asked
    assert (request.ids, request.where, request.output) == (("a", "b"), "width > 1", "s3://b/x")
    assert (request.overwrite, request.local, request.address) == (True, True, "auto")
    assert (request.settings.color, request.settings.face_size) == ("normals", 64)
    assert (request.settings.images_from, request.settings.axes) == ("https://host", "z-up")
    assert request.settings.max_triangles is None


def test_exit_codes_are_those_of_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 complete, 3 with rejects, 2 for a wrong condition, 1 without a run; the last line says what and where."""
    scene_run(tmp_path)
    run = str(tmp_path / "run")
    pictures = ["--images-from", str(tmp_path / "sources")]
    assert exit_code(["export", run, "--to", "glb", "--where", "id = 'b'"]) == 2
    assert "--images-from: got nothing, and glb shows the source pictures" in capsys.readouterr().err
    assert exit_code(["export", run, "--to", "glb", "--where", "id = 'b'", *pictures]) == 0
    (tmp_path / "sources" / "0.png").unlink()
    assert exit_code(["export", run, "--to", "glb", *pictures]) == 3
    assert capsys.readouterr().out.endswith("1 rejects: " + run + "/exports/glb/rejects.csv\n")
    assert exit_code(["export", run, "--to", "glb", "--where", "sky < 1", *pictures]) == 2
    assert "--where: sky is no column" in capsys.readouterr().err
    assert exit_code(["export", str(tmp_path), "--to", "glb"]) == 1
    assert "holds no run" in capsys.readouterr().err
