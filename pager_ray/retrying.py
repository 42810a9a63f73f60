"""Failures of networks and stores that pass by themselves, and how long they are waited for."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, TypeVar

from pager_ray.plain import get_logger

if TYPE_CHECKING:
    import tenacity

log = get_logger(__name__)

Result = TypeVar("Result")

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 20.0

_ERRNOS: Final = {
    errno.EAGAIN,
    errno.EBUSY,  # s3fs: SlowDown, ServiceUnavailable, a conflict of conditional puts
    errno.EPIPE,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ESTALE,  # network file systems
    getattr(errno, "EREMOTEIO", errno.EAGAIN),  # s3fs: InternalError
}
_STATUSES: Final = {408, 425, 429, 500, 502, 503, 504}
# By name: none of these clients is imported for the sake of its exceptions.
_CLIENT_CLASSES: Final = {
    ("botocore.exceptions", "HTTPClientError"),
    ("botocore.exceptions", "ConnectionError"),
    ("botocore.exceptions", "IncompleteReadError"),
    ("botocore.parsers", "ResponseParserError"),  # an answer that was cut
    ("aiohttp.client_exceptions", "ClientConnectionError"),
    ("aiohttp.client_exceptions", "ClientPayloadError"),
    ("aiohttp.http_exceptions", "HttpProcessingError"),
    ("httpx", "TransportError"),
    ("httpx2", "TransportError"),
    ("http.client", "IncompleteRead"),
    ("http.client", "RemoteDisconnected"),
    ("requests.exceptions", "ConnectionError"),
    ("requests.exceptions", "Timeout"),
    ("requests.exceptions", "ChunkedEncodingError"),
    ("gcsfs.retry", "ChecksumError"),
    ("google.auth.exceptions", "TransportError"),
    ("azure.core.exceptions", "ServiceRequestError"),
    ("azure.core.exceptions", "ServiceResponseError"),
    ("azure.core.exceptions", "IncompleteReadError"),
    ("paramiko.ssh_exception", "SSHException"),
    ("paramiko.ssh_exception", "NoValidConnectionsError"),
    ("ftplib", "error_temp"),
}

# What S3 and its like answer, whatever the status that comes with it.
_THROTTLED: Final = {"RequestLimitExceeded", "RequestThrottled", "RequestTimeout", "SlowDown", "Throttling"}
_THROTTLED_SUFFIX: Final = "ThrottlingException"
_OF_THE_CALLER: Final = {
    "AccountProblem",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
# By name, as above: whom a store does not know, or who could not find out who it is.
_CALLER_CLASSES: Final = {
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "ClientAuthenticationError"),
    ("paramiko.ssh_exception", "AuthenticationException"),
    ("paramiko.ssh_exception", "BadHostKeyException"),
}
# Families that answer requests of one account; a web server's 401 is about one address.
_ACCOUNT_FAMILIES: Final = {("gcsfs.retry", "HttpError"), ("azure.core.exceptions", "HttpResponseError")}


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later: time-outs, throttling, 5xx, connections that broke."""
    chain = list(_chain(error))
    if concerns_caller(error) or distrusts_certificate(error):
        return False
    # A name that nobody knows is no trouble of the moment; aiohttp counts it among failed connections.
    if any(type(one).__name__ == "ClientConnectorDNSError" for one in chain):
        return False
    return any(_passes(one) for one in chain)


def concerns_caller(error: BaseException) -> bool:
    """Whether a store refuses whoever asks, whatever is asked for: keys that expired, are wrong or cannot be found.

    A right that is missing for one object is no such thing: somebody is known, and may not have that object.
    """
    for one in _chain(error):
        families = {(base.__module__, base.__name__) for base in type(one).__mro__}
        if ("google.auth.exceptions", "TransportError") in families or getattr(one, "retryable", False) is True:
            # Who gives credentials could not be asked.
            continue
        if ("paramiko.ssh_exception", "SSHException") in families and "authentication methods" in str(one):
            return True
        if ("ftplib", "error_perm") in families and str(one).startswith("530"):
            return True
        if _store_code(one) in _OF_THE_CALLER or families & _CALLER_CLASSES:
            return True
        if families & _ACCOUNT_FAMILIES and http_status(one) == 401:
            return True
    return False


