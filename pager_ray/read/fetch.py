"""A file's bytes from any fsspec URI, or the input error that says why there are none."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fsspec.implementations.local import LocalFileSystem

from pager_ray.bounded import Unreasonable, parse_json
from pager_ray.cubemaps import FACES, faces_of
from pager_ray.errors import InputError, StorageError
from pager_ray.hosts import asked
from pager_ray.masking import mask_uri
from pager_ray.read.containers.members import Place, read_member
from pager_ray.read.containers.parquets import read_row_group
from pager_ray.read.containers.places import CHANGED
from pager_ray.read.ranges import read_range
from pager_ray.retrying import (
    Retry,
    attempts_of,
    concerns_caller,
    distrusts_certificate,
    http_status,
    is_transient,
)
from pager_ray.schemes import FORBIDDEN, Role, SchemeError, open_place, split_member
from pager_ray.storage import client_errors, error_reason

if TYPE_CHECKING:
    import pyarrow as pa

    from pager_ray.read.content import Content

PATIENT = Retry()
"""For how long reads are repeated where nobody says."""

_TAKES = "takes a path or a URL that fsspec knows"


MAX_BYTES = 2**31
"""How much is read of a file where nobody says."""

MAX_ROW_GROUP_BYTES = 2**31
"""How many bytes of pictures a row group may hold where nobody says."""

NOWHERE = Place()

_MAX_PLACES = 4096
_MAX_DIGITS = 9


def fetch(
    uri: str,
    retry: Retry | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    role: Role = "input",
    schemes: Sequence[str] = (),
    strangers: bool = False,
    place: Place = NOWHERE,
    max_row_group_bytes: int = MAX_ROW_GROUP_BYTES,
) -> bytes:
    """Read a whole file or object; what fails in passing is tried again.

    Messages hold the masked URI and no text of a client's error: aiohttp, yarl and urllib repeat the URL in theirs.

    Args:
        uri: a local path or fsspec URL.
        retry: for how long; :data:`PATIENT` by default.
        max_bytes: larger files are refused, before more than that is read.
        role: what the file is for, which decides the schemes that are taken.
        schemes: further ones.
        strangers: a stranger wrote the URI: see :func:`pager_ray.schemes.open_place`.
        place: where a member of a container lies; one whose place is not known is looked for.
        max_row_group_bytes: larger row groups of Parquet files are refused.

    Raises:
        InputError: ``missing``, ``not_a_file``, ``too_large``, ``permission_denied``, ``unsupported_uri``,
            ``forbidden_uri`` (a file system or a place that is not taken), ``transient`` (time-outs, throttling, 5xx
            and broken connections until the time was up) or ``read_failed``; and of members those of
            :func:`pager_ray.read.containers.members.read_member`.
        StorageError: the client of an object store has no credentials or reaches no endpoint. That is no fault of one
            input: a job that went on would reject all of them.
    """
    shown = mask_uri(uri)
    try:
        member = split_member(uri)
        patient = retry or PATIENT
        opening = partial(open_place, uri if member is None else member[2], role, schemes, strangers=strangers)
        (filesystem, path), _ = patient.call(opening, f"reading {shown}")
        if isinstance(filesystem, LocalFileSystem):
            _check_is_file(path, shown)

        def read() -> bytes:
            if member is None:
                _check_cached(filesystem, path, max_bytes)
                return read_range(filesystem, path, 0, max_bytes + 1)
            return read_member(filesystem, path, member, place, max_bytes, max_row_group_bytes)

        content, _ = patient.call(partial(asked, filesystem, read), f"reading {shown}")
        if len(content) > max_bytes:
            raise InputError("too_large", f"{shown}: has more than {max_bytes} bytes; takes at most that many")
        return content
    except Exception as error:
        raise input_error(error, shown) from error


def fetch_content(
    uri: str,
    retry: Retry | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    place: Place = NOWHERE,
    face_places: str | None = None,
    **options: Any,
) -> Content:
    """Read what a URI names: a file, the six of a cubemap, each in a read of its own, or a frame of a video.

    Args:
        uri, retry, place, options: as of :func:`fetch`.
        max_bytes: larger files are refused, and cubemaps whose six together are.
        face_places: where the six members of a container lie, as the manifest has it.

    Raises:
        InputError, StorageError: as of :func:`fetch`; the message has the name of the face.
    """
    if uri.startswith("video://") and (member := split_member(uri)) is not None:
        return _fetch_frame(uri, member, place, retry or PATIENT, options)
    faces = faces_of(uri)
    if faces is None:
        return fetch(uri, retry, max_bytes=max_bytes, place=place, **options)
    places = [NOWHERE] * len(faces) if face_places is None else _places_of(face_places, uri)
    contents: list[bytes] = []
    for face, at in zip(faces, places, strict=True):
        left = max_bytes - sum(map(len, contents))
        contents.append(fetch(face, retry, max_bytes=left, place=at, **options))
    return tuple(contents)


def _fetch_frame(
    uri: str, member: tuple[str, str, str], place: Place, retry: Retry, options: Mapping[str, Any]
) -> Content:
    """A frame of a video, which is read by ranges; decoded in the order that frames are asked for."""
    # Who reads pictures alone needs no decoder of videos.
    from pager_ray.read.frames import HELD_VIDEO

    shown = mask_uri(uri)
    _, name, container = member
    try:
        if not name.isdecimal() or len(name) > _MAX_DIGITS:
            raise InputError("unsupported_uri", "names no frame; takes video://number::file")
        opening = partial(
            open_place, container, "input", options.get("schemes", ()), strangers=options.get("strangers", False)
        )
        (filesystem, path), _ = retry.call(opening, f"reading {shown}")
        return HELD_VIDEO.frame(filesystem, path, int(name), place.offset, retry)
    except Exception as error:
        raise input_error(error, shown) from error


def _places_of(face_places: str, uri: str) -> list[Place]:
    try:
        found = [Place(int(offset), int(size)) for offset, size in parse_json(face_places, _MAX_PLACES)]
    except (Unreasonable, TypeError, ValueError) as error:
        raise InputError(CHANGED, f"{mask_uri(uri)}: the places of its faces cannot be read; list it anew") from error
    if len(found) != len(FACES):
        raise InputError(CHANGED, f"{mask_uri(uri)}: has the places of {len(found)} faces; list it anew")
    return found


def fetch_row_group(
    uri: str,
    group: int,
    retry: Retry | None = None,
    *,
    max_row_group_bytes: int = MAX_ROW_GROUP_BYTES,
    schemes: Sequence[str] = (),
    strangers: bool = False,
) -> pa.ChunkedArray:
    """The pictures of a whole row group, one cell per row, in one read of its column chunk.

    Args:
        uri: of one of its rows, ``parquet://column/number::file``.
        group: number of the row group.
        retry, max_row_group_bytes, schemes, strangers: as of :func:`fetch`.

    Raises:
        InputError, StorageError: as of :func:`fetch`.
    """
    shown = mask_uri(uri)
    member = split_member(uri)
    if member is None:
        raise InputError("unsupported_uri", f"{shown}: is no row of a Parquet file")
    try:
        filesystem, path = open_place(member[2], "input", schemes, strangers=strangers)
        column = member[1].rpartition("/")[0]
        read = partial(read_row_group, filesystem, path, column, group, max_row_group_bytes)
        return (retry or PATIENT).call(partial(asked, filesystem, read), f"reading {shown}")[0].content
    except Exception as error:
        raise input_error(error, shown) from error


def input_error(error: Exception, shown: str) -> InputError | StorageError:
    """What an error of a file system means: one row's trouble, or, as ``StorageError``, that of all.

    Args:
        error: what was raised.
        shown: the URI, without secrets, that the message begins with.
    """
    if isinstance(error, InputError):
        return (
            error
            if str(error).startswith(shown)
            else type(error)(error.error_class, f"{shown}: {error}", error.attempts)
        )
    if isinstance(error, SchemeError):
        return InputError(FORBIDDEN, f"{shown}: {error}")
    if concerns_caller(error):
        return StorageError(
            f"{shown}: its store does not accept who asks ({_reason(error)}); renew or correct the credentials, then "
            "run the same command again"
        )
    if distrusts_certificate(error):
        what = f"{shown}: the certificate of its server does not verify; give its authority's (SSL_CERT_FILE)"
        if shown.startswith("http"):
            # One web server of many; a store is that of all.
            return InputError("read_failed", f"{what}, then --retry-rejects read_failed")
        return StorageError(f"{what}, then run the same command again")
    return _row_error(error, shown)


def _row_error(error: Exception, shown: str) -> InputError | StorageError:
    if isinstance(error, FileNotFoundError | KeyError) and not is_transient(error):
        # An HTTP client calls a file that it could not ask for not found; archives have no item of that name.
        if (refusal := _refusal(error)) is not None:
            return InputError(FORBIDDEN, f"{shown}: {refusal}")
        return _missing(shown)
    if isinstance(error, IsADirectoryError):
        return InputError("not_a_file", f"{shown}: is a folder; give a file")
    if isinstance(error, PermissionError):
        return _denied(shown, _reason(error))
    if isinstance(error, ImportError):
        # fsspec's own text: which package to install for this protocol.
        return InputError(
            "unsupported_uri", f"{shown}: no file system serves this URI ({error_reason(error)}); {_TAKES}"
        )
    if isinstance(error, ValueError):
        return InputError("unsupported_uri", f"{shown}: no file system serves this URI; {_TAKES}")
    if isinstance(error, client_errors()):
        return _explain(error, shown)
    # A file system may raise anything: it is this input's trouble alone.
    return _unreadable(shown, _reason(error), attempts_of(error))


def _refusal(error: BaseException | None) -> SchemeError | None:
    """What a connection was refused for, where a client made another error of it."""
    while error is not None and not isinstance(error, SchemeError):
        error = error.__cause__ or error.__context__
    return error


def _check_cached(filesystem: Any, path: str, max_bytes: int) -> None:
    """Refuse what a cache would fetch as a whole, to disk, before anybody could see how large it is."""
    module = sys.modules.get("fsspec.implementations.cached")
    if module is None or not isinstance(filesystem, module.CachingFileSystem):
        return
    size = filesystem.info(path).get("size")
    if size is None:
        raise InputError("too_large", "nobody says how large it is, and a cache takes it whole; leave the cache out")
    if size > max_bytes:
        raise InputError("too_large", f"has {size} bytes; takes at most {max_bytes}")


def _check_is_file(path: str, shown: str) -> None:
    """Refuse what would be read for ever, or never answer."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError("not_a_file", f"{shown}: is a pipe, a socket or a device; give a file")


