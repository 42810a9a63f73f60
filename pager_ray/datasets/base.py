"""What a dataset is to an evaluation: samples, their pictures and their ground truth, at the protocol's size.

A dataset object is cheap to make and to pickle: it knows its root and reads nothing but listings until it is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pager_ray.datasets.decode import BAD_TRUTH, decode_rgb
from pager_ray.datasets.root import Root, naming
from pager_ray.errors import ConfigError, InputError
from pager_ray.masking import mask_uri
from pager_ray.storage import SAFE_NAME_BYTES, safe_name

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float32, UInt8

_NOT_THERE = ("missing", "not_a_file")


@dataclass(frozen=True, slots=True)
class Sample:
    """One panorama with ground truth.

    Attributes:
        id: unique in its dataset and usable as a file name, as the released evaluation names its predictions.
        uri: the picture, as people are shown it; of a Parquet row ``<file>#<row>``, counted from 0.
        scene: ``indoor`` or ``outdoor``, the scale head that the protocol forces; None where it forces none.
        labels: what reports are sliced by, such as ``{"scene": "apartment_0", "room_type": "apartment"}``.
        source: what reading needs: names relative to the dataset's root, numbers as text.
    """

    id: str
    uri: str
    scene: str | None
    labels: dict[str, str]
    source: dict[str, str]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is known of one panorama, at the protocol's size; arrays may be read-only.

    Attributes:
        depth: metres along the ray, clipped to the dataset's range; finite everywhere.
        mask: where depth (and normals) count: inside 1.01·min…0.99·max and the dataset's own mask.
        normals: x forward, y up, z right, as long as they are stored; None where the dataset has none.
    """

    depth: Float32[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    normals: Float32[np.ndarray, "h w 3"] | None


class Dataset(ABC):
    """A dataset at one place.

    Third-party datasets derive from this class, or from :class:`FolderDataset`, and are found through the entry-point
    group ``pager_ray.datasets``; the constructor takes ``data_path``, raises :class:`ConfigError` when that is not
    what it should be, and reads no sample. Objects are pickled to worker processes.

    Attributes:
        name: what users call it.
        modalities: ``("depth",)`` or ``("depth", "normals")``.
        depth_range: metres that depth is clipped to.
        is_benchmark: False where a score says nothing, because the released weights were trained on it.
    """

    name: str
    modalities: tuple[str, ...] = ("depth",)
    depth_range: tuple[float, float] = (0.01, 75.0)
    is_benchmark: bool = True

    @abstractmethod
    def __init__(self, data_path: str | None) -> None: ...

    @property
    @abstractmethod
    def height(self) -> int:
        """Rows of every picture and map that is given out."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Columns of every picture and map that is given out."""

    @abstractmethod
    def samples(self) -> list[Sample]:
        """Every sample, sorted by id.

        Raises:
            ConfigError: there is none, or two have the same id.
            StorageError: the root cannot be listed.
        """

    @abstractmethod
    def read_rgb(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """The picture as the protocol shows it to a network: its size, its crops; the array may be read-only.

        Raises:
            InputError: the classes of :mod:`pager_ray.read`; the message names the file.
            StorageError: the store cannot be used at all.
        """

    @abstractmethod
    def read_ground_truth(self, sample: Sample) -> GroundTruth:
        """Depth, mask and normals.

        Raises:
            InputError: ``bad_ground_truth`` when a file is missing, damaged or of another kind, and the classes of
                :func:`pager_ray.read.fetch.fetch` for what may be better the next time; the message names the file.
            StorageError: the store cannot be used at all.
        """

    def protocol(self) -> dict[str, Any]:
        """What numbers on this dataset depend on, JSON-able: printed beside them."""
        return {
            "dataset": self.name,
            "height": self.height,
            "width": self.width,
            "modalities": list(self.modalities),
            "depth_range": list(self.depth_range),
            "valid": "1.01·min < depth < 0.99·max, and the dataset's mask",
            "rgb": "RGB8, LANCZOS",
            "ground_truth": "nearest (OpenCV INTER_NEAREST)",
        }


class FolderDataset(Dataset):
    """A dataset of files below one folder.

    Subclasses say how their folder is told from others (:meth:`fits`) and what is in it (:meth:`list_samples`).

    Args:
        data_path: path or fsspec URL of the folder that holds :attr:`folder_name`, or of that folder itself.

    Raises:
        ConfigError: neither is there; says what was expected where.
        StorageError: it cannot be listed.
    """

    layout: str
    """What the folder holds, for people: how a sample's files are called."""
    decoding: ClassVar[dict[str, str]] = {}
    """Protocol entries beside those of every dataset: how numbers become metres, what is cropped."""

    def __init__(self, data_path: str | None) -> None:
        if data_path is None:
            raise ConfigError(
                f"{self.name}: needs a data_path; give the folder that holds {self.folder_name}/{self.layout}"
            )
        given = Root(data_path)
        named = given / self.folder_name
        for root in (named, given):
            if self.fits(root):
                self.root = root
                return
        raise ConfigError(
            f"{self.name}: {mask_uri(data_path)} does not hold the dataset; expected {named}/{self.layout}, "
            f"or the same directly in {given}"
        )

    @property
    def folder_name(self) -> str:
        """What the dataset's own folder is called."""
        return self.name

    @abstractmethod
    def fits(self, root: Root) -> bool:
        """Whether a folder is the dataset's, told by a shallow look at it."""

    @abstractmethod
    def list_samples(self) -> Iterator[Sample]:
        """Yield every sample, in any order, from as few listings as can be."""

    def samples(self) -> list[Sample]:
        """See :meth:`Dataset.samples`."""
        found: dict[str, Sample] = {}
        for sample in self.list_samples():
            other = found.setdefault(sample.id, sample)
            if other is not sample:
                raise ConfigError(
                    f"{self.name}: {other.uri} and {sample.uri} both have the id {sample.id!r}; remove one of them"
                )
        if not found:
            raise ConfigError(f"{self.name}: {self.root} holds no sample; expected {self.layout}")
        return [found[key] for key in sorted(found)]

    def read_rgb(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """See :meth:`Dataset.read_rgb`."""
        data = self.root.read(sample.source["rgb"])
        with naming(sample.uri):
            return decode_rgb(data, self.height, self.width)

    def protocol(self) -> dict[str, Any]:
        """See :meth:`Dataset.protocol`."""
        return super().protocol() | self.decoding

    @contextmanager
    def reading_truth(self, name: str) -> Iterator[bytes]:
        """Give the bytes of a file of ground truth; whatever is wrong with them in the block is told with its name."""
        shown = self.root.shown(name)
        try:
            data = self.root.read(name)
        except InputError as error:
            if error.error_class in _NOT_THERE:
                raise InputError(BAD_TRUTH, str(error), error.attempts) from error
            raise
        with naming(shown):
            yield data


def file_id(text: str) -> str:
    """An id that is a file name: the text itself, encoded where it would leave a folder or hide in it."""
    is_plain = text.isprintable() and not text.startswith(".") and "/" not in text and "\\" not in text
    return text if text and is_plain and len(text.encode()) <= SAFE_NAME_BYTES else safe_name(text)
