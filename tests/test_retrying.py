"""Retrying: what passes by itself is tried again with growing random waits, until time is up; nothing else is."""

from __future__ import annotations

import errno
import ftplib
import ssl
from typing import Any

import aiohttp
import botocore.exceptions
import google.auth.exceptions
import httpx
import paramiko
import pytest
import requests
import tenacity
import urllib3

from pager_ray import retrying
from pager_ray.retrying import (
    LONGEST_WAIT,
    Retry,
    attempts_of,
    concerns_caller,
    distrusts_certificate,
    http_status,
    is_transient,
)


def client_error(status: int, code: str) -> botocore.exceptions.ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(response, "GetObject")


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def answered(status: int) -> Exception:
    request: Any = None
    return aiohttp.ClientResponseError(request, (), status=status)


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionResetError(),
        OSError(errno.EBUSY, "SlowDown"),
        OSError(errno.ESTALE, "Stale file handle"),
        caused_by(OSError(errno.EIO, None), client_error(502, "BadGateway")),
        answered(429),
        caused_by(OSError(errno.EINVAL, "Throttling"), client_error(400, "Throttling")),
        caused_by(OSError(errno.EIO, None), client_error(400, "ProvisionedThroughputThrottlingException")),
        answered(503),
        aiohttp.ClientPayloadError(),
        aiohttp.ServerDisconnectedError(),
        httpx.ReadTimeout("slow"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
        botocore.exceptions.ConnectionClosedError(endpoint_url="http://127.0.0.1:1"),
        botocore.exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1:1"),
    ],
    ids=repr,
)
def test_trouble_of_the_moment_is_transient(error: Exception) -> None:
    """Time-outs, throttling, 5xx and broken connections of every client may pass."""
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "gone"),
        PermissionError(errno.EACCES, "no"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "a disk that dies"),
        caused_by(OSError(errno.EIO, None), client_error(400, "InvalidArgument")),
        caused_by(PermissionError(), client_error(403, "AccessDenied")),
        answered(404),
        answered(501),
        botocore.exceptions.NoCredentialsError(),
        ValueError("no URL"),
    ],
    ids=repr,
)
def test_what_stays_as_it_is_is_not_transient(error: Exception) -> None:
    """Missing files and rights, full disks, wrong requests and missing credentials do not pass by waiting."""
    assert not is_transient(error)


def of_family(module: str, name: str, **values: Any) -> Exception:
    """An error of a client that need not be installed: families are known by module and name."""
    error = type(name, (Exception,), {"__module__": module})(name)
    vars(error).update(values)
    return error


@pytest.mark.parametrize(
    "error",
    [
        *(
            caused_by(PermissionError(errno.EACCES, code), client_error(400, code))
            for code in ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "RequestTimeTooSkewed")
        ),
        caused_by(PermissionError(), client_error(403, "InvalidAccessKeyId")),
        caused_by(OSError(errno.EINVAL, "InvalidToken"), client_error(400, "InvalidToken")),
        caused_by(PermissionError(), client_error(403, "SignatureDoesNotMatch")),
        of_family("gcsfs.retry", "HttpError", code=401),
        of_family("gcsfs.retry", "HttpError", code="401"),
        of_family("google.auth.exceptions", "GoogleAuthError"),
        of_family("azure.core.exceptions", "ClientAuthenticationError", status_code=401),
        of_family("paramiko.ssh_exception", "AuthenticationException"),
    ],
    ids=repr,
)
def test_what_concerns_the_caller_is_nobody_elses_fault(error: Exception) -> None:
    """Keys that expired, are wrong or are missing are told apart from objects that may not be read, and from time."""
    assert concerns_caller(error)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        caused_by(PermissionError(), client_error(403, "AccessDenied")),
        answered(401),
        of_family("gcsfs.retry", "HttpError", code=403),
        of_family("azure.core.exceptions", "HttpResponseError", status_code=403),
        FileNotFoundError(),
    ],
    ids=repr,
)
def test_a_right_that_is_missing_concerns_one_object(error: Exception) -> None:
    """Somebody who is known and may not have this object may have the next one; so with a web server's password."""
    assert not concerns_caller(error)


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(
    "family", [("gcsfs.retry", "HttpError", "code"), ("azure.core.exceptions", "HttpResponseError", "status_code")]
)
def test_every_store_has_moments(family: tuple[str, str, str], status: int) -> None:
    """Throttling and 5xx of Google's and Azure's clients pass as those of the others do."""
    assert is_transient(of_family(*family[:2], **{family[2]: status}))


