"""Typed configuration of a job: one YAML file plus dotted ``key=value`` overrides."""

from pager_ray.config.loading import describe_keys, load_config
from pager_ray.config.schema import RunConfig

__all__ = ["RunConfig", "describe_keys", "load_config"]
