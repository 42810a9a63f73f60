"""One prediction → what its page and its card show.

Depth and sky are point-sampled: every ``step``-th pixel of the stored map, beginning at ``step // 2``. So each number
that the page reads out is one that the run stores, within the bound that travels with it.
"""

from __future__ import annotations

import base64
import io
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from pager_ray.errors import InputError, StorageError
from pager_ray.masking import mask_uri
from pager_ray.preview import colorize_depth, colorize_normals, depth_limits, panel_size, plain_caption
from pager_ray.read import decode_content
from pager_ray.read.pixels import decode_pixels, open_image
from pager_ray.reader.picture import fetch_source
from pager_ray.retrying import Retry
from pager_ray.schemes import FORBIDDEN

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from numpy import ndarray

    from pager_ray.prediction import Prediction

GRID_ROWS = 512
"""Most rows of the samples that a page holds."""

PICTURE_WIDTH = 2048
THUMB = (144, 288)
"""Height and width of one panel of a card."""

SKY_RAMP = ((24, 28, 38), (133, 196, 255))
MISSING = (128, 128, 128)

# The source is looked for on a store that may be gone by now: a page without its picture is still one.
_SOURCE_RETRY = Retry(10)
_TOP_CODE = 65535
_PREVIEW_PIXELS = 1 << 26


