"""Replica360_4K: panoramas rendered from scans of rooms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from pager_ray.datasets.base import FolderDataset, GroundTruth, Sample, file_id
from pager_ray.datasets.decode import clip_depth, decode_dpt, decode_mask, resize_nearest
from pager_ray.datasets.root import Root

_RGB, _DEPTH, _MASK = "_rgb_pano.jpg", "_depth_pano.dpt", "_mask_pano.png"
_MOST_FOLDERS_TRIED = 32


class Replica360_4K(FolderDataset):
    """``<scene>/<nnnn>_rgb_pano.jpg`` with ``_depth_pano.dpt`` and ``_mask_pano.png``, which is above 0 where valid."""

    name = "Replica360_4K"
    height = 2048
    width = 4096
    layout = f"<scene>/<nnnn>{_RGB} with <nnnn>{_DEPTH} and <nnnn>{_MASK}"
    decoding: ClassVar[dict[str, str]] = {"depth": ".dpt, float32 metres", "mask": "_mask_pano.png > 0"}

    def fits(self, root: Root) -> bool:
        """Tell the folder by a picture in one of its first folders."""
        folders = [name for name in root.names() if name.endswith("/")][:_MOST_FOLDERS_TRIED]
        return any(name.endswith(_RGB) for folder in folders for name in root.names(folder.rstrip("/")))

    def list_samples(self) -> Iterator[Sample]:
        """Yield the samples of one recursive listing."""
        for name in self.root.find():
            scene, _, file = name.partition("/")
            number = file.removesuffix(_RGB)
            if number in ("", file) or "/" in file:
                continue
            yield Sample(
                id=file_id(f"{scene}_{number}"),
                uri=self.root.shown(name),
                scene="indoor",
                labels={"scene": scene, "room_type": re.sub(r"_\d+$", "", scene)},
                source={
                    "rgb": name,
                    "depth": f"{scene}/{number}{_DEPTH}",
                    "mask": f"{scene}/{number}{_MASK}",
                },
            )

    def read_ground_truth(self, sample: Sample) -> GroundTruth:
        """Depth where the mask allows."""
        with self.reading_truth(sample.source["depth"]) as data:
            stored = resize_nearest(decode_dpt(data), self.height, self.width)
        with self.reading_truth(sample.source["mask"]) as data:
            scene_mask = resize_nearest(decode_mask(data), self.height, self.width)
        return GroundTruth(*clip_depth(stored, self.depth_range, scene_mask), None)
