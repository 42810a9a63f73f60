"""PanoInfinigen: generated rooms, nature and streets, which the released weights were trained on."""

from __future__ import annotations

import posixpath
from functools import cached_property
from typing import ClassVar

import numpy as np

from pager_ray.datasets.base import GroundTruth, Sample, file_id
from pager_ray.datasets.decode import (
    as_depth_map,
    as_normal_map,
    clip_depth,
    decode_npy,
    picture_size,
    resize_nearest,
)
from pager_ray.datasets.parquet import read_cell
from pager_ray.datasets.root import Root, naming
from pager_ray.datasets.rows import RowDataset, files_of_split
from pager_ray.errors import ConfigError, InputError

NAME = "PanoInfinigen"
CONFIGS = ("indoor", "nature", "urban")
SPLITS = ("train", "val", "test")


class PanoInfinigen(RowDataset):
    """``data/<config>/<split>-*.parquet`` of the Hub dataset ``prs-eth/PanoInfinigen``, there or in a folder.

    It is opened as ``PanoInfinigen/<config>`` (the split train) or ``PanoInfinigen/<config>/<split>``. Columns are
    ``image``, and ``depth`` and ``normals`` as the bytes of ``.npy`` files, taken as they are stored. Rows have no ids;
    theirs are ``<file>_<row>``, which a partial download does not change. All are brought to the size of the first
    file's first picture.

    Args:
        data_path: None, ``hub``, ``hub@REV`` or a folder, as of :class:`RowDataset`.
        config: ``indoor``, ``nature`` or ``urban``.
        split: ``train``, ``val`` or ``test``.

    Raises:
        ConfigError: no such config or split; the folder holds no such files, or the Hub cannot be used.
        StorageError: it cannot be listed.
    """

    modalities = ("depth", "normals")
    is_benchmark = False
    repository = f"prs-eth/{NAME}"
    columns = ("image", "depth", "normals")
    picture_column = "image"
    decoding: ClassVar[dict[str, str]] = {"depth": "npy, metres", "normals": "npy"}

    def __init__(self, data_path: str | None, config: str = "indoor", split: str = "train") -> None:
        if config not in CONFIGS or split not in SPLITS:
            raise ConfigError(
                f"{NAME}: no config {config!r} with split {split!r}; takes {NAME}/<config>[/<split>] with "
                f"{', '.join(CONFIGS)} and {', '.join(SPLITS)}"
            )
        self.config, self.split = config, split
        self.name = f"{NAME}/{config}" if split == "train" else f"{NAME}/{config}/{split}"
        self.layout = f"data/{config}/{split}-*.parquet"
        super().__init__(data_path)

    @property
    def folder_name(self) -> str:
        """All configs share a folder."""
        return NAME

    @cached_property
    def _size(self) -> tuple[int, int]:
        file = self.files(self.root)[0]
        try:
            with naming(self.root.shown(file)):
                return picture_size(read_cell(self.root.uri(file), 0, 0, self.picture_column, "bad_image"))
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

    def files(self, root: Root) -> list[str]:
        """Files of the config and split."""
        folder = f"data/{self.config}"
        found = (f"{folder}/{name}" for name in root.names(folder) if name.startswith(self.split))
        return files_of_split(found, self.split)

    def row_id(self, file: str, number: int, stored: str | None) -> str:
        """The file's name and the row's number."""
        return file_id(f"{posixpath.basename(file).removesuffix('.parquet')}_{number:04d}")

    def row_scene(self) -> str:
        """Nature and streets are outdoors."""
        return "indoor" if self.config == "indoor" else "outdoor"

    def row_labels(self) -> dict[str, str]:
        """Config and split."""
        return {"config": self.config, "split": self.split}

    def read_ground_truth(self, sample: Sample) -> GroundTruth:
        """Depth and normals; nothing is masked but depth out of range."""
        depth_cell, normals_cell = (self.truth_cell(sample, column) for column in ("depth", "normals"))
        with naming(sample.uri):
            stored = as_depth_map(decode_npy(depth_cell))
            vectors = as_normal_map(decode_npy(normals_cell))
        depth, mask = clip_depth(resize_nearest(stored, self.height, self.width), self.depth_range)
        normals = resize_nearest(vectors, self.height, self.width)
        return GroundTruth(depth, mask, np.nan_to_num(normals, nan=0.0, posinf=0.0, neginf=0.0))
