"""A run as a PyTorch dataset."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import Dataset

from pager_ray.errors import ConfigError, RunNotFoundError
from pager_ray.reader.picture import source_picture
from pager_ray.reader.rows import wanted_maps
from pager_ray.reader.run import Run, open_run
from pager_ray.schemes import settled_prefix

Sample = dict[str, Any]


class PanoramaDataset(Dataset[Any]):
    """The predictions of a run, by their place in :attr:`ids`: a map-style dataset for ``torch.utils.data.DataLoader``.

    An item is a dictionary with the same keys for every panorama of the run:

    ========== ==============================================================================
    id, uri    which panorama
    scene      ``indoor``, ``outdoor``, or empty where neither listing nor router told
    log_scale  ln(metric depth / scale-invariant depth); NaN without scale heads
    depth      (1, H, W) float32, metres along the ray
    normals    (3, H, W) float32, unit vectors: x forward (ERP centre), y up, z right
    sky        (1, H, W) float32, probability
    valid      (1, H, W) bool, the pixels that mean something
    image      (3, H, W) uint8, the source picture at the size of the maps; with ``image=True``
    ========== ==============================================================================

    Maps have each panorama's own size unless the run had ``output.size``; a ``transform`` brings them to one.

    What an item is was decided when the dataset was made, also while the run grows. Each process that takes items,
    forked or spawned, opens the run for itself.

    Attributes:
        uri: the run's output.
        maps: the maps in an item.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        maps: Sequence[str] | None = None,
        *,
        ids: Iterable[str] | None = None,
        image: bool = False,
        images_from: str | os.PathLike[str] | None = None,
        transform: Callable[[Sample], Any] | None = None,
    ) -> None:
        if image and images_from is None:
            raise ConfigError(
                "image: the run alone says where its pictures lie, and may be anybody's; name the folder or the web "
                "host that they are read from as images_from"
            )
        self.uri = os.fspath(uri)
        run = open_run(self.uri)
        self.maps = wanted_maps(run, maps)
        chosen = run.ids() if ids is None else list(ids)
        if ids is not None and (unknown := next((id for id in chosen if id not in run), None)) is not None:
            raise RunNotFoundError(
                f"{run.uri}: has no prediction with id {unknown!r}; take some of ids(), or look into rejects() for why"
            )
        # As one buffer: a list of strings would be copied page by page into every forked worker that counts its
        # references.
        self._ids = pa.array(chosen, pa.large_string())
        self._images_from: str | None = None
        if image and images_from is not None:
            self._images_from = settled_prefix(os.fspath(images_from), "images_from")
        self._transform = transform
        self._opened: tuple[int, Run] = (os.getpid(), run)

    def __repr__(self) -> str:
        """Name the run, the number of items and their maps."""
        return f"PanoramaDataset({self.uri!r}, {len(self)} panoramas, {', '.join(self.maps)})"

    @property
    def ids(self) -> list[str]:
        """Ids in order of the items."""
        return self._ids.to_pylist()

    def __len__(self) -> int:
        """Number of items."""
        return len(self._ids)

    def __getitem__(self, index: int) -> Any:
        """Read one item.

        Raises:
            IndexError: there are not so many.
            StorageError: its maps cannot be read.
            InputError: with ``image=True``, its source lies elsewhere, is gone or cannot be read.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.uri}: has {len(self)} panoramas, so none at {index}")
        id = self._ids[int(index) % len(self)].as_py()
        prediction = self._run().read(id, self.maps)
        sample: Sample = {
            "id": prediction.id,
            "uri": prediction.uri,
            "scene": prediction.scene or "",
            "log_scale": math.nan if prediction.log_scale is None else prediction.log_scale,
        }
        sample |= {name: _channels_first(getattr(prediction, name)) for name in self.maps}
        sample["valid"] = _channels_first(prediction.valid)
        if self._images_from is not None:
            sample["image"] = _channels_first(source_picture(prediction, self._images_from))
        return sample if self._transform is None else self._transform(sample)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is open."""
        return {**self.__dict__, "_opened": None}

    def _run(self) -> Run:
        # A forked process has its parent's file systems without the threads that serve them.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), open_run(self.uri))
        return self._opened[1]


def torch_dataset(
    uri: str | os.PathLike[str],
    maps: Sequence[str] | None = None,
    *,
    ids: Iterable[str] | None = None,
    image: bool = False,
    images_from: str | os.PathLike[str] | None = None,
    transform: Callable[[Sample], Any] | None = None,
) -> PanoramaDataset:
    """Open a run as a PyTorch dataset with random access.

    Args:
        uri: the job's ``output.uri``.
        maps: those of ``depth``, ``normals`` and ``sky`` to read; all that the run has when None.
        ids: panoramas in the order of the items, such as a part of ``open_run(uri).table()``; all when None.
        image: also read the source pictures from their own URIs, which the run tells.
        images_from: folder, or web host (``https://host``), that they must lie below; ``image`` needs it.
        transform: applied to each item; with workers that are spawned it has to be picklable.

    Raises:
        RunNotFoundError: there is no run, or it has no prediction with such an id.
        ConfigError: it has no such map, ``image`` lacks ``images_from``, or that is no folder or host.
        StorageError: it cannot be read.
    """
    return PanoramaDataset(uri, maps, ids=ids, image=image, images_from=images_from, transform=transform)


def _channels_first(array: np.ndarray) -> torch.Tensor:
    planes = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    # Decoded maps may be views of read-only bytes, which torch would let others write to.
    return torch.from_numpy(np.require(planes, requirements=("C", "W")))
