"""The training job renders, trains, scores and writes a checkpoint that loads; a second command goes on."""

from __future__ import annotations

import json
from pathlib import Path

from pager_ray import load_model
from pager_ray.config import load_config
from pager_ray.config.training import TrainConfig
from pager_ray.pipeline.training import run_training
from pager_ray.train.loop import CHECKPOINT, LOG

DATASETS = Path(__file__).parents[2] / "golden" / "datasets"

TINY_RUN = ("scenes.count=4", "scenes.height=64", "phases=[[1.0,28,2]]", "log_every=1", "heldout.count=2", "note=tiny")


def config(output: Path, *words: str) -> TrainConfig:
    return load_config(None, [f"output.uri={output}", *TINY_RUN, *words], TrainConfig)


def test_trains_and_goes_on(tmp_path: Path, ray_cluster: None) -> None:
    """What the first command trained, the second one does not do again; the checkpoint says what it is."""
    first = run_training(config(tmp_path, "budget.samples=4"))
    assert first.samples == 4
    second = run_training(config(tmp_path, "budget.samples=8"))
    assert second.samples == 8
    records = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [record["step"] for record in records if "step" in record] == [1, 2, 3, 4]
    assert {name.partition(".")[0] for name in second.figures} == {"indoor", "outdoor"}
    model = load_model(tmp_path / CHECKPOINT, device="cpu")
    assert model.routes_itself
    assert model.architecture.unused["note"] == "tiny"


def test_fine_tunes_a_checkpoint_on_a_dataset(tmp_path: Path, tiny_unified: Path, ray_cluster: None) -> None:
    """Two workers share the steps; what comes out is the given network, nearer to the dataset's truth."""
    words = [f"init={tiny_unified}", "scenes.dataset=Replica360_4K", f"scenes.data_path={DATASETS}"]
    outcome = run_training(config(tmp_path, *words, "phases=[[1.0,28,1]]", "compute.workers=2", "budget.samples=12"))
    assert outcome.samples == 12
    losses = [
        record["loss"] for line in (tmp_path / LOG).read_text().splitlines() if "loss" in (record := json.loads(line))
    ]
    assert len(losses) == 6
    assert sum(losses[-2:]) < sum(losses[:2])
    tuned, given = (load_model(folder, device="cpu") for folder in (tmp_path / CHECKPOINT, tiny_unified))
    assert tuned.architecture.modalities == given.architecture.modalities
