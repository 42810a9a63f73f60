"""What an evaluation evaluates, and which of its metrics can be computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pager_ray.config import EvaluateConfig, ScoreConfig
from pager_ray.config.evaluation import EvaluationConfig
from pager_ray.datasets import Dataset
from pager_ray.errors import ConfigError
from pager_ray.evaluate import ScoreSettings
from pager_ray.evaluate.predictions import NpzPredictions, RunPredictions
from pager_ray.metrics.catalogue import FAMILIES
from pager_ray.metrics.seams import SeamThresholds
from pager_ray.model import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.stages.settings import checkpoint_identity, describe_checkpoint

ORACLE = "oracle"
"""The checkpoint that is the ground truth itself."""

ORACLE_FOV = 90.0


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a checkpoint, the oracle, or standing predictions.

    Attributes:
        maps: which of ``depth`` and ``normals`` it predicts.
        face_size, fov: of its cubemap.
        identity: what a resumed job must find unchanged.
        description: for run file and report.
        checkpoint: None for all but checkpoints.
    """

    maps: tuple[str, ...]
    face_size: int
    fov: float
    identity: dict[str, Any]
    description: dict[str, Any]
    checkpoint: ResolvedCheckpoint | None = None


def evaluated_checkpoint(config: EvaluateConfig) -> Subject:
    """A checkpoint, found, pinned and digested.

    Raises:
        CheckpointError: it cannot be used.
    """
    checkpoint = resolve_checkpoint(config.checkpoint, revision=config.revision)
    architecture = checkpoint.architecture
    return Subject(
        maps=tuple(name for name in ("depth", "normals") if name in architecture.modalities),
        face_size=architecture.face_size,
        fov=architecture.cube_fov,
        identity=checkpoint_identity(checkpoint),
        description=describe_checkpoint(checkpoint),
        checkpoint=checkpoint,
    )


def oracle(config: EvaluateConfig, dataset: Dataset) -> Subject:
    """The dataset's own truth, on faces of ``evaluation.face_size``."""
    size = config.evaluation.face_size
    return Subject(
        maps=dataset.modalities,
        face_size=size,
        fov=ORACLE_FOV,
        identity={"checkpoint.sha256": ORACLE},
        description={"name": ORACLE, "modalities": list(dataset.modalities), "face_size": size, "cube_fov": ORACLE_FOV},
    )


def standing_predictions(config: ScoreConfig, stored: RunPredictions | NpzPredictions) -> Subject:
    """Predictions that stand already."""
    size = stored.face_size or config.evaluation.face_size
    fov = stored.fov or ORACLE_FOV
    return Subject(
        maps=stored.maps,
        face_size=size,
        fov=fov,
        identity=stored.identity,
        description=stored.description | {"face_size": size, "cube_fov": fov},
    )


def score_settings(config: EvaluationConfig, dataset: Dataset, subject: Subject) -> ScoreSettings:
    """The families that dataset and predictions allow, or those asked for.

    Raises:
        ConfigError: a family is asked for that they do not allow, or there is none.
    """
    possible = {
        "depth": "depth" in subject.maps and "depth" in dataset.modalities,
        "normals": "normals" in subject.maps and "normals" in dataset.modalities,
        "seams": "depth" in subject.maps,
    }
    wanted: Sequence[str] = FAMILIES if config.families == "auto" else config.families
    families = tuple(name for name in FAMILIES if name in wanted and possible[name])
    if config.families != "auto" and len(families) < len(wanted):
        refused = ", ".join(name for name in wanted if name not in families)
        raise ConfigError(
            f"evaluation.families: {refused} cannot be scored: {dataset.name} has {', '.join(dataset.modalities)}, "
            f"{subject.description['name']} predicts {', '.join(subject.maps)}; leave it out of evaluation.families"
        )
    if not families:
        raise ConfigError(
            f"evaluation.dataset: {dataset.name} has {', '.join(dataset.modalities)}, but "
            f"{subject.description['name']} predicts {', '.join(subject.maps) or 'neither'}: nothing can be scored; "
            "choose another dataset or checkpoint"
        )
    return ScoreSettings(
        families=families,
        alignments=tuple(config.alignments),
        thresholds=SeamThresholds(config.seams.pixel, config.seams.min_broken_fraction, config.seams.edge),
        floor=config.resampling_floor,
        face_size=subject.face_size,
        fov=subject.fov,
        pictures=config.pictures,
    )
