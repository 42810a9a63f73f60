"""A loaded model, ready for batches of panoramas."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pager_ray.errors import ConfigError, ShapeError
from pager_ray.model.architecture import FACES, SCENES, Architecture
from pager_ray.model.checkpoint import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.model.network import PagerNetwork
from pager_ray.model.weights import load_network

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from torch import Tensor

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class PagerModel:
    """A checkpoint's network on a device.

    Attributes:
        network: the module, in inference mode.
        identity: where the weights come from: name, revision, files, licence.
        device: where it runs.
        precision: dtype of matrix and convolution weights, by name.
    """

    def __init__(
        self, network: PagerNetwork, identity: ResolvedCheckpoint, device: torch.device, precision: str
    ) -> None:
        self.network = network
        self.identity = identity
        self.device = device
        self.precision = precision

    @property
    def architecture(self) -> Architecture:
        """Heads, sizes and cameras."""
        return self.network.architecture

    @property
    def has_two_scales(self) -> bool:
        """Whether panoramas must be told indoor from outdoor to get a scale."""
        return len(self.architecture.scale_heads) > 1

    @torch.no_grad()
    def __call__(
        self, faces: Float[Tensor, "b 6 3 s s"], scene: Sequence[str | None] | None = None
    ) -> dict[str, Float32[Tensor, "b *any"]]:
        """Predict a batch of panoramas.

        Args:
            faces: RGB in [0, 1] normalised with the ImageNet mean and standard deviation, in face order F, R, B, L, U,
                D, S = ``architecture.face_size``; moved to the model's device where it is elsewhere.
            scene: ``indoor`` or ``outdoor`` per panorama, which picks the scale head of a checkpoint with two. None
                runs neither, and there is no scale. A checkpoint with one scale head always runs it, and entries may be
                None there.

        Returns:
            Float32 tensors, only what the checkpoint's heads give:

            - ``depth`` (B, 6, 1, S, S): log z-depth (z-depth itself with ``architecture.log_depth`` false), in metres
              for a metric head, else up to scale; ``depth_conf``: its confidence, above 1.
            - ``normals`` (B, 6, 3, S, S): raw, not unit length; x forward (ERP centre), y up, z right.
            - ``sky`` (B, 6, 1, S, S): logits.
            - ``log_scale`` (B, 1): log of metric over scale-invariant depth; ``scale_log_metric_field`` and
              ``scale_log_metric_conf`` (B, 6, 1, S//f, S//f): log metric z-depth and its confidence, of the scale head
              that ran for the panorama.

        Raises:
            ShapeError: faces or scene do not have the documented shape or values.
        """
        size = self.architecture.face_size
        if faces.ndim != 5 or faces.shape[0] < 1 or tuple(faces.shape[1:]) != (FACES, 3, size, size):
            raise ShapeError(f"faces: takes (B, 6, 3, {size}, {size}) with B ≥ 1, got {tuple(faces.shape)}")
        if not faces.is_floating_point():
            raise ShapeError(f"faces: takes normalised floating values, got {faces.dtype}")
        return self.network(faces.to(self.device), self._route(scene, faces.shape[0]))

    def _route(self, scene: Sequence[str | None] | None, panoramas: int) -> list[str | None]:
        """Name each panorama's scale head."""
        if scene is not None:
            if isinstance(scene, str) or len(scene) != panoramas:
                raise ShapeError(f"scene: takes one entry per panorama ({panoramas}), got {scene!r}")
            known = SCENES if self.has_two_scales else (*SCENES, None)
            wrong = sorted({str(value) for value in scene if value not in known})
            if wrong:
                raise ShapeError(f"scene: takes {' or '.join(SCENES)}, got {', '.join(wrong)}")
        heads = self.architecture.scale_heads
        if len(heads) == 1:
            return [heads[0]] * panoramas
        if not heads or scene is None:
            return [None] * panoramas
        return [f"scale_{value}" for value in scene]


def load_model(
    source: str | os.PathLike[str] = "pager",
    device: str | torch.device = "auto",
    precision: str = "auto",
    *,
    revision: str | None = None,
) -> PagerModel:
    """Load a checkpoint.

    Args:
        source: alias, Hub id, local folder or fsspec URL; see :func:`resolve_checkpoint`.
        device: a torch device; ``auto`` is CUDA where there is one, else the CPU.
        precision: ``float32``, ``float16`` or ``bfloat16`` for matrix products and convolutions; ``auto`` is float16 on
            CUDA and float32 on the CPU. Normalisation, residual stream and outputs are float32 in all of them.
        revision: branch, tag or commit of a Hub repository.

    Raises:
        CheckpointError: the checkpoint cannot be found or read, or does not fit its configuration.
        ConfigError: unknown device or precision.
    """
    target = _device(device)
    if precision == "auto":
        precision = "float16" if target.type == "cuda" else "float32"
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: takes auto, {', '.join(PRECISIONS)}, got {precision!r}")
    checkpoint = resolve_checkpoint(source, revision=revision)
    network = load_network(checkpoint.architecture, checkpoint.weights, device=target, dtype=PRECISIONS[precision])
    return PagerModel(network, checkpoint, target, precision)


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device: takes auto, cpu, cuda or cuda:N, got {device!r}") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device: got {device}, but torch sees no CUDA device here; takes cpu or auto")
    return target
