"""``pager-ray train``: a checkpoint from rendered scenes, or a given one fitted to panoramas with depth."""

from __future__ import annotations

import click

from pager_ray.cli.options import CommandWithKeys, config_option, overrides_argument, tell
from pager_ray.config import load_config
from pager_ray.config.training import TrainConfig


class _TrainCommand(CommandWithKeys):
    config = TrainConfig


@click.command(cls=_TrainCommand)
@config_option
@overrides_argument
def train(config_path: str | None, overrides: tuple[str, ...]) -> int:
    """Train a checkpoint while its scenes are rendered; the same command again goes on from the last state."""
    config = load_config(config_path, overrides, TrainConfig)
    from pager_ray.pipeline.training import run_training

    return tell(run_training(config))
