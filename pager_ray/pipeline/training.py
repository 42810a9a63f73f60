"""The training job: Ray Data renders scenes while Ray Train's workers train on them.

Everything that a second start needs is in the output folder: the scenes that are rendered, the state, the log. What
dies, dies between two states; the same command goes on from the last one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from pager_ray.config.training import TrainConfig
from pager_ray.durations import format_duration
from pager_ray.errors import ConfigError, PagerError, own_cause
from pager_ray.localpaths import local_path
from pager_ray.model import resolve_checkpoint
from pager_ray.pipeline.cluster import connected
from pager_ray.pipeline.conversion import convert_dataset
from pager_ray.plain import get_logger
from pager_ray.samples import make_scene, render
from pager_ray.schemes import parts_of
from pager_ray.train.convert import rendered, write_arrays
from pager_ray.train.heldout import read_heldout, score_checkpoint
from pager_ray.train.journal import mend_log, read_records
from pager_ray.train.loop import CHECKPOINT, LOG, STATE, Source, Team, Trainer
from pager_ray.train.overrides import build_settings
from pager_ray.train.panoramas import RENDER_FAILED, Folder, Numbered
from pager_ray.train.scenes import write_panoramas
from pager_ray.train.scenes.catalogue import check_families
from pager_ray.train.scenes.panoramas import check_settings, panorama_path, render_settings
from pager_ray.train.settings import TrainSettings
from pager_ray.train.start import network_of
from pager_ray.train.state import read_progress

log = get_logger(__name__)

_SCENES_PER_TASK = 8


@dataclass(frozen=True)
class TrainOutcome:
    """How a training ended."""

    output: str
    samples: int
    seconds: float
    figures: dict[str, float]

    exit_code = 0

    def lines(self) -> list[str]:
        """What was done and where to look."""
        lines = [
            f"{self.samples:,} panoramas in {format_duration(self.seconds)}, over all starts",
            f"checkpoint  {self.output}/{CHECKPOINT}",
            f"log         {self.output}/{LOG}",
        ]
        lines += [f"held out    {name} {value:.4f}" for name, value in self.figures.items()]
        return lines


def run_training(config: TrainConfig, *, address: str | None = None) -> TrainOutcome:
    """Train as the configuration says, or go on with what stands in its output folder.

    Raises:
        ConfigError: wrong configuration, or a state of another network.
        RunMismatchError: the folder of scenes holds others.
        PagerError: workers died more often than they may, or cannot go on.
        StorageError: the state or the log that stands there is damaged.
    """
    output = _local(config.output.uri, "output.uri")
    scenes = _local(config.scenes.folder, "scenes.folder") if config.scenes.folder else output / "scenes"
    settings = train_settings(config)
    if config.scenes.dataset is None:
        check_families(config.scenes.leave_out)
        check_settings(scenes, render_settings(config.scenes.height, config.scenes.seed, config.scenes.leave_out))
    if config.init is not None:
        # Bring it to this node, and refuse a wrong name, before anything starts.
        resolve_checkpoint(config.init, revision=config.revision)
    output.mkdir(parents=True, exist_ok=True)
    scenes.mkdir(parents=True, exist_ok=True)
    # What is damaged is told before anything is rendered or trained.
    mend_log(output / LOG)
    if (output / STATE).exists():
        read_progress(output / STATE)
    with connected(address):
        spare = _spare_cpus(config)
        _render_heldout(output / "heldout", config.heldout.count)
        names: list[str] | None = None
        if config.scenes.dataset is not None:
            names = convert_dataset(config, scenes)
        elif spare < 1:
            log.info("workers take every CPU: scenes are rendered before training begins")
            _render(config, scenes, 1)
        with _rendering(config, scenes, spare), _told(output / LOG):
            _train(config, settings, output, scenes, names)
    progress = read_progress(output / STATE)
    figures = _last_figures(output / LOG)
    return TrainOutcome(str(output), progress["samples"], progress["seconds"], figures)


def train_settings(config: TrainConfig) -> TrainSettings:
    """The part of the configuration that a worker needs.

    Raises:
        ConfigError: a budget or phases that make no schedule.
    """
    describe = {key: value for key, value in (("note", config.note), ("licence", config.licence)) if value}
    return build_settings(
        {
            "phases": [list(phase) for phase in config.phases],
            "budget": config.budget.model_dump(),
            "losses": config.losses.model_dump(),
            "optimiser": config.optimiser.model_dump(),
            "seed": config.seed,
            "cameras": config.cameras,
            "bfloat16": config.compute.bfloat16,
            "log_every": config.log_every,
            "save_every_minutes": config.save_every_minutes,
            "export_every_minutes": config.export_every_minutes,
            "describe": describe,
        }
    )


def _local(uri: str, key: str) -> Path:
    if parts_of(uri)[0][0] not in ("file", "local"):
        raise ConfigError(f"{key}: got {uri}; takes a folder on a file system that all nodes have mounted")
    return Path(local_path(uri))


def _spare_cpus(config: TrainConfig) -> int:
    """CPUs that render beside the workers.

    Raises:
        ConfigError: the cluster has not what the workers take.
    """
    compute, has = config.compute, ray.cluster_resources()
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    takes = compute.workers * (1 if compute.gpu else compute.threads_per_worker)
    if compute.gpu and gpus < compute.workers:
        raise ConfigError(f"compute.workers: {compute.workers} take a GPU each, the cluster has {gpus}")
    if takes > cpus:
        raise ConfigError(f"compute.workers: {compute.workers} take {takes} CPUs, the cluster has {cpus}")
    spare = cpus - takes
    return spare if compute.render_cpus == "auto" else min(spare, compute.render_cpus)


def _render(config: TrainConfig, folder: Path, cpus: int) -> None:
    """Render what is missing, in the order in which training asks for it."""
    scenes = config.scenes
    missing = [index for index in range(scenes.count) if not panorama_path(folder, index).exists()]
    if not missing:
        return
    log.info("%s of %s scenes are rendered on %s CPUs", f"{len(missing):,}", f"{scenes.count:,}", cpus)

    def render_some(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for index in batch["index"]:
            list(
                write_panoramas(
                    folder,
                    int(index),
                    1,
                    height=scenes.height,
                    seed=scenes.seed,
                    leave_out=tuple(scenes.leave_out),
                )
            )
        return batch

    rows = ray.data.from_items([{"index": index} for index in missing], override_num_blocks=_blocks(len(missing)))
    done = rows.map_batches(render_some, batch_size=_SCENES_PER_TASK, num_cpus=1, concurrency=cpus)
    for _ in done.iter_batches(batch_size=None):
        pass


def _blocks(rows: int) -> int:
    return max(1, min(rows // _SCENES_PER_TASK, 1000))


@contextmanager
def _rendering(config: TrainConfig, folder: Path, cpus: int) -> Iterator[None]:
    """Render beside training; what is not rendered when it ends is not needed."""
    if cpus < 1 or config.scenes.dataset is not None:
        yield
        return
    failures: list[str] = []
    told = folder / RENDER_FAILED
    told.unlink(missing_ok=True)

    def work() -> None:
        try:
            _render(config, folder, cpus)
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            failures.append(_first_line(own_cause(error) or error))
            # Workers wait for scenes, on whatever node; where this cannot be written their patience ends.
            with suppress(OSError):
                told.write_text(failures[0], encoding="utf-8")

    thread = threading.Thread(target=work, name="render", daemon=True)
    thread.start()
    try:
        yield
    except PagerError as error:
        if failures:
            raise PagerError(f"scenes could not be rendered: {failures[0]}") from error
        raise


def _render_heldout(folder: Path, count: int) -> None:
    """Panoramas of ``pager-ray samples`` for figures; training scenes have other seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not panorama_path(folder, number).exists()]
    if not missing:
        return

    @ray.remote(num_cpus=1)
    def render_one(number: int) -> None:
        shot = render(make_scene(number // 2, "outdoor" if number % 2 else "indoor"), 256, 512)
        arrays = rendered(shot.rgb, shot.depth, shot.normals)
        write_arrays(panorama_path(folder, number), arrays, outdoor=shot.scene == "outdoor")

    ray.get([render_one.remote(number) for number in missing])


def _train(config: TrainConfig, settings: TrainSettings, output: Path, scenes: Path, names: list[str] | None) -> None:
    """Run the workers until the budget is used."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    compute = config.compute
    resources = {"CPU": 1 if compute.gpu else compute.threads_per_worker}
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "settings": settings,
            "output": str(output),
            "scenes": str(scenes),
            "names": names,
            "count": config.scenes.count,
            "init": config.init,
            "revision": config.revision,
            "threads": compute.threads_per_worker,
        },
        scaling_config=ScalingConfig(num_workers=compute.workers, use_gpu=compute.gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name="ray_train",
            storage_path=str(output / "state"),
            failure_config=FailureConfig(max_failures=compute.max_restarts),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        if (own := _workers_cause(error)) is not None:
            raise own from error
        raise PagerError(
            f"training failed: {_first_line(error)}; the same command goes on from its last state"
        ) from error


def _workers_cause(error: Exception) -> PagerError | None:
    """What a worker said by itself, which is what to do; going on from the last state would only say it again."""
    failures = getattr(error, "worker_failures", {}).values()
    # Ray Train keeps the worker's own error inside one that holds its traceback.
    causes = (own_cause(getattr(failure, "_base_exc", failure)) for failure in failures)
    return next((cause for cause in causes if cause is not None), None)


def _work(told: dict[str, Any]) -> None:
    """One worker's training."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(told["threads"])
    settings, output = told["settings"], Path(told["output"])
    source: Source = (
        Folder(told["scenes"], settings.seed, cameras=settings.cameras, names=told["names"])
        if told["names"] is not None
        else Numbered(told["scenes"], told["count"], settings.seed, cameras=settings.cameras)
    )
    start = None
    if told["init"] is not None:
        start = network_of(resolve_checkpoint(told["init"], revision=told["revision"]))
    heldout = output / "heldout"

    def figures(checkpoint: Path) -> dict[str, float]:
        if not any(heldout.glob("*.npz")):
            return {}
        found = score_checkpoint(checkpoint, read_heldout(heldout, 1 << 20))
        return {name: round(value, 5) for name, value in found.items()}

    trainer = Trainer(
        settings,
        source,
        output,
        team=Team(context.get_world_rank(), context.get_world_size()),
        device=device,
        on_export=figures,
        start=start,
    )
    trainer.run()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Log every record that appears in the training's log."""
    ended = threading.Event()
    begin = path.stat().st_size if path.exists() else 0

    def follow() -> None:
        at = begin
        while True:
            last = ended.is_set()
            if path.exists():
                with path.open(encoding="utf-8") as file:
                    file.seek(at)
                    text = file.read()
                whole = text.rpartition("\n")[0]
                at += len((whole + "\n").encode()) if whole else 0
                for line in whole.splitlines():
                    log.info("%s", progress_line(json.loads(line)))
            if last:
                return
            ended.wait(2.0)

    thread = threading.Thread(target=follow, name="told", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def progress_line(record: dict[str, Any]) -> str:
    """One record of the log as a person reads it."""
    if "step" not in record:
        values = ", ".join(f"{name} {value:.3f}" for name, value in record.items() if name != CHECKPOINT)
        return f"checkpoint written{': ' if values else ''}{values}"
    losses = []
    if "loss" in record:
        losses = [f"loss {record['loss']:.3f}", f"depth {record.get('depth', float('nan')):.3f}"]
    if skipped := record.get("skipped"):
        losses.append(f"{skipped} steps skipped, whose gradient was not finite")
    return (
        f"{record['share']:.0%} of the budget, {record['samples']:,} panoramas in {record['minutes']:.1f} min, "
        f"{record['face_size']} px: {', '.join(losses)}"
    )


def _last_figures(path: Path) -> dict[str, float]:
    found = [record for record in read_records(path) if "step" not in record]
    return {name: value for name, value in found[-1].items() if name != CHECKPOINT} if found else {}


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1][:300] if str(error).strip() else type(error).__name__
