"""The keys of an evaluation, and of scoring predictions that stand."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from pager_ray.config.schema import (
    ErrorsConfig,
    JobConfig,
    TaskConfig,
    check_rows_per_shard,
    flat_keys,
)
from pager_ray.config.section import Section, one_or_many

Alignment = Literal["metric", "scale", "scale_and_shift"]
Family = Literal["depth", "normals", "seams"]


def _auto_or_many(value: Any) -> Any:
    return value if value == "auto" else one_or_many(value)


class SeamsConfig(Section):
    """When a step between two cube faces counts as a visible seam; on depth normalised to its 1…99 % range."""

    pixel: float = Field(0.010, gt=0, description="jump above which a pixel pair across a cube edge is broken")
    min_broken_fraction: float = Field(
        0.05, ge=0, le=1, description="share of broken pairs above which an edge counts for seam_prevalence"
    )
    edge: float = Field(0.008, gt=0, description="mean jump above which an edge counts for seam_severity")


class EvaluationConfig(Section):
    """What is scored against what, and how."""

    dataset: str = Field(
        "",
        description="Matterport3D360, Stanford2D3DS, Replica360_4K, Structured3D, ZuriPano, synthetic (a folder of "
        "`pager-ray samples`), or a dataset that an installed package adds",
    )
    data_path: str | None = Field(
        None, description="folder that holds the dataset's, on any fsspec URL; ZuriPano needs none: the Hub has it"
    )
    alignments: Annotated[list[Alignment], BeforeValidator(one_or_many)] = Field(
        ["metric", "scale", "scale_and_shift"],
        description="how predicted depth is fitted to the truth before it is scored, all in one pass. metric: not at "
        "all; scale, scale_and_shift: least squares per panorama",
    )
    families: Annotated[list[Family] | Literal["auto"], BeforeValidator(_auto_or_many)] = Field(
        "auto",
        description="metrics to compute: depth, normals, seams; auto: all that the dataset and the predictions allow. "
        "A panorama is scored in all of them or rejected",
    )
    seams: SeamsConfig = SeamsConfig()
    resampling_floor: bool = Field(
        True,
        description="also send the ground truth through the cubemap and back and score that: the error that resampling "
        "alone causes",
    )
    face_size: int = Field(
        504,
        ge=14,
        le=4096,
        description="pixels per face of that cubemap where no checkpoint says it: the oracle, and predictions that "
        "other programs made",
    )
    pictures: bool = Field(True, description="draw error maps of every panorama; the report shows worst to best")
    limit: int | None = Field(None, ge=1, description="only the first so many samples in order of their ids")

    @field_validator("alignments", "families")
    @classmethod
    def _is_a_set(cls, value: list[str] | str) -> list[str] | str:
        if isinstance(value, list) and (not value or len(set(value)) < len(value)):
            raise ValueError("takes one or more different names")
        return value


class EvaluationOutputConfig(Section):
    """Where an evaluation's scores and report go."""

    uri: str = Field("", description="output folder on any fsspec URL; the same command again resumes it")
    predictions: Literal["none", "npz"] = Field(
        "none", description="npz: also keep depth and normals as float32 arrays in the released layout"
    )
    rows_per_shard: int | Literal["auto"] = Field(
        "auto", description="panoramas per shard of scores; auto: a 64th of the samples, between 1 and 16"
    )

    _shard_is_positive = field_validator("rows_per_shard")(check_rows_per_shard)


class ScoreOutputConfig(Section):
    """Where the scores of standing predictions go."""

    uri: str = Field("", description="output folder; by default scores/<dataset> inside the predictions' folder")
    rows_per_shard: int | Literal["auto"] = Field(
        "auto", description="panoramas per shard of scores; auto: a 64th of the samples, between 1 and 16"
    )

    _shard_is_positive = field_validator("rows_per_shard")(check_rows_per_shard)


class EvaluateConfig(JobConfig):
    """Everything that one evaluation job takes: inference and metrics in one pass over a dataset."""

    REQUIRED: ClassVar[dict[str, str]] = {
        "evaluation.dataset": "the name of a dataset, such as Replica360_4K",
        "output.uri": "a folder on any fsspec URL",
    }

    checkpoint: str = Field(
        "pager",
        description="alias (embedded, pager, pager-metric-depth, pager-normals), Hub id, folder or fsspec URL; oracle: "
        "the ground truth itself, as a network of this face size would see it",
    )
    evaluation: EvaluationConfig = EvaluationConfig()
    output: EvaluationOutputConfig = EvaluationOutputConfig()

    def result_keys(self) -> dict[str, Any]:
        """The dotted keys that decide the scores; two evaluations that share an output must agree on them."""
        left_out = {"output.uri", "output.rows_per_shard", "checkpoint", "revision", "router_weights"}
        return flat_keys(self, left_out=left_out | {"evaluation.data_path", "evaluation.limit"})


class ScoreConfig(Section):
    """Everything that scoring standing predictions takes; no model runs."""

    REQUIRED: ClassVar[dict[str, str]] = {
        "predictions": "the output of a run, or a folder with depth/preds/<id>.npz or normals/preds/<id>.npz",
        "evaluation.dataset": "the name of a dataset, such as Replica360_4K",
    }

    predictions: str = Field("", description="a run's output, or a folder of npz files in the released layout")
    evaluation: EvaluationConfig = EvaluationConfig()
    output: ScoreOutputConfig = ScoreOutputConfig()
    compute: TaskConfig = TaskConfig()
    errors: ErrorsConfig = ErrorsConfig()

    def result_keys(self) -> dict[str, Any]:
        """The dotted keys that decide the scores; two scorings that share an output must agree on them."""
        left_out = {"predictions", "output.uri", "output.rows_per_shard", "evaluation.data_path", "evaluation.limit"}
        return flat_keys(self, left_out=left_out)
