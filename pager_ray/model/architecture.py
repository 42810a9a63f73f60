"""What a checkpoint's ``config.yaml`` says about its network: sizes, heads and cameras.

Everything that the network needs to be built is in one frozen :class:`Architecture`; the weights fill it afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pager_ray.errors import CheckpointError
from pager_ray.modalities import SCALE_HEADS
from pager_ray.plain import get_logger

logger = get_logger(__name__)

PATCH_SIZE = 14
PRETRAINING_GRID = 37
FACES = 6

MAX_BATCH = 16
"""Beyond it matrix products are no faster, while a failed batch costs more and results wait longer."""

SCENES = ("indoor", "outdoor")
DENSE_HEADS = ("depth", "normals")
MODALITIES = (*DENSE_HEADS, "sky", *SCALE_HEADS)

_FOR_PEOPLE = ("note", "licence")
_CAMERA_HEADS = 16
_FEATURE_MULTIPLE = 8
_CHANNEL_MULTIPLE = 4
_LARGEST = 1 << 16  # of any number in a configuration: its network would have no end
_MOST_BLOCKS = 1024


@dataclass(frozen=True)
class BackboneSpec:
    """Sizes of the ViT.

    Attributes:
        embed_dim: width D of a token.
        depth: number of blocks.
        num_heads: attention heads per block.
        out_layers: the four blocks, ascending, whose outputs the heads read.
        alt_start: first block of the alternating part: from here on odd blocks see all six faces, and token 0 is the
            camera token. ``depth`` means never.
        qknorm_start: first block whose queries and keys are normalised.
        rope_start: first block with rotary positions.
    """

    embed_dim: int
    depth: int
    num_heads: int
    out_layers: tuple[int, ...]
    alt_start: int
    qknorm_start: int
    rope_start: int

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads


@dataclass(frozen=True)
class HeadSpec:
    """Sizes of the DPT heads.

    Attributes:
        features: channels of the fusion blocks.
        out_channels: channels that the four levels are projected to, fine to coarse.
    """

    features: int
    out_channels: tuple[int, ...]


@dataclass(frozen=True)
class Preset:
    """A network size that a configuration names instead of spelling it out."""

    backbone: BackboneSpec
    head: HeadSpec


PRESETS: dict[str, Preset] = {
    "da3-giant": Preset(
        backbone=BackboneSpec(
            embed_dim=1536,
            depth=40,
            num_heads=24,
            out_layers=(19, 27, 33, 39),
            alt_start=13,
            qknorm_start=13,
            rope_start=13,
        ),
        head=HeadSpec(features=256, out_channels=(256, 512, 1024, 1024)),
    ),
}


@dataclass(frozen=True)
class Architecture:
    """A whole network: its heads, cameras and sizes.

    Attributes:
        modalities: the heads, in running order, out of ``depth, normals, sky, scale_indoor, scale_outdoor``.
        face_size: side S of a cubemap face in pixels, a multiple of 14.
        cube_fov: field of view of a face in degrees; over 90 the faces overlap.
        log_depth: the depth head's value is log z-depth as it stands; if false it is exponentiated (z-depth).
        valid_conv_padding: convolutions take their border from the neighbouring faces instead of zeros.
        scale_head_downsample_factor: the scale heads predict at ``face_size // factor``.
        pretrained_model_name: the preset, or any name beside explicit ``backbone`` and ``head`` sections.
        backbone: sizes of the ViT.
        head: sizes of the DPT heads.
        scene_router: the checkpoint brings a router of its own, and CLIP is not needed.
        unused: configuration keys that this network has no use for, kept as they were; ``note`` and ``licence`` are
            for people.
    """

    modalities: tuple[str, ...]
    face_size: int
    backbone: BackboneSpec
    head: HeadSpec
    cube_fov: float = 90.0
    log_depth: bool = True
    valid_conv_padding: bool = True
    scale_head_downsample_factor: int = 4
    pretrained_model_name: str = "da3-giant"
    scene_router: bool = False
    unused: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def grid(self) -> int:
        """Patches along a face's side."""
        return self.face_size // PATCH_SIZE

    @property
    def scale_heads(self) -> tuple[str, ...]:
        """The scale heads that the checkpoint has."""
        return tuple(name for name in self.modalities if name in SCALE_HEADS)

    @property
    def scale_size(self) -> int:
        """Side of the scale heads' maps in pixels."""
        return self.face_size // self.scale_head_downsample_factor

    def said(self, key: str) -> str | None:
        """A text of the configuration that is for people; None where it says none."""
        value = self.unused.get(key)
        return value if isinstance(value, str) else None

    def to_config(self) -> dict[str, Any]:
        """Give the configuration that :func:`parse_architecture` reads back to an equal architecture."""
        config: dict[str, Any] = {
            "modalities": list(self.modalities),
            "face_size": self.face_size,
            "cube_fov": self.cube_fov,
            "log_depth": self.log_depth,
            "valid_conv_padding": self.valid_conv_padding,
            "scale_head_downsample_factor": self.scale_head_downsample_factor,
            "pretrained_model_name": self.pretrained_model_name,
        }
        if self.scene_router:
            config["scene_router"] = True
        preset = PRESETS.get(self.pretrained_model_name)
        if preset != Preset(self.backbone, self.head):
            for name, section in (("backbone", self.backbone), ("head", self.head)):
                values = asdict(section)
                config[name] = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
        return {**config, **self.unused}


