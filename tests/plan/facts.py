"""Measured samples of round numbers, for the arithmetic of plans."""

from __future__ import annotations

from pager_ray.plan.measure import Measured, Sample
from pager_ray.plan.plan import Job
from pager_ray.plan.profile import ModelProfile
from pager_ray.stages.work import Work

GB = 10**9


def sample(stitch: float = 0.4, stored: int = 8_000_000, fetch: float = 0.0) -> Sample:
    stages = {
        "read": Work(1, 0.05, 0.05, 4_600_000),
        "infer": Work(1, 0.01, 0.01, 21_000_000),
        "stitch": Work(1, stitch, stitch, stored),
        "write": Work(1, 0.04, 0.04, stored),
    }
    return Sample(1_000_000, fetch, stages, Work(1, 1.0, 0.0, 0), stored)


def measured(*samples: Sample, rejected: dict[str, int] | None = None) -> Measured:
    return Measured(samples or (sample(),) * 8, rejected or {}, "why")


def job(**changes: object) -> Job:
    values: dict[str, object] = {
        "rows": 100_000,
        "rejected": 0,
        "shard_rows": 16,
        "batch": 16,
        "workers": 4,
        "gpus_per_worker": 1.0,
        "checkpoint_bytes": 3 * GB,
    }
    return Job(**(values | changes))  # type: ignore[arg-type]


def model(seconds: float = 0.1, **changes: object) -> ModelProfile:
    return ModelProfile("H100", (seconds,) * 4, **changes)  # type: ignore[arg-type]
