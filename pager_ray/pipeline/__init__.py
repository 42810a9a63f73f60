"""The main job: panoramas in, geometry out, as Ray Data stages."""

from pager_ray.pipeline.job import RunSummary, run_job

__all__ = ["RunSummary", "run_job"]
