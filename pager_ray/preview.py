"""One picture per panorama, for a person to look at: rgb | depth with a metre legend | normals | sky.

The depth colours follow the released previews exactly: a 3×3 median against stitching specks, the logarithm, the
panorama's own minimum and maximum, ColorBrewer's Spectral palette from near (red) to far (violet). Normals use one
fixed mapping, so that a direction has the same colour in every picture; the released previews stretch the extremes of
each picture to black and white, which differs by one grey level at most where surfaces face all ways.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pager_ray.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Shaped, UInt8
    from numpy import ndarray

# ColorBrewer's 11-class Spectral, equally spaced; https://colorbrewer2.org (Cynthia Brewer, Penn State).
_SPECTRAL = (
    (158, 1, 66),
    (213, 62, 79),
    (244, 109, 67),
    (253, 174, 97),
    (254, 224, 139),
    (255, 255, 191),
    (230, 245, 152),
    (171, 221, 164),
    (102, 194, 165),
    (50, 136, 189),
    (94, 79, 162),
)
_NO_DEPTH = (96, 96, 96)
_SKY_RAMP = ((24, 28, 38), (133, 196, 255))
_PAPER, _INK, _FAINT = (250, 250, 248), (32, 34, 38), (120, 122, 128)
_NOTHING = np.array(_PAPER, np.uint8)
_AXES = (("x forward", (205, 62, 62)), ("y up", (38, 140, 62)), ("z right", (52, 90, 210)))


def colorize_depth(
    depth: Float[ndarray, "h w"], *, limits: tuple[float, float] | None = None
) -> UInt8[ndarray, "h w 3"]:
    """Colour a depth map, near red to far violet, on a logarithmic scale.

    Args:
        depth: (H, W) floating point, any unit; values that are not finite or not above zero are "no depth" and grey.
        limits: (nearest, farthest) of the scale; by default :func:`depth_limits` of the map itself.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ShapeError: ``depth`` is not a two-dimensional floating-point array.
    """
    smooth, valid = _despeckle(_checked(depth, "depth", 2))
    return _paint_depth(smooth, valid, limits or _limits(smooth, valid))


def depth_limits(depth: Float[ndarray, "h w"]) -> tuple[float, float] | None:
    """Nearest and farthest depth that :func:`colorize_depth` shows, in the map's unit; None without any valid depth."""
    return _limits(*_despeckle(_checked(depth, "depth", 2)))