def _explain(error: Exception, shown: str) -> InputError | StorageError:
    """What a client's error means for one input, or for all of them."""
    attempts, reason = attempts_of(error), _reason(error)
    tries = f"{attempts} attempt{'s' if attempts > 1 else ''}"
    if _store_is_unusable(error):
        return StorageError(
            f"{shown}: its store cannot be used ({type(error).__name__}, {tries}); check credentials and endpoint, "
            "then run the same command again"
        )
    if is_transient(error):
        message = f"{shown}: could not be read in {tries} ({reason}); try it again with --retry-rejects"
        return InputError("transient", message, attempts)
    # aiohttp has one class for every status.
    status = http_status(error)
    if status == 404:
        return _missing(shown)
    if status in (401, 403):
        return _denied(shown, reason)
    return _unreadable(shown, reason, attempts)


def _unreadable(shown: str, reason: str, attempts: int) -> InputError:
    message = f"{shown}: cannot be read ({reason}); check its store, then --retry-rejects read_failed"
    return InputError("read_failed", message, attempts)


def _missing(shown: str) -> InputError:
    return InputError("missing", f"{shown}: does not exist; correct the URI or bring the file there")


def _denied(shown: str, reason: str) -> InputError:
    return InputError("permission_denied", f"{shown}: may not be read ({reason}); ask for the right to")


def _store_is_unusable(error: Exception) -> bool:
    """Whether botocore gave up on its own side; what a store answers arrives as OSError, bad names as the exception."""
    families = {base.__name__ for base in type(error).__mro__}
    if "EndpointConnectionError" in families:
        # Also aiobotocore's word for connections that break, which is one input's trouble; one that could not be made
        # until the time was up is that of all of them.
        return error.__cause__ is None or type(error.__cause__).__name__.startswith("ClientConnector")
    return "BotoCoreError" in families and "ParamValidationError" not in families and not is_transient(error)


def _reason(error: Exception) -> str:
    status = http_status(error)
    if status:
        return f"HTTP status {status}"
    # What a store answered may have several lines.
    return " ".join((getattr(error, "strerror", None) or type(error).__name__).split())
