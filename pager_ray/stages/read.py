"""Stages *read* and *project*: from a manifest's row to six uint8 faces.

They share a task because what lies between them, the decoded panorama, is five times larger than the faces.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa

from pager_ray.errors import InputError
from pager_ray.geometry import levelling
from pager_ray.listing.listed import NETWORK, SIGNED
from pager_ray.listing.masks import MISSING, Missing, place_of
from pager_ray.masking import mask_uri
from pager_ray.read import Content, DecodedCubemap, DecodedPanorama, decode_content
from pager_ray.read.containers import Place
from pager_ray.read.containers.places import EmptyCell
from pager_ray.read.content import digest_of
from pager_ray.read.fetch import MAX_ROW_GROUP_BYTES, fetch_content
from pager_ray.read.maskpicture import BAD_MASK, decode_mask_picture
from pager_ray.read.pose import Pose, Upright, pose_of_columns
from pager_ray.retrying import Retry
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import (
    CONTENT,
    IDENTITY,
    PLACE,
    POSE,
    READ_SCHEMA,
    Row,
    blob,
    carry,
    iterate,
    naming_row,
    reject,
    thumbnail,
    to_table,
)
from pager_ray.validity import Validity

MASK_CONTENT = "mask_content"
"""Key of a row under which :func:`project_row` finds its mask's bytes instead of fetching them."""

# The mask of all panoramas of a job, which is fetched once.
_SHARED: dict[str, Any] = {}
_SHARED_LOCK = Lock()

FETCH_THREADS = 8
"""Objects of one block fetched at a time: hides the latency of object storage behind decoding."""


@dataclass(frozen=True)
class ReadSettings:
    """What the stage needs to know.

    The faces to make, the limits of a decode, whether previews want a thumbnail, how long a troubled store is asked
    again, whether faces are sampled here, what a listing may name (``input.schemes`` and ``input.private``), further
    arguments of :func:`pager_ray.read.decode_panorama`, how much of a Parquet file is read at once, the caps that mean
    nothing, by what panoramas are levelled, what becomes of those without a mask, and a word that no other job of this
    process has.
    """

    face_size: int
    fov: float
    max_pixels: int
    max_bytes: int
    thumbnail_width: int | None
    retry: Retry
    project: bool = True
    schemes: tuple[str, ...] = ()
    private: Literal["auto", "allow", "refuse"] = "auto"
    decode: Mapping[str, Any] = field(default_factory=dict)
    max_row_group_bytes: int = MAX_ROW_GROUP_BYTES
    nadir_degrees: float = 0.0
    zenith_degrees: float = 0.0
    upright: Upright = "off"
    missing_mask: Missing = "ignore"
    job: str = field(default_factory=lambda: secrets.token_hex(8), compare=False)


def make_read_fn(settings: ReadSettings) -> Callable[[pa.Table], pa.Table]:
    """Make the block function: manifest rows → ``READ_SCHEMA``, one row each, rejects included."""

    def read(table: pa.Table) -> pa.Table:
        # Ray runs as many tasks as there are cores; threads inside them would only compete.
        cv2.setNumThreads(1)
        received = [
            carry(scalars, [*IDENTITY, *READ_SCHEMA, *PLACE, POSE, CONTENT, SIGNED]) for scalars in iterate(table)
        ]
        with ThreadPoolExecutor(FETCH_THREADS) as pool:
            fetched = pool.map(lambda row: _fetch(row, settings), received)
            rows = [
                row if _is_read(row) else project_row(row, content, settings)
                for row, content in zip(received, fetched, strict=True)
            ]
        return to_table(rows, READ_SCHEMA, table.num_rows, StageName.READ)

    return read


def _is_read(row: Row) -> bool:
    """Whether it came with its pixels, as frames of videos do."""
    return row.get("faces") is not None or row.get("panorama") is not None


def _fetch(row: Row, settings: ReadSettings) -> Content | InputError | None:
    """The input's bytes, why there are none, or nothing for a row that was rejected, or read with others."""
    if row["error_class"] or _is_read(row):
        return None
    # Those of Parquet files were read with their row group.
    content: Content | None = row.pop("content", None)
    if content is None:
        try:
            content = fetch_row(row, settings)
        except InputError as error:
            return error
    row |= fetched_mask(row, settings)
    return content


def fetched_mask(row: Row, settings: ReadSettings) -> dict[str, Content | InputError]:
    """A row's mask, or why there is none, for :func:`project_row`; nothing for a row without one."""
    if row.get("mask") is None:
        return {}
    try:
        return {MASK_CONTENT: fetch_mask(row, settings)}
    except InputError as error:
        return {MASK_CONTENT: error}


def fetch_mask(row: Row, settings: ReadSettings) -> Content:
    """The bytes of the mask of a manifest's row that has one.

    Raises:
        InputError, StorageError: as :func:`pager_ray.read.fetch.fetch_content`.
    """
    try:
        place = place_of(row["mask"])
    except ValueError as error:
        raise InputError(BAD_MASK, f"{mask_uri(row['uri'])}: its mask's place cannot be read ({error})") from error
    if not place.is_shared:
        return fetch_row({**place.others, "uri": place.uri}, settings)
    # By the next job it may be another picture under its name.
    wanted = settings.job, row["mask"]
    with _SHARED_LOCK:
        if _SHARED.get("mask") != wanted:
            _SHARED.update(mask=wanted, content=fetch_row({**place.others, "uri": place.uri}, settings))
        shared: Content = _SHARED["content"]
        return shared


