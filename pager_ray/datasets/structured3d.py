"""Structured3D: rendered rooms of designed houses, the test scenes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from pager_ray.datasets.base import FolderDataset, GroundTruth, Sample, file_id
from pager_ray.datasets.decode import clip_depth, decode_colours, decode_depth_png, resize_nearest, steps_to_metres
from pager_ray.datasets.root import Root
from pager_ray.errors import ConfigError, InputError

BROKEN = "broken_samples.txt"
TEST_SCENES = range(3250, 3500)
STEPS_PER_METRE = 1000
_SCENE = re.compile(r"scene_(\d{5})/")
_RGB, _DEPTH, _NORMALS = "rgb_rawlight.png", "depth.png", "normal.png"


class Structured3D(FolderDataset):
    """``scene_<5 digits>/2D_rendering/<room>/panorama/full/`` with the picture, depth in millimetres and normals.

    ``broken_samples.txt`` in the root, one path a line with an optional `` [reason]``, leaves out the rooms of the
    files or folders that it names. Stored normals are turned to x forward, y up, z right, and keep the length that they
    are stored with.
    """

    name = "Structured3D"
    height = 512
    width = 1024
    modalities = ("depth", "normals")
    layout = f"scene_<03250…03499>/2D_rendering/<room>/panorama/full/{_RGB} with {_DEPTH} and {_NORMALS}"
    decoding: ClassVar[dict[str, str]] = {
        "depth": "uint16 millimetres",
        "normals": "uint8/128 − 1, (x, y, z) → (−z, y, −x)",
        "scenes": "3250…3499 without broken_samples.txt",
    }

    def fits(self, root: Root) -> bool:
        """Tell the folder by its scenes."""
        return any(_SCENE.fullmatch(name) for name in root.names())

    def list_samples(self) -> Iterator[Sample]:
        """Yield the rooms of the test scenes; one recursive listing per scene, since most scenes are for training."""
        in_root = self.root.names()
        broken = self._broken() if BROKEN in in_root else frozenset()
        for folder in in_root:
            match = _SCENE.fullmatch(folder)
            if not match or int(match[1]) not in TEST_SCENES:
                continue
            for name in self.root.find(f"{folder}2D_rendering"):
                parts = name.split("/")
                if parts[3:] == ["panorama", "full", _RGB] and not _is_named(name, broken):
                    yield self._sample(f"scene_{match[1]}", parts[2], name.removesuffix(_RGB))

    def _sample(self, scene: str, room: str, folder: str) -> Sample:
        names = {"rgb": f"{folder}{_RGB}", "depth": f"{folder}{_DEPTH}", "normals": f"{folder}{_NORMALS}"}
        return Sample(file_id(f"{scene}_{room}"), self.root.shown(names["rgb"]), "indoor", {"scene": scene}, names)

    def _broken(self) -> frozenset[str]:
        """Files and folders that are left out, from ``scene_…`` on."""
        try:
            lines = self.root.read(BROKEN).decode("utf-8-sig").splitlines()
        except (InputError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self.name}: {self.root.shown(BROKEN)} cannot be read ({error}); takes UTF-8 with a path per line"
            ) from error
        paths = (line.partition(" [")[0].strip().replace("\\", "/").rstrip("/") for line in lines)
        return frozenset(path[match.start() :] for path in paths if (match := _SCENE.search(f"{path}/")))

    def read_ground_truth(self, sample: Sample) -> GroundTruth:
        """Depth and normals; nothing is masked but depth out of range."""
        with self.reading_truth(sample.source["depth"]) as data:
            steps = resize_nearest(decode_depth_png(data), self.height, self.width)
        with self.reading_truth(sample.source["normals"]) as data:
            stored = resize_nearest(decode_colours(data), self.height, self.width)
        depth, mask = clip_depth(steps_to_metres(steps, 1, STEPS_PER_METRE), self.depth_range)
        x, y, z = (stored[..., axis] * np.float32(1 / 128) - np.float32(1) for axis in range(3))
        return GroundTruth(depth, mask, np.stack([-z, y, -x], axis=-1))


def _is_named(rgb: str, broken: frozenset[str]) -> bool:
    """Whether one of a room's files or a folder above them is named."""
    if not broken:
        return False
    folder = rgb.removesuffix(_RGB)
    names = [f"{folder}{file}" for file in (_RGB, _DEPTH, _NORMALS)]
    parts = rgb.split("/")
    names += ["/".join(parts[:length]) for length in range(1, len(parts))]
    return not broken.isdisjoint(names)
