"""Stanford2D3DS: offices and halls of six areas of a university."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from pager_ray.datasets.base import FolderDataset, GroundTruth, Sample, file_id
from pager_ray.datasets.decode import clip_depth, cropped_rows, decode_depth_png, resize_nearest, steps_to_metres
from pager_ray.datasets.root import Root

CROPPED_SHARE = 0.15
METRES, PER_STEPS = 128, 65535
_KIND = "_frame_equirectangular_domain"
_RGB, _DEPTH = f"{_KIND}_rgb.png", f"{_KIND}_depth.png"
_CAMERA = re.compile(r"camera_[0-9a-f]+_(?P<room_type>[A-Za-z]+)_\d+")


class Stanford2D3DS(FolderDataset):
    """``…/rgb/<id>_frame_equirectangular_domain_rgb.png`` with ``…/depth/<id>_…_depth.png``, at any depth of folders.

    The perspective views that the original release has beside its panoramas are called otherwise and are no samples.
    What the camera's tripod hides is cut: ⌊0.15·H⌋ rows at the top and at the bottom are off in the mask, and stay in
    the picture. Pixels without depth (65535) lie beyond the range.
    """

    name = "Stanford2D3DS"
    height = 2048
    width = 4096
    layout = f"area_<n>/…/rgb/<id>{_RGB} with …/depth/<id>{_DEPTH}"
    decoding: ClassVar[dict[str, str]] = {
        "depth": "uint16 · 128/65535 m",
        "crops": "top and bottom floor(0.15·H) rows: mask off",
    }

    def fits(self, root: Root) -> bool:
        """Tell the folder by its areas."""
        return any(name.startswith("area_") and name.endswith("/") for name in root.names())

    def list_samples(self) -> Iterator[Sample]:
        """Yield the panoramas of one recursive listing."""
        for name in self.root.find():
            *folders, file = name.split("/")
            key = file.removesuffix(_RGB)
            if key in ("", file) or folders[-1:] != ["rgb"]:
                continue
            labels = {"area": folders[0]} if len(folders) > 1 else {}
            if camera := _CAMERA.fullmatch(key):
                labels["room_type"] = camera["room_type"]
            depth = "/".join([*folders[:-1], "depth", f"{key}{_DEPTH}"])
            yield Sample(file_id(key), self.root.shown(name), "indoor", labels, {"rgb": name, "depth": depth})

    def read_ground_truth(self, sample: Sample) -> GroundTruth:
        """Depth, invalid in the rows that are cut."""
        with self.reading_truth(sample.source["depth"]) as data:
            stored = decode_depth_png(data)
        metres = steps_to_metres(resize_nearest(stored, self.height, self.width), METRES, PER_STEPS)
        depth, mask = clip_depth(metres, self.depth_range)
        rows = cropped_rows(self.height, CROPPED_SHARE)
        mask[:rows] = mask[self.height - rows :] = False
        return GroundTruth(depth, mask, None)
