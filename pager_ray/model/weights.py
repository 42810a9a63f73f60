"""From a safetensors file to the network, without a second copy in memory.

The network is built on the meta device. A tensor that the CPU takes as the file has it stays in the file, mapped into
memory: all processes of a node share it, see :mod:`pager_ray.model.mapped`. Every other tensor is allocated once, in
its final dtype on its final device, and filled from plain file reads: through a memory map, the file's pages would
count as this process's memory beside the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from pager_ray.bounded import parse_json
from pager_ray.errors import CheckpointError
from pager_ray.model.architecture import Architecture
from pager_ray.model.impostors import check_is_no_impostor
from pager_ray.model.mapped import map_weights
from pager_ray.model.network import CAMERA_ENCODER, PagerNetwork

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from torch import Tensor

FILE_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

# Part of the released files, of no use here.
UNUSED_PREFIX = "model.cam_dec."

_HEAD_PREFIX = "model.head."
_HEADS_PREFIX = "model.head.heads."
_STAGING_BYTES = 4 << 20
_NAMED_KEYS = 4
_MOST_HEADER_BYTES = 16 << 20  # of the released files: 0.2 MB


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a safetensors file: dtype, shape, and the byte at which it starts."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int


def load_network(
    architecture: Architecture,
    weights: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    on_filled: Callable[[PagerNetwork, str], None] | None = None,
) -> PagerNetwork:
    """Build the network and fill it.

    Args:
        architecture: from the checkpoint's configuration.
        weights: the safetensors file; any floating dtype.
        device: where the network is to run.
        dtype: of matrix and convolution weights; everything else, and the camera encoder, is float32.
        on_filled: is called after each tensor with the network and the path of the module that got it, which it may
            replace once all of the module's tensors are there; so a smaller kind of weight never stands beside all
            of the larger one.

    Raises:
        CheckpointError: the file is damaged or does not fit the architecture; names the first keys and their count.
    """
    entries = rename_old_layout(read_entries(weights), architecture)
    with torch.device("meta"):
        network = PagerNetwork(architecture)
    _check_fit(entries, {key: tuple(value.shape) for key, value in network.state_dict().items()}, weights)

    dtypes = parameter_dtypes(network, dtype)
    keys = sorted(dtypes, key=lambda key: entries[key].start)
    camera_keys = [key for key in keys if key.startswith(CAMERA_ENCODER)]
    other_keys = [key for key in keys if not key.startswith(CAMERA_ENCODER)]
    # One buffer for the whole load: allocated anew per tensor, it would leave holes between the tensors, and on some
    # runs a fifth of the weights' size with them.
    staging = torch.empty(_STAGING_BYTES, dtype=torch.uint8)
    kept = _keys_kept_as_stored(network, dtypes, entries) if device.type == "cpu" and on_filled is None else set()
    with weights.open("rb", buffering=0) as file:
        mapped = map_weights(file, weights) if kept else None
        # The camera encoder first: once the tokens are known its memory is free for the rest.
        for group in (camera_keys, other_keys):
            for key in group:
                entry = entries[key]
                tensor = None
                if mapped is not None and key in kept:
                    tensor = mapped.tensor(key, entry.dtype, entry.shape, entry.start)
                if tensor is None:
                    tensor = torch.empty(entry.shape, dtype=dtypes[key], device=device)
                    _read_into(tensor, entry, file, staging, f"{weights}: {key}")
                module, _, name = key.rpartition(".")
                setattr(network.get_submodule(module), name, nn.Parameter(tensor, requires_grad=False))
                if on_filled is not None:
                    # The callee frees what it replaces only where nothing here holds it.
                    del tensor
                    on_filled(network, module)
            if group is camera_keys:
                network.encode_cameras()
    network.to(device)
    network.freeze()
    return network


def read_entries(weights: Path) -> dict[str, TensorEntry]:
    """List the tensors of a safetensors file.

    Raises:
        CheckpointError: the file is no safetensors file, is truncated, or holds a dtype that is not floating.
    """
    check_is_no_impostor(weights)
    try:
        with safe_open(weights, framework="np"):
            pass  # the library checks header, offsets and length
        with weights.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = parse_json(file.read(min(header_bytes, _MOST_HEADER_BYTES + 1)), _MOST_HEADER_BYTES)
    except ValueError as error:
        raise CheckpointError(f"{weights}: its header {error}; fetch it again") from error
    except SafetensorError as error:
        raise CheckpointError(
            f"{weights}: is damaged, truncated or no safetensors file ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{weights}: cannot be read ({error.strerror or error}); check the file and the right to read it"
        ) from error
    header.pop("__metadata__", None)
    odd = sorted({value["dtype"] for value in header.values()} - set(FILE_DTYPES))
    if odd:
        raise CheckpointError(f"{weights}: holds tensors of dtype {', '.join(odd)}; takes {', '.join(FILE_DTYPES)}")
    return {
        key: TensorEntry(
            dtype=FILE_DTYPES[value["dtype"]],
            shape=tuple(value["shape"]),
            start=8 + header_bytes + value["data_offsets"][0],
        )
        for key, value in header.items()
    }


Entry = TypeVar("Entry")


def rename_old_layout(entries: Mapping[str, Entry], architecture: Architecture) -> dict[str, Entry]:
    """Give the keys of older single-head files their present names; other keys stay.

    Older files keep the head directly under ``model.head.``, with its second half either in
    ``head_modules.<head>.`` or in ``scratch.``.
    """
    if len(architecture.modalities) != 1 or any(key.startswith(_HEADS_PREFIX) for key in entries):
        return dict(entries)
    head = architecture.modalities[0]

    def renamed(key: str) -> str:
        if not key.startswith(_HEAD_PREFIX):
            return key
        rest = key.removeprefix(_HEAD_PREFIX)
        if rest.startswith("scratch."):
            rest = f"head_modules.{head}.{rest.removeprefix('scratch.')}"
        return f"{_HEADS_PREFIX}{head}.{rest}"

    return {renamed(key): entry for key, entry in entries.items()}


def parameter_dtypes(network: nn.Module, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Say in which dtype each parameter is held while serving in ``dtype``."""
    dtypes = {}
    for prefix, module in network.named_modules():
        matrix = isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        half = matrix and not prefix.startswith(CAMERA_ENCODER)
        for name, _ in module.named_parameters(recurse=False):
            dtypes[f"{prefix}.{name}"] = dtype if half else torch.float32
    return dtypes


