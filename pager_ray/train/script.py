"""The plain script: training from a folder of rendered scenes with torch, NumPy and safetensors alone.

``python -m pager_ray.train SCENES OUT`` trains in one process, ``torchrun --nproc-per-node N -m pager_ray.train SCENES
OUT`` in several.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pager_ray.errors import PagerError
from pager_ray.model.serving import device_of
from pager_ray.train.loop import Team, Trainer
from pager_ray.train.overrides import parse_settings
from pager_ray.train.panoramas import Folder

_DEFAULTS: dict[str, Any] = {"phases": [[0.25, 56, 8], [1.0, 84, 4]]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m pager_ray.train", description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder of .npz panoramas with truth")
    parser.add_argument("out", type=Path, help="folder of the run's state and log; the same command goes on from it")
    parser.add_argument("settings", nargs="*", help="key=value, such as budget.minutes=30 seed=1")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--growing", action="store_true", help="scenes are being added while training runs")
    options = parser.parse_intermixed_args(arguments)
    try:
        _train(options)
    except PagerError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    return 0


def _train(options: argparse.Namespace) -> None:
    settings = parse_settings(options.settings, _DEFAULTS)
    device, team = _join(options.device)
    trainer = Trainer(
        settings,
        Folder(options.scenes, settings.seed, growing=options.growing, cameras=settings.cameras),
        options.out,
        team=team,
        device=device,
        on_log=lambda record: print(json.dumps(record), flush=True),  # noqa: T201
    )
    trainer.run()
    if team.size > 1:
        dist.destroy_process_group()


def _join(device: str) -> tuple[torch.device, Team]:
    """Meet the workers that torchrun started with this one, if it did."""
    target = device_of(device)
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if target.type == "cpu":
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    if size > 1:
        if target.type == "cuda":
            target = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            # What the workers exchange lies on the GPU that a process has chosen.
            torch.cuda.set_device(target)
        dist.init_process_group("nccl" if target.type == "cuda" else "gloo", timeout=timedelta(minutes=30))
    return target, Team(rank, size)
