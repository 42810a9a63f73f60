"""Six pictures to one cubemap, or to an error that says why they are none.

Each is decoded as any picture is; what they share is decided together: one size, one exposure, and how many pixels they
may have. Wider faces are reduced as panoramas are, with antialiasing, to a quarter of an ERP's width, and are sampled
for the network without becoming one.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from pager_ray.cubemaps import FACES
from pager_ray.errors import InputError
from pager_ray.geometry.cubes import cubemap_mask, cubemap_picture, resample_cubemap
from pager_ray.read import highrange
from pager_ray.read.damage import DECODER_ERRORS, corrupt
from pager_ray.read.emptiness import emptiness_of
from pager_ray.read.gpano import MIN_WIDTH
from pager_ray.read.panorama import MAX_WIDTH, resized
from pager_ray.read.pixels import ImageHeader, decode, open_image
from pager_ray.read.pose import UNKNOWN, Pose
from pager_ray.validity import Validity

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

CUBEMAP: Final = "cubemap"
"""Remark: the panorama came as six faces."""

_LOOKED_AT: Final = 256
"""Rows of the panorama in which emptiness is looked for."""


@dataclass(frozen=True, eq=False)
class DecodedCubemap:
    """A cubemap ready to be sampled; has what :class:`~pager_ray.read.panorama.DecodedPanorama` has.

    Attributes:
        pixels: RGB bytes (6, N, N, 3), in the order and orientation of :data:`pager_ray.geometry.FACE_AXES`.
        source_height: twice the height of a face in its file, of the panorama that results are stitched to.
        source_width: exactly twice that.
        blank_fraction, suspect, remarks: as of a panorama.
        validity: of that panorama's pixels.
        pose: nothing is known of it: faces have no GPano metadata.
    """

    pixels: UInt8[np.ndarray, "6 n n 3"]
    source_height: int
    source_width: int
    blank_fraction: float
    suspect: str | None
    remarks: tuple[str, ...]
    validity: Validity
    coverage: float = 1.0
    stretch: float = 1.0
    pose: Pose = UNKNOWN

    def faces(
        self, face_size: int, fov: float, rotation: Float[np.ndarray, "3 3"] | None = None
    ) -> UInt8[np.ndarray, "6 s s 3"]:
        """The network's faces, sampled from these, or from these after a rotation."""
        return resample_cubemap(self.pixels, face_size, fov, rotation)

    @cached_property
    def erp(self) -> UInt8[np.ndarray, "h w 3"]:
        """The panorama, as fine as the faces are."""
        return self.picture(4 * self.pixels.shape[1])

    def picture(self, width: int) -> UInt8[np.ndarray, "h w 3"]:
        """The panorama as an ERP of an even width, or of as much as there is."""
        height = min(width // 2, 2 * self.pixels.shape[1])
        return cubemap_picture(_reduced(self.pixels, height), height, 2 * height)


def decode_cubemap(
    contents: Sequence[bytes],
    *,
    max_pixels: int = 2**28,
    max_width: int = MAX_WIDTH,
    exposure: highrange.Exposure = "auto",
) -> DecodedCubemap:
    """Decode the six faces of a cubemap, in sRGB.

    Args:
        contents: six whole image files, in the order of :data:`pager_ray.cubemaps.FACES`.
        max_pixels: limit on the pixels of all faces, and on those of the panorama that they make, 4 faces wide and 2
            high; checked before decoding.
        max_width: of that panorama, as for :func:`~pager_ray.read.panorama.decode_panorama`.
        exposure: as there; ``auto`` is one for all faces.

    Raises:
        InputError: with ``error_class`` ``not_a_cubemap`` (no six squares of one size) or one of
            :func:`~pager_ray.read.panorama.decode_panorama`; names the face.
    """
    headers: list[ImageHeader] = []
    for face, content in zip(FACES, contents, strict=True):
        with _naming(face):
            headers.append(open_image(content, max_pixels))
    size = _size_of(headers, max_pixels)
    count = min(size, max_width // 4)
    exposure = _shared_exposure(headers) if exposure == "auto" else exposure
    pixels = np.empty((6, count, count, 3), np.uint8)
    hidden = np.zeros((6, count, count, 1), np.uint8)
    shown: Bool[np.ndarray, "6 m m"] | None = None
    remarks: dict[str, None] = {CUBEMAP: None}
    for number, (face, header) in enumerate(zip(FACES, headers, strict=True)):
        with _naming(face):
            decoded = decode(header, count, count, exposure)
        image = resized(decoded.rgb, count, count)
        pixels[number] = image if decoded.conversion is None else decoded.conversion(image)
        if decoded.hidden is not None:
            shown = np.ones((6, size, size), bool) if shown is None else shown
            shown[number] = decoded.hidden == 0
            hidden[number, ..., 0] = resized((decoded.hidden != 0).astype(np.uint8) * 255, count, count)
        remarks.update(dict.fromkeys(decoded.remarks))
    height = min(_LOOKED_AT, 2 * count)
    seen = cubemap_picture(_reduced(pixels, height), height, 2 * height)
    nothing = cubemap_picture(_reduced(hidden, height), height, 2 * height)[..., 0] if hidden.any() else None
    empty = emptiness_of(seen, None if nothing is None else cv2.compare(nothing, 255, cv2.CMP_EQ), is_whole=False)
    validity = Validity.whole(2 * size, 4 * size)
    if shown is not None:
        validity = validity.masked(cubemap_mask(shown, 2 * size, 4 * size))
    return DecodedCubemap(pixels, 2 * size, 4 * size, empty.share, empty.suspect, tuple(remarks), validity)


@contextmanager
def _naming(face: str) -> Iterator[None]:
    """Errors of one face say which it is."""
    try:
        yield
    except InputError as error:
        raise InputError(error.error_class, f"{face} face: {error}", error.attempts) from error


def _size_of(headers: Sequence[ImageHeader], max_pixels: int) -> int:
    """Pixels per side of the faces."""
    sizes: dict[tuple[int, int], str] = {}
    for face, header in zip(FACES, headers, strict=True):
        sizes.setdefault((header.width, header.height), face)
    width, height = headers[0].width, headers[0].height
    if len(sizes) > 1 or width != height:
        told = ", ".join(f"{face} has {width}×{height} pixels" for (width, height), face in sizes.items())
        raise InputError(
            "not_a_cubemap",
            f"{told}: the faces of a cubemap are six squares of one size; input.format=files reads each by itself",
        )
    if 4 * width < MIN_WIDTH:
        raise InputError(
            "too_small", f"faces of {width}×{width} pixels; takes at least {MIN_WIDTH // 4}×{MIN_WIDTH // 4}"
        )
    if 8 * width * width > max_pixels:
        raise InputError(
            "too_large",
            f"faces of {width}×{width} pixels make a panorama of {4 * width}×{2 * width}, at most {max_pixels} pixels "
            "are read",
        )
    return width


def _shared_exposure(headers: Sequence[ImageHeader]) -> highrange.Exposure:
    """One exposure, in stops, for faces of light without a limit: each by itself would be as bright as the others."""
    measured = []
    for face, header in zip(FACES, headers, strict=True):
        if not isinstance(header.opened, highrange.LightHead):
            continue
        with _naming(face):
            try:
                is_exr, head = header.format == "OpenEXR", header.opened
                light = highrange.load_exr(head)[0] if is_exr else highrange.load_radiance(head)
                measured.append(highrange.mean_of_face(light))
            except DECODER_ERRORS as error:
                raise corrupt(header.format, error) from error
    return highrange.stops_of(measured) if measured else "auto"


def _reduced(pixels: UInt8[np.ndarray, "6 n n c"], height: int) -> UInt8[np.ndarray, "6 m m c"]:
    """The faces as fine as a panorama of so many rows shows them at its horizon."""
    count = max(2, round(height * 2 / math.pi))
    if count >= pixels.shape[1]:
        return pixels
    faces = [cv2.resize(face, (count, count), interpolation=cv2.INTER_AREA) for face in pixels]
    return np.stack(faces).reshape(6, count, count, pixels.shape[3])


def pack_faces(contents: Sequence[bytes]) -> bytes:
    """Six files as one, a zip without compression: for columns that hold one file per row."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for face, content in zip(FACES, contents, strict=True):
            archive.writestr(zipfile.ZipInfo(face), content)
    return packed.getvalue()


def unpack_faces(content: bytes) -> tuple[bytes, ...] | None:
    """What :func:`pack_faces` packed; None for any other file."""
    if not content.startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            # Nothing is inflated that somebody else wrote.
            stored = all(one.compress_type == zipfile.ZIP_STORED and one.file_size <= len(content) for one in members)
            if not stored or [one.filename for one in members] != [*FACES]:
                return None
            return tuple(archive.read(one) for one in members)
    except (zipfile.BadZipFile, *DECODER_ERRORS):
        return None