def _keys_kept_as_stored(
    network: nn.Module, dtypes: Mapping[str, torch.dtype], entries: Mapping[str, TensorEntry]
) -> set[str]:
    """Name the parameters that the network holds, for as long as it lives, in the file's dtype and order."""
    reordered = {
        f"{prefix}.weight"
        for prefix, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.kernel_size != (1, 1)
    }
    return {
        key
        for key, dtype in dtypes.items()
        if dtype == entries[key].dtype and key not in reordered and not key.startswith(CAMERA_ENCODER)
    }


def _check_fit(entries: Mapping[str, TensorEntry], expected: Mapping[str, tuple[int, ...]], weights: Path) -> None:
    """Raise one error that says everything that does not fit."""
    missing = [key for key in expected if key not in entries]
    extra = [key for key in entries if key not in expected and not key.startswith(UNUSED_PREFIX)]
    misshapen = [
        f"{key} {list(entries[key].shape)} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in entries and entries[key].shape != shape
    ]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:_NAMED_KEYS])}{', …' if len(keys) > _NAMED_KEYS else ''}"
        for what, keys in (
            ("missing keys", missing),
            ("unexpected keys", extra),
            ("keys of another shape", misshapen),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"{weights}: does not fit its configuration ({'; '.join(problems)}); give it its own config.yaml"
        )


def _read_into(
    tensor: Float[Tensor, "*any"], entry: TensorEntry, file: BinaryIO, staging: UInt8[Tensor, " bytes"], what: str
) -> None:
    """Fill a tensor from its bytes in the file, through the staging buffer where dtype or device differ."""
    file.seek(entry.start)
    flat = tensor.view(-1)
    if tensor.device.type == "cpu" and tensor.dtype == entry.dtype:
        _read_bytes(file, flat.view(torch.uint8), what)
        return
    buffer = staging.view(entry.dtype)
    for begin in range(0, flat.numel(), buffer.numel()):
        part = buffer[: min(buffer.numel(), flat.numel() - begin)]
        _read_bytes(file, part.view(torch.uint8), what)
        flat[begin : begin + part.numel()].copy_(part)


def _read_bytes(file: BinaryIO, target: Tensor, what: str) -> None:
    view = target.numpy().data
    try:
        while view:
            count = file.readinto(view)  # type: ignore[attr-defined]
            if not count:
                raise CheckpointError(f"{what}: the file ends before this tensor does; fetch it again")
            view = view[count:]
    except OSError as error:
        raise CheckpointError(
            f"{what}: cannot be read ({error.strerror or error}); check the file and its storage"
        ) from error