def parse_architecture(config: Mapping[str, Any], *, where: str) -> Architecture:
    """Turn the content of a ``config.yaml`` into a checked architecture.

    Args:
        config: the parsed file.
        where: how errors and log lines name it, without secrets.

    Raises:
        CheckpointError: a key is missing or has a value that no network can be built from, or the preset is unknown.
    """
    reader = _Reader(config, where)
    name = reader.text("pretrained_model_name", "da3-giant")
    preset = PRESETS.get(name)
    if preset is None and not {"backbone", "head"} <= config.keys():
        raise CheckpointError(
            f"{where}: unknown preset {name!r} in pretrained_model_name; known are {', '.join(sorted(PRESETS))} "
            "(or give the sizes in backbone: and head: sections)"
        )
    backbone_section = reader.section("backbone")
    head_section = reader.section("head")
    architecture = Architecture(
        modalities=reader.texts("modalities"),
        face_size=reader.integer("face_size", 504),
        cube_fov=reader.number("cube_fov", 90.0),
        log_depth=reader.boolean("log_depth", True),
        valid_conv_padding=reader.boolean("valid_conv_padding", True),
        scale_head_downsample_factor=reader.integer("scale_head_downsample_factor", 4),
        pretrained_model_name=name,
        scene_router=reader.boolean("scene_router", False),
        backbone=_backbone(backbone_section) if backbone_section else preset.backbone,  # type: ignore[union-attr]
        head=_head(head_section) if head_section else preset.head,  # type: ignore[union-attr]
        unused=reader.unused({f.name for f in fields(Architecture)} - {"unused"}),
    )
    for problem in _problems(architecture):
        raise CheckpointError(f"{where}: {problem}")
    return architecture


def _backbone(section: _Reader) -> BackboneSpec:
    section.unused({f.name for f in fields(BackboneSpec)})
    return BackboneSpec(
        embed_dim=section.integer("embed_dim"),
        depth=section.integer("depth"),
        num_heads=section.integer("num_heads"),
        out_layers=section.integers("out_layers"),
        alt_start=section.integer("alt_start"),
        qknorm_start=section.integer("qknorm_start"),
        rope_start=section.integer("rope_start"),
    )


def _head(section: _Reader) -> HeadSpec:
    section.unused({f.name for f in fields(HeadSpec)})
    return HeadSpec(features=section.integer("features"), out_channels=section.integers("out_channels"))


