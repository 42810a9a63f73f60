"""A plan read back from its JSON, for the run that it was made for."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pager_ray.errors import ConfigError
from pager_ray.masking import mask_uri
from pager_ray.plain import plain_text
from pager_ray.plan.profile import bounded_bytes
from pager_ray.runs.planned import RunPlan

_MAX_BYTES = 1 << 20
_MAX_SECONDS = 1e10
_TAKES = "--plan takes what `pager-ray plan --json FILE` wrote"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class _Seconds(_Part):
    estimate: float = Field(gt=0, le=_MAX_SECONDS)
    low: float = Field(gt=0, le=_MAX_SECONDS)
    high: float = Field(gt=0, le=_MAX_SECONDS)

    @model_validator(mode="after")
    def _is_a_band(self) -> _Seconds:
        if not self.low <= self.estimate <= self.high:
            raise ValueError("takes low ≤ estimate ≤ high")
        return self


class _File(_Part):
    """The part of a plan's JSON that is read."""

    rows: int = Field(ge=1, le=10**12)
    seconds: _Seconds
    start_seconds: float = Field(ge=0, le=_MAX_SECONDS)
    gpu_workers: int = Field(ge=1, le=10**6)
    cores: float = Field(gt=0, le=10**9)
    bottleneck: str = Field(max_length=40)


def read_plan(path: str) -> RunPlan:
    """Read what ``pager-ray plan --json`` wrote.

    Raises:
        ConfigError: it cannot be read, is too large, or holds no plan.
    """
    shown = mask_uri(path)
    try:
        file = _File.model_validate(json.loads(bounded_bytes(path, shown, _TAKES, _MAX_BYTES)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{shown}: {where}: {plain_text(first['msg'])}; {_TAKES}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{shown}: is not JSON ({' '.join(str(error).split())}); {_TAKES}") from error
    seconds = file.seconds
    return RunPlan(
        rows=file.rows,
        seconds=seconds.estimate,
        low_seconds=seconds.low,
        high_seconds=seconds.high,
        start_seconds=file.start_seconds,
        model_workers=file.gpu_workers,
        cores=file.cores,
        bottleneck=plain_text(file.bottleneck),
    )
