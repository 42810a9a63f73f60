"""The keys of a job's configuration, with their defaults, limits and trade-offs.

Descriptions are what ``pager-ray run --help`` prints, so each says what the key means and what it costs.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

NATIVE_SIZE = (1008, 2016)
"""Height and width of the ERP that six 504-px faces resolve."""

Scene = Literal["indoor", "outdoor"]


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class InputConfig(Section):
    """What to read."""

    uris: Annotated[list[str], BeforeValidator(_one_or_many)] = Field(
        default_factory=list,
        description="files, folders, globs, or .parquet/.csv/.txt listings with a `uri` column (optional `id`, "
        "`scene`), on any fsspec URL",
    )
    max_pixels: int = Field(
        2**28,
        ge=2048,
        description="larger images (width × height, before decoding) are rejected; bounds the memory of a decode "
        "at about 3 bytes per pixel",
    )


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
        match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", value)
        if not match or int(match[2]) != 2 * int(match[1]):
            raise ValueError("takes source, native, or HxW with W = 2·H such as 1024x2048")
        return value

    @field_validator("rows_per_shard")
    @classmethod
    def _shard_is_positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 4096:
            raise ValueError("takes auto or a whole number from 1 to 4096")
        return value

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
    max: float = Field(75.0, gt=0, description="largest z-depth; larger values are clamped to it")

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


class ComputeConfig(Section):
    """Workers and their resources."""

    gpu_workers: int | tuple[int, int] = Field(
        1, description="model actors: n, or [min, max] for a pool that grows on backlog"
    )
    gpus_per_worker: float = Field(1.0, ge=0, description="GPUs per model actor; 0 runs on CPUs")
    batch_size: int | Literal["auto"] = Field(
        "auto", description="panoramas per forward; auto: 4 on a GPU, 1 on CPUs. More costs memory"
    )
    cpus_per_task: float | Literal["auto"] = Field(
        "auto",
        description="CPUs that one read or stitch task reserves; auto: 1, or a quarter on machines with under 4 CPUs",
    )
    address: str | None = Field(
        None, description="Ray cluster address; by default RAY_ADDRESS, a cluster on this machine, or a local one"
    )

    @field_validator("gpu_workers")
    @classmethod
    def _pool_is_ordered(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        low, high = value if isinstance(value, tuple) else (value, value)
        if not 1 <= low <= high:
            raise ValueError("takes n ≥ 1, or [min, max] with 1 ≤ min ≤ max")
        return value

    @field_validator("batch_size")
    @classmethod
    def _batch_is_positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("takes auto or a whole number from 1")
        return value

    @field_validator("cpus_per_task")
    @classmethod
    def _cpus_are_positive(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value <= 0:
            raise ValueError("takes auto or a number above 0")
        return value


class ErrorsConfig(Section):
    """How many bad inputs are too many."""

    max_rejects: int | str | None = Field(
        None, description='error budget, rows or "1%" of the inputs; past it the job stops, resumable; null: no limit'
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


class RunConfig(Section):
    """Everything that one inference job takes."""

    input: InputConfig = InputConfig()
    output: OutputConfig = OutputConfig()
    checkpoint: str = Field(
        "pager", description="alias (pager, pager-metric-depth, pager-normals), Hub id, folder or fsspec URL"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="of matrix products and convolutions; auto: float16 on a GPU, float32 on CPUs"
    )
    scene_mode: Literal["auto", "indoor", "outdoor"] = Field(
        "auto",
        description="which scale head runs. auto: the listing's `scene` where it has one, else CLIP decides per "
        "panorama; indoor or outdoor: for all, CLIP is never loaded",
    )
    router_weights: str | None = Field(
        None, description="local file with the scene router's CLIP ViT-B/32 weights; by default open_clip's own"
    )
    depth: DepthConfig = DepthConfig()
    sky: SkyConfig = SkyConfig()
    compute: ComputeConfig = ComputeConfig()
    errors: ErrorsConfig = ErrorsConfig()

    def result_keys(self) -> dict[str, Any]:
        """The dotted keys that decide what the output holds; two runs that share an output must agree on them."""
        # Digests of the listing and the checkpoint stand for their names, which may change without changing a result.
        skipped = {"input.uris", "output.uri", "output.rows_per_shard", "checkpoint", "revision", "router_weights"}
        flat: dict[str, Any] = {}
        for key, value in self.model_dump(mode="json").items():
            if key in ("compute", "errors"):
                continue
            if isinstance(value, dict):
                flat.update({f"{key}.{inner}": inner_value for inner, inner_value in value.items()})
            else:
                flat[key] = value
        return {key: value for key, value in flat.items() if key not in skipped}
