"""Matterport3D360: stitched panoramas of homes, test scenes only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pager_ray.datasets.base import FolderDataset, GroundTruth, Sample, file_id
from pager_ray.datasets.decode import clip_depth, cropped_rows, decode_dpt, resize_nearest
from pager_ray.datasets.root import Root
from pager_ray.errors import ConfigError, InputError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

SCENES = "scenes_test.txt"
CROPPED_SHARE = 0.14
_RGB, _DEPTH = "_rgb.png", "_depth.dpt"


class Matterport3D360(FolderDataset):
    """``<part>/data/<scene>/<key>_rgb.png`` with ``<key>_depth.dpt``, of the scenes that ``scenes_test.txt`` names.

    A picture without depth is no sample. The camera's own shadow is cut: ⌊0.14·H⌋ rows at the top and at the bottom are
    black in the picture and off in the mask; their depth stays as stored.
    """

    name = "Matterport3D360"
    height = 1024
    width = 2048
    layout = f"{SCENES} and <part>/data/<scene>/<key>{_RGB} with <key>{_DEPTH}"
    decoding: ClassVar[dict[str, str]] = {
        "depth": ".dpt, float32 metres",
        "crops": "top and bottom floor(0.14·H) rows: rgb 0, mask off",
    }

    def fits(self, root: Root) -> bool:
        """Tell the folder by its list of scenes."""
        return SCENES in root.names()

    def list_samples(self) -> Iterator[Sample]:
        """Yield the samples of the test scenes; one listing per part and scene."""
        wanted = self._scenes()
        for part in self.root.names():
            if not part.endswith("/"):
                continue
            for scene in self.root.names(f"{part}data"):
                if scene.endswith("/") and scene[:-1] in wanted:
                    yield from self._of_scene(f"{part}data/{scene}", scene[:-1])

    def _scenes(self) -> set[str]:
        try:
            text = self.root.read(SCENES).decode("utf-8-sig")
        except (InputError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self.name}: {self.root.shown(SCENES)} cannot be read ({error}); takes UTF-8 with a scene per line"
            ) from error
        return {line.strip() for line in text.splitlines() if line.strip()}

    def _of_scene(self, folder: str, scene: str) -> Iterator[Sample]:
        names = set(self.root.names(folder.rstrip("/")))
        for name in names:
            key = name.removesuffix(_RGB)
            if key not in ("", name) and f"{key}{_DEPTH}" in names:
                yield Sample(
                    id=file_id(key),
                    uri=self.root.shown(f"{folder}{name}"),
                    scene="indoor",
                    labels={"scene": scene},
                    source={"rgb": f"{folder}{name}", "depth": f"{folder}{key}{_DEPTH}"},
                )

    def read_rgb(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """The picture with black rows at top and bottom."""
        rgb = super().read_rgb(sample).copy()
        rows = cropped_rows(self.height, CROPPED_SHARE)
        rgb[:rows] = rgb[self.height - rows :] = 0
        return rgb

    def read_ground_truth(self, sample: Sample) -> GroundTruth:
        """Depth, invalid in the rows that are cut."""
        with self.reading_truth(sample.source["depth"]) as data:
            stored = decode_dpt(data)
        depth, mask = clip_depth(resize_nearest(stored, self.height, self.width), self.depth_range)
        rows = cropped_rows(self.height, CROPPED_SHARE)
        mask[:rows] = mask[self.height - rows :] = False
        return GroundTruth(depth, mask, None)
