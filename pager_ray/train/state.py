"""The state that a training goes on from: what must hold of it before it is written, and after it is read."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from pager_ray.errors import StorageError

_SECTIONS: Final = ("network", "average", "optimiser", "progress")


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state over the one before; whoever dies meanwhile, machine included, leaves a whole one.

    Raises:
        StorageError: it cannot be written; the one before stands.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            # A name that reached the disk before its content would be all that a power cut leaves.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise StorageError(
            f"{path}: cannot be written ({_reason(error)}); the state of before stands, and the same command goes on "
            "from it"
        ) from error


def read_state(path: Path, device: torch.device | str = "cpu", *, mapped: bool = False) -> dict[str, Any]:
    """Read what :func:`write_state` wrote.

    Args:
        path: of the state.
        device: where its tensors come to lie.
        mapped: leave tensors in the file until they are asked for.

    Raises:
        StorageError: it is damaged.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except torch.OutOfMemoryError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise _damaged(path, _reason(error)) from error
    missing = [name for name in _SECTIONS if not isinstance(state, dict) or not isinstance(state.get(name), dict)]
    if missing:
        raise _damaged(path, f"it has no {' and no '.join(missing)}")
    progress = state["progress"]
    if any(not isinstance(progress.get(name), int | float) for name in ("step", "samples", "seconds")):
        raise _damaged(path, "it does not say how far it is")
    return state


def read_progress(path: Path) -> dict[str, Any]:
    """How far the training of a state is, without reading its weights.

    Raises:
        StorageError: the state is damaged.
    """
    return dict(read_state(path, mapped=True)["progress"])


def not_finite(state: Any) -> str | None:
    """The name of the first tensor of a state that holds NaN or infinity, such as ``network.head.weight``.

    Args:
        state: tensors in dictionaries and lists, as ``state_dict`` gives them.

    Returns:
        None where all are finite.
    """
    return next((name for name, tensor in _tensors(state, "") if not bool(torch.isfinite(tensor).all())), None)


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = enumerate(value)
    for key, inner in items:
        yield from _tensors(inner, f"{name}.{key}" if name else str(key))


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path}: is no whole state of a training ({reason}); restore it from a copy, or delete it, and the same "
        "command begins anew"
    )


def _reason(error: BaseException) -> str:
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0][:200] if lines else "it ends too early"
