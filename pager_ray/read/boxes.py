"""Boxes of ISO media files: what AVIF, HEIC and JPEG XL files are made of, and which of them a file is.

Brands are what an encoder says that it followed, in any order, and some name none but the structural ones (``mif1``);
what decides is how the pictures in it are coded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

SELDOM: Final = 64
"""Boxes, items and units that are looked at, one inside or behind another; a picture has a handful of each."""
_PROPERTIES: Final = 4096

# Properties that say how an item is coded.
_CODINGS: Final = {
    b"av1C": "AVIF", b"hvcC": "HEIC", b"vvcC": "HEIF with VVC", b"avcC": "HEIF with AVC", b"evcC": "HEIF with EVC",
    b"j2kH": "HEIF with JPEG 2000", b"uncC": "HEIF without compression", b"jpgC": "HEIF with JPEG",
}  # fmt: skip
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_STRUCTURAL_BRANDS: Final = frozenset({b"mif1", b"mif2", b"msf1"})


def boxes(data: bytes, start: int, end: int, most: int = SELDOM) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where the content begins and ends, of the boxes in a stretch of the file."""
    for _ in range(most):
        if end - start < 8:
            return
        size, kind, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + head:
            return
        yield kind, start + head, stop
        start = stop


def media_format(data: bytes) -> str:
    """The format of a file that begins with an ``ftyp`` box."""
    size = min(int.from_bytes(data[:4], "big"), 4 * SELDOM)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))]
    codings = [_CODINGS[kind] for kind in _properties(data) if kind in _CODINGS]
    if not codings:
        # A sequence, or the beginning of a file.
        if _AVIF_BRANDS & {*brands}:
            return "AVIF"
        if _HEIC_BRANDS & {*brands}:
            return "HEIC"
        return "HEIF" if (_STRUCTURAL_BRANDS | {b"miaf"}) & {*brands} else "ISO media"
    if "AVIF" in codings and "HEIC" in codings:
        # One picture coded twice: the brand says which is meant to be seen.
        return "AVIF" if brands[0] in _AVIF_BRANDS else "HEIC"
    return next((name for name in ("AVIF", "HEIC") if name in codings), codings[0])


def under_its_brand(data: bytes, name: str) -> bytes:
    """An AVIF or HEIC file under a brand of its format: decoders ask for one before they look any further."""
    size = min(int.from_bytes(data[:4], "big"), 4 * SELDOM)
    compatible = range(16, size - 3, 4)
    if name == "AVIF":
        known = any(data[at : at + 4] in _AVIF_BRANDS for at in (8, *compatible))
        return data if known else data[:8] + b"avif" + data[12:]
    # libheif asks the list alone, where there is one.
    if not compatible or any(data[at : at + 4] in _HEIC_BRANDS | _STRUCTURAL_BRANDS for at in compatible):
        return data
    return data[:8] + b"heic" + data[12:16] + b"heic" + data[20:]


def _properties(data: bytes) -> Iterator[bytes]:
    """Kinds of the properties of a file's items."""
    for start, end in _inside(data, (0, len(data)), b"meta"):
        for iprp in _inside(data, (start + 4, end), b"iprp"):
            for ipco in _inside(data, iprp, b"ipco"):
                yield from (kind for kind, _, _ in boxes(data, *ipco, _PROPERTIES))


def _inside(data: bytes, place: tuple[int, int], wanted: bytes) -> Iterator[tuple[int, int]]:
    return ((start, end) for kind, start, end in boxes(data, *place) if kind == wanted)