def distrusts_certificate(error: BaseException) -> bool:
    """Whether a server's certificate does not verify, which no second look changes."""
    names = {base.__name__ for one in _chain(error) for base in type(one).__mro__}
    return bool(names & {"SSLCertVerificationError", "ClientConnectorCertificateError"})


def _store_code(error: BaseException) -> str | None:
    """The code in which S3 and its like say what is wrong."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code if isinstance(code, str) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it; the clients wrap each other's."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        # aiohttp wraps what the handshake raised; it stands among its arguments and attributes.
        inner = getattr(current, "certificate_error", None)
        if not isinstance(inner, BaseException) and type(current).__module__.startswith(("requests", "urllib3")):
            # requests and urllib3 carry what went wrong along, and raise it from nothing.
            inner = getattr(current, "reason", None) or (current.args[0] if current.args else None)
        current = inner if isinstance(inner, BaseException) else current.__cause__


def _passes(error: BaseException) -> bool:
    code = _store_code(error)
    if code is not None and (code in _THROTTLED or code.endswith(_THROTTLED_SUFFIX)):
        return True
    if isinstance(error, FileNotFoundError | FileExistsError | PermissionError):
        return False
    if isinstance(error, TimeoutError | ConnectionError) or http_status(error) in _STATUSES:
        return True
    if getattr(error, "retryable", False) is True and type(error).__module__.startswith("google.auth"):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    return any((base.__module__, base.__name__) in _CLIENT_CLASSES for base in type(error).__mro__)


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an error of aiohttp, httpx, botocore, gcsfs or azure.core carries."""
    if type(error) is OSError and error.errno is None and str(error).startswith("Forbidden: "):
        # All that gcsfs says of it.
        return 403
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        # gcsfs calls it code, azure.core status_code; both may be text.
        status = (
            getattr(error, "status", None)
            or getattr(response, "status_code", None)
            or getattr(error, "status_code", None)
            or (getattr(error, "code", None) if type(error).__module__.startswith("gcsfs") else None)
        )
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    return status if isinstance(status, int) else None


@dataclass(frozen=True)
class Retry:
    """How long a call that fails for a while is repeated: exponential backoff with full jitter.

    Attributes:
        seconds: no new attempt begins after so long; 0 tries once.
    """

    seconds: float = 120.0

    def call(self, function: Callable[[], Result], what: str) -> tuple[Result, int]:
        """Call until it succeeds, fails for good, or time is up; gives the result and the number of attempts.

        The last error is raised as it is; :func:`attempts_of` tells how many attempts it took.

        Args:
            function: safe to repeat.
            what: for the log, without secrets.
        """

        began = time.monotonic()
        try:
            return function(), 1
        except Exception as error:
            failed = [error]
            _mark(error, 1)
            if self.seconds <= 0 or not is_transient(error) or find_spec("tenacity") is None:
                raise
        # What never fails for a while, such as reading on this machine, needs no library to wait with.
        import tenacity

        def again() -> Result:
            if failed:
                raise failed.pop()
            return function()

        def tell(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            log.warning("%s: %s; tried again (attempt %d)", what, type(error).__name__, state.attempt_number + 1)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            stop=tenacity.stop_after_delay(max(self.seconds - (time.monotonic() - began), 0)),
            wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
            before_sleep=tell,
            reraise=True,
        )
        try:
            result = retrying(again)
        except Exception as error:
            _mark(error, retrying.statistics.get("attempt_number", 1))
            raise
        return result, retrying.statistics.get("attempt_number", 1)


def _mark(error: Exception, attempts: int) -> None:
    # Only marked, whatever it is.
    error.__dict__["pager_ray_attempts"] = attempts


def attempts_of(error: BaseException) -> int:
    """How often :meth:`Retry.call` tried before it let this error through."""
    return int(getattr(error, "pager_ray_attempts", 1))
