"""A file's bytes from any fsspec URI, or the input error that says why there are none."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any

import fsspec
from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import InputError, StorageError
from pager_ray.masking import mask_uri
from pager_ray.retrying import (
    Retry,
    attempts_of,
    concerns_caller,
    distrusts_certificate,
    http_status,
    is_transient,
)
from pager_ray.schemes import FORBIDDEN, Role, SchemeError, open_place
from pager_ray.storage import client_errors, error_reason

PATIENT = Retry()
"""For how long reads are repeated where nobody says."""

_TAKES = "takes a path or a URL that fsspec knows"


MAX_BYTES = 2**31
"""How much is read of a file where nobody says."""


def fetch(
    uri: str,
    retry: Retry | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    role: Role = "input",
    schemes: Sequence[str] = (),
    strangers: bool = False,
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

    Raises:
        InputError: ``missing``, ``not_a_file``, ``too_large``, ``permission_denied``, ``unsupported_uri``,
            ``forbidden_uri`` (a file system or a place that is not taken), ``transient`` (time-outs, throttling, 5xx
            and broken connections until the time was up) or ``read_failed``.
        StorageError: the client of an object store has no credentials or reaches no endpoint. That is no fault of one
            input: a job that went on would reject all of them.
    """
    shown = mask_uri(uri)
    try:
        filesystem, path = _place(uri, role, schemes, strangers)
        if isinstance(filesystem, LocalFileSystem):
            _check_is_file(path, shown)
        content, _ = (retry or PATIENT).call(lambda: _read(filesystem, path, max_bytes), f"reading {shown}")
        if len(content) > max_bytes:
            raise InputError("too_large", f"{shown}: has more than {max_bytes} bytes; takes at most that many")
        return content
    except InputError:
        raise
    except SchemeError as error:
        raise InputError(FORBIDDEN, f"{shown}: {error}") from error
    except Exception as error:
        raise _input_error(error, shown) from error


def _input_error(error: Exception, shown: str) -> InputError | StorageError:
    """What an error of a file system means: one row's trouble, or, as ``StorageError``, that of all."""
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
    if isinstance(error, FileNotFoundError | KeyError):
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


def _place(uri: str, role: Role, schemes: Sequence[str], strangers: bool) -> tuple[Any, str]:
    """The file system of a URI, and the path in it. A plain path may hold ``::``, which fsspec takes for a chain."""
    if "://" not in uri and not strangers:
        return fsspec.filesystem("file"), os.path.abspath(uri)
    return open_place(uri, role, schemes, strangers=strangers)


def _refusal(error: BaseException | None) -> SchemeError | None:
    """What a connection was refused for, where a client made another error of it."""
    while error is not None and not isinstance(error, SchemeError):
        error = error.__cause__ or error.__context__
    return error


def _check_is_file(path: str, shown: str) -> None:
    """Refuse what would be read for ever, or never answer."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError("not_a_file", f"{shown}: is a pipe, a socket or a device; give a file")


def _read(filesystem: Any, path: str, max_bytes: int) -> bytes:
    try:
        if isinstance(filesystem, HTTPFileSystem):
            return sync(filesystem.loop, _read_web, filesystem, path, max_bytes)
        # A range that is longer than the file: one request, where reading all would first ask for the size.
        return bytes(filesystem.cat_file(path, start=0, end=max_bytes + 1))
    except OSError as error:
        if any(http_status(one) == 416 for one in (error, error.__cause__) if one is not None):
            # No byte of an empty object can be in a range.
            return b""
        raise


async def _read_web(filesystem: Any, url: str, max_bytes: int) -> bytes:
    """As ``cat_file``, but a server that sends more than it was asked for is not listened to any longer."""
    session = await filesystem.set_session()
    content = bytearray()
    headers = {"Range": f"bytes=0-{max_bytes}"}
    async with session.get(filesystem.encode_url(url), headers=headers, **filesystem.kwargs) as response:
        if response.status == 404:
            raise FileNotFoundError(url)
        response.raise_for_status()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > max_bytes:
                break
    return bytes(content[: max_bytes + 1])


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
