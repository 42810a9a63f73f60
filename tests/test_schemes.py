"""Schemes: what a URI may name, by role and by who wrote it; nothing else is opened."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pager_ray.errors import ConfigError, InputError
from pager_ray.localpaths import local_path
from pager_ray.read.fetch import fetch
from pager_ray.retrying import Retry
from pager_ray.schemes import (
    VARIABLE,
    Role,
    SchemeError,
    check,
    is_public,
    is_remote,
    lies_below,
    open_place,
    parts_of,
    settled,
    settled_prefix,
    short_name,
)

ROLES = get_args(Role)
AT_ONCE = Retry(0)


@pytest.fixture
def redirecting() -> Iterator[tuple[str, list[str]]]:
    """A server that answers ``/to/URL`` with a redirection and anything else with bytes; its address and its log."""
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            target = self.path.partition("/to/")[2]
            self.send_response(302 if target else 200)
            if target:
                self.send_header("Location", target)
            self.send_header("Content-Length", "0" if target else "5")
            self.end_headers()
            if not target:
                self.wfile.write(b"bytes")

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"127.0.0.1:{listening.server_port}", asked
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "uri", ["/data/a::b.jpg", "a.jpg", "file:///a", "s3://b/k", "https://h/a", "gs://b/k", "hf://d"]
)
def test_ordinary_places_are_taken(role: Role, uri: str) -> None:
    """Paths, the web and the object stores, for every role."""
    check(uri, role)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "uri",
    [
        "reference://y.jpg::http://h/ref.json",
        "reference://y.jpg",
        "git://x:main@a.jpg",
        "github://o:r@main/a.jpg",
        "generic://h/a",
        "dir://a::s3://b",
        "dask://h/a",
        "jupyter://h/a",
        "simplecache::reference://y.jpg::http://h/ref.json",
        "zip://a::zip://b::git://c",
        "dvc://h/a",
        "http::dir::s3://b/k",
        "s3://b/k::reference",
        "zip://a.jpg",
        "simplecache://a.jpg",
    ],
)
def test_what_interprets_what_it_fetched_is_refused(role: Role, uri: str) -> None:
    """Alone and anywhere in a chain, with a message that says what is taken."""
    with pytest.raises(SchemeError, match=r"not taken .*; "):
        check(uri, role)


def test_chains_are_archives_and_caches_around_a_listed_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is read; a run's record lies in none. A configuration or the environment adds schemes."""
    for uri in ("zip://a.jpg::s3://b/x.zip", "tar://a::simplecache::https://h/x.tar", "zip://a::/data/x.zip"):
        for role in ("input", "checkpoint", "dataset"):
            check(uri, role)  # type: ignore[arg-type]
        with pytest.raises(SchemeError, match="a chain of file systems is not taken for an output"):
            check(uri, "output")
    with pytest.raises(SchemeError, match=r"sftp:// is not taken for an input; .*add it to input.schemes"):
        check("sftp://h/a.jpg", "input")
    check("sftp://h/a.jpg", "input", ["sftp"])
    check("sftp://h/run", "output")
    monkeypatch.setenv(VARIABLE, "github, sftp")
    check("zip://a::github://o:r@main/a.zip", "input")
    with pytest.raises(ValueError, match="Protocol not known: nosuch"):
        check("nosuch://h/a", "input")


@given(st.text(alphabet="az:/.@ \0é", max_size=30), st.sampled_from(ROLES))
def test_any_text_is_taken_or_refused(text: str, role: Role) -> None:
    """Nothing else comes of it, and every part of a chain is looked at."""
    assert "::".join(part for _, part in parts_of(text)) == text
    try:
        check(text, role)
    except (SchemeError, ValueError):
        return


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    """Loopback, link-local, private and shared addresses are not, nor what stands for one of them."""
    assert is_public(address) is public


