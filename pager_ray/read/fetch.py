"""A file's bytes from any fsspec URI, or the input error that says why there are none."""

from __future__ import annotations

import fsspec

from pager_ray.errors import InputError, StorageError
from pager_ray.storage import client_errors, mask_uri


def fetch(uri: str) -> bytes:
    """Read a whole file or object.

    Messages hold the masked URI and no text of a client's error: aiohttp, yarl and urllib repeat the URL in theirs.

    Args:
        uri: a local path or fsspec URL.

    Raises:
        InputError: ``missing``, ``not_a_file``, ``permission_denied``, ``unsupported_uri`` or ``read_failed``.
        StorageError: the client of an object store has no credentials or reaches no endpoint. That is no fault of one
            input: a job that went on would reject all of them.
    """
    shown = mask_uri(uri)
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        return bytes(filesystem.cat_file(path))
    except FileNotFoundError as error:
        raise InputError("missing", f"{shown}: does not exist") from error
    except IsADirectoryError as error:
        raise InputError("not_a_file", f"{shown}: is a folder; give a file") from error
    except PermissionError as error:
        raise InputError("permission_denied", f"{shown}: may not be read ({_reason(error)})") from error
    except ImportError as error:
        # fsspec's own text: which package to install for this protocol.
        raise InputError("unsupported_uri", f"{shown}: no file system serves this URI ({error})") from error
    except ValueError as error:
        raise InputError("unsupported_uri", f"{shown}: no file system serves this URI") from error
    except client_errors() as error:
        if _store_is_unusable(error):
            raise StorageError(
                f"{shown}: its store cannot be used ({type(error).__name__}); check credentials and endpoint, then run "
                "the same command again"
            ) from error
        # aiohttp has one class for every status.
        status = getattr(error, "status", None)
        if status == 404:
            raise InputError("missing", f"{shown}: does not exist") from error
        if status in (401, 403):
            raise InputError("permission_denied", f"{shown}: may not be read (HTTP status {status})") from error
        raise InputError("read_failed", f"{shown}: cannot be read ({_reason(error)})") from error


def _store_is_unusable(error: Exception) -> bool:
    """Whether botocore gave up on its own side; what a store answers arrives as OSError, bad names as the exception."""
    families = {base.__name__ for base in type(error).__mro__}
    return "BotoCoreError" in families and "ParamValidationError" not in families


def _reason(error: Exception) -> str:
    status = getattr(error, "status", None)
    return f"HTTP status {status}" if status else getattr(error, "strerror", None) or type(error).__name__
