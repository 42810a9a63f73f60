"""Borders of cubemap feature maps, taken from the neighbouring faces.

A zero-padded convolution sees an edge wherever two faces meet. Here the pixels around a face are looked up where they
lie on the sphere: the ray through a padded pixel's centre is projected into the face that it hits and sampled there
bilinearly. Only the border is computed, with positions and weights that depend on the map's size alone; the interior is
the input itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pager_ray.model.architecture import FACES
from pager_ray.model.cameras import extrinsics, focal_length

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int64
    from numpy import ndarray
    from torch import Tensor


@lru_cache(maxsize=64)
def border_taps(size: int, pad: int, fov_degrees: float) -> tuple[Int64[ndarray, "k 4"], Float32[ndarray, "k 4"]]:
    """Where each border pixel of six padded faces is read.

    A padded pixel's centre (at k + 0.5) becomes a ray of its own face's camera. The face whose forward axis has the
    largest dot product with the ray owns it (the first one on a tie) and is sampled there bilinearly, positions clamped
    to the centres of its outermost pixels.

    Args:
        size: side n of a face.
        pad: width P of the border.
        fov_degrees: field of view of a face.

    Returns:
        Flat indices into ``(6·n·n)`` pixels and the weights of the four taps of each of the k = 6·4·P·(n + P) border
        pixels: face by face, each as top rows, bottom rows, left columns, right columns.
    """
    focal = focal_length(size, fov_degrees)
    rotations = extrinsics()[:, :3, :3]
    row, column = _border_positions(size, pad)
    pixel = np.stack([column + 0.5 - size / 2.0, row + 0.5 - size / 2.0, np.full(row.shape, focal)], axis=-1)
    # Rotations are orthogonal: their rows are the camera axes in the world, so `pixel @ R` turns camera into world.
    rays = np.concatenate([pixel @ rotation for rotation in rotations])
    owner = np.argmax(rays @ rotations[:, 2].T, axis=1)
    x, y, z = np.einsum("kij,kj->ik", rotations[owner], rays)
    left = np.clip(focal * x / z + size / 2.0 - 0.5, 0.0, size - 1.0)
    top = np.clip(focal * y / z + size / 2.0 - 0.5, 0.0, size - 1.0)
    left_index = np.minimum(left.astype(np.int64), max(size - 2, 0))
    top_index = np.minimum(top.astype(np.int64), max(size - 2, 0))
    right_index, bottom_index = np.minimum(left_index + 1, size - 1), np.minimum(top_index + 1, size - 1)
    along_x, along_y = left - left_index, top - top_index
    taps = [
        (top_index, left_index, (1.0 - along_y) * (1.0 - along_x)),
        (top_index, right_index, (1.0 - along_y) * along_x),
        (bottom_index, left_index, along_y * (1.0 - along_x)),
        (bottom_index, right_index, along_y * along_x),
    ]
    indices = np.stack([(owner * size + tap_row) * size + tap_column for tap_row, tap_column, _ in taps], axis=1)
    weights = np.stack([weight for *_, weight in taps], axis=1)
    return indices, weights.astype(np.float32)


def _border_positions(size: int, pad: int) -> tuple[Int64[ndarray, " k"], Int64[ndarray, " k"]]:
    """Rows and columns of one face's border pixels, counted from the unpadded face's first pixel."""
    wide, tall = np.arange(-pad, size + pad), np.arange(size)
    before, after = np.arange(-pad, 0), np.arange(size, size + pad)
    strips = ((before, wide), (after, wide), (tall, before), (tall, after))
    grids = [np.meshgrid(rows, columns, indexing="ij") for rows, columns in strips]
    return np.concatenate([rows.ravel() for rows, _ in grids]), np.concatenate([cols.ravel() for _, cols in grids])


class SphericalPadding(nn.Module):
    """Pads the faces of cubemaps from their neighbours.

    Args:
        size: side of the maps.
        fov_degrees: field of view of a face.
        pad: width of the border.
    """

    indices: Tensor
    weights: Tensor
    places: Tensor
    bags: Tensor

    def __init__(self, size: int, fov_degrees: float, pad: int = 1) -> None:
        super().__init__()
        self.size, self.pad, self.fov_degrees = size, pad, fov_degrees
        self.outer = size + 2 * pad
        taps, weights = border_taps(size, pad, fov_degrees)
        # The taps are read from the padded map itself, whose memory layout is known whatever the input's was.
        face_row, column = np.divmod(taps, size)
        face, row = np.divmod(face_row, size)
        inside = (face * self.outer + row + pad) * self.outer + column + pad
        row, column = _border_positions(size, pad)
        within = (row + pad) * self.outer + column + pad
        places = (np.arange(FACES)[:, None] * self.outer**2 + within).ravel()
        self.register_buffer("indices", torch.from_numpy(inside.ravel()), persistent=False)
        self.register_buffer("weights", torch.from_numpy(weights.copy()).unsqueeze(-1), persistent=False)
        self.register_buffer("places", torch.from_numpy(places), persistent=False)
        # Where each border pixel's four taps begin.
        self.register_buffer("bags", torch.from_numpy(np.arange(0, taps.size, 4)), persistent=False)

    def forward(self, x: Float[Tensor, "b6 c n n"], *, rectify: bool = False) -> Float[Tensor, "b6 c n2 n2"]:
        """Surround each face with its border; n2 = n + 2·pad, batch in order (panorama, face), dtype kept.

        With ``rectify``, of what a ReLU makes of the faces.
        """
        if x.requires_grad and torch.is_grad_enabled():
            return cast("Tensor", _Surround.apply(F.relu(x) if rectify else x, self))
        return self._surround(x, rectify)

    def _surround(self, x: Float[Tensor, "b6 c n n"], rectify: bool) -> Float[Tensor, "b6 c n2 n2"]:
        rows, channels = x.shape[:2]
        inner = slice(self.pad, self.pad + self.size)
        padded = torch.empty(
            (rows, channels, self.outer, self.outer), dtype=x.dtype, device=x.device, memory_format=torch.channels_last
        )
        if rectify and not torch.compiler.is_compiling():
            # Straight into its place; a compiler does that by itself, and cannot follow it.
            torch.clamp_min(x, 0, out=padded[..., inner, inner])
        else:
            padded[..., inner, inner] = F.relu(x) if rectify else x
        return self._refresh(padded)

    def refresh(self, padded: Float[Tensor, "b6 c n2 n2"]) -> Float[Tensor, "b6 c n2 n2"]:
        """Overwrite, in place, the border of maps that already have room for one, sampling in float32.

        While gradients are recorded the result is a new map.

        Raises:
            ValueError: the batch is no whole number of cubemaps.
        """
        if padded.requires_grad and torch.is_grad_enabled():
            return cast("Tensor", _Refresh.apply(padded, self))
        return self._refresh(padded)

    def _refresh(self, padded: Float[Tensor, "b6 c n2 n2"]) -> Float[Tensor, "b6 c n2 n2"]:
        rows, channels = padded.shape[:2]
        if rows % FACES:
            raise ValueError(f"spherical padding needs whole cubemaps, got a batch of {rows} faces")
        pad, size, outer = self.pad, self.size, self.outer
        image = padded.permute(0, 2, 3, 1)
        if image.device.type == "cpu" and image.dtype == torch.float32 and image.is_contiguous():
            self._refresh_at_once(image.view(-1, channels), rows // FACES)
            return padded
        pixels = image.reshape(rows // FACES, FACES * outer * outer, channels)
        taps = pixels.index_select(1, self.indices).view(rows // FACES, -1, 4, channels)
        border = (taps * self.weights).sum(dim=2).view(rows, -1, channels)
        top, bottom, left, right = border.split([pad * outer, pad * outer, size * pad, size * pad], dim=1)
        image[:, :pad] = top.view(rows, pad, outer, channels)
        image[:, pad + size :] = bottom.view(rows, pad, outer, channels)
        image[:, pad : pad + size, :pad] = left.view(rows, size, pad, channels)
        image[:, pad : pad + size, pad + size :] = right.view(rows, size, pad, channels)
        return padded

    def _refresh_at_once(self, pixels: Float32[Tensor, "m c"], cubes: int) -> None:
        """The same on a CPU, where maps are small beside what a dozen calls cost: the products and sums of all border
        pixels in one, and one that puts them into their places."""
        indices, weights, places, bags = self.indices, self.weights.flatten(), self.places, self.bags
        if cubes > 1:
            begins = range(0, len(pixels), FACES * self.outer**2)
            bags = torch.cat([bags + cube * len(indices) for cube in range(cubes)])
            indices = torch.cat([indices + begin for begin in begins])
            weights = weights.repeat(cubes)
            places = torch.cat([places + begin for begin in begins])
        border = F.embedding_bag(indices, pixels, bags, mode="sum", per_sample_weights=weights)
        pixels.index_copy_(0, places, border)

    def gather_gradient(self, gradient: Float[Tensor, "b6 c n2 n2"]) -> Float[Tensor, "b6 c n2 n2"]:
        """Give each tap its share of the border's gradient; the border of the result is zero."""
        rows, channels = gradient.shape[:2]
        pad, size, outer = self.pad, self.size, self.outer
        image = gradient.permute(0, 2, 3, 1)
        inner = slice(pad, pad + size)
        strips = (image[:, :pad], image[:, pad + size :], image[:, inner, :pad], image[:, inner, pad + size :])
        border = torch.cat([strip.reshape(rows, -1, channels) for strip in strips], dim=1)
        shares = border.reshape(rows // FACES, -1, 1, channels) * self.weights
        result = torch.zeros((rows, outer, outer, channels), dtype=gradient.dtype, device=gradient.device)
        result[:, inner, inner] = image[:, inner, inner]
        flat = result.view(rows // FACES, FACES * outer * outer, channels)
        flat.index_add_(1, self.indices, shares.reshape(rows // FACES, -1, channels).to(gradient.dtype))
        return result.permute(0, 3, 1, 2)


class _Surround(torch.autograd.Function):
    """Padding with a gradient in two passes; recorded operation by operation, every strip would copy the whole map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: SphericalPadding) -> Tensor:
        ctx.padding = padding
        return padding._surround(x, rectify=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        inner = slice(ctx.padding.pad, ctx.padding.pad + ctx.padding.size)
        return ctx.padding.gather_gradient(gradients[0])[..., inner, inner], None


class _Refresh(torch.autograd.Function):
    """The same for maps that come with room for their border, which gets no gradient."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, padding: SphericalPadding) -> Tensor:
        ctx.padding = padding
        return padding._refresh(padded.clone(memory_format=torch.channels_last))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.padding.gather_gradient(gradients[0]), None


class Borders:
    """The padding that one network's maps share: one table per size and field of view.

    Args:
        cube_fov: field of view of a face in degrees, or None for zero padding and plain resizing.
    """

    # The released wide resizing pads as if faces ended at 90 degrees, also where they overlap.
    RESIZE_FOV = 90.0

    def __init__(self, cube_fov: float | None) -> None:
        self._cube_fov = cube_fov
        self._made: dict[tuple[int, float], SphericalPadding] = {}

    def for_convolution(self, size: int) -> SphericalPadding | None:
        """Padding before a 3×3 convolution of maps of this size, None for zeros."""
        return None if self._cube_fov is None else self._at(size, self._cube_fov)

    def for_resizing(self, size: int) -> SphericalPadding | None:
        """Padding before maps of this size are resized, None for plain resizing."""
        return None if self._cube_fov is None else self._at(size, self.RESIZE_FOV)

    def _at(self, size: int, fov_degrees: float) -> SphericalPadding:
        key = (size, fov_degrees)
        if key not in self._made:
            self._made[key] = SphericalPadding(size, fov_degrees)
        return self._made[key]
