"""A loaded model, ready for batches of panoramas."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from pager_ray.errors import CheckpointError, ConfigError, ShapeError
from pager_ray.model.acceleration import Acceleration, settle_acceleration
from pager_ray.model.architecture import FACES, SCENES, Architecture
from pager_ray.model.checkpoint import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.model.compiled import GraphReplay
from pager_ray.model.low_precision import LOW_PRECISIONS, check_low_precision, quantise_product
from pager_ray.model.network import PagerNetwork
from pager_ray.model.weights import load_network

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32
    from torch import Tensor

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class PagerModel:
    """A checkpoint's network on a device.

    Attributes:
        network: the module, in inference mode.
        identity: where the weights come from: name, revision, files, licence.
        device: where it runs.
        precision: dtype of matrix and convolution weights, by name; ``int8`` or ``fp8`` of the backbone's products.
    """

    def __init__(
        self, network: PagerNetwork, identity: ResolvedCheckpoint, device: torch.device, precision: str
    ) -> None:
        self.network = network
        self.identity = identity
        self.device = device
        self.precision = precision
        self._forward: Callable[..., dict[str, Tensor]] = network
        self._undo: Callable[[], None] = lambda: None

    @property
    def architecture(self) -> Architecture:
        """Heads, sizes and cameras."""
        return self.network.architecture

    @property
    def has_two_scales(self) -> bool:
        """Whether panoramas must be told indoor from outdoor to get a scale."""
        return len(self.architecture.scale_heads) > 1

    @property
    def routes_itself(self) -> bool:
        """Whether it tells indoor from outdoor without another network."""
        return self.has_two_scales and self.architecture.scene_router

    @torch.no_grad()
    def __call__(
        self,
        faces: Float[Tensor, "b 6 3 s s"],
        scene: Sequence[str | None] | None = None,
        *,
        outdoor: Bool[Tensor, " b"] | None = None,
    ) -> dict[str, Float32[Tensor, "b *any"]]:
        """Predict a batch of panoramas.

        Args:
            faces: RGB in [0, 1] normalised with the ImageNet mean and standard deviation, in face order F, R, B, L, U,
                D, S = ``architecture.face_size``; moved to the model's device where it is elsewhere.
            scene: ``indoor`` or ``outdoor`` per panorama, which picks the scale head of a checkpoint with two. None
                runs neither, and there is no scale. A checkpoint with one scale head always runs it, and entries may be
                None there; so they may where the checkpoint routes by itself (:attr:`routes_itself`).
            outdoor: in place of ``scene``, for a checkpoint with two scale heads and scenes that only the device knows:
                a tensor on the model's device. Both heads run, and nothing waits for the device.

        Returns:
            Float32 tensors, only what the checkpoint's heads give:

            - ``depth`` (B, 6, 1, S, S): log z-depth (z-depth itself with ``architecture.log_depth`` false), in metres
              for a metric head, else up to scale; ``depth_conf``: its confidence, above 1.
            - ``normals`` (B, 6, 3, S, S): raw, not unit length; x forward (ERP centre), y up, z right.
            - ``sky`` (B, 6, 1, S, S): logits.
            - ``log_scale`` (B, 1): log of metric over scale-invariant depth; ``scale_log_metric_field`` and
              ``scale_log_metric_conf`` (B, 6, 1, S//f, S//f): log metric z-depth and its confidence, of the scale head
              that counts for the panorama; where both ran (scenes differ, or ``outdoor``), ``scale_disagreement``
              (B, 1) is the distance between their log scales.
            - ``p_outdoor`` (B,): where the checkpoint's own router was asked, its probability, for every panorama.

        Raises:
            ShapeError: faces or scene do not have the documented shape or values.
        """
        size = self.architecture.face_size
        if faces.ndim != 5 or faces.shape[0] < 1 or tuple(faces.shape[1:]) != (FACES, 3, size, size):
            raise ShapeError(f"faces: takes (B, 6, 3, {size}, {size}) with B ≥ 1, got {tuple(faces.shape)}")
        if not faces.is_floating_point():
            raise ShapeError(f"faces: takes normalised floating values, got {faces.dtype}")
        heads, outdoor, known = self._route(scene, outdoor, faces.shape[0])
        outputs: dict[str, Tensor] = self._forward(faces.to(self.device), heads, outdoor, known)
        return outputs

    def compile(self, mode: str | None = None, *, backend: str = "inductor") -> PagerModel:
        """Let torch compile the transformer's blocks at their first call; returns the model itself.

        One code serves all blocks of a kind, so that it takes seconds; the heads run operation by operation. Results
        agree to rounding.

        Args:
            mode: of ``torch.compile``, like ``backend``.
        """
        for block in self.network.backbone.blocks:
            block.compile(mode=mode, backend=backend, fullgraph=True)
        self._undo = self._uncompile
        return self

    def replay(self) -> PagerModel:
        """Replay the forward pass as a CUDA graph, which takes a GPU less time to start; returns the model itself.

        It is recorded at the first call for each number of panoramas and choice of scale heads.

        Raises:
            ConfigError: the model is on no CUDA device.
        """
        if self.device.type != "cuda":
            raise ConfigError(f"replay: takes a model on a CUDA device, got {self.device}; call it without")
        self._forward = GraphReplay(self._forward)
        return self

    def accelerate(self, asked: str = "auto", batch: int | None = None) -> Acceleration:
        """Run the network in another way from now on; what that takes is done at the first call of each kind.

        Args:
            asked: of :data:`pager_ray.model.acceleration.ACCELERATIONS`.
            batch: as :meth:`use_batch` takes it.

        Raises:
            ConfigError: the device or machine does not have it.
        """
        taken = settle_acceleration(asked, self.device)
        self._forward = self.network
        self._undo()
        if taken.way == "fused":
            # Needs Triton, which CPUs' machines may lack.
            from pager_ray.model.fused import fuse

            self._undo = fuse(self.network)
        if taken.way == "compile":
            self.compile()
        if taken.way != "eager" and self.device.type == "cuda":
            self.replay()
        self.use_batch(batch)
        return taken

    def _uncompile(self) -> None:
        for block in self.network.backbone.blocks:
            block._compiled_call_impl = None

    def use_batch(self, panoramas: int | None) -> None:
        """Say how many panoramas batches have: smaller ones share their graph; None makes one for every number."""
        if isinstance(self._forward, GraphReplay):
            self._forward.batch = panoramas

    def _route(
        self, scene: Sequence[str | None] | None, outdoor: Tensor | None, panoramas: int
    ) -> tuple[tuple[str, ...], Tensor | None, Tensor | None]:
        """Name the scale heads that run and, with two, whose scale is the outdoor one's and of whom that is known."""
        if outdoor is not None:
            if scene is not None or not self.has_two_scales or outdoor.shape != (panoramas,):
                raise ShapeError(
                    f"outdoor: takes one truth value per panorama ({panoramas}), without scene, of a checkpoint with "
                    f"two scale heads; got {tuple(outdoor.shape)}"
                )
            return self.architecture.scale_heads, outdoor, None
        if scene is not None:
            if isinstance(scene, str) or len(scene) != panoramas:
                raise ShapeError(f"scene: takes one entry per panorama ({panoramas}), got {scene!r}")
            taken = (*SCENES, None) if self.routes_itself or not self.has_two_scales else SCENES
            wrong = sorted({str(value) for value in scene if value not in taken})
            if wrong:
                raise ShapeError(f"scene: takes {' or '.join(SCENES)}, got {', '.join(wrong)}")
        heads = self.architecture.scale_heads
        if len(heads) < 2 or scene is None:
            return (heads if len(heads) == 1 else ()), None, None
        says = [value == "outdoor" for value in scene]
        if None in scene:
            return heads, flags_on(self.device, says), flags_on(self.device, [value is not None for value in scene])
        if len(set(scene)) == 1:
            return (f"scale_{scene[0]}",), None, None
        return heads, flags_on(self.device, says), None


def flags_on(device: torch.device, values: Sequence[bool]) -> Bool[Tensor, " b"]:
    """Truth values on a device, without waiting for it: from ordinary memory a copy would."""
    flags = torch.tensor(values)
    return flags.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else flags.to(device)


def load_model(
    source: str | os.PathLike[str] = "pager",
    device: str | torch.device = "auto",
    precision: str = "auto",
    *,
    revision: str | None = None,
    sha256: str | None = None,
) -> PagerModel:
    """Load a checkpoint.

    Args:
        source: alias, Hub id, local folder or fsspec URL; see :func:`resolve_checkpoint`.
        device: a torch device; ``auto`` is CUDA where there is one, else the CPU.
        precision: ``float32``, ``float16`` or ``bfloat16`` for matrix products and convolutions; ``auto`` is float16 on
            CUDA and float32 on the CPU. Normalisation, residual stream and outputs are float32 in all of them. With
            ``int8`` or ``fp8`` the backbone's matrix products take 8-bit numbers, which costs accuracy, and all else is
            as with ``auto``; see :mod:`pager_ray.model.low_precision`.
        revision: branch, tag or commit of a Hub repository.
        sha256: digest that the weights file on this node must have, in hexadecimal; checked before it is loaded.

    Raises:
        CheckpointError: the checkpoint cannot be found or read, does not fit its configuration, or is another one.
        ConfigError: unknown device or precision, or a precision that the device does not have.
    """
    target = device_of(device)
    serving = "float16" if target.type == "cuda" else "float32"
    if precision == "auto":
        precision = serving
    if precision not in PRECISIONS and precision not in LOW_PRECISIONS:
        known = ", ".join([*PRECISIONS, *LOW_PRECISIONS])
        raise ConfigError(f"precision: takes auto, {known}, got {precision!r}")
    quantise = None
    if precision in LOW_PRECISIONS:
        check_low_precision(precision, target)
        quantise = partial(quantise_product, precision=precision)
    checkpoint = resolve_checkpoint(source, revision=revision)
    if sha256 is not None and checkpoint.sha256 != sha256:
        raise CheckpointError(
            f"{checkpoint.weights}: its SHA-256 is {checkpoint.sha256[:12]}… on {platform.node()}, but must be "
            f"{sha256[:12]}…; every node must load the same file: copy it there again, or give a URL or a Hub id "
            "instead of a folder"
        )
    dtype = PRECISIONS[serving if quantise else precision]
    network = load_network(checkpoint.architecture, checkpoint.weights, device=target, dtype=dtype, on_filled=quantise)
    return PagerModel(network, checkpoint, target, precision)


def device_of(device: str | torch.device) -> torch.device:
    """The device of a name, which torch has here.

    Raises:
        ConfigError: it is none, or torch sees no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device: takes auto, cpu, cuda or cuda:N, got {device!r}") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device: got {device}, but torch sees no CUDA device here; takes cpu or auto")
    if target.type == "cuda" and target.index is not None and target.index >= (count := torch.cuda.device_count()):
        raise ConfigError(f"device: got {device}, but torch sees {count} here; takes cuda:0 to cuda:{count - 1}")
    return target
