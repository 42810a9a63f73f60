"""Datasets whose samples are rows of Parquet files, in a folder or on the Hugging Face Hub."""

from __future__ import annotations

import posixpath
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

from pager_ray.datasets.base import FolderDataset, Sample
from pager_ray.datasets.decode import BAD_TRUTH, decode_rgb
from pager_ray.datasets.hub import hub_revision, hub_url, pin_revision
from pager_ray.datasets.parquet import list_rows, read_cell
from pager_ray.datasets.root import Root, naming
from pager_ray.errors import ConfigError, InputError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

_FOOTERS_AT_ONCE = 8
_SPLITS = ("train", "val", "test")


class RowDataset(FolderDataset):
    """A dataset of Parquet rows.

    A sample's ``source`` holds ``file``, ``group`` (row group) and ``row`` (in the group), and from the Hub the
    ``revision``: every process reads the commit that was listed, whatever the branch is by then.

    Args:
        data_path: None or ``hub`` for the Hub's main branch, ``hub@REV`` for another revision, else the folder that
            holds :attr:`folder_name`, or that folder itself: a path or fsspec URL.

    Raises:
        ConfigError: the folder holds no such files, or the Hub cannot be used; says what to do.
        StorageError: it cannot be listed.
    """

    repository: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    picture_column: ClassVar[str]
    id_column: ClassVar[str | None] = None

    def __init__(self, data_path: str | None) -> None:
        revision = hub_revision(data_path)
        if revision is None:
            self.revision: str | None = None
            super().__init__(data_path)
            return
        self.revision = pin_revision(self.name, self.repository, revision)
        self.root = Root(hub_url(self.repository, self.revision))
        if not self.fits(self.root):
            raise ConfigError(
                f"{self.name}: {self.root} does not hold the dataset; expected {self.layout}; give another revision as "
                "data_path, such as hub, or a folder"
            )

    @abstractmethod
    def files(self, root: Root) -> list[str]:
        """Names of the Parquet files in a folder, sorted; empty where it is not the dataset's."""

    @abstractmethod
    def row_id(self, file: str, number: int, stored: str | None) -> str:
        """Id of a row: ``number`` counts through the file from 0, ``stored`` is the id column's value."""

    @abstractmethod
    def row_scene(self) -> str:
        """The scale head that the protocol forces, the same for all rows."""

    def row_labels(self) -> dict[str, str]:
        """Labels of every row."""
        return {}

    def fits(self, root: Root) -> bool:
        """Tell the folder by its Parquet files."""
        return bool(self.files(root))

    def list_samples(self) -> Iterator[Sample]:
        """Yield every row; reads the files' footers, and the id column where there is one."""
        files = self.files(self.root)
        commit = {"revision": self.revision} if self.revision else {}
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            listed = pool.map(lambda file: list_rows(self.root.uri(file), self.columns, self.id_column), files)
            for file, rows in zip(files, listed, strict=True):
                shown = self.root.shown(file)
                for number, (group, row, stored) in enumerate(rows):
                    source = {"file": file, "group": str(group), "row": str(row), **commit}
                    yield Sample(
                        id=self.row_id(file, number, stored),
                        uri=f"{shown}#{number}",
                        scene=self.row_scene(),
                        labels=self.row_labels(),
                        source=source,
                    )

    def read_rgb(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """See :meth:`pager_ray.datasets.base.Dataset.read_rgb`."""
        data = self.cell(sample, self.picture_column, "bad_image")
        with naming(sample.uri):
            return decode_rgb(data, self.height, self.width)

    def truth_cell(self, sample: Sample, column: str) -> bytes:
        """A cell of ground truth; a file that is gone counts as bad ground truth."""
        try:
            return self.cell(sample, column, BAD_TRUTH)
        except InputError as error:
            if error.error_class == "missing":
                raise InputError(BAD_TRUTH, str(error), error.attempts) from error
            raise

    def cell(self, sample: Sample, column: str, error_class: str) -> bytes:
        """The bytes of one cell of a sample's row."""
        source = sample.source
        revision = source.get("revision")
        root = self.root if revision == self.revision else Root(hub_url(self.repository, str(revision)))
        return read_cell(root.uri(source["file"]), int(source["group"]), int(source["row"]), column, error_class)


def files_of_split(names: Iterable[str], split: str) -> list[str]:
    """The Parquet files of a split: those whose names start with it.

    Where no name starts with that of any split, the folder is taken for the split itself.
    """
    parquet = sorted(name for name in names if name.endswith(".parquet"))
    found = [name for name in parquet if posixpath.basename(name).startswith(split)]
    if not found and not any(posixpath.basename(name).startswith(_SPLITS) for name in parquet):
        return parquet
    return found