def _problems(a: Architecture) -> list[str]:
    """Say what in the configuration no network can be built from."""
    b, h = a.backbone, a.head
    unknown = [name for name in a.modalities if name not in MODALITIES]
    needs_depth = [name for name in a.modalities if name == "sky" or name in SCALE_HEADS]
    checks = [
        (not a.modalities, "modalities is empty; name at least one head"),
        (bool(unknown), f"modalities has unknown heads {unknown}; known are {', '.join(MODALITIES)}"),
        (len(set(a.modalities)) < len(a.modalities), f"modalities names a head twice: {list(a.modalities)}"),
        (
            bool(needs_depth) and "depth" not in a.modalities,
            f"modalities has {needs_depth}, which read the depth head's maps, but no depth",
        ),
        (
            a.face_size < PATCH_SIZE or a.face_size % PATCH_SIZE != 0,
            f"face_size must be a multiple of {PATCH_SIZE}, got {a.face_size}",
        ),
        (not 90.0 <= a.cube_fov < 180.0, f"cube_fov must be at least 90 and below 180 degrees, got {a.cube_fov}"),
        (
            not 1 <= a.scale_head_downsample_factor <= a.face_size,
            f"scale_head_downsample_factor must lie in 1..face_size, got {a.scale_head_downsample_factor}",
        ),
        (not 1 <= b.depth <= _MOST_BLOCKS, f"backbone.depth must be 1 to {_MOST_BLOCKS}, got {b.depth}"),
        (
            b.num_heads < 1 or b.embed_dim < 1 or b.embed_dim % (4 * max(b.num_heads, 1)) != 0,
            f"backbone.embed_dim must be a multiple of 4·num_heads, got {b.embed_dim} with {b.num_heads} heads",
        ),
        (
            b.embed_dim % _CAMERA_HEADS != 0,
            f"backbone.embed_dim must be a multiple of {_CAMERA_HEADS} (the camera encoder's heads), got {b.embed_dim}",
        ),
        (
            len(b.out_layers) != 4
            or list(b.out_layers) != sorted(set(b.out_layers))
            or not all(0 <= layer < b.depth for layer in b.out_layers),
            f"backbone.out_layers must be four ascending blocks below depth {b.depth}, got {list(b.out_layers)}",
        ),
        *(
            (not 0 <= start <= b.depth, f"backbone.{key} must lie in 0..depth ({b.depth}), got {start}")
            for key, start in (
                ("alt_start", b.alt_start),
                ("qknorm_start", b.qknorm_start),
                ("rope_start", b.rope_start),
            )
        ),
        (
            h.features < 1 or h.features % _FEATURE_MULTIPLE != 0,
            f"head.features must be a positive multiple of {_FEATURE_MULTIPLE}, got {h.features}",
        ),
        (
            len(h.out_channels) != 4 or any(c < 1 or c % _CHANNEL_MULTIPLE != 0 for c in h.out_channels),
            f"head.out_channels must be four positive multiples of {_CHANNEL_MULTIPLE}, got {list(h.out_channels)}",
        ),
    ]
    return [message for wrong, message in checks if wrong]


class _Reader:
    """Typed access to one mapping of the configuration; every error names the file, the key and the value."""

    def __init__(self, values: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self._values = values
        self._where = where
        self._prefix = prefix

    def section(self, key: str) -> _Reader | None:
        if key not in self._values:
            return None
        value = self._values[key]
        if not isinstance(value, Mapping):
            raise self._wrong(key, value, "a mapping")
        return _Reader(value, self._where, f"{self._prefix}{key}.")

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST:
            raise self._wrong(key, value, f"an integer up to {_LARGEST}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise self._wrong(key, value, "a number")
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key, None)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, value, "a list of texts")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        value = self._get(key, None)
        if not isinstance(value, list | tuple) or not all(
            type(item) is int and abs(item) <= _LARGEST for item in value
        ):
            raise self._wrong(key, value, "a list of integers")
        return tuple(value)

    def unused(self, known: set[str]) -> dict[str, Any]:
        extra = {str(key): value for key, value in self._values.items() if key not in known}
        if nobody := [key for key in extra if key not in _FOR_PEOPLE]:
            names = ", ".join(self._prefix + key for key in nobody)
            logger.info("%s: keys without a use here are kept and ignored: %s", self._where, names)
        return extra

    def _get(self, key: str, default: Any) -> Any:
        value = self._values.get(key, default)
        if value is None:
            raise CheckpointError(f"{self._where}: {self._prefix}{key} is missing; add it")
        return value

    def _wrong(self, key: str, value: Any, takes: str) -> CheckpointError:
        return CheckpointError(f"{self._where}: {self._prefix}{key} must be {takes}, got {value!r}")
