"""What cameras and stitching do to a picture: exposure, white balance, tone, lens blur, noise, JPEG, a hidden nadir.

Effects change the picture alone: the truth below a tripod or a black disc stays the ground, which is what a network
should see through to.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from pager_ray.errors import ShapeError
from pager_ray.train.scenes.draw import chance, color, pick, sign, spread, uniform, whole

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from numpy import ndarray
    from numpy.random import Generator

# Columns that are repeated beyond the picture's seam, so that blur and JPEG see no border there.
_WRAP = 16


def photographed(rgb: UInt8[ndarray, "h w 3"], rng: Generator, strength: float = 1.0) -> UInt8[ndarray, "h w 3"]:
    """The picture as some camera would have taken it; the same generator state gives the same picture.

    Args:
        rgb: an ERP, (H, W, 3) uint8; it is not changed.
        rng: all draws come from it.
        strength: 0 leaves the picture as it is, 1 is what photographs show; scales how far each effect may go.

    Raises:
        ShapeError: the picture has another shape or type.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.shape[1] < _WRAP:
        raise ShapeError(f"effects take (H, W, 3) uint8 at least {_WRAP} wide, not {rgb.shape} {rgb.dtype}")
    if strength <= 0:
        return rgb.copy()
    picture = rgb
    if chance(rng, 0.22 * strength):
        picture = _nadir_hidden(picture, rng)
    picture = _toned(picture, rng, strength)
    if chance(rng, 0.3):
        picture = _stitched(picture, rng, strength)
    wrapped = np.concatenate([picture[:, -_WRAP:], picture, picture[:, :_WRAP]], axis=1)
    wrapped = _optics(wrapped, rng, strength)
    if chance(rng, 0.7):
        wrapped = _noisy(wrapped, rng, strength)
    if chance(rng, 0.7):
        wrapped = _compressed(wrapped, 100 - (100 - spread(rng, 30, 96)) * min(strength, 1.0))
    return np.ascontiguousarray(wrapped[:, _WRAP:-_WRAP])


def _toned(rgb: ndarray, rng: Generator, strength: float) -> ndarray:
    """Exposure, white balance, contrast, gamma and saturation, through one table per channel."""
    level = np.arange(256, dtype=np.float32) / 255
    linear = level**2.2
    warm, green = (float(v) * strength for v in rng.normal(0, (0.16, 0.05)))
    exposure = 2.0 ** (float(rng.normal(0, 0.55)) * strength)
    gamma = math.exp(float(rng.normal(0, 0.14)) * strength)
    contrast = math.exp(float(rng.normal(0, 0.18)) * strength)
    lift = abs(float(rng.normal(0, 0.025))) * strength
    tables = []
    for gain in (math.exp(warm), math.exp(green), math.exp(-warm)):
        value = np.clip(linear * gain * exposure, 0, None)
        # Highlights roll off toward white in place of a hard clip.
        value = np.where(value > 0.7, 0.7 + 0.3 * (1 - np.exp(-(value - 0.7) / 0.3)), value) ** (1 / 2.2 * gamma)
        tables.append(np.clip(lift + (1 - lift) * ((value - 0.45) * contrast + 0.45), 0, 1))
    out = np.stack([table[rgb[..., k]] for k, table in enumerate(tables)], axis=-1)
    saturation = 1 + float(rng.normal(0, 0.28)) * strength if chance(rng, 0.96) else 0.0
    gray = out @ np.array([0.299, 0.587, 0.114], np.float32)
    return _bytes(gray[..., None] + max(0.0, saturation) * (out - gray[..., None]))


def _stitched(rgb: ndarray, rng: Generator, strength: float) -> ndarray:
    """Exposure that differs from lens to lens: a smooth or stepped gain along the longitude, darker toward a pole."""
    height, width = rgb.shape[:2]
    theta = (np.arange(width) + 0.5) / width * 2 * np.pi
    gain = 0.1 * strength * float(rng.normal()) * np.cos(whole(rng, 1, 3) * theta + uniform(rng, 0, 6.3))
    if chance(rng, 0.4):
        gain = 0.08 * strength * np.sign(gain)
        gain = np.convolve(np.concatenate([gain[-4:], gain, gain[:4]]), np.full(9, 1 / 9), "valid")
    fall = uniform(rng, -0.25, 0.15) * strength * np.linspace(0, 1, height) ** 2
    return _bytes(rgb.astype(np.float32) / 255 * np.exp(gain[None, :] + fall[:, None]).astype(np.float32)[..., None])


