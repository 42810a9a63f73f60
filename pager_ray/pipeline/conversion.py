"""A dataset with ground truth becomes the scenes of a training, on every CPU that Ray has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import ray

from pager_ray.config.training import TrainConfig
from pager_ray.datasets import Sample, open_dataset
from pager_ray.datasets.hub import hub_revision
from pager_ray.errors import ConfigError, InputError
from pager_ray.masking import mask_uri
from pager_ray.plain import get_logger
from pager_ray.train.convert import convert_sample, number_samples, write_arrays
from pager_ray.train.scenes.panoramas import panorama_path

log = get_logger(__name__)


def convert_dataset(config: TrainConfig, folder: Path) -> list[str]:
    """Turn a dataset's samples into panoramas with truth; those that cannot be read are left out and named.

    Returns:
        Names of the files that this training is to see, among what others may have left in the folder.

    Raises:
        ConfigError: the dataset holds nothing.
        RunMismatchError: the folder holds other scenes.
    """
    scenes = config.scenes
    dataset = open_dataset(str(scenes.dataset), scenes.data_path)
    samples = dataset.samples()
    if not samples:
        raise ConfigError(f"scenes.dataset: {scenes.dataset} holds no samples")
    height = scenes.height

    def picture(place: int) -> np.ndarray | None:
        try:
            return dataset.read_rgb(samples[place])
        except InputError:
            return None

    numbers = number_samples(folder, conversion_settings(config), [sample.id for sample in samples], picture)
    taken = [(numbers[sample.id], sample) for sample in samples[: scenes.limit]]

    @ray.remote(num_cpus=1)
    def convert_one(number: int, sample: Sample) -> str | None:
        target = panorama_path(folder, number)
        if target.exists():
            return None
        try:
            rgb, truth = dataset.read_rgb(sample), dataset.read_ground_truth(sample)
        except InputError as error:
            return f"{sample.id}: {error}"
        write_arrays(target, convert_sample(rgb, truth, height), outdoor=sample.scene == "outdoor")
        return None

    for refused in ray.get([convert_one.remote(number, sample) for number, sample in taken]):
        if refused is not None:
            log.warning("left out: %s", refused)
    return [panorama_path(folder, number).name for number, _ in taken]


def conversion_settings(config: TrainConfig) -> dict[str, Any]:
    """What decides the converted scenes of a folder, beside the samples: names, not contents, as for runs."""
    scenes, path = config.scenes, config.scenes.data_path
    if path is not None and "://" not in path and not hub_revision(path):
        path = os.path.abspath(os.path.expanduser(path))
    return {
        "dataset": scenes.dataset,
        "data_path": None if path is None else mask_uri(path),
        "height": scenes.height,
    }
