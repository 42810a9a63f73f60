"""How much memory a batch takes, and the batch that fits, from a rehearsal of the forward pass on shapes alone."""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pager_ray.model.architecture import FACES, MAX_BATCH, Architecture
from pager_ray.model.network import PagerNetwork
from pager_ray.model.weights import parameter_dtypes

if TYPE_CHECKING:
    from jaxtyping import Float32
    from torch import Tensor

GRAPHS_OF_TWO_SCALES = 3
"""Indoors, outdoors, and batches with both."""

# Not seen by a rehearsal: workspaces of convolutions and matrix products, and pieces too small to give out again.
_OVERHEAD = 1.10
_WORKSPACE_BYTES = 256 << 20

# Names of `serving.PRECISIONS`, and of lower ones, whose results and other weights are in half precision on GPUs.
_FLOAT32 = "float32"


def suggested_batch(
    architecture: Architecture,
    free_bytes: int,
    precision: str,
    *,
    graphs: bool = False,
    panorama_bytes: int = 0,
) -> int:
    """Panoramas per forward that fit into free memory with the weights, 1 … ``MAX_BATCH``.

    Memory is ``a + b·B`` for B panoramas: weights and tables a, activations b of one. Both come from
    :func:`peak_bytes` of one and of two panoramas.

    Args:
        architecture: the network's sizes.
        free_bytes: free memory of the device before the model is loaded.
        precision: as ``load_model`` takes it, not ``auto``.
        graphs: whether the forward pass is replayed as CUDA graphs, which hold their inputs and outputs.
        panorama_bytes: what a panorama takes on the device beside its faces, where they are sampled there.

    Returns:
        At least 1, whether or not one fits: what comes then is the device's own error.
    """
    one, two = (
        peak_bytes(architecture, panoramas, precision)
        + panoramas * panorama_bytes
        + (graph_bytes(architecture, panoramas) if graphs else 0)
        for panoramas in (1, 2)
    )
    return max(1, min(MAX_BATCH, 1 + int((free_bytes - one) // (two - one))))


@lru_cache(maxsize=64)
def graph_bytes(architecture: Architecture, panoramas: int) -> int:
    """What replaying a forward pass as CUDA graphs holds beside the pass itself.

    Every graph keeps its own input and outputs, and what a replay gives out are copies of these. Activations lie in
    one pool that all graphs share, and no other batch is run beside them.

    Args:
        architecture: the network's sizes.
        panoramas: number B of panoramas.
    """
    network, size = _kept_network(architecture, torch.float32), architecture.face_size
    faces = torch.empty(panoramas, FACES, 3, size, size, device="meta")
    outdoor = torch.empty(panoramas, dtype=torch.bool, device="meta") if len(architecture.scale_heads) > 1 else None
    with torch.no_grad(), _FusedAttention():
        outputs = network(faces, architecture.scale_heads, outdoor)
    given = sum(value.untyped_storage().nbytes() for value in outputs.values())
    graphs = GRAPHS_OF_TWO_SCALES if outdoor is not None else 1
    return graphs * (faces.untyped_storage().nbytes() + given) + given


@lru_cache(maxsize=64)
def peak_bytes(architecture: Architecture, panoramas: int, precision: str) -> int:
    """Most bytes in use during a forward pass with one scale head, weights and tables included.

    The forward pass runs without data on torch's ``meta`` device, and the sizes of all tensors alive are added up after
    each operation, with a tenth and 256 MiB on top for what operations take inside.

    Args:
        architecture: the network's sizes.
        panoramas: number B of panoramas.
        precision: as ``load_model`` takes it, not ``auto``.
    """
    network = _kept_network(architecture, torch.float32 if precision == _FLOAT32 else torch.float16)
    size = architecture.face_size
    held = sum(tensor.untyped_storage().nbytes() for tensor in (*network.parameters(), *network.buffers()))
    faces = torch.empty(panoramas, FACES, 3, size, size, device="meta")
    return int((held + faces.untyped_storage().nbytes() + rehearse(network, faces)) * _OVERHEAD) + _WORKSPACE_BYTES


def rehearse(network: PagerNetwork, faces: Float32[Tensor, "b 6 3 s s"]) -> int:
    """Most bytes of results alive at once during a forward pass of ``meta`` tensors, inputs and weights not counted."""
    with torch.no_grad(), _FusedAttention(), _LivingBytes() as living:
        network(faces, network.architecture.scale_heads[:1])
    return living.most


def meta_network(architecture: Architecture, dtype: torch.dtype) -> PagerNetwork:
    """The finished network without data: ``meta`` tensors of its shapes, matrices and convolutions in ``dtype``."""
    with torch.device("meta"):
        network = PagerNetwork(architecture)
    for key, kept in parameter_dtypes(network, dtype).items():
        module, _, name = key.rpartition(".")
        owner = network.get_submodule(module)
        setattr(owner, name, nn.Parameter(getattr(owner, name).to(kept), requires_grad=False))
    network.to("meta")
    network.freeze()
    return network


# Building takes longer than a rehearsal, and a suggestion needs two or four of these.
_kept_network = lru_cache(maxsize=2)(meta_network)


class _FusedAttention(TorchFunctionMode):
    """Lets attention cost its result alone, as fused kernels do; without data torch would write out all scores."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


class _LivingBytes(TorchDispatchMode):
    """Follows the storages that operations make: bytes now, and most so far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if torch.is_tensor(tensor)}
        for tensor in tree_leaves(results):
            if torch.is_tensor(tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self._known:
                    self._count(storage)
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
