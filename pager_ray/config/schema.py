"""The keys of a job's configuration, with their defaults, limits and trade-offs.

Descriptions are what ``pager-ray run --help`` prints, so each says what the key means and what it costs.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from pager_ray.config.inputs import InputConfig
from pager_ray.config.section import Section
from pager_ray.limits import MAX_SIDE
from pager_ray.ranges import MAX_DEPTH

NATIVE_SIZE = (1008, 2016)
"""Height and width of the ERP that six 504-px faces resolve."""

SMALLEST_SHARE = 0.0001
"""Of a CPU or GPU: Ray counts in ten-thousandths."""

MAX_THREADS = 1024
"""No machine has so many cores; a process that wants far more threads dies of it, in every actor anew."""

Scene = Literal["indoor", "outdoor"]


def check_rows_per_shard(value: int | str) -> int | str:
    """Refuse shard sizes that no run wants.

    Raises:
        ValueError: pydantic's word for a value that a field does not take.
    """
    if isinstance(value, int) and not 1 <= value <= 4096:
        raise ValueError("takes auto or a whole number from 1 to 4096")
    return value


class OutputConfig(Section):
    """What to leave behind, and where."""

    uri: str = Field("", description="output folder on any fsspec URL; the same command again resumes it")
    format: Literal["parquet", "npz"] = Field(
        "parquet",
        description="parquet: compressed arrays inside the shards; npz: float32 arrays in the released layout beside "
        "the shards, several times larger",
    )
    projection: Literal["erp", "cubemap"] = Field(
        "erp",
        description="erp: stitched; cubemap: the six faces as predicted, several times smaller, stitched on reading "
        "(normals as directions, unless codec is exact)",
    )
    size: str = Field(
        "source",
        description="ERP size: source (that of each input), native (1008x2016, what the network resolves) or HxW",
    )
    codec: Literal["default", "small", "exact", "portable"] = Field(
        "default",
        description="how parquet stores arrays. default: errors far below the network's own; small: normals to 1°; "
        "exact: float32 bits; portable: PNG",
    )
    previews: bool = Field(False, description="also write previews/<id>.jpg: rgb | depth | normals | sky")
    rows_per_shard: int | Literal["auto"] = Field(
        "auto",
        description="panoramas per shard, which is also the work that a killed job repeats per writer; auto: a 64th "
        "of the inputs, between 1 and 16",
    )

    @field_validator("size")
    @classmethod
    def _size_is_known(cls, value: str) -> str:
        if value in ("source", "native"):
            return value
        match = re.fullmatch(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})", value)
        if not match or int(match[2]) != 2 * int(match[1]):
            raise ValueError("takes source, native, or HxW with W = 2·H such as 1024x2048")
        if int(match[2]) > MAX_SIDE:
            raise ValueError(f"takes W up to {MAX_SIDE}, the widest ERP that is stitched")
        return value

    _shard_is_positive = field_validator("rows_per_shard")(check_rows_per_shard)

    def erp_size(self, source_height: int, source_width: int) -> tuple[int, int]:
        """Height and width that a panorama of the given source size is stitched to."""
        if self.size == "source":
            return source_height, source_width
        if self.size == "native":
            return NATIVE_SIZE
        height, width = self.size.split("x")
        return int(height), int(width)


class DepthConfig(Section):
    """The range of depth along z, before any metric scale."""

    min: float = Field(0.01, gt=0, description="smallest z-depth; smaller values are clamped to it")
    max: float = Field(75.0, gt=0, lt=MAX_DEPTH, description="largest z-depth; larger values are clamped to it")

    @model_validator(mode="after")
    def _is_a_range(self) -> DepthConfig:
        if self.min >= self.max:
            raise ValueError(f"depth.min {self.min} must be below depth.max {self.max}")
        return self


class SkyConfig(Section):
    """How sky probability becomes a mask."""

    threshold: float = Field(0.3, gt=0, lt=1, description="sky probability above which a pixel counts as sky")
    softness: float = Field(0.15, ge=0, le=1, description="half-width of the smooth step around it; 0: a hard mask")
    open_kernel: int = Field(5, ge=0, le=63, description="side of the opening that removes specks, odd; 0: off")
    fill: bool = Field(
        False,
        description="false: depth and normals as predicted, the sky map beside them; true: sky pushed to the far end "
        "of the range before stitching. Previews are always filled",
    )

    @field_validator("open_kernel")
    @classmethod
    def _kernel_has_a_centre(cls, value: int) -> int:
        if value and value % 2 == 0:
            raise ValueError("takes 0 (off) or an odd number of pixels")
        return value


class TaskConfig(Section):
    """Where tasks on CPUs run, and what they reserve."""

    cpus_per_task: float | Literal["auto"] = Field(
        "auto",
        description="CPUs that one read, stitch or score task reserves; auto: 1, or a quarter on machines with under "
        "4 CPUs",
    )
    address: str | None = Field(
        None, description="Ray cluster address; by default RAY_ADDRESS, a cluster on this machine, or a local one"
    )

    @field_validator("cpus_per_task")
    @classmethod
    def _cpus_are_positive(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value < SMALLEST_SHARE:
            raise ValueError(f"takes auto or a number above 0, no less than {SMALLEST_SHARE}")
        return value


class ComputeConfig(TaskConfig):
    """Workers and their resources."""

    gpu_workers: int | tuple[int, int] = Field(
        1, description="model actors: n, or [min, max] for a pool that grows on backlog"
    )
    gpus_per_worker: float = Field(1.0, ge=0, description="GPUs per model actor; 0 runs on CPUs")
    batch_size: int | Literal["auto"] = Field(
        "auto",
        description="panoramas per forward; auto: as many as fit the GPU's memory, at most 16 and a shard's rows; 1 on "
        "CPUs and in evaluations (in larger batches the last bits of a prediction depend on its neighbours)",
    )
    threads_per_worker: int | Literal["auto"] = Field(
        "auto",
        description="torch threads of a model actor on CPUs; auto: the machine's share, and 1 in evaluations (the last "
        "bits of a prediction depend on the number)",
    )
    acceleration: Literal["auto", "eager", "graphs", "fused", "compile"] = Field(
        "auto",
        description="how the network runs. eager: operation by operation; graphs: replayed as CUDA graphs, on CUDA "
        "alone; fused: as graphs, with kernels of its own, on CUDA with Triton, not measured yet; compile: the "
        "transformer's blocks by torch.compile, with Triton or a C++ compiler; auto: graphs on CUDA where they can be "
        "recorded, else eager. Results agree to rounding",
    )

    @model_validator(mode="after")
    def _graphs_have_a_device(self) -> ComputeConfig:
        if self.acceleration in ("graphs", "fused") and not self.gpus_per_worker:
            raise ValueError(
                f"compute.acceleration: {self.acceleration} takes model workers on GPUs (compute.gpus_per_worker above "
                "0); take auto or eager"
            )
        return self

    @field_validator("gpu_workers")
    @classmethod
    def _pool_is_ordered(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        low, high = value if isinstance(value, tuple) else (value, value)
        if not 1 <= low <= high:
            raise ValueError("takes n ≥ 1, or [min, max] with 1 ≤ min ≤ max")
        return value

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_are_shared_or_whole(cls, value: float) -> float:
        if 0 < value < SMALLEST_SHARE or (value > 1 and value % 1):
            raise ValueError(f"takes 0, a share from {SMALLEST_SHARE} to 1, or a whole number of GPUs")
        return value

    @field_validator("batch_size")
    @classmethod
    def _batch_is_positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("takes auto or a whole number from 1")
        return value

    @field_validator("threads_per_worker")
    @classmethod
    def _threads_can_be_had(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= MAX_THREADS:
            raise ValueError(f"takes auto or a whole number from 1 to {MAX_THREADS}")
        return value


class RunComputeConfig(ComputeConfig):
    """Workers of an inference job, and which of them sample the faces."""

    project_on: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="where faces are sampled from the panorama. cpu: where it is decoded, rounded to uint8; gpu: "
        "beside the network, in float32, which spares CPUs a thirtieth of their work and sends whole panoramas through "
        "the object store, five times the bytes; auto: cpu. gpu decides results: an output keeps to it",
    )


class ErrorsConfig(Section):
    """How many bad inputs are too many, and for how long a store may be troubled."""

    max_rejects: int | str | None = Field(
        None, description='error budget, rows or "1%" of the inputs; past it the job stops, resumable; null: no limit'
    )

    retry_seconds: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="how long requests to a store are repeated, with growing random waits, while they time out, are "
        "throttled, meet 5xx answers or lose their connection; then an input is rejected as transient",
    )

    stop_when_all_fail: bool = Field(
        True,
        description="stop, resumable, when of the first 50 inputs of a start more than 90 % are rejected for the same "
        "reason: a wrong prefix, right or setting, which would reject the millions that follow too",
    )

    stop_seconds: float = Field(
        90.0,
        ge=0,
        le=3600,
        description="how long a job that is told to stop (SIGTERM: `ray job stop`, a spot notice) may finish and "
        "commit what its model has begun; at most what RAY_JOB_STOP_WAIT_TIME_S of the cluster leaves it",
    )

    @field_validator("max_rejects")
    @classmethod
    def _budget_is_known(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 0:
            raise ValueError("takes a whole number of rows from 0, or a share such as 1%")
        if isinstance(value, str):
            match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value)
            if not match or float(match[1]) > 100:
                raise ValueError("takes a whole number of rows from 0, or a share such as 1%")
        return value

    def budget_rows(self, inputs: int) -> int | None:
        """Rejects that are allowed among ``inputs`` rows, or None without a limit."""
        if isinstance(self.max_rejects, str):
            return int(inputs * float(self.max_rejects.rstrip("% ")) / 100)
        return self.max_rejects


class JobConfig(Section):
    """What every job with a model takes, whatever it reads and writes."""

    checkpoint: str = Field(
        "",
        description="alias (embedded: comes with the package, small, trained on rendered scenes; pager, "
        "pager-metric-depth, pager-normals: released, CC BY-NC 4.0), Hub id, folder or fsspec URL",
    )
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    precision: Literal["auto", "float32", "float16", "bfloat16", "int8", "fp8"] = Field(
        "auto",
        description="of matrix products and convolutions; auto: float16 on a GPU, float32 on CPUs. int8, fp8: the "
        "backbone's matrix products in 8 bits, less exact (docs/decisions/what-choices-move.md), all else as auto; "
        "slower than float16 where it was measured, on an H200",
    )
    scene_mode: Literal["auto", "indoor", "outdoor"] = Field(
        "auto",
        description="which scale head runs. auto: the listing's (or dataset's) scene where it has one, else the "
        "checkpoint's own router decides per panorama, or CLIP where it has none; indoor or outdoor: for all, CLIP is "
        "never loaded",
    )
    router_weights: str | None = Field(
        None,
        description="local file with CLIP ViT-B/32 weights for the scene router, also in place of a checkpoint's own; "
        "by default open_clip's",
    )
    depth: DepthConfig = DepthConfig()
    sky: SkyConfig = SkyConfig()
    compute: ComputeConfig = ComputeConfig()
    errors: ErrorsConfig = ErrorsConfig()


class ScaleConfig(Section):
    """How metric scales hang together."""

    sequence: Literal["off", "robust"] = Field(
        "off",
        description="off: each panorama has its own. robust: after the run, consistent over each sequence (columns "
        "`sequence` and `time`): what scale jumps by from frame to frame is taken out, by the agreement of neighbours' "
        "depths and a robust filter over time. Kept beside the predictions, which stay as they are; what reads a run "
        "here has it. `pager-ray scale` does it to a run that stands",
    )

    @model_validator(mode="before")
    @classmethod
    def _off_is_a_word(cls, values: Any) -> Any:
        # YAML reads it as false.
        return values | {"sequence": "off"} if isinstance(values, dict) and values.get("sequence") is False else values


class RunConfig(JobConfig):
    """Everything that one inference job takes."""

    REQUIRED: ClassVar[dict[str, str]] = {
        "input.uris": "a list of files, folders, globs or listings",
        "output.uri": "a folder on any fsspec URL",
        "checkpoint": "embedded (small, rendered scenes; comes with the package), pager (released, CC BY-NC 4.0), a "
        "Hub id, a folder or a fsspec URL",
    }

    input: InputConfig = InputConfig()
    output: OutputConfig = OutputConfig()
    scale: ScaleConfig = ScaleConfig()
    compute: RunComputeConfig = RunComputeConfig()

    @model_validator(mode="after")
    def _faces_are_sampled_on_a_device_there_is(self) -> RunConfig:
        if self.compute.project_on == "gpu" and not self.compute.gpus_per_worker:
            raise ValueError("compute.project_on: gpu takes model workers on GPUs (compute.gpus_per_worker above 0)")
        if self.compute.project_on == "gpu" and self.input.upright != "off":
            raise ValueError("compute.project_on: gpu samples faces as panoramas lie; take cpu with input.upright")
        return self

    def result_keys(self) -> dict[str, Any]:
        """The dotted keys that decide what the output holds; two runs that share an output must agree on them."""
        # Digests of the listing and the checkpoint stand for their names, which may change without changing a result.
        keys = flat_keys(
            self,
            left_out={
                "input.uris",
                "input.schemes",
                "input.private",
                "input.format",
                "input.image_column",
                "input.id_column",
                "input.scene_column",
                "input.sequence_column",
                "input.time_column",
                "input.video.fps",
                "input.video.every",
                "input.video.projection",
                "input.video.stereo",
                "input.max_row_group_bytes",
                "input.keep_columns",
                "input.mask.uris",
                "input.mask.column",
                "input.mask.missing",
                "input.mask.nadir_degrees",
                "input.mask.zenith_degrees",
                "input.upright",
                "scale.sequence",
                "output.uri",
                "output.rows_per_shard",
                "checkpoint",
                "revision",
                "router_weights",
            },
        )
        # Where the work is done decides nothing, but for faces that are rounded in one place and not in the other.
        keys |= {"compute.project_on": "gpu"} if self.compute.project_on == "gpu" else {}
        keys |= {"input.keep_columns": self.input.keep_columns} if self.input.keep_columns else {}
        # Runs that began before there were such keys have none.
        told = self.input.video.reading().items()
        keys |= {f"input.video.{name}": value for name, value in told if value != "auto"}
        keys |= {"input.upright": self.input.upright} if self.input.upright != "off" else {}
        asked = self.input.mask.model_dump(mode="json", include={"nadir_degrees", "zenith_degrees"})
        return keys | {f"input.mask.{name}": value for name, value in asked.items() if value}


class PlanConfig(RunConfig):
    """What a plan takes: a run's configuration, which need not say yet what it will run with."""

    REQUIRED: ClassVar[dict[str, str]] = {key: RunConfig.REQUIRED[key] for key in ("input.uris", "output.uri")}


def flat_keys(config: Section, left_out: set[str]) -> dict[str, Any]:
    """Dotted keys and JSON values of a configuration without resources, budgets and the keys ``left_out``."""
    flat: dict[str, Any] = {}

    def walk(values: dict[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            elif f"{prefix}{key}" not in left_out:
                flat[f"{prefix}{key}"] = value

    walk({key: value for key, value in config.model_dump(mode="json").items() if key not in ("compute", "errors")}, "")
    return flat
