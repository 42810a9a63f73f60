"""The samples that ``pager-ray samples`` renders, as a dataset: exact ground truth with nothing to download."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import numpy as np

from pager_ray.datasets.base import FolderDataset, GroundTruth, Sample, file_id
from pager_ray.datasets.decode import (
    BAD_TRUTH,
    as_depth_map,
    as_normal_map,
    clip_depth,
    decode_npz,
    picture_size,
    resize_nearest,
)
from pager_ray.datasets.root import Root, naming
from pager_ray.errors import ConfigError, InputError
from pager_ray.modalities import MAPS

LISTING = "samples.csv"
GROUND_TRUTH = "ground_truth"
_COMMAND = "pager-ray samples FOLDER --count 32 --height 512"
_SCENES = ("indoor", "outdoor")


class Synthetic(FolderDataset):
    """``samples.csv`` with pictures, and ``ground_truth/<id>.npz`` with ``depth``, ``normals`` and ``sky``.

    Everything is brought to the size of the listing's first picture. Depth is 0 in the sky, which is not valid.

    Args:
        data_path: path or fsspec URL of the folder that the command wrote.

    Raises:
        ConfigError: there is none; says which command writes one.
        StorageError: it cannot be listed.
    """

    name = "synthetic"
    modalities = ("depth", "normals")
    layout = f"{LISTING} and {GROUND_TRUTH}/<id>.npz, as `{_COMMAND}` writes them"
    decoding: ClassVar[dict[str, str]] = {"depth": "npz, float32 metres", "mask": "not sky"}

    def __init__(self, data_path: str | None) -> None:
        if data_path is None:
            raise ConfigError(f"{self.name}: needs a data_path; run `{_COMMAND}` and give FOLDER")
        self.root = Root(data_path)
        if not self.fits(self.root):
            raise ConfigError(
                f"{self.name}: {self.root} holds no {LISTING} with a folder {GROUND_TRUTH}; run `{_COMMAND}` and give "
                "FOLDER"
            )

    def fits(self, root: Root) -> bool:
        """Tell the folder by its listing and its ground truth."""
        return {LISTING, f"{GROUND_TRUTH}/"} <= set(root.names())

    @cached_property
    def _size(self) -> tuple[int, int]:
        try:
            first = next(iter(self.list_samples()))
            with naming(first.uri):
                return picture_size(self.root.read(first.source["rgb"]))
        except StopIteration:
            raise ConfigError(
                f"{self.name}: {self.root.shown(LISTING)} lists nothing; run `{_COMMAND}` again"
            ) from None
        except InputError as error:
            raise ConfigError(f"{self.name}: the first picture's size cannot be told: {error}") from error

    @property
    def height(self) -> int:
        """Rows of the first picture."""
        return self._size[0]

    @property
    def width(self) -> int:
        """Columns of the first picture."""
        return self._size[1]

    def list_samples(self) -> Iterator[Sample]:
        """Yield the listing's rows, in its order."""
        where = self.root.shown(LISTING)
        try:
            reader = csv.DictReader(io.StringIO(self.root.read(LISTING).decode("utf-8-sig")))
            rows = list(reader)
        except (InputError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"{self.name}: {where} cannot be read ({error}); run `{_COMMAND}` again") from error
        if missing := {"uri", "id", "scene"} - set(reader.fieldnames or ()):
            raise ConfigError(
                f"{self.name}: {where} has no column {', '.join(sorted(missing))}; takes uri, id and scene"
            )
        for number, row in enumerate(rows, start=1):
            name, id, scene = row["uri"] or "", row["id"] or "", row["scene"] or ""
            if not (id and name and file_id(id) == id and file_id(name) == name and scene in _SCENES):
                raise ConfigError(
                    f"{self.name}: {where} row {number}: takes the name of a picture beside it, an id that is a file "
                    f"name, and indoor or outdoor; got {name!r}, {id!r}, {scene!r}"
                )
            _, separator, style = id.partition("-")
            yield Sample(
                id=id,
                uri=self.root.shown(name),
                scene=scene,
                labels={"scene": style} if separator and style else {},
                source={"rgb": name, "truth": f"{GROUND_TRUTH}/{id}.npz"},
            )

    def read_ground_truth(self, sample: Sample) -> GroundTruth:
        """Depth and normals, valid where there is no sky."""
        with self.reading_truth(sample.source["truth"]) as data:
            arrays = decode_npz(data, MAPS)
            stored = as_depth_map(arrays["depth"])
            vectors = as_normal_map(arrays["normals"])
            sky = arrays["sky"]
            if not stored.shape == vectors.shape[:2] == sky.shape or sky.dtype != np.bool_:
                shapes = f"depth {stored.shape}, normals {vectors.shape} and sky {sky.dtype} {sky.shape}"
                raise InputError(BAD_TRUTH, f"holds {shapes}, takes maps of one size and a bool sky")
        depth, mask = clip_depth(
            resize_nearest(stored, self.height, self.width),
            self.depth_range,
            ~resize_nearest(sky, self.height, self.width),
        )
        return GroundTruth(depth, mask, resize_nearest(vectors, self.height, self.width))
