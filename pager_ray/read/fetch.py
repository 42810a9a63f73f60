"""A file's bytes from any fsspec URI, or the input error that says why there are none."""

from __future__ import annotations

import os
import stat
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import InputError, StorageError
from pager_ray.retrying import Retry, attempts_of, http_status, is_transient
from pager_ray.storage import client_errors, error_reason, mask_uri

PATIENT = Retry()
"""For how long reads are repeated where nobody says."""

_TAKES = "takes a path or a URL that fsspec knows"


MAX_BYTES = 2**31
"""How much is read of a file where nobody says."""


def fetch(uri: str, retry: Retry | None = None, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a whole file or object; what fails in passing is tried again.

    Messages hold the masked URI and no text of a client's error: aiohttp, yarl and urllib repeat the URL in theirs.

    Args:
        uri: a local path or fsspec URL.
        retry: for how long; :data:`PATIENT` by default.
        max_bytes: larger files are refused, before more than that is read.

    Raises:
        InputError: ``missing``, ``not_a_file``, ``too_large``, ``permission_denied``, ``unsupported_uri``,
            ``transient`` (time-outs, throttling, 5xx and broken connections until the time was up) or ``read_failed``.
        StorageError: the client of an object store has no credentials or reaches no endpoint. That is no fault of one
            input: a job that went on would reject all of them.
    """
    shown = mask_uri(uri)
    try:
        filesystem, path = _place(uri)
        if isinstance(filesystem, LocalFileSystem):
            _check_is_file(path, shown)
        content, _ = (retry or PATIENT).call(lambda: _read(filesystem, path, max_bytes), f"reading {shown}")
        if len(content) > max_bytes:
            raise InputError("too_large", f"{shown}: has more than {max_bytes} bytes; takes at most that many")
        return content
    except FileNotFoundError as error:
        raise _missing(shown) from error
    except IsADirectoryError as error:
        raise InputError("not_a_file", f"{shown}: is a folder; give a file") from error
    except PermissionError as error:
        raise _denied(shown, _reason(error)) from error
    except ImportError as error:
        # fsspec's own text: which package to install for this protocol.
        raise InputError(
            "unsupported_uri", f"{shown}: no file system serves this URI ({error_reason(error)}); {_TAKES}"
        ) from error
    except ValueError as error:
        raise InputError("unsupported_uri", f"{shown}: no file system serves this URI; {_TAKES}") from error
    except client_errors() as error:
        raise _explain(error, shown) from error


def _place(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path in it. A plain path may hold ``::``, which fsspec takes for a chain."""
    if "://" not in uri:
        return fsspec.filesystem("file"), os.path.abspath(uri)
    return fsspec.core.url_to_fs(uri)


def _check_is_file(path: str, shown: str) -> None:
    """Refuse what would be read for ever, or never answer."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError("not_a_file", f"{shown}: is a pipe, a socket or a device; give a file")


def _read(filesystem: Any, path: str, max_bytes: int) -> bytes:
    try:
        # A range that is longer than the file: one request, where reading all would first ask for the size.
        return bytes(filesystem.cat_file(path, start=0, end=max_bytes + 1))
    except OSError as error:
        if any(http_status(one) == 416 for one in (error, error.__cause__) if one is not None):
            # No byte of an empty object can be in a range.
            return b""
        raise


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
