"""Datasets by name: our own, and those that other packages add through an entry point."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points

from pager_ray.datasets.base import Dataset
from pager_ray.datasets.infinigen import CONFIGS, PanoInfinigen
from pager_ray.datasets.infinigen import NAME as PANO_INFINIGEN
from pager_ray.datasets.matterport import Matterport3D360
from pager_ray.datasets.replica import Replica360_4K
from pager_ray.datasets.stanford import Stanford2D3DS
from pager_ray.datasets.structured3d import Structured3D
from pager_ray.datasets.synthetic import Synthetic
from pager_ray.datasets.zuripano import ZuriPano
from pager_ray.errors import ConfigError

ENTRY_POINTS = "pager_ray.datasets"

_CLASSES: dict[str, type[Dataset]] = {
    kind.name: kind for kind in (Matterport3D360, Stanford2D3DS, Replica360_4K, Structured3D, ZuriPano, Synthetic)
}
# What the import of a stranger's module is known to raise.
_IMPORT_ERRORS = (
    ImportError,
    AttributeError,
    SyntaxError,
    NameError,
    TypeError,
    ValueError,
    LookupError,
    OSError,
    RuntimeError,
)


def dataset_names() -> list[str]:
    """Names that :func:`open_dataset` takes: benchmarks, training data, then those of other packages, unloaded."""
    own = [*_CLASSES, *(f"{PANO_INFINIGEN}/{config}" for config in CONFIGS)]
    return own + sorted(set(_foreign()) - set(own))


def open_dataset(name: str, data_path: str | None) -> Dataset:
    """Open a dataset.

    Args:
        name: one of :func:`dataset_names`; ``PanoInfinigen/<config>`` takes ``/<split>`` behind it.
        data_path: path or fsspec URL of the folder that holds the dataset's own. ZuriPano and PanoInfinigen also take
            None or ``hub`` for the Hugging Face Hub, and ``hub@REV`` for a revision there.

    Raises:
        ConfigError: no such dataset, a package that adds it cannot be loaded, or ``data_path`` does not hold it.
        StorageError: the root cannot be listed.
    """
    if name in _CLASSES:
        return _CLASSES[name](data_path)
    family, *parts = name.split("/")
    if family == PANO_INFINIGEN and 1 <= len(parts) <= 2:
        return PanoInfinigen(data_path, *parts)
    foreign = _foreign().get(name)
    if foreign is not None:
        return _load(foreign)(data_path)
    names = dataset_names()
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise ConfigError(f"no dataset {name!r}{meant}; there are {', '.join(names)}")


def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _load(point: EntryPoint) -> type[Dataset]:
    try:
        kind = point.load()
    except _IMPORT_ERRORS as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"dataset {point.name!r}: {point.value} cannot be loaded ({type(error).__name__}: {reason}); "
            "update or remove the package that adds it"
        ) from error
    if not isinstance(kind, type) or not issubclass(kind, Dataset):
        raise ConfigError(
            f"dataset {point.name!r}: {point.value} is no subclass of pager_ray.datasets.Dataset; update or remove the "
            "package that adds it"
        )
    return kind