def fetch_row(row: Row, settings: ReadSettings) -> Content:
    """The bytes of a manifest's row.

    Raises:
        InputError, StorageError: as :func:`pager_ray.read.fetch.fetch_content`.
    """
    place = Place(row.get("offset"), row.get("size"), row.get("row_group"), row.get("row"))
    return fetch_content(
        row.get(SIGNED.name) or row["uri"],
        settings.retry,
        max_bytes=settings.max_bytes,
        schemes=settings.schemes,
        strangers=is_strangers(row, settings),
        place=place,
        face_places=row.get("face_places"),
        max_row_group_bytes=settings.max_row_group_bytes,
    )


def is_strangers(row: Row, settings: ReadSettings) -> bool:
    """Whether somebody wrote a row's URI who must not make us read our own files or ask our own network."""
    return settings.private == "refuse" or (settings.private == "auto" and row.get("origin") == NETWORK)


def project_row(row: Row, content: Content | InputError | None, settings: ReadSettings) -> Row:
    """A row of ``READ_SCHEMA``: decoded and projected, or a reject.

    Args:
        row: identity and status.
        content: the file's bytes, or a cubemap's six; why there are none; or None for a row that is a reject already.
        settings: of the stage.
    """
    if content is None:
        return row | {"stage": row.get("stage") or StageName.LIST, "attempts": row.get("attempts") or 1}
    if isinstance(content, InputError):
        return reject(row, StageName.READ, content)
    try:
        panorama = decode_content(content, max_pixels=settings.max_pixels, **settings.decode)
        validity = _validity(panorama, row, settings)
        pose = panorama.pose
        tilt = tilt_of(settings.upright, pose, row.get(POSE.name))
    except InputError as error:
        return reject(row, StageName.READ, naming_row(row, error))
    pixels: Row
    width = settings.thumbnail_width
    rotation = levelling(*tilt)
    if settings.project:
        pixels = {"faces": blob(panorama.faces(settings.face_size, settings.fov, rotation))}
    else:
        pixels = {"panorama": blob(panorama.erp), "panorama_height": panorama.erp.shape[0]}
    if not validity.is_whole:
        pixels["valid_faces"] = blob(np.packbits(validity.faces(settings.face_size, settings.fov, rotation)))
    return row | {
        "width": panorama.source_width,
        "height": panorama.source_height,
        "coverage": panorama.coverage,
        "stretch": panorama.stretch,
        "blank_fraction": panorama.blank_fraction,
        "suspect": panorama.suspect,
        "remarks": ",".join(panorama.remarks) or None,
        "digest": digest_of(content),
        "valid_fraction": validity.fraction,
        "valid": validity.to_row(),
        "pose_heading": pose.heading,
        "pose_pitch": pose.pitch,
        "pose_roll": pose.roll,
        "level_pitch": tilt[0],
        "level_roll": tilt[1],
        "thumbnail": thumbnail(panorama.picture(width), width) if width is not None else None,
        **pixels,
    }


def _validity(panorama: DecodedPanorama | DecodedCubemap, row: Row, settings: ReadSettings) -> Validity:
    """Which pixels of a panorama are valid.

    Raises:
        InputError: ``nothing_valid``: not one is; ``missing_mask``: it has none and must; ``bad_mask``, or as of
            :func:`fetch_mask`: its mask cannot be used.
    """
    found = panorama.validity.capped(settings.nadir_degrees, settings.zenith_degrees)
    content = None
    if row.get("mask") is not None:
        content = row.pop(MASK_CONTENT, None) or fetched_mask(row, settings)[MASK_CONTENT]
    if isinstance(content, EmptyCell):
        # Its row of the masks' column says that it has none.
        if settings.missing_mask == "reject":
            why = "its row of the masks' column is empty; put one there, or take input.mask.missing=ignore"
            raise InputError(MISSING, why, content.attempts) from content
        content = None
    if isinstance(content, InputError):
        raise InputError(content.error_class, f"its mask {content}", content.attempts) from content
    if content is not None:
        place = place_of(row["mask"])
        try:
            mask = decode_mask_picture(content, panorama, settings.max_pixels, keep=place.is_shared)
        except InputError as error:
            raise InputError(error.error_class, f"its mask {mask_uri(place.uri)}: {error}") from error
        found = found.masked(mask)
    if not found.fraction:
        raise InputError(
            "nothing_valid",
            "no pixel is valid: what the file covers is transparent, black in its mask, or within "
            "input.mask.nadir_degrees or zenith_degrees",
        )
    return found


def tilt_of(upright: Upright, of_file: Pose, of_listing: str | None) -> tuple[float, float] | tuple[None, None]:
    """Pitch and roll that a panorama is levelled by, in degrees; none where they are not asked for, or not known.

    Raises:
        InputError: ``bad_pose``: what is asked for is none.
    """
    if upright == "off":
        return None, None
    pose = of_file if upright == "gpano" else pose_of_columns(of_listing)
    return pose.tilt() or (None, None)
