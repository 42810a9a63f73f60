"""No request leaves for a scheme, host or member that is not taken, whoever wrote the URI and whatever it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import fsspec
import pytest

import pager_ray
from pager_ray.datasets import open_dataset
from pager_ray.errors import ConfigError, InputError, PagerError
from pager_ray.export.formats import ExportSettings
from pager_ray.gallery import build_gallery
from pager_ray.listing import list_inputs
from pager_ray.model import resolve_checkpoint
from pager_ray.pipeline.export import ExportRequest, run_export
from pager_ray.read.fetch import fetch
from pager_ray.reader.picture import fetch_source
from pager_ray.reader.status import read_status
from pager_ray.reader.verify import verify_output
from pager_ray.retrying import Retry
from pager_ray.schemes import ALLOWED, ARCHIVES, CACHES, Role
from pager_ray.storage import Folder
from tests.reader.runs import SmallRun
from tests.safety.watch import leaving, listening

AT_ONCE = Retry(0)
PROTOCOLS = sorted({*fsspec.available_protocols(), *fsspec.registry})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """What must not be asked: its address and the log of its requests."""
    with listening() as (address, asked):
        yield address, asked


def uris_of(protocol: str, host: str) -> list[str]:
    """A protocol in every place of a URI that leads to the host."""
    return [
        f"{protocol}://{host}/x.jpg",
        f"{protocol}://x.jpg::http://{host}/ref.json",
        f"{protocol}::http://{host}/ref.json",
        f"zip://x.jpg::{protocol}://{host}/x.zip",
        f"simplecache::{protocol}://{host}/x.jpg",
        f"simplecache::{protocol}://x.jpg::http://{host}/ref.json",
        f"http://{host}/x.jpg::{protocol}://{host}/x.jpg",
    ]


def refused(role: Role, host: str) -> Iterator[str]:
    """URIs of which some part is not taken for the role."""
    for protocol in PROTOCOLS:
        for uri in uris_of(protocol, host):
            *outer, inner = [part.partition("://")[0] for part in uri.split("::")]
            taken = inner in ALLOWED[role] and {*outer} <= (set() if role == "output" else ARCHIVES | CACHES)
            if not taken:
                yield uri


WAYS: dict[Role, list[Callable[[str], Any]]] = {
    "input": [
        lambda uri: fetch(uri, AT_ONCE),
        lambda uri: fetch(uri, AT_ONCE, strangers=True),
        lambda uri: list_inputs([uri], AT_ONCE),
    ],
    "output": [Folder, pager_ray.open_run, verify_output, read_status],
    "checkpoint": [resolve_checkpoint],
    "dataset": [lambda uri: open_dataset("synthetic", uri), lambda uri: open_dataset("Replica360_4K", uri)],
}


def test_the_watch_sees_requests(server: tuple[str, list[str]]) -> None:
    """What is allowed is seen twice, by the server and in this process: silence below means something."""
    host, asked = server
    with leaving() as events:
        assert fetch(f"http://{host}/seen.jpg", AT_ONCE) == b"{}"
    assert any("socket.connect" in event and host.rpartition(":")[2] in event for event in events)
    assert asked.pop() == "GET /seen.jpg HTTP/1.1"


@pytest.mark.parametrize("role", get_args(Role))
def test_no_request_leaves_for_any_protocol(role: Role, server: tuple[str, list[str]]) -> None:
    """Every protocol that fsspec knows, chained and not: a typed error, no connection, no look-up, no program."""
    host, asked = server
    uris = list(refused(role, host))
    assert len({uri.partition(":")[0] for uri in uris}) >= len(PROTOCOLS) - len(ALLOWED[role])
    for way in WAYS[role]:
        for uri in uris:
            with leaving() as events, pytest.raises(PagerError):
                way(uri)
            assert (uri, events) == (uri, [])
    assert asked == []


def test_a_strangers_listing_asks_no_host_of_ours(server: tuple[str, list[str]]) -> None:
    """Also by the protocols that are taken: each is refused before it has asked this machine."""
    host, asked = server
    for protocol in ("http", "https"):
        for uri in uris_of(protocol, host):
            with pytest.raises(InputError):
                fetch(uri, AT_ONCE, strangers=True)
    assert asked == []


@pytest.mark.parametrize("images_from", [None, "https://elsewhere.example/pictures", "/pictures"])
def test_no_request_leaves_for_a_column_of_a_run(
    tmp_path: Path, server: tuple[str, list[str]], images_from: str | None
) -> None:
    """Gallery, export and dataset of a run that names every protocol: nothing is fetched but from where was said."""
    host, asked = server
    uris = [uri for protocol in PROTOCOLS for uri in uris_of(protocol, host)]
    shown = uris_of("reference", host)[:2] + uris_of("http", host)[:1]
    run = SmallRun(tmp_path / "run")
    run.write("aaaaaaaaaaaa-00000000-000000", *(run.prediction(str(n), uri=uri) for n, uri in enumerate(shown)))
    run.complete()
    request = ExportRequest(str(run.folder), ExportSettings("faces", face_size=8, images_from=images_from), local=True)
    with leaving() as events:
        assert build_gallery(str(run.folder), details=None, workers=1, images_from=images_from).details == len(shown)
        if images_from is None:
            with pytest.raises(ConfigError, match="--images-from"):
                run_export(request)
        else:
            assert run_export(request).rejects_by_class == {"forbidden_uri": len(shown)}
            dataset = pager_ray.torch_dataset(run.folder, image=True, images_from=images_from)
            for place in range(len(shown)):
                with pytest.raises(InputError, match="does not lie below"):
                    dataset[place]
            for uri in uris:
                with pytest.raises(InputError, match="does not lie below"):
                    fetch_source(uri, images_from)
    assert (events, asked) == ([], [])