def test_certificates_do_not_pass() -> None:
    """A certificate that does not verify is no broken connection: waiting changes nothing."""
    distrusted = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")
    connecting = aiohttp.ClientConnectorCertificateError(None, distrusted)  # type: ignore[arg-type]
    for error in (distrusted, connecting, caused_by(FileNotFoundError("https://x/a.jpg"), connecting)):
        assert distrusts_certificate(error)
        assert not is_transient(error)


def test_statuses_are_found_in_every_clients_errors() -> None:
    """botocore, aiohttp and httpx carry HTTP statuses in different places; errors of the system have none."""
    response = httpx.Response(418, request=httpx.Request("GET", "http://127.0.0.1"))
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    assert http_status(caught.value) == 418
    assert http_status(answered(503)) == 503
    assert http_status(client_error(409, "OperationAborted")) == 409
    assert http_status(OSError(5, "Input/output error")) is None


class Failing:
    """Fails so many times, then gives its number of calls."""

    def __init__(self, times: int, error: Exception) -> None:
        self.times, self.error, self.calls = times, error, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return self.calls


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time in which nobody waits: the waits that were asked for."""
    asked: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(tenacity.nap.time, "sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return asked


def test_a_call_is_repeated_until_it_succeeds(waits: list[float]) -> None:
    """The result comes with the number of attempts; waits grow, differ and have a cap."""
    assert Retry(3600).call(Failing(40, TimeoutError()), "reading") == (41, 41)
    assert len(waits) == 40
    assert max(waits[:2]) <= 1.0
    assert 2.0 < max(waits[8:]) <= LONGEST_WAIT
    assert len(set(waits[8:])) > 20


def test_time_is_up_at_last(waits: list[float]) -> None:
    """The last error comes through as it is, with the attempts that it took, not much after the time that was given."""
    failing = Failing(10**6, TimeoutError("slow"))
    with pytest.raises(TimeoutError, match="slow") as caught:
        Retry(60).call(failing, "reading")
    assert attempts_of(caught.value) == failing.calls > 3
    assert 60 - LONGEST_WAIT <= sum(waits) <= 60 + LONGEST_WAIT


def test_a_first_attempt_counts_with_the_time_it_takes(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it alone took all of the time there is no second one; without a library to wait with neither."""
    failing, now = Failing(10**6, TimeoutError("slow")), [0.0]

    def slowly() -> int:
        now[0] += 61
        return failing()

    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with pytest.raises(TimeoutError, match="slow") as caught:
        Retry(60).call(slowly, "reading")
    assert (failing.calls, attempts_of(caught.value), waits) == (1, 1, [])
    monkeypatch.setattr(retrying, "find_spec", lambda name: None)
    with pytest.raises(TimeoutError, match="slow"):
        Retry(3600).call(failing, "reading")
    assert failing.calls == 2


def test_nothing_is_repeated_that_stays_as_it_is(waits: list[float]) -> None:
    """Errors that do not pass come through at once, and so does everything where no time is given."""
    failing = Failing(5, FileNotFoundError())
    with pytest.raises(FileNotFoundError):
        Retry(60).call(failing, "reading")
    hopeless = Failing(5, TimeoutError())
    with pytest.raises(TimeoutError):
        Retry(0).call(hopeless, "reading")
    assert (failing.calls, hopeless.calls, waits) == (1, 1, [])


@pytest.mark.parametrize(
    ("error", "passes", "callers"),
    [
        (of_family("google.auth.exceptions", "TransportError"), True, False),
        (of_family("google.auth.exceptions", "RefreshError", retryable=True), True, False),
        (google.auth.exceptions.DefaultCredentialsError("none"), False, True),
        (of_family("azure.core.exceptions", "ServiceRequestError"), True, False),
        (of_family("paramiko.ssh_exception", "SSHException"), True, False),
        (paramiko.SSHException("No authentication methods available"), False, True),
        (paramiko.ssh_exception.NoValidConnectionsError({("127.0.0.1", 22): ConnectionRefusedError()}), True, False),
        (ftplib.error_temp("421 Too many connections"), True, False),
        (ftplib.error_perm("530 Authentication failed."), False, True),
        (OSError("Forbidden: https://host/o\nno right"), False, False),
    ],
    ids=repr,
)
def test_families_of_other_stores(error: Exception, passes: bool, callers: bool) -> None:
    """What clients of Google's and Azure's stores, SSH and FTP raise passes, is the caller's, or is one row's."""
    assert (is_transient(error), concerns_caller(error)) == (passes, callers)


def test_certificates_are_found_behind_requests() -> None:
    """requests and urllib3 carry along what the handshake raised, and name no cause."""
    verified = ssl.SSLCertVerificationError(1, "certificate verify failed")
    shaken = urllib3.exceptions.SSLError(verified)
    error = requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(None, "/", shaken))  # type: ignore[arg-type]
    assert distrusts_certificate(error)
    assert not is_transient(error)
