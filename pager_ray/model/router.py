"""The scene router: CLIP decides from a panorama's four side faces whether it was taken indoors or outdoors.

Importing this module is free: open_clip loads when a router is built, which a forced ``scene_mode`` never asks for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from pager_ray.errors import CheckpointError, ConfigError, ShapeError

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped, UInt8
    from torch import Tensor

ARCHITECTURE, PRETRAINED = "ViT-B-32-quickgelu", "openai"

INDOOR_PROMPTS = (
    "an indoor scene",
    "the interior of a building",
    "a room inside a building",
    "a hallway",
    "an office room",
    "a bedroom",
    "a living room",
    "a kitchen",
    "an indoor space with walls and a ceiling",
)
OUTDOOR_PROMPTS = (
    "an outdoor scene",
    "the outdoors",
    "outside in nature",
    "a street view",
    "a city street",
    "an urban panorama",
    "a park",
    "a landscape",
    "a residential neighborhood",
)

_SIDE_FACES = 4  # F, R, B, L come first; up and down show ceiling or sky, which CLIP was not prompted for
_INPUT_SIZE = 224
_LOGIT_SCALE = 100.0
# Mean and standard deviation of CLIP's training images, RGB (Radford et al. 2021, released preprocessing).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}

_WAY_OUT = (
    "give router_weights a local .safetensors or .pt file of it, or do without the router: "
    "force scene_mode to indoor or outdoor, or give the listing a scene column"
)


class SceneRouter:
    """CLIP's image tower with the embeddings of the two classes; build one with :meth:`load`."""

    def __init__(self, visual: nn.Module, classes: Float[Tensor, "2 d"]) -> None:
        """Take an image tower and the unit embeddings of indoor and outdoor, on one device and in one dtype."""
        self._visual = visual.eval().requires_grad_(False)
        self._classes = classes.float()
        # In half precision open_clip keeps some parameters in float32; the first convolution tells what images to give.
        self._dtype = visual.get_parameter("conv1.weight").dtype
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(_MEAN, device=classes.device).view(shape)
        self._std = torch.tensor(_STD, device=classes.device).view(shape)

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
        precision: Literal["float32", "float16", "bfloat16"] = "float32",
    ) -> SceneRouter:
        """Load CLIP ViT-B/32 and embed the two classes; the text tower is dropped afterwards.

        Args:
            weights: local file with the whole model's state dict, ``.safetensors`` or a ``.pt`` of tensors; None
                fetches OpenAI's weights from the Hugging Face Hub, or its cache, through open_clip.
            device: where the router runs.
            precision: dtype of the towers' matrix products; float32 keeps the decision the same on every device.

        Returns:
            A router ready for :meth:`p_outdoor`.

        Raises:
            CheckpointError: the weights cannot be fetched or read, or are not this model's.
            ConfigError: an unknown precision.
        """
        if precision not in _PRECISIONS:
            raise ConfigError(f"precision: got {precision!r}, takes {', '.join(_PRECISIONS)}")
        model = _fetched(device, precision) if weights is None else _from_file(Path(weights), device, precision)
        model.eval()
        with torch.inference_mode():
            classes = torch.stack([_class_embedding(model, names) for names in (INDOOR_PROMPTS, OUTDOOR_PROMPTS)])
        return cls(model.get_submodule("visual"), classes.clone())

    @torch.no_grad()
    def p_outdoor(self, faces: UInt8[Tensor, "b 6 3 s s"] | Float[Tensor, "b 6 3 s s"]) -> Float[Tensor, "b"]:
        """Probability that each panorama shows an outdoor scene.

        Args:
            faces: (B, 6, 3, S, S) RGB in the order F, R, B, L, U, D, uint8 or floating point in [0, 1], any device.

        Returns:
            (B,) float32 on the router's device: the mean over F, R, B and L of each face's softmax.

        Raises:
            ShapeError: another shape, or an integer type other than uint8.
        """
        if faces.ndim != 5 or faces.shape[1:3] != (6, 3) or faces.shape[3] != faces.shape[4]:
            raise ShapeError(f"the router takes faces of shape (B, 6, 3, S, S), got {tuple(faces.shape)}")
        if faces.dtype != torch.uint8 and not faces.is_floating_point():
            raise ShapeError(f"the router takes uint8 faces or floating point in [0, 1], got {faces.dtype}")
        embeddings = F.normalize(self._visual(self._prepared(faces)).float(), dim=-1)
        shares = (_LOGIT_SCALE * embeddings @ self._classes.T).softmax(dim=-1)
        return shares[:, 1].view(-1, _SIDE_FACES).mean(dim=1)

    def scenes(self, p: Float[Tensor, "b"]) -> list[str]:
        """Name the scene of each probability: outdoor from 0.5 on."""
        return ["outdoor" if outdoor else "indoor" for outdoor in (p >= 0.5).tolist()]

    def _prepared(self, faces: Shaped[Tensor, "b 6 3 s s"]) -> Float[Tensor, "b4 3 224 224"]:
        sides = faces[:, :_SIDE_FACES].to(self._classes.device).flatten(0, 1)
        pixels = sides.float() / 255 if sides.dtype == torch.uint8 else sides.float()
        if pixels.shape[-1] != _INPUT_SIZE:
            pixels = F.interpolate(pixels, (_INPUT_SIZE, _INPUT_SIZE), mode="bilinear", antialias=True)
        return ((pixels - self._mean) / self._std).to(self._dtype)


def _class_embedding(model: Any, prompts: tuple[str, ...]) -> Float[Tensor, "d"]:
    import open_clip

    device = next(model.parameters()).device
    tokens = open_clip.get_tokenizer(ARCHITECTURE)(list(prompts)).to(device)
    embeddings = F.normalize(model.encode_text(tokens).float(), dim=-1)
    return F.normalize(embeddings.mean(dim=0), dim=-1)


def _fetched(device: str | torch.device, precision: str) -> nn.Module:
    import open_clip

    try:
        return open_clip.create_model(ARCHITECTURE, PRETRAINED, precision=_PRECISIONS[precision], device=device)
    except (RuntimeError, OSError) as error:
        raise CheckpointError(
            f"router_weights: cannot fetch CLIP ({ARCHITECTURE}, {PRETRAINED}): {_first_line(error)}; {_WAY_OUT}"
        ) from error


def _from_file(path: Path, device: str | torch.device, precision: str) -> nn.Module:
    import open_clip

    state = _read_state(path)
    model = open_clip.create_model(ARCHITECTURE, load_weights=False, precision=_PRECISIONS[precision], device=device)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"router_weights: {path} is no {ARCHITECTURE} of open_clip: {_first_line(error)}; {_WAY_OUT}"
        ) from error
    return model


def _read_state(path: Path) -> dict[str, Tensor]:
    from pickle import UnpicklingError
    from zipfile import is_zipfile

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"router_weights: no file at {path}; {_WAY_OUT}")
    tensors_only = path.suffix == ".safetensors"
    # torch reads anything else as its oldest format and fails inside the parser, with whatever that throws.
    if not tensors_only and not is_zipfile(path):
        raise CheckpointError(f"router_weights: {path} is no archive that torch.save writes; {_WAY_OUT}")
    try:
        state = load_file(path) if tensors_only else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, OSError) as error:
        raise CheckpointError(f"router_weights: cannot read {path}: {_first_line(error)}; {_WAY_OUT}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"router_weights: {path} holds no state dict of tensors; {_WAY_OUT}")
    return state


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