def _optics(rgb: ndarray, rng: Generator, strength: float) -> ndarray:
    """Blur, or loss of detail from a smaller picture, or oversharpening."""
    kind = pick(rng, ("none", "blur", "small", "sharp"), (35, 30, 20, 15))
    height, width = rgb.shape[:2]
    image = Image.fromarray(rgb)
    pixel = height / 256
    if kind == "blur":
        image = image.filter(ImageFilter.GaussianBlur(spread(rng, 0.3, 1.5) * strength * pixel))
    elif kind == "small":
        factor = 1 + (spread(rng, 1.1, 2.2) - 1) * strength
        small = image.resize((round(width / factor), round(height / factor)), Image.Resampling.BOX)
        image = small.resize((width, height), pick(rng, (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)))
    elif kind == "sharp":
        image = image.filter(ImageFilter.UnsharpMask(1.2 * pixel, round(spread(rng, 30, 150) * strength), 0))
    return np.asarray(image)


def _noisy(rgb: ndarray, rng: Generator, strength: float) -> ndarray:
    """Noise of the sensor, stronger in the dark, alike in neighbouring pixels in some cameras."""
    height, width = rgb.shape[:2]
    amount = spread(rng, 0.003, 0.05) * strength
    coarse = chance(rng, 0.3)
    shape = (-(-height // 2), -(-width // 2), 3) if coarse else (height, width, 3)
    noise = rng.standard_normal(shape, np.float32)
    if chance(rng, 0.4):
        noise[:] = noise.mean(axis=2, keepdims=True) * 1.7
    if coarse:
        noise = np.repeat(np.repeat(noise, 2, axis=0), 2, axis=1)[:height, :width]
    level = rgb.astype(np.float32) / 255
    return _bytes(level + noise * amount * (1.3 - 0.8 * level))


def _compressed(rgb: ndarray, quality: float) -> ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=round(quality))
    buffer.seek(0)
    return np.asarray(Image.open(buffer))


def _nadir_hidden(rgb: ndarray, rng: Generator) -> ndarray:
    """Cover what is below: a black or white band, a disc, a smear, or a tripod's legs."""
    out = rgb.copy()
    height, width = rgb.shape[:2]
    kind = pick(rng, ("band", "disc", "smear", "tripod"), (38, 20, 16, 26))
    rows = max(2, int(height * spread(rng, 0.02, 0.2)))
    if kind == "band":
        out[-rows:] = 0 if chance(rng, 0.85) else 255
        if chance(rng, 0.15):
            out[: int(rows * uniform(rng, 0.3, 1))] = 0
    elif kind == "disc":
        out[-rows:] = np.round(np.multiply(color(rng, 0.1, 1.0), 255)).astype(np.uint8)
    elif kind == "smear":
        reach = max(4, int(width * spread(rng, 0.05, 0.5)))
        strip = out[-rows:].astype(np.float32)
        total = np.cumsum(np.concatenate([strip[:, -reach:], strip], axis=1), axis=1)
        out[-rows:] = ((total[:, reach:] - total[:, :-reach]) / reach).astype(np.uint8)
    else:
        out = _tripod(out, rng)
    return out


def _tripod(rgb: ndarray, rng: Generator) -> ndarray:
    """Three legs that spread from below the camera, and the head or a hand between them."""
    height, width = rgb.shape[:2]
    theta = (np.arange(width) + 0.5) / width * 2 * np.pi
    # Tangent of the angle from straight down, per row: the legs end where they stand on the floor.
    away = np.tan(np.minimum((height - np.arange(height) - 0.5) / height * np.pi, 1.5))
    dark = np.multiply(color(rng, 0.02, 0.35, 0.4), 255).astype(np.uint8)
    first, stand, thick = uniform(rng, 0, 6.3), uniform(rng, 0.25, 0.6), uniform(rng, 0.012, 0.04)
    mask = np.zeros((height, width), bool)
    for k in range(3):
        turn = np.abs((theta - first - k * 2.094 + np.pi) % (2 * np.pi) - np.pi)
        mask |= (
            (away[:, None] * np.sin(np.minimum(turn, 1.57))[None] < thick)
            & (turn < 1.5)[None]
            & (away < stand)[:, None]
        )
    mask |= (away < uniform(rng, 0.04, 0.16))[:, None]
    rgb[mask] = dark
    if sign(rng) > 0:
        shade = (away < stand * 1.3)[:, None] & ~mask
        rgb[np.broadcast_to(shade, mask.shape)] = (rgb[np.broadcast_to(shade, mask.shape)] * 0.8).astype(np.uint8)
    return rgb


def _bytes(level: Float[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
    return (np.clip(level, 0, 1) * 255 + 0.5).astype(np.uint8)
