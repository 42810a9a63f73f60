"""What real clients make of what stores answer: the class of each is that of docs/reliability.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from pager_ray.errors import InputError, StorageError
from pager_ray.read.fetch import fetch
from pager_ray.retrying import Retry
from pager_ray.storage import Folder
from tests.harness import stores
from tests.harness.proxy import FaultProxy
from tests.harness.s3 import S3Server

ANSWERS = [
    (401, None),
    (403, "permission_denied"),
    (404, "missing"),
    (429, "transient"),
    (503, "transient"),
]
"""Status, and the class of the reject; None: the job stops."""

S3_ANSWERS = [
    (400, "ExpiredToken", None),
    (403, "InvalidAccessKeyId", None),
    (403, "SignatureDoesNotMatch", None),
    (403, "AccessDenied", "permission_denied"),
    (400, "Throttling", "transient"),
    (429, "TooManyRequests", "transient"),
    (503, "SlowDown", "transient"),
]


class Answer:
    """What a proxy answers to reads, once it is told to."""

    def __init__(self) -> None:
        self.says: tuple[int, str] | None = None

    def __call__(self, request: web.BaseRequest) -> tuple[int, str] | None:
        return self.says if request.method == "GET" else None


def outcome(uri: str) -> str | None:
    """The class of the reject that a read ends as; None where it stops the job."""
    with pytest.raises((InputError, StorageError)) as caught:
        fetch(uri, Retry(0))
    error = caught.value
    assert "\n" not in str(error)
    if isinstance(error, InputError):
        assert str(error).startswith(f"{uri}: ")
        return error.error_class
    assert re.match(f"{re.escape(uri)}: its store does not accept who asks .*then run the same command", str(error))
    return None


@pytest.fixture(scope="module")
def google() -> Iterator[tuple[str, Answer]]:
    """An object in Google's store behind a proxy."""
    import gcsfs.retry

    answer = Answer()
    with (
        stores.gcs() as (place, address),
        FaultProxy(address, refuse=answer) as proxy,
        stores.configured("gs", token="anon", endpoint_url=proxy.url),
        pytest.MonkeyPatch.context() as patch,
    ):
        # gcsfs waits half a minute by itself; its "min" is between two attempts.
        patch.setattr(gcsfs.retry, "min", lambda *_: 0, raising=False)
        Folder(place).write("a.jpg", b"a")
        assert fetch(f"{place}/a.jpg") == b"a"
        yield f"{place}/a.jpg", answer


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Answer]]:
    """An object in Azure's store behind a proxy."""
    if not stores.has_azurite():
        pytest.skip(stores.WHY_NO_AZURITE)
    from azure.storage.blob._shared.policies_async import AsyncStorageRetryPolicy

    answer = Answer()

    async def at_once(*_: object) -> None:
        return None

    with (
        stores.azure(tmp_path_factory.mktemp("azure")) as (place, address),
        FaultProxy(address, refuse=answer) as proxy,
        stores.configured("az", connection_string=stores.connection_string(proxy.url)),
        pytest.MonkeyPatch.context() as patch,
    ):
        # Azure's client waits a minute by itself.
        patch.setattr(AsyncStorageRetryPolicy, "sleep", at_once)
        Folder(place).write("a.jpg", b"a")
        assert fetch(f"{place}/a.jpg") == b"a"
        yield f"{place}/a.jpg", answer


@pytest.mark.parametrize(("status", "error_class"), ANSWERS)
def test_answers_of_google_have_classes(google: tuple[str, Answer], status: int, error_class: str | None) -> None:
    """Who is not known stops the job, a right that is missing is one row's, throttling and 5xx pass."""
    uri, answer = google
    answer.says = (status, "Said")
    assert outcome(uri) == error_class


@pytest.mark.parametrize(("status", "error_class"), ANSWERS)
def test_answers_of_azure_have_classes(azure: tuple[str, Answer], status: int, error_class: str | None) -> None:
    """The same of Azure's."""
    uri, answer = azure
    answer.says = (status, "Said")
    assert outcome(uri) == error_class


def test_azures_word_for_a_wrong_key_is_no_missing_right(azure: tuple[str, Answer]) -> None:
    """A signature that Azure does not accept comes with the status of a missing right."""
    uri, answer = azure
    answer.says = (403, "AuthenticationFailed")
    assert outcome(uri) is None


@pytest.mark.parametrize(("status", "code", "error_class"), S3_ANSWERS)
def test_answers_of_s3_have_classes(
    s3_server: S3Server,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    error_class: str | None,
) -> None:
    """The code decides where there is one, whatever its status."""
    Folder(s3_bucket).write("a.jpg", b"a")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    answer = Answer()
    answer.says = (status, code)
    with FaultProxy(s3_server.url, refuse=answer) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert outcome(f"{s3_bucket}/a.jpg") == error_class


def test_answers_of_sftp_have_classes(tmp_path: Path) -> None:
    """What is not there is missing; a login that is refused stops the job; nobody there passes, and says how often."""
    with stores.sftp(tmp_path) as (place, server):
        more = {"schemes": ("sftp",), "retry": Retry(0)}
        with pytest.raises(InputError) as caught:
            fetch(f"{place}/absent.jpg", **more)  # type: ignore[arg-type]
        assert caught.value.error_class == "missing"
        server.refuse = True
        with stores.configured("sftp", password="wrong", look_for_keys=False, allow_agent=False):
            with pytest.raises(StorageError, match=r"does not accept who asks .*AuthenticationException"):
                fetch(f"{place}/a.jpg", **more)  # type: ignore[arg-type]
            server.close()
            with pytest.raises(InputError) as caught:
                fetch(f"{place}/a.jpg", **more)  # type: ignore[arg-type]
            assert caught.value.error_class == "transient"


def test_answers_of_ftp_have_classes(tmp_path: Path) -> None:
    """The same of FTP, whose client knows no files that are missing."""
    more = {"schemes": ("ftp",), "retry": Retry(0)}
    with stores.ftp(tmp_path) as place:
        with pytest.raises(InputError) as caught:
            fetch(f"{place}/absent.jpg", **more)  # type: ignore[arg-type]
        assert caught.value.error_class == "missing"
        with stores.configured("ftp", password="wrong"), pytest.raises(StorageError, match="does not accept who asks"):
            fetch(f"{place}/a.jpg", **more)  # type: ignore[arg-type]
