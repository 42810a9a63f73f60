"""The training job renders, trains, scores and writes a checkpoint that loads; a second command goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pager_ray import load_model
from pager_ray.config import load_config
from pager_ray.config.training import TrainConfig
from pager_ray.errors import RunMismatchError
from pager_ray.pipeline.conversion import convert_dataset
from pager_ray.pipeline.training import run_training
from pager_ray.train.loop import CHECKPOINT, LOG

DATASETS = Path(__file__).parents[2] / "golden" / "datasets"

TINY_RUN = ("scenes.count=4", "scenes.height=64", "phases=[[1.0,28,2]]", "log_every=1", "heldout.count=2", "note=tiny")


def config(output: Path, *words: str) -> TrainConfig:
    return load_config(None, [f"output.uri={output}", *TINY_RUN, *words], TrainConfig)


def test_fine_tunes_a_checkpoint_and_goes_on(tmp_path: Path, tiny_unified: Path, ray_cluster: None) -> None:
    """Two workers share the steps, which bring the given network nearer to a dataset's truth; a second command renders
    scenes and goes on with them, does nothing again, and says what the checkpoint is."""
    words = [f"init={tiny_unified}", "phases=[[1.0,28,1]]", "scenes.limit=2"]
    dataset = ["scenes.dataset=Replica360_4K", f"scenes.data_path={DATASETS}", "compute.workers=2", "heldout.count=0"]
    first = run_training(config(tmp_path, *words, *dataset, "budget.samples=12"))
    assert first.samples == 12
    losses = [record["loss"] for record in records(tmp_path) if "loss" in record]
    assert len(losses) == 6
    assert sum(losses[-2:]) < sum(losses[:2])
    fewer = config(tmp_path, *words, *dataset, "scenes.limit=1", "budget.samples=12")
    assert convert_dataset(fewer, tmp_path / "scenes") == ["0000000.npz"]
    with pytest.raises(RunMismatchError, match=r"\{'height': 64\}, not of \{'height': 128\}"):
        run_training(config(tmp_path, *words, *dataset, "budget.samples=12", "scenes.height=128"))
    second = run_training(config(tmp_path, *words, f"scenes.folder={tmp_path / 'rendered'}", "budget.samples=16"))
    assert second.samples == 16
    assert list((tmp_path / "rendered").iterdir())
    assert [record["step"] for record in records(tmp_path) if "step" in record] == [*range(1, 11)]
    assert {name.partition(".")[0] for name in second.figures} == {"indoor", "outdoor"}
    tuned, given = (load_model(folder, device="cpu") for folder in (tmp_path / CHECKPOINT, tiny_unified))
    assert tuned.architecture.modalities == given.architecture.modalities
    assert tuned.architecture.unused["note"] == "tiny"


def records(folder: Path) -> list[dict[str, Any]]:
    """What a training noted, line by line."""
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
