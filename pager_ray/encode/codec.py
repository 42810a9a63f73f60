"""A codec: one array of a panorama to self-describing bytes and back, with a stated error bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pager_ray.encode.container import Container, Label
from pager_ray.encode.quantise import Quantiser
from pager_ray.errors import ShapeError

if TYPE_CHECKING:
    from jaxtyping import Float32

Kind = Literal["depth", "normals", "sky"]
CODEC_VERSION = "1"  # of the stored bytes; a change of layout or parameters is a new codec name


@dataclass(frozen=True)
class Codec:
    """Encodes ``depth`` (metres), ``normals`` (unit vectors) or ``sky`` (probability) maps.

    Maps are float32, an ERP ``(H, W)`` or six faces ``(6, S, S)``, with a last axis of 3 for normals.
    Codecs are immutable, picklable and may be used from several threads at once.
    """

    kind: Kind
    name: str
    quantiser: Quantiser
    container: Container

    @property
    def max_error(self) -> float:
        """Largest error of a value in range, in :attr:`error_unit`."""
        return self.quantiser.max_error

    @property
    def error_unit(self) -> str:
        """``"relative"``, ``"absolute"`` or ``"degree"``."""
        return self.quantiser.error_unit

    def encode(self, array: Float32[np.ndarray, "*shape"]) -> bytes:
        """Encode one map; equal maps give equal bytes.

        Raises:
            ShapeError: not float32, or a shape that the kind does not have.
        """
        if array.dtype != np.float32:
            raise ShapeError(f"{self.kind}: expected float32, got {array.dtype}")
        rows, width = self._grid(array.shape)
        flat = np.ascontiguousarray(array).reshape(rows, width, *self._components())
        return self.container.pack(self.quantiser.to_codes(flat), Label(f"{self.kind}/{self.name}", array.shape))

    def decode(self, data: bytes | memoryview, shape: tuple[int, ...]) -> Float32[np.ndarray, "*shape"]:
        """Decode one map of the ``shape`` that was stored with it.

        Raises:
            ShapeError: a shape that the kind does not have.
            StorageError: the bytes are damaged, truncated, or hold another kind, codec or shape.
        """
        shape = tuple(int(n) for n in shape)
        rows, width = self._grid(shape)
        planes = self.container.unpack(
            data, Label(f"{self.kind}/{self.name}", shape), self.quantiser.dtype, (self.quantiser.planes, rows, width)
        )
        return self.quantiser.from_codes(planes).reshape(shape)

    def metadata(self) -> dict[str, str]:
        """Describe the bytes, for a Parquet column: codec, stored dtype, invalid value, error bound, decode recipe.

        ``decode`` is runnable Python: from ``blob`` (the stored value), ``shape`` (the map's) and ``planes``, ``rows``,
        ``width`` (of the map with faces below each other) it makes ``array``.
        """
        bound = "exact" if self.max_error == 0 else f"{self.max_error:.6g} {self.error_unit}"
        return {
            "codec": self.name,
            "codec_version": CODEC_VERSION,
            "stored_dtype": np.dtype(self.quantiser.dtype).name,
            "planes": str(self.quantiser.planes),
            "decoded_dtype": "float32",
            "invalid": self.quantiser.invalid,
            "value_range": self.quantiser.value_range,
            "max_error": bound,
            "decode": f"{self.container.recipe}; {self.quantiser.recipe}; array = array.reshape(shape)",
        }

    def _components(self) -> tuple[int, ...]:
        return (3,) if self.kind == "normals" else ()

    def _grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Give rows and width of the map with faces below each other."""
        components = self._components()
        grid = shape[: len(shape) - len(components)]
        erp = len(grid) == 2
        faces = len(grid) == 3 and grid[0] == 6 and grid[1] == grid[2]
        if shape[len(grid) :] != components or not (erp or faces) or min(grid) < 1 or max(grid) >= 2**32:
            suffix = ", 3" if components else ""
            raise ShapeError(f"{self.kind}: expected (H, W{suffix}) or (6, S, S{suffix}), got {shape}")
        return (grid[0], grid[1]) if erp else (grid[0] * grid[1], grid[2])
