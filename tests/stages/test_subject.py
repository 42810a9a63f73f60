"""What is evaluated, and which metrics it allows: what cannot be computed is told by name before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pager_ray.config import EvaluateConfig, load_config
from pager_ray.datasets import open_dataset
from pager_ray.errors import ConfigError
from pager_ray.stages.subject import Subject, evaluated_checkpoint, oracle, score_settings
from tests.conftest import GOLDEN


def config_of(*overrides: str) -> EvaluateConfig:
    return load_config(None, ["evaluation.dataset=Replica360_4K", "output.uri=out", *overrides], EvaluateConfig)


def subject_of(*maps: str) -> Subject:
    return Subject(maps, 56, 90.0, {}, {"name": "mine"})


@pytest.fixture
def replica():
    return open_dataset("Replica360_4K", str(GOLDEN / "datasets"))


@pytest.fixture
def rooms(samples: Path):
    return open_dataset("synthetic", str(samples.parent))


def test_all_that_is_possible_is_computed(replica, rooms) -> None:
    """auto: depth and seams where depth is predicted, normals where the truth has them too."""
    auto = config_of().evaluation
    assert score_settings(auto, replica, subject_of("depth", "normals")).families == ("depth", "seams")
    assert score_settings(auto, rooms, subject_of("depth", "normals")).families == ("depth", "normals", "seams")
    assert score_settings(auto, rooms, subject_of("normals")).families == ("normals",)


def test_knobs_reach_the_settings(rooms) -> None:
    """Alignments, thresholds, floor and pictures are those of the configuration; faces those of the subject."""
    config = config_of(
        "evaluation.alignments=scale", "evaluation.seams.pixel=0.02", "evaluation.seams.edge=0.015",
        "evaluation.seams.min_broken_fraction=0.1", "evaluation.resampling_floor=false", "evaluation.pictures=false",
    ).evaluation  # fmt: skip
    settings = score_settings(config, rooms, subject_of("depth"))
    assert settings.alignments == ("scale",)
    assert (settings.thresholds.pixel, settings.thresholds.min_broken_fraction, settings.thresholds.edge) == (
        0.02, 0.1, 0.015,
    )  # fmt: skip
    assert (settings.floor, settings.pictures, settings.face_size) == (False, False, 56)


def test_what_is_asked_for_in_vain_is_told(replica) -> None:
    """A family that dataset or predictions do not allow is an error with both; so is a dataset with none."""
    asked = config_of("evaluation.families=[depth, normals]").evaluation
    with pytest.raises(
        ConfigError,
        match=r"^evaluation\.families: normals cannot be scored: Replica360_4K has depth, .*; leave it out",
    ):
        score_settings(asked, replica, subject_of("depth", "normals"))
    with pytest.raises(
        ConfigError, match=r"mine predicts normals: nothing can be scored; choose another dataset or checkpoint$"
    ):
        score_settings(config_of().evaluation, replica, subject_of("normals"))


def test_checkpoints_say_what_they_predict(rooms) -> None:
    """Maps and faces are those of the checkpoint's configuration; the oracle's those of dataset and configuration."""
    subject = evaluated_checkpoint(config_of(f"checkpoint={GOLDEN / 'tiny_normals'}"))
    assert (subject.maps, subject.face_size) == (("normals",), 56)
    assert subject.identity["checkpoint.sha256"] == subject.description["sha256"]
    truth = oracle(config_of("evaluation.face_size=64"), rooms)
    assert (truth.maps, truth.face_size, truth.checkpoint) == (("depth", "normals"), 64, None)