def test_a_strangers_listing_reaches_no_private_host(
    monkeypatch: pytest.MonkeyPatch, redirecting: tuple[str, list[str]]
) -> None:
    """Neither by address, nor by a name, nor in a chain, nor by a redirection; the operator's own words may."""
    server, asked = redirecting
    port = server.rpartition(":")[2]
    for uri in (
        f"http://{server}/a.jpg",
        f"http://localhost:{port}/a.jpg",
        f"http://[0:0:0:0:0:ffff:7f00:1]:{port}/a.jpg",
        f"zip://a.jpg::http://{server}/a.zip",
        f"simplecache::http://{server}/a.jpg",
        "/etc/hostname",
        "file:///etc/hostname",
        "zip://a::file:///etc/hostname",
        "memory://a.jpg",
    ):
        with pytest.raises(InputError, match=r"came over a network.* input\.private=allow") as caught:
            fetch(uri, AT_ONCE, strangers=True)
        assert caught.value.error_class == "forbidden_uri"
    for odd in (f"http://2130706433:{port}/a.jpg", f"http://127.1:{port}/a.jpg", f"http://0x7f.1:{port}/a.jpg"):
        with pytest.raises(InputError):
            fetch(odd, AT_ONCE, strangers=True)
    assert asked == []
    assert fetch(f"http://{server}/a.jpg", AT_ONCE) == b"bytes"
    # The first hop is public, the one that it leads to is not.
    monkeypatch.setattr("pager_ray.schemes.is_public", lambda address: address == "127.0.0.1")
    assert fetch(f"http://{server}/a.jpg", AT_ONCE, strangers=True) == b"bytes"
    with pytest.raises(InputError, match=r"leads to 127\.0\.0\.2") as caught:
        fetch(f"http://{server}/to/http://127.0.0.2:{port}/a.jpg", AT_ONCE, strangers=True)
    assert caught.value.error_class == "forbidden_uri"


def test_hosts_of_added_schemes_are_looked_up() -> None:
    """A scheme that goes to the host that is named is refused for private ones before it is opened."""
    with pytest.raises(InputError, match=r"leads to 127\.0\.0\.1"):
        fetch("ftp://127.0.0.1:1/a.jpg", AT_ONCE, schemes=["ftp"], strangers=True)


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("/list.csv", False),
        ("file:///list.csv", False),
        ("memory://list.csv", False),
        ("s3://b/list.csv", True),
        ("https://h/list.csv", True),
        ("zip://list.csv::https://h/x.zip", True),
        ("zip://list.csv::/x.zip", False),
    ],
)
def test_where_a_listing_comes_from(uri: str, remote: bool) -> None:
    """Over a network, or from this machine."""
    assert is_remote(uri) is remote


@pytest.mark.parametrize(
    ("uri", "prefix", "below"),
    [
        ("/data/a/b.jpg", "/data/a", True),
        ("/data/a/b.jpg", "/data/a/", True),
        ("file:///data/a/b.jpg", "/data", True),
        ("/data/ab.jpg", "/data/a", False),
        ("/data/a/../../etc/x.jpg", "/data/a", False),
        ("/data/a/../ab/x.jpg", "/data/a", False),
        ("/data/sub/../a/b.jpg", "/data/a", True),
        ("/data//a/./b.jpg", "/data/sub/../a/", True),
        ("zip://../b.jpg::/data/sub/../a/x.zip", "file:///data/a", True),
        ("zip://b.jpg::/data/a/../x.zip", "/data/a", False),
        ("/data/a\0/b.jpg", "/data", False),
        ("s3://bucket/a/b.jpg", "s3://bucket/a/", True),
        ("s3://bucket/a/../b.jpg", "s3://bucket", False),
        ("https://host/a.jpg", "https://host/b/..", False),
        ("s3://bucket/a/b.jpg", "s3://bucket/a", True),
        ("s3://bucket-2/a.jpg", "s3://bucket", False),
        ("s3://bucket/a/b.jpg", "/bucket", False),
        ("https://Host/a.jpg", "https://host", True),
        ("https://host/a/b.jpg", "https://host/a", True),
        ("https://host/a/%2e%2e/b.jpg", "https://host/a", False),
        ("https://host/a/%252e%252e/b.jpg", "https://host/a", False),
        ("http://host/a.jpg", "https://host", False),
        ("https://host@evil/a.jpg", "https://host", False),
        ("https://host:1/a.jpg", "https://host", False),
        ("https://host.evil/a.jpg", "https://host", False),
        ("zip://a.jpg::https://host/x.zip", "https://host", True),
        ("parquet://image/3::s3://bucket/a/x.parquet", "s3://bucket/a", True),
        ("zip://a.jpg::https://host/b/../x.zip", "https://host/b", False),
        ("zip://a.jpg::simplecache::https://host/x.zip", "https://host", False),
        ("reference://a::https://host/x", "https://host", False),
    ],
)
def test_below_a_prefix(uri: str, prefix: str, below: bool) -> None:
    """Without climbing out, caches or other hosts; a member where its container is."""
    assert lies_below(uri, prefix) is below


