"""A store that refuses in mid-run: whose fault it is decides what becomes of it, whatever client tells it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

import pager_ray
from pager_ray.errors import StorageError
from pager_ray.here import run_here
from pager_ray.model import resolve_checkpoint
from pager_ray.reader.verify import verify_output
from pager_ray.storage import Folder
from tests.harness import stores
from tests.harness.proxy import FaultProxy, Refusal
from tests.harness.s3 import S3Server
from tests.test_here import COUNT, Dying, config_of, inputs

__all__ = ["inputs"]


class Behind(NamedTuple):
    """A store behind a proxy, and the URL of an empty place on it."""

    place: str
    proxy: FaultProxy


@pytest.fixture(params=["s3", "gs", "az"])
def behind(
    request: pytest.FixtureRequest, tmp_path: Path, s3_bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Behind]:
    """A store whose every request passes a proxy that can refuse it."""
    import s3fs

    if request.param == "az" and not stores.has_azurite():
        pytest.skip(stores.WHY_NO_AZURITE)
    with contextlib.ExitStack() as stack:
        if request.param == "s3":
            place, address = f"{s3_bucket}/place", s3_server.url
            proxy = stack.enter_context(FaultProxy(address))
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            s3fs.S3FileSystem.clear_instance_cache()
        elif request.param == "gs":
            place, address = stack.enter_context(stores.gcs())
            proxy = stack.enter_context(FaultProxy(address))
            stack.enter_context(stores.configured("gs", token="anon", endpoint_url=proxy.url))
        else:
            place, address = stack.enter_context(stores.azure(tmp_path / "served"))
            proxy = stack.enter_context(FaultProxy(address))
            told = stores.connection_string(proxy.url)
            stack.enter_context(stores.configured("az", connection_string=told))
        yield Behind(place, proxy)


def refusing(name: str, *answers: tuple[int, str], forever: bool = False) -> Refusal:
    """Refuse reads of one object, each with the next answer, or all with the last one."""
    left = list(answers)

    def refuse(request: web.BaseRequest) -> tuple[int, str] | None:
        if request.method != "GET" or name not in request.path or not left:
            return None
        return left[0] if forever and len(left) == 1 else left.pop(0)

    return refuse


def test_whose_fault_it_is_decides(inputs: Path, behind: Behind) -> None:
    """Too busy: repeated. One object denied: its own reject. The caller unknown: the job stops and can go on."""
    place, proxy = behind
    names = sorted(path.name for path in (inputs / "in").glob("0*.jpg"))
    for name in names:
        Folder(f"{place}/in").write(name, (inputs / "in" / name).read_bytes())
    more = {"input.uris": f"{place}/in", "errors.retry_seconds": "60"}
    config = config_of(inputs, f"{place}/run", **more)
    checkpoint = resolve_checkpoint(config.checkpoint)

    proxy.refuse = refusing(names[1], (429, "TooManyRequests"), (503, "SlowDown"))
    busy = config_of(inputs, f"{place}/busy", **more)
    assert run_here(busy, checkpoint, Dying(busy)).predictions == COUNT

    proxy.refuse = refusing(names[1], (403, "AccessDenied"), forever=True)
    denied = config_of(inputs, f"{place}/denied", **more)
    done = run_here(denied, checkpoint, Dying(denied))
    assert (done.predictions, done.rejects_by_class) == (COUNT - 1, {"permission_denied": 1})

    proxy.refuse = refusing(names[1], (400, "ExpiredToken") if place.startswith("s3") else (401, "x"), forever=True)
    with pytest.raises(StorageError) as stopped:
        run_here(config, checkpoint, Dying(config))
    assert "\n" not in str(stopped.value)
    assert pager_ray.open_run(f"{place}/run").manifest["state"] == "failed"
    proxy.refuse = None
    done = run_here(config, checkpoint, Dying(config))
    assert (done.predictions, done.rejects) == (COUNT, 0)
    assert list(verify_output(f"{place}/run", 1.0).problems) == []
