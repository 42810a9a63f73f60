"""The keys of a training job."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from pager_ray.config.section import Section, one_or_many


class ScenesConfig(Section):
    """Where the panoramas with truth come from."""

    count: int = Field(
        5000, ge=2, description="how many scenes are rendered; distinct ones teach more than repeated ones"
    )
    height: int = Field(256, ge=64, description="rows of a rendered panorama; twice the columns of a face suffice")
    seed: int = Field(1, ge=0, description="of the scenes")
    leave_out: Annotated[list[str], BeforeValidator(one_or_many)] = Field(
        default_factory=list, description="families of rendered scenes that training must not see"
    )
    folder: str = Field(
        "",
        description="folder of .npz panoramas with truth that all nodes see; empty: scenes/ in output.uri. What is "
        "missing of count is rendered into it while training runs",
    )
    dataset: str | None = Field(
        None,
        description="train on a dataset with ground truth instead (names as for pager-ray evaluate, and "
        "PanoInfinigen/<config>); it is converted into the folder before training begins",
    )
    data_path: str | None = Field(None, description="folder or fsspec URL that holds the dataset")
    limit: int | None = Field(None, ge=1, description="take only so many of its panoramas")


class BudgetConfig(Section):
    """When training ends."""

    samples: int = Field(
        0, ge=0, description="panoramas over all workers; makes a run repeatable. One of samples and minutes"
    )
    minutes: float = Field(0.0, ge=0, description="wall-clock minutes, over all starts together")


class LossesConfig(Section):
    """Weights of the parts of the loss."""

    depth: float = Field(1.0, ge=0, description="L1 on log-depth, relative to its median")
    gradient: float = Field(0.7, ge=0, description="differences between neighbours at three strides")
    surface: float = Field(0.3, ge=0, description="normals of the predicted depth against the true ones")
    normals: float = Field(1.0, ge=0, description="cosine and L1 of predicted normals")
    sky: float = Field(0.7, ge=0, description="cross-entropy")
    scale: float = Field(0.4, ge=0, description="L1 on the scale heads' log metric depth and log scale")
    confidence: float = Field(0.03, ge=0, description="likelihood of the depth's error under its confidence")
    scene: float = Field(0.1, ge=0, description="cross-entropy of the checkpoint's own scene router")


class OptimiserConfig(Section):
    """AdamW: warm-up, a constant learning rate, and a decay at the end."""

    learning_rate: float = Field(1.5e-3, gt=0, description="between warm-up and decay; 1e-5 to 1e-4 for fine-tuning")
    weight_decay: float = Field(0.03, ge=0, description="of matrices and convolutions")
    beta1: float = Field(0.9, ge=0, lt=1, description="of AdamW")
    beta2: float = Field(0.98, ge=0, lt=1, description="of AdamW")
    warmup_steps: int = Field(80, ge=0, description="steps over which the learning rate rises")
    decay_from: float = Field(0.75, ge=0, le=1, description="share of the budget from which it falls, as 1 − √x")
    final_share: float = Field(0.02, ge=0, le=1, description="of the learning rate at the end")
    clip_norm: float = Field(1.5, gt=0, description="greatest norm of a step's gradient")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the mean weights that are exported")


class HeldoutConfig(Section):
    """Figures of every exported checkpoint on panoramas that training never sees."""

    count: int = Field(
        12, ge=0, description="rendered panoramas of pager-ray samples, seeds 0 to 9,999, which no training scene has"
    )


class TrainComputeConfig(Section):
    """Who trains."""

    workers: int = Field(1, ge=1, description="processes that train together, each with a batch of its own")
    gpu: bool = Field(False, description="give each worker a GPU; else one CPU")
    threads_per_worker: int = Field(1, ge=1, description="CPUs of a worker without a GPU")
    render_cpus: int | Literal["auto"] = Field(
        "auto", description="CPUs that render at once; auto: those that no worker has, at least one"
    )
    bfloat16: bool = Field(True, description="matrix products and convolutions in bfloat16; about 15 % faster on CPUs")
    max_restarts: int = Field(2, ge=0, description="how often workers that died are started again in one job")

    @field_validator("render_cpus")
    @classmethod
    def _cpus_are_no_debt(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError("takes auto or a whole number from 0 (before training, and not beside it)")
        return value


class TrainOutputConfig(Section):
    """What to leave behind, and where."""

    uri: str = Field("", description="folder that all nodes see; the same command again goes on from its last state")


class TrainConfig(Section):
    """Everything that a training job takes."""

    REQUIRED: ClassVar[dict[str, str]] = {"output.uri": "a folder that all nodes see"}

    output: TrainOutputConfig = TrainOutputConfig()
    scenes: ScenesConfig = ScenesConfig()
    init: str | None = Field(
        None,
        description="checkpoint to begin with (as for pager-ray run: released ones, too); none: fresh weights of the "
        "size of `embedded`",
    )
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    budget: BudgetConfig = BudgetConfig()
    phases: list[tuple[float, int, int]] = Field(
        default_factory=lambda: [(0.45, 56, 4), (1.0, 84, 4)],
        min_length=1,
        description="stretches of the schedule, each with the share of the budget at which it ends, the side of a face "
        "in pixels (a multiple of 14), and panoramas per worker and step; small faces first cost a third",
    )
    losses: LossesConfig = LossesConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    seed: int = Field(0, ge=0, description="of weights, order and augmentation")
    cameras: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the samples whose picture goes through a camera's effects (lens blur, JPEG, a hidden "
        "nadir, …) instead of a change of tones and noise alone",
    )
    log_every: int = Field(20, ge=1, description="steps between two records of log.jsonl")
    save_every_minutes: float = Field(3.0, gt=0, description="how much training a kill costs at most")
    export_every_minutes: float = Field(
        15.0, ge=0, description="how often the mean weights are written to checkpoint/ and scored; 0: at the end alone"
    )
    note: str | None = Field(None, description="what the checkpoint is, in a few words that stand beside its results")
    licence: str | None = Field(None, description="of the checkpoint, such as Apache-2.0")
    heldout: HeldoutConfig = HeldoutConfig()
    compute: TrainComputeConfig = TrainComputeConfig()