def colorize_normals(normals: Float[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
    """Colour unit normals: each axis from −1 (0) to +1 (255) in its own channel; zero vectors (sky) become mid grey.

    Args:
        normals: (H, W, 3) floating point, components in [−1, 1], any frame.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ShapeError: ``normals`` is not an (H, W, 3) floating-point array.
    """
    normals = _checked(normals, "normals", 3)
    return np.clip(normals * np.float32(127.5) + np.float32(127.5), 0, 255).astype(np.uint8)


def panel_size(width: int) -> tuple[int, int]:
    """(height, width) of one panel in a picture ``width`` pixels wide; stitching larger than this gains nothing."""
    panel = (width - 3 * _gap(width)) // 2
    return panel // 2, panel


def render_preview(
    rgb: UInt8[ndarray, "h w 3"],
    depth: Float[ndarray, "h2 w2"] | None,
    normals: Float[ndarray, "h3 w3 3"] | None,
    sky: Shaped[ndarray, "h4 w4"] | None,
    *,
    unit: str = "m",
    width: int = 1024,
    metric: bool,
    title: str | None = None,
    valid: Bool[ndarray, "h5 w5"] | None = None,
) -> bytes:
    """Draw a panorama and its predictions side by side, two panels to a row, as one JPEG.

    Every input is an ERP of its own size and is reduced to :func:`panel_size` here. Depth is point-sampled, so that no
    colour stands for a depth that no pixel has; the others are averaged.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) floating point along the ray; None leaves the panel out.
        normals: (H, W, 3) floating point, unit, x forward, y up, z right; None leaves the panel out.
        sky: (H, W) probability, or a boolean mask; None leaves the panel out.
        unit: unit of ``depth``, for the legend.
        width: width of the whole picture in pixels, at least 320.
        metric: whether ``depth`` has a scale; without one the legend says "relative" instead of the unit.
        title: a line above the panels.
        valid: (H, W) bool, the pixels that are drawn; nothing is where the others are. None draws all.

    Returns:
        The JPEG's bytes.

    Raises:
        ShapeError: an input has another shape or dtype than documented, or ``width`` is below 320.
    """
    if width < 320:
        raise ShapeError(f"a preview of width {width} has no room for its legends: ask for at least 320")
    size = panel_size(width)
    shown = (
        None if valid is None else _shrink(_checked(valid, "valid", 2, kinds="b").view(np.uint8), size, point=True) > 0
    )
    panels = [(_shrink(_checked(rgb, "rgb", 3, kinds="u"), size), plain_caption(width, "panorama"))]
    if depth is not None:
        depth = _shrink(_checked(depth, "depth", 2), size, point=True)
        depth = depth if shown is None else np.where(shown, depth, np.float32(np.nan))
        smooth, valid = _despeckle(depth)
        limits = _limits(smooth, valid)
        legend = depth_caption(width, f"depth ({unit if metric else 'relative'})", limits)
        panels.append((_paint_depth(smooth, valid, limits), legend))
    if normals is not None:
        panels.append((colorize_normals(_shrink(_checked(normals, "normals", 3), size)), _normals_caption(width)))
    if sky is not None:
        share = _shrink(_checked(sky, "sky", 2, kinds="bf").astype(np.float32, copy=False), size)
        ramp = _ramp(np.clip(share, 0, 1))
        bar = _ramp(np.linspace(0, 1, 256, dtype=np.float32)[None])
        panels.append((ramp, bar_caption(width, "sky probability", bar, [(0.0, "0"), (0.5, "0.5"), (1.0, "1")])))
    if shown is not None:
        panels = [(np.where(shown[..., None], panel, _NOTHING), caption) for panel, caption in panels]
    return encode_jpeg(compose_panels(panels, width, title))


def _checked(array: ndarray, name: str, ndim: int, kinds: str = "f") -> ndarray:
    fits = array.ndim == ndim and array.size > 0 and array.dtype.kind in kinds and (ndim == 2 or array.shape[2] == 3)
    if not fits or (kinds == "u" and array.dtype != np.uint8):
        shape = "(H, W)" if ndim == 2 else "(H, W, 3)"
        kind = {"f": "floating-point", "u": "uint8", "b": "boolean", "bf": "boolean or floating-point"}[kinds]
        raise ShapeError(f"a preview's {name} is {array.dtype} of shape {array.shape}; it takes {kind} {shape}")
    return array.astype(np.float32, copy=False) if kinds == "f" else array


def _shrink(array: ndarray, size: tuple[int, int], *, point: bool = False) -> ndarray:
    import cv2

    if array.shape[:2] == size:
        return array
    smaller = array.shape[0] >= size[0] and array.shape[1] >= size[1]
    smooth = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(array, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT if point else smooth)


def _despeckle(depth: Float[ndarray, "h w"]) -> tuple[Float[ndarray, "h w"], Bool[ndarray, "h w"]]:
    import cv2

    valid = np.isfinite(depth) & (depth > 0)
    # No depth counts as infinitely far, so that the median of a silhouette never invents a depth between the two.
    smooth = cv2.medianBlur(np.where(valid, depth, np.float32(np.inf)), 3)
    return np.where(np.isfinite(smooth), smooth, depth), valid


def _limits(smooth: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"]) -> tuple[float, float] | None:
    kept = smooth[valid]
    return (float(kept.min()), float(kept.max())) if kept.size else None


def _paint_depth(
    smooth: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], limits: tuple[float, float] | None
) -> UInt8[ndarray, "h w 3"]:
    if limits is None:
        return np.full((*smooth.shape, 3), _NO_DEPTH, np.uint8)
    low, high = np.log(np.asarray(limits, np.float32))
    span = max(high - low, np.float32(1e-6))
    place = (np.log(np.where(valid, smooth, np.float32(limits[0]))) - low) / span
    colors = _spectral()[(np.clip(place, 0, 1) * np.float32(255)).astype(np.uint8)]
    colors[~valid] = _NO_DEPTH
    return colors


@lru_cache(maxsize=1)
def _spectral() -> UInt8[ndarray, "256 3"]:
    points = np.asarray(_SPECTRAL, np.float64) / 255
    where, knots = np.linspace(0, 1, 256), np.linspace(0, 1, len(points))
    return np.stack([np.interp(where, knots, points[:, c]) * 255 for c in range(3)], axis=1).astype(np.uint8)


def _ramp(share: Float[ndarray, "h w"]) -> UInt8[ndarray, "h w 3"]:
    low, high = np.asarray(_SKY_RAMP, np.float32)
    return (low + share[..., None] * (high - low)).astype(np.uint8)


def round_ticks(near: float, far: float) -> list[float]:
    """Round values in [near, far] for a logarithmic scale: the 1-2-5 series, or even 1-2-5 steps on a short range."""
    if far / near >= 5:
        decades = range(math.floor(math.log10(near)), math.ceil(math.log10(far)) + 1)
        series = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
        return [value for value in series if near <= value <= far]
    target = (far - near) / 4
    if target < near * 1e-4:
        return [float(f"{near:.3g}")]
    decade = math.floor(math.log10(target))
    step = next(s for s in (1, 2, 5, 10) if s * 10.0**decade >= target) * 10.0**decade
    first, last = math.ceil(near / step), math.floor(far / step)
    return [float(f"{k * step:.6g}") for k in range(first, last + 1)]


def _gap(width: int) -> int:
    return max(4, width // 160)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _text_size(width: int) -> int:
    return max(9, round(width / 80))


def _blank_caption(width: int) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    text = _text_size(width)
    strip = Image.new("RGB", (panel_size(width)[1], round(text * 2.5)), _PAPER)
    return strip, ImageDraw.Draw(strip), text


def plain_caption(width: int, label: str) -> Image.Image:
    """A strip below a panel of a picture ``width`` pixels wide, with words alone."""
    strip, draw, text = _blank_caption(width)
    draw.text((0, round(text * 0.35)), label, fill=_INK, font=_font(text))
    return strip


def _normals_caption(width: int) -> Image.Image:
    strip, draw, text = _blank_caption(width)
    font, top = _font(text), round(text * 0.35)
    draw.text((0, top), "normals", fill=_INK, font=font)
    x = draw.textlength("normals", font=font) + text * 1.5
    for name, color in _AXES:
        draw.text((x, top), name, fill=color, font=font)
        x += draw.textlength(name, font=font) + text
    return strip


def depth_caption(width: int, label: str, limits: tuple[float, float] | None) -> Image.Image:
    """A strip with the scale of :func:`colorize_depth` between its limits; without limits it says so."""
    if limits is None:
        return plain_caption(width, f"{label}: none")
    near, far = limits
    span = math.log(far / near) or 1.0
    ticks = [(math.log(value / near) / span, f"{value:g}") for value in round_ticks(near, far)]
    return bar_caption(width, label, _spectral()[None], [(min(max(at, 0.0), 1.0), name) for at, name in ticks])


def bar_caption(
    width: int, label: str, bar: UInt8[ndarray, "1 256 3"], ticks: Sequence[tuple[float, str]]
) -> Image.Image:
    """A strip with a scale: a bar of 256 colours and ticks at (share of the bar, text)."""
    strip, draw, text = _blank_caption(width)
    font, small = _font(text), _font(max(8, round(text * 0.85)))
    draw.text((0, round(text * 0.35)), label, fill=_INK, font=font)
    left = round(draw.textlength(label, font=font) + text * 1.5)
    right, top, bottom = strip.width - text, round(text * 0.3), round(text * 1.05)
    strip.paste(Image.fromarray(bar).resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))
    taken: list[tuple[float, float]] = []
    # Powers of ten are placed first: where labels would touch, the rounder number stays.
    for at, name in sorted(ticks, key=lambda tick: (tick[1].strip("0.") != "1", tick[0])):
        x = left + at * (right - left - 1)
        half = draw.textlength(name, font=small) / 2 + text * 0.25
        if any(x - half < end and start < x + half for start, end in taken):
            continue
        taken.append((x - half, x + half))
        draw.line((x, bottom, x, bottom + max(2, text // 5)), fill=_INK)
        draw.text((x, bottom + text * 0.2), name, fill=_FAINT, font=small, anchor="ma")
    return strip


def compose_panels(
    panels: Sequence[tuple[UInt8[ndarray, "h w 3"], Image.Image]], width: int, title: str | None
) -> Image.Image:
    """Panels of :func:`panel_size` with their strips, two to a row, below a line of title."""
    gap, text = _gap(width), round(_text_size(width) * 1.15)
    height, panel = panel_size(width)
    head = gap + (round(text * 1.6) if title else 0)
    cell = height + panels[0][1].height
    sheet = Image.new("RGB", (width, head + cell * math.ceil(len(panels) / 2)), _PAPER)
    if title:
        ImageDraw.Draw(sheet).text((gap, gap), title, fill=_INK, font=_font(text))
    for k, (image, caption) in enumerate(panels):
        x, y = gap + (k % 2) * (panel + gap), head + (k // 2) * cell
        sheet.paste(Image.fromarray(image), (x, y))
        sheet.paste(caption, (x, y + height))
    return sheet


def encode_jpeg(picture: Image.Image) -> bytes:
    """A picture's JPEG, with full chroma."""
    out = io.BytesIO()
    # Full chroma: subsampling smears the thin coloured letters of the legends.
    picture.save(out, "JPEG", quality=90, subsampling=0)
    return out.getvalue()
