"""ZuriPano: outdoor panoramas of Zurich with laser-scanned depth."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pager_ray.datasets.base import GroundTruth, Sample, file_id
from pager_ray.datasets.decode import clip_depth, decode_depth_png, decode_mask, resize_nearest
from pager_ray.datasets.root import Root, naming
from pager_ray.datasets.rows import RowDataset, files_of_split
from pager_ray.errors import ConfigError

METRES_PER_STEP = 200 / 65535


class ZuriPano(RowDataset):
    """The split test of the Hub dataset ``prs-eth/ZuriPano``, or its Parquet files in a folder or in ``data/`` there.

    Columns are ``id``, ``rgb``, ``depth`` and ``mask``, which is above 0 where valid. Ids are the stored ones, stripped
    and with ``_`` for spaces.
    """

    name = "ZuriPano"
    height = 2048
    width = 4096
    repository = "prs-eth/ZuriPano"
    columns = ("id", "rgb", "depth", "mask")
    picture_column = "rgb"
    id_column = "id"
    layout = "data/test-*.parquet"
    decoding: ClassVar[dict[str, str]] = {"depth": "uint16 · 200/65535 m", "mask": "mask > 0"}

    def files(self, root: Root) -> list[str]:
        """Files of the split test, in ``data/`` or else in the folder itself."""
        return files_of_split((f"data/{name}" for name in root.names("data")), "test") or files_of_split(
            root.names(), "test"
        )

    def row_id(self, file: str, number: int, stored: str | None) -> str:
        """The stored id as a file name."""
        name = (stored or "").strip().replace(" ", "_")
        if not name:
            raise ConfigError(f"{self.name}: {self.root.shown(file)}: row {number} has no id; fetch the file again")
        return file_id(name)

    def row_scene(self) -> str:
        """Every panorama is outdoors."""
        return "outdoor"

    def read_ground_truth(self, sample: Sample) -> GroundTruth:
        """Depth where the mask allows."""
        depth_cell, mask_cell = (self.truth_cell(sample, column) for column in ("depth", "mask"))
        with naming(sample.uri):
            steps = resize_nearest(decode_depth_png(depth_cell), self.height, self.width)
            scene_mask = resize_nearest(decode_mask(mask_cell), self.height, self.width)
        # The released numbers come from one product with a factor in float32, unlike those of the other datasets.
        metres = steps * np.float32(METRES_PER_STEP)
        return GroundTruth(*clip_depth(metres, self.depth_range, scene_mask), None)