@dataclass(frozen=True)
class Grid:
    """Which pixels of a stored map are kept: every ``step``-th of each side, beginning at ``first``."""

    step: int
    first: int
    rows: int
    columns: int

    @classmethod
    def of(cls, height: int, width: int) -> Grid:
        """The finest grid of at most :data:`GRID_ROWS` rows and twice as many columns."""
        step = max(math.ceil(height / GRID_ROWS), math.ceil(width / (2 * GRID_ROWS)))
        first = min(step // 2, height - 1, width - 1)
        return cls(step, first, *(len(range(first, size, step)) for size in (height, width)))

    def sample(self, array: ndarray) -> ndarray:
        """The kept pixels of a map (H, W[, C])."""
        return np.ascontiguousarray(array[self.first :: self.step, self.first :: self.step])

    def to_json(self) -> dict[str, int]:
        """What the page needs to find the stored pixel."""
        return {"step": self.step, "first": self.first, "rows": self.rows, "columns": self.columns}


def pack(array: ndarray) -> dict[str, Any]:
    """An (H, W) array of uint8 or uint16 without loss: differences along rows, byte planes, zlib, base64."""
    before = np.zeros_like(array)
    before[:, 1:] = array[:, :-1]
    differences = array - before  # wraps around
    planes = [differences >> 8, differences & 255] if array.dtype == np.uint16 else [differences]
    content = b"".join(plane.astype(np.uint8).tobytes() for plane in planes)
    return {"bits": 8 * array.itemsize, "data": base64.b64encode(zlib.compress(content, 6)).decode("ascii")}


def quantise_depth(depth: Float[ndarray, "h w"]) -> dict[str, Any] | None:
    """Depths as 16-bit codes, even on a logarithmic scale: ``near·exp((code − 1)·step)``; code 0 is no depth.

    ``max_relative_error`` bounds what that changes. None without any depth.
    """
    valid = np.isfinite(depth) & (depth > 0)
    if not valid.any():
        return None
    near, far = float(depth[valid].min()), float(depth[valid].max())
    step = max(math.log(far / near) / (_TOP_CODE - 1), 1e-12)
    places = np.log(np.where(valid, depth, near).astype(np.float64) / near) / step
    codes = np.where(valid, np.clip(np.rint(places), 0, _TOP_CODE - 1) + 1, 0).astype(np.uint16)
    # The page computes in float32 at the end: one rounding more.
    error = math.expm1(step / 2) + 2.0**-23
    return {**pack(codes), "near": near, "step": step, "max_relative_error": error}


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page and a card are made of.

    Attributes:
        page: the content of its data file.
        thumbnail: JPEG strip: rgb, depth, normals, sky.
        limits: nearest and farthest depth of the card's colours; None without depth.
        unread: why its source was not read, where that was asked for.
    """

    page: dict[str, Any]
    thumbnail: bytes
    limits: tuple[float, float] | None
    unread: str | None = None


def show_panorama(
    row: int,
    prediction: Prediction,
    values: dict[str, float | None],
    preview: bytes | None = None,
    images_from: str | None = None,
) -> Shown:
    """Everything that is shown of one prediction.

    Args:
        row: its number in the gallery.
        prediction: maps are decoded here.
        values: its numbers, for the table beside the view.
        preview: the run's own picture of it, for when its source is gone or not asked for.
        images_from: folder, or web host, that its source is read from; None reads none.

    Raises:
        StorageError: a stored map cannot be read.
    """
    grid = Grid.of(prediction.height, prediction.width)
    valid = None if prediction.validity is None else grid.sample(prediction.valid)
    depth, normals, sky = (
        _sampled(array, grid, valid) for array in (prediction.depth, prediction.normals, prediction.sky)
    )
    rgb, origin, unread = _picture(prediction, preview, images_from)
    limits = None if depth is None else depth_limits(depth)
    coded = None if depth is None or limits is None else quantise_depth(depth)
    shares = None if sky is None else np.rint(np.clip(np.nan_to_num(sky), 0, 1) * 255).astype(np.uint8)
    colored = None if normals is None else colorize_normals(normals)
    page = {
        "row": row,
        "height": prediction.height,
        "width": prediction.width,
        "metric": prediction.log_scale is not None,
        "values": values,
        "grid": grid.to_json(),
        "depth": None if coded is None else {**coded, "shown": limits},
        "sky": None if shares is None else pack(shares),
        "images": {
            "rgb": None if rgb is None else _data_url(rgb, 85),
            "normals": None if colored is None else _data_url(colored, 90),
        },
        "rgb_from": origin,
    }
    panels = [
        rgb,
        None if depth is None else colorize_depth(_point_sample(depth), limits=limits),
        colored,
        None if shares is None else _tint(shares),
    ]
    return Shown(page, _strip(panels), limits, unread)


def _sampled(array: ndarray | None, grid: Grid, valid: ndarray | None) -> ndarray | None:
    """The kept pixels of a map, float32; zeros, which are no depth, no direction and no sky, where none is valid."""
    if array is None:
        return None
    kept = grid.sample(array).astype(np.float32)
    return (
        kept if valid is None else np.where(valid if kept.ndim == valid.ndim else valid[..., None], kept, np.float32(0))
    )


def depth_palette() -> UInt8[ndarray, "256 3"]:
    """The colours of depth from near to far, as previews draw them."""
    return colorize_depth(np.geomspace(1, 2, 256, dtype=np.float32)[None], limits=(1.0, 2.0))[0]


def _picture(
    prediction: Prediction, preview: bytes | None, images_from: str | None
) -> tuple[UInt8[ndarray, "h w 3"] | None, str, str | None]:
    """The panorama itself and where it was found: its source, else the run's preview of it; and why not its source."""
    why = "the source is read with --images-from alone"
    unread = None
    if images_from is not None:
        why, unread = "the source cannot be read any more", "it cannot be read any more"
        try:
            content = fetch_source(prediction.uri, images_from, _SOURCE_RETRY)
            return decode_content(content, max_width=PICTURE_WIDTH, **prediction.reading).erp, "its source", None
        except InputError as error:
            if error.error_class == FORBIDDEN:
                why, unread = "the source lies elsewhere", f"it does not lie below {mask_uri(images_from)}"
        except StorageError:
            pass
    if preview is None:
        return None, f"nowhere: {why}", unread
    return preview_panel(preview), f"the run's preview: {why}", unread


def preview_panel(preview: bytes) -> UInt8[ndarray, "h w 3"] | None:
    """The panorama in a picture of :func:`~pager_ray.preview.render_preview`; None when it is no such picture."""
    try:
        header = open_image(preview, _PREVIEW_PIXELS)
        # Of all that Pillow opens, a run writes this alone.
        picture = Image.fromarray(decode_pixels(header, header.width, header.height))
    except InputError:
        return None
    if header.format != "JPEG":
        return None
    height, width = panel_size(picture.width)
    cell = height + plain_caption(picture.width, "panorama").height
    gap = (picture.width - 2 * width) // 3
    # Rows of panels, below a head that is less than one.
    head = picture.height % cell
    return np.asarray(picture.crop((gap, head, gap + width, head + height)))


def _point_sample(array: ndarray) -> ndarray:
    return cv2.resize(array, THUMB[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _tint(shares: UInt8[ndarray, "h w"]) -> UInt8[ndarray, "h w 3"]:
    low, high = np.asarray(SKY_RAMP, np.float32)
    return (low + shares[..., None] / np.float32(255) * (high - low)).astype(np.uint8)


def _strip(panels: list[ndarray | None]) -> bytes:
    """Four panels side by side; grey where one is missing."""
    height, width = THUMB
    strip = np.full((height, len(panels) * width, 3), MISSING, np.uint8)
    for k, panel in enumerate(panels):
        if panel is not None:
            shrinks = panel.shape[0] >= height
            method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            strip[:, k * width : (k + 1) * width] = cv2.resize(panel, (width, height), interpolation=method)
    return _jpeg(strip, 84)


def _jpeg(array: UInt8[ndarray, "h w 3"], quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


def _data_url(array: UInt8[ndarray, "h w 3"], quality: int) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(array, quality)).decode("ascii")
