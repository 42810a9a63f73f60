"""Which codecs there are. Purposes are names for choices; what is stored always carries the codec's own name.

| purpose    | for                                                            | depth    | normals | sky     |
| ---------- | -------------------------------------------------------------- | -------- | ------- | ------- |
| `default`  | runs: fast both ways, errors far below the network's own       | ufloat16 | oct12   | uint8   |
| `small`    | very large runs: normals to 1°, less than half their bytes     | ufloat16 | oct8    | uint8   |
| `exact`    | comparisons: the float32 bits                                  | float32  | float32 | float32 |
| `portable` | everyone else: PNG files, readable without blosc2              | png16    | png8    | png8    |

Depth needs no smaller codec: stronger compression of ufloat16 takes four times as long for five percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from pager_ray.encode.codec import CODEC_VERSION, Codec, Kind
from pager_ray.encode.container import PngImage, blosc_planes
from pager_ray.encode.directions import SignedBytes, octahedral
from pager_ray.encode.quantise import ExactBits, LogSteps, UnitByte, UnsignedMinifloat
from pager_ray.errors import ConfigError, StorageError

_CODECS = {
    (codec.kind, codec.name): codec
    for codec in (
        Codec("depth", "ufloat16", UnsignedMinifloat(), blosc_planes("<u2", predicted=True)),
        Codec("depth", "png16", LogSteps(), PngImage()),
        Codec("depth", "float32", ExactBits(), blosc_planes("<u4", predicted=True, bitshuffle=False)),
        Codec("normals", "oct12", octahedral(12, "<u2", 0.06), blosc_planes("<u2", predicted=True)),
        Codec("normals", "oct8", octahedral(8, "|u1", 0.96), blosc_planes("|u1", predicted=True)),
        Codec("normals", "png8", SignedBytes(), PngImage()),
        Codec("normals", "float32", ExactBits(planes=3), blosc_planes("<u4", predicted=True, bitshuffle=False)),
        Codec("sky", "uint8", UnitByte(), blosc_planes("|u1", predicted=False)),
        Codec("sky", "png8", UnitByte(), PngImage()),
        Codec("sky", "float32", ExactBits(), blosc_planes("<u4", predicted=True, bitshuffle=False)),
    )
}

PURPOSES: Mapping[str, Mapping[Kind, str]] = {
    "default": {"depth": "ufloat16", "normals": "oct12", "sky": "uint8"},
    "small": {"depth": "ufloat16", "normals": "oct8", "sky": "uint8"},
    "exact": {"depth": "float32", "normals": "float32", "sky": "float32"},
    "portable": {"depth": "png16", "normals": "png8", "sky": "png8"},
}


def codec_names(kind: Kind) -> list[str]:
    """List the codecs of ``kind``."""
    return [name for of, name in _CODECS if of == kind]


def get_codec(kind: Kind, name: str = "default") -> Codec:
    """Give the codec of ``kind`` by its own name or by a purpose (``default``, ``small``, ``exact``, ``portable``).

    Raises:
        ConfigError: no such kind or name; lists what there is.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"no array kind {kind!r}; there are {', '.join(get_args(Kind))}")
    codec = _CODECS.get((kind, PURPOSES[name][kind] if name in PURPOSES else name))
    if codec is None:
        raise ConfigError(f"no {kind} codec {name!r}; there are {', '.join([*PURPOSES, *codec_names(kind)])}")
    return codec


def codec_from_metadata(kind: Kind, metadata: Mapping[str, str]) -> Codec:
    """Give the codec that wrote a column, from what :meth:`Codec.metadata` left in its schema.

    Raises:
        StorageError: the metadata lack a codec, or name one that this version does not know.
    """
    name, version = metadata.get("codec"), metadata.get("codec_version")
    codec = _CODECS.get((kind, str(name)))
    if codec is None or version != CODEC_VERSION:
        raise StorageError(
            f"{kind} column was written by codec {name!r} version {version!r}; this pager_ray reads "
            f"{', '.join(codec_names(kind))} version {CODEC_VERSION}; read it with what wrote it"
        )
    return codec