def test_below_a_prefix_by_links(tmp_path: Path) -> None:
    """A folder is the same one by a link; what a URI reaches by climbing, or by links elsewhere, is not below it."""
    for folder in ("pics/deep", "other/deep", "secret"):
        (tmp_path / folder).mkdir(parents=True)
    for link, target in (("link", "pics"), ("way", "other/deep"), ("pics/farm", "other"), ("pics/out", "secret")):
        (tmp_path / link).symlink_to(tmp_path / target)
    (tmp_path / "pics" / "a.jpg").symlink_to(tmp_path / "other" / "blob")

    def below(uri: str, prefix: str) -> bool:
        return lies_below(f"{tmp_path}/{uri}", f"{tmp_path}/{prefix}")

    for prefix in ("pics", "link", "link/.", "way/../../pics", "link/deep/.."):
        # Links below the folder that was named are part of what lies there, as when it is listed.
        for inside in ("x.jpg", "deep/x.jpg", "a.jpg", "farm/x.jpg", "../pics/x.jpg", "deep/../x.jpg"):
            assert below(f"pics/{inside}", prefix)
            assert below(f"link/{inside}", prefix)
        # farm/.. is what other lies in, and out/.. what secret does.
        for way in ("..", "farm/..", "out/..", "farm/deep/../.."):
            outside = f"{way}/secret/x.jpg"
            assert not below(f"pics/{outside}", prefix)
            assert not below(f"link/{outside}", prefix)
        assert not below("other/blob", prefix)
        assert not below("secret/x.jpg", prefix)
    assert not below("way/x.jpg", "pics")
    assert below("way/x.jpg", "other")


@pytest.mark.parametrize("prefix", ["https://host/a/..", "s3://bucket/../a", "simplecache::https://host", "a\0"])
def test_a_prefix_that_holds_nothing_is_refused(prefix: str) -> None:
    """Before every single picture would be."""
    with pytest.raises(ConfigError, match=r"^--images-from: got .*; takes a folder, or https://HOST$"):
        settled_prefix(prefix, "--images-from")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/a/b.jpg", "b.jpg"),
        ("/data/b.jpg", "b.jpg"),
        ("tar://in/b.jpg::s3://bucket/x.tar", "b.jpg"),
        ("parquet://image/12::s3://bucket/x.parquet", "x.parquet/12"),
    ],
)
def test_short_names_hold_no_place(uri: str, name: str) -> None:
    """What is shown of a picture where its place is nobody's business."""
    assert short_name(uri) == name


@pytest.mark.parametrize(
    "typed",
    ["pics", "./pics", "pics/", "pics//", "../at/pics", ".././at//pics/.", "~/at/pics", "~/../home/at/pics",
     "{at}/pics", "{at}//pics/", "{at}/./pics", "/{at}/pics", "file://{at}/pics", "file://{at}/../at/pics/",
     "{at}/gone/../pics"],
)  # fmt: skip
def test_a_place_has_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """However it is typed: the absolute path, and opened is that one."""
    at = tmp_path / "home" / "at"
    at.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(at)
    typed = typed.replace("{at}", str(at))
    assert local_path(typed) == open_place(typed, "input")[1] == f"{at}/pics"
    assert settled(typed).removeprefix("file://") == f"{at}/pics"
    archive = settled(f"zip://a.jpg::{typed}/x.zip").removeprefix("zip://a.jpg::")
    assert archive.removeprefix("file://") == f"{at}/pics/x.zip"


@pytest.mark.parametrize(
    "uri",
    [
        "/",
        "/data/pics",
        "/data/a::b.jpg",
        "file:///data/pics",
        "s3://bucket/a/../b//c/",
        "https://h/a/../b?x=../c",
        "memory://a/../b",
        "zip://a/../b.jpg::/data/x.zip",
        "zip://a.jpg::file:///data/x.zip",
        "parquet://image/../3::/data/x.parquet",
    ],
)
def test_what_is_plain_stays_as_it_is(uri: str) -> None:
    """So do names in stores and archives, where ``..`` is a name as any other."""
    assert settled(uri) == uri
