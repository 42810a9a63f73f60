"""``pager-ray plan``, and a run that was planned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pager_ray.cli import exit_code


def arguments(samples: Path, checkpoint: Path, output: Path, *more: str) -> list[str]:
    return [f"input.uris={samples}", f"output.uri={output}", f"checkpoint={checkpoint}", *more]


def test_a_model_on_cpus_is_measured(
    samples: Path, tiny_unified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without GPUs the model is measured here; the plan is printed, written as JSON, and the output stays untouched."""
    rest = arguments(samples, tiny_unified, tmp_path / "run", "compute.gpus_per_worker=0", "--samples", "2")
    assert exit_code(["plan", *rest, "--json", str(tmp_path / "plan.json")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "8 panoramas (2 measured)"
    assert shown[-1].startswith("duration  ")
    assert any(line.startswith("model     CPU, ") and line.endswith("measured here") for line in shown)
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert plan["rows"] == plan["shards"] == 8
    assert not plan["stand_in"]
    assert plan["stages"]["infer"]["cpu_seconds"]["estimate"] > 0
    assert not (tmp_path / "run").exists()


def test_a_profile_stands_for_a_gpu(
    samples: Path, tiny_unified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a profile no GPU is needed: its seconds are the model's, prices make a cost, hours a pool."""
    profile = tmp_path / "profile.json"
    profile.write_text('{"device": "H100", "seconds_per_panorama": 0.5}', encoding="utf-8")
    prices = ["--gpu-node-price", "2", "--cpu-node-price", "0.4", "--hours", "1"]
    rest = arguments(samples, tiny_unified, tmp_path / "run", "--samples", "2", "--profile", str(profile), *prices)
    assert exit_code(["plan", *rest]) == 0
    shown = capsys.readouterr().out
    assert f"model     H100: profile {profile}" in shown
    assert "maps      a stand-in's" in shown
    assert "infer     500 ms per panorama" in shown
    assert "within    1 h: compute.gpu_workers=1" in shown
    assert "\ncost      " in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure on")
def test_without_gpu_and_profile(
    samples: Path, tiny_unified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan that needs a GPU to measure on, where there is none, is refused with both ways out."""
    assert exit_code(["plan", *arguments(samples, tiny_unified, tmp_path / "run")]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("pager-ray: compute.gpus_per_worker: got 1, but this machine has no GPU")
    assert "--profile" in line
    assert "0 to plan a run on CPUs" in line


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--samples", "0"], "--samples"),
        (["--gpus-per-node", "0"], "--gpus-per-node"),
        (["--gpu-node-price", "-1"], "--gpu-node-price"),
        (["--gpu-node-price", "nan"], "--gpu-node-price"),
        (["--cpu-node-price", "inf"], "--cpu-node-price"),
        (["--hours", "0"], "--hours"),
        (["--hours", "nan"], "--hours"),
        (["--profile", "absent.json"], "absent.json: cannot be read"),
    ],
)
def test_wrong_usage(
    samples: Path, tiny_unified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    """Numbers out of range and missing profiles are one line and exit code 2."""
    assert exit_code(["plan", *arguments(samples, tiny_unified, tmp_path / "run", *more)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_wrong_plan_stops_before_the_run(
    samples: Path, tiny_unified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no plan is refused before anything is written."""
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    rest = arguments(samples, tiny_unified, tmp_path / "run", "--plan", str(tmp_path / "plan.json"))
    assert exit_code(["run", *rest]) == 2
    assert "--plan takes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
