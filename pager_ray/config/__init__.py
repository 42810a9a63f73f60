"""Typed configuration of a job: one YAML file plus dotted ``key=value`` overrides."""

from pager_ray.config.evaluation import EvaluateConfig, ScoreConfig
from pager_ray.config.loading import describe_keys, load_config
from pager_ray.config.schema import JobConfig, RunConfig

__all__ = ["EvaluateConfig", "JobConfig", "RunConfig", "ScoreConfig", "describe_keys", "load_config"]
