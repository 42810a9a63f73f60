"""Which file systems a URI may name, by what the URI is for, and which hosts a stranger's listing may send us to.

Two kinds of people write URIs. The operator names outputs, checkpoints, datasets and sources of inputs; listings, and
the columns of other people's runs, are written by strangers. fsspec serves about fifty protocols. Some interpret what
they fetch (``reference`` expands templates with Python's attribute access, ``git`` and ``dvc`` run programs), some log
in to any host that is named with this machine's keys (``sftp``, ``smb``), so nothing is opened that is not listed here.

A chain (``zip://a.jpg::https://host/x.zip``) may hold members of archives and caches around one listed file system.

Every file system that the package opens is opened by :func:`open_place`.
"""

from __future__ import annotations

import ipaddress
import os
import posixpath
import re
import socket
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

import fsspec

from pager_ray.cubemaps import plain_name
from pager_ray.errors import ConfigError
from pager_ray.localpaths import is_same_or_below, local_path
from pager_ray.masking import is_signed, mask_uri

Role = Literal["input", "output", "checkpoint", "dataset"]
"""What a URI is for."""

VARIABLE: Final = "PAGER_RAY_SCHEMES"
"""Environment variable with further schemes for every role, separated by commas."""

FORBIDDEN: Final = "forbidden_uri"
"""Class of the rejects whose URI names what their listing may not ask for."""

LOCAL: Final = frozenset({"file", "local", "memory"})
ARCHIVES: Final = frozenset({"zip", "tar"})
CONTAINERS: Final = ARCHIVES | {"parquet", "video"}
"""Schemes of what lies in a container: see :func:`split_member`."""
CACHES: Final = frozenset({"simplecache", "filecache", "blockcache"})

_WEB: Final = frozenset({"http", "https"})
_S3: Final = frozenset({"s3", "s3a"})
_STORES: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "oss", "oci", "tos"})
# They go to the host that the URL names, with keys and logins of this machine.
_HOSTS: Final = frozenset({"sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs", "webdav"})

ALLOWED: Final[dict[Role, frozenset[str]]] = {
    "input": LOCAL | _WEB | _STORES,
    "output": LOCAL | _WEB | _STORES | _HOSTS,
    "checkpoint": LOCAL | _WEB | _STORES | _HOSTS,
    "dataset": LOCAL | _WEB | _STORES | _HOSTS,
}
"""Schemes that each role takes by default, beside archives and caches around them."""

# Archives are read only, and what a cache answers is not what stands: neither can hold a run's record.
_CHAINED: Final = frozenset({"input", "checkpoint", "dataset"})

_EXTENDED: Final[dict[Role, str]] = {
    "input": f"add it to input.schemes or {VARIABLE}",
    "output": f"add it to {VARIABLE}",
    "checkpoint": f"add it to {VARIABLE}",
    "dataset": f"add it to {VARIABLE}",
}

# As fsspec tells a protocol without "://" in a chain from a path.
_NO_WORD: Final = re.compile(r".*[^a-z]+.*", re.DOTALL)
# Nothing that a request could not carry as it is.
_SENDABLE: Final = re.compile(r"[!-~]+")
# IPv6 addresses that stand for an IPv4 one: of translators (RFC 6052), and of tunnels (RFC 3056).
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")


class SchemeError(ConfigError):
    """A URI names a file system, a chain of them or a place that is not taken there."""


def parts_of(uri: str) -> list[tuple[str, str]]:
    """Scheme and text of each part of a URI, outermost first, as fsspec would chain them; of a path ``file``."""
    if "://" not in uri:
        return [("file", uri)]
    if uri.startswith(("parquet://", "video://")) and (member := split_member(uri)) is not None:
        return [(member[0], uri.partition("::")[0]), *parts_of(member[2])]
    known = set(fsspec.available_protocols())
    parts = []
    for part in uri.split("::"):
        if "://" in part:
            scheme = part.partition("://")[0]
            # One letter is a drive, to fsspec.
            parts.append((scheme if len(scheme) > 1 else "file", part))
        elif part in known or not _NO_WORD.match(part):
            parts.append((part, part))
        else:
            parts.append(("data" if part.startswith("data:") else "file", part))
    return parts


def split_member(uri: str) -> tuple[str, str, str] | None:
    """Kind, name and container of a picture in a container; None for any other URI.

    ``zip://inner/a.png::s3://bucket/x.zip`` and ``tar://…::…`` are what fsspec writes; a row of a Parquet file is
    ``parquet://column/12::s3://bucket/x.parquet``, counted from 0 in the file, and a frame of a video
    ``video://000012::s3://bucket/x.mp4``. Longer chains, such as those with a
    cache, are fsspec's alone.
    """
    first, chained, container = uri.partition("::")
    kind, separator, name = first.partition("://")
    if not (chained and separator and kind in CONTAINERS and name and container) or "::" in container:
        return None
    return kind, name, container


def short_name(uri: str) -> str:
    """A picture's name without the place: the last part of a path, a member's, or file and row (``x.parquet/12``).

    Of a cubemap's six names what they share, ``x.jpg``.
    """
    if (cubemap := plain_name(uri)) is not None:
        return cubemap
    member = split_member(uri)
    if member is None:
        return uri.rpartition("/")[2]
    kind, name, container = member
    last = name.rpartition("/")[2]
    return f"{container.rpartition('/')[2]}/{last}" if kind in ("parquet", "video") else last


def is_remote(uri: str) -> bool:
    """Whether what a URI names comes over a network, the innermost part of a chain deciding."""
    return parts_of(uri)[-1][0] not in LOCAL


def settled(uri: str) -> str:
    """A URI whose local place, alone or innermost in a chain, is as :func:`local_path` has it; any other as it is."""
    scheme, inner = parts_of(uri)[-1]
    before, said = uri[: len(uri) - len(inner)], f"{scheme}://"
    if scheme not in ("file", "local") or inner == scheme or ("://" in inner and not inner.startswith(said)):
        return uri
    return f"{before}{said if inner.startswith(said) else ''}{local_path(inner)}"


def own_path(text: str, option: str) -> Path:
    """A file or folder that has to be on this machine; a plain path as it was typed, but for ``~``.

    Args:
        text: a path, or a ``file://`` URL.
        option: what named it, for the error.

    Raises:
        ConfigError: it is a URL of another file system, which a path would take for folders to make.
    """
    if [scheme for scheme, _ in parts_of(text)] not in (["file"], ["local"]):
        raise ConfigError(f"{option}: got {mask_uri(text)}; takes a path on this machine")
    return Path(local_path(text) if "://" in text else os.path.expanduser(text))


def check(uri: str, role: Role, more: Sequence[str] = ()) -> None:
    """Refuse a URI whose file system is not taken for a role.

    Args:
        uri: a path, or an fsspec URL, chained or not.
        role: what it is for.
        more: further schemes, such as ``input.schemes``.

    Raises:
        SchemeError: names the scheme, what is taken and how to take it all the same. The message has no part of the
            URI but its scheme.
        ValueError: fsspec knows no such protocol.
    """
    allowed = ALLOWED[role] | {*more} | {name.strip() for name in os.environ.get(VARIABLE, "").split(",")}
    parts = parts_of(uri)
    *outer, (inner, _) = parts
    for scheme, _ in parts:
        if scheme not in allowed | ARCHIVES | CACHES and scheme not in fsspec.available_protocols():
            raise ValueError(f"Protocol not known: {scheme}")
    if inner not in allowed:
        alone = " by itself" if inner in ARCHIVES | CACHES else ""
        raise SchemeError(
            f"{inner}:// is not taken{alone} for {_of(role)}; takes {', '.join(sorted(allowed - {''}))}"
            + ("" if alone else f"; where it can be trusted, {_EXTENDED[role]}")
        )
    if outer and role not in _CHAINED:
        raise SchemeError(f"a chain of file systems is not taken for {_of(role)}; give the folder itself")
    for scheme, _ in outer:
        if scheme not in ARCHIVES | CACHES:
            raise SchemeError(
                f"{scheme}:: is not taken around another file system for {_of(role)}; a chain takes "
                f"{', '.join(sorted(ARCHIVES | CACHES))} around one of {', '.join(sorted(allowed - {''}))}"
            )


def open_place(uri: str, role: Role, more: Sequence[str] = (), *, strangers: bool = False) -> tuple[Any, str]:
    """The file system that a URI names, and the path in it.

    Args:
        uri: a path, or an fsspec URL, chained or not.
        role: what it is for.
        more: further schemes that are taken.
        strangers: the URI was written by somebody who must not make us read our own files or ask our own network:
            local files are refused, and so is every connection to an address that is not public, whatever name or
            redirection leads there.

    Raises:
        SchemeError: the file system is not taken for this role, or a stranger's URI names a local file or an address
            that is not public. Of a web address that comes with the first request.
        ValueError, ImportError: no file system serves the URI.
    """
    check(uri, role, more)
    parts = parts_of(uri)
    if strangers:
        _check_is_foreign(parts)
    if len(parts) == 1 and "://" not in uri:
        # Not by fsspec, which takes "::" in a name for a chain.
        return fsspec.filesystem("file"), local_path(uri)
    scheme, inner = parts[-1]
    options: dict[str, Any] = {}
    if scheme in _WEB:
        if strangers:
            options["get_client"] = public_client
        if is_signed(inner) and _SENDABLE.fullmatch(inner):
            # A signature is of what was written: nothing is quoted anew.
            options["encoded"] = True
    if scheme in _S3:
        _send_at_once()
    return fsspec.core.url_to_fs(settled(uri), **({scheme: options} if options else {}))


@cache
def _send_at_once() -> None:
    """Have S3's client of this process send what it puts without asking first whether it may.

    It would wait for that answer without any limit, and so would a writer, for ever, where a store takes a connection
    and says nothing. Everything else that it waits for has a limit of 15 seconds and is repeated.
    """
    try:
        from botocore import handlers
    except ImportError:
        # The file system itself will say what is missing.
        return
    asking = [one for one in handlers.BUILTIN_HANDLERS if one[1] is handlers.add_expect_header]
    for one in asking:
        handlers.BUILTIN_HANDLERS.remove(one)


def lies_below(uri: str, prefix: str) -> bool:
    """Whether a URI lies below a folder, or on a host where the folder names no more than that.

    A URI that climbs (``..``, also escaped) or chains file systems lies nowhere; what is in a container lies where that
    does. Of paths of this machine it is the places that are compared: ``..`` is followed as the disk has it, the folder
    may be reached by other links than those that the URI goes through, and links below it are part of what lies there.

    Args:
        uri: a path or URL that somebody else wrote.
        prefix: a path, a URL of a folder, or ``https://host``, as it was typed.
    """
    member = split_member(uri)
    (scheme, where), (wanted, folder) = _written(member[2] if member else uri), _written(prefix)
    if scheme is None or scheme != wanted:
        return False
    if where == folder or where.startswith(folder.rstrip("/") + "/"):
        return True
    return scheme == "file" and is_same_or_below(where, folder)


def is_same_place(one: str, other: str) -> bool:
    """Whether two URIs name one place, however they are spelled and by whatever links."""
    return one == other or (lies_below(one, other) and lies_below(other, one))


def settled_prefix(prefix: str, option: str) -> str:
    """A folder or host that files must lie below, as it means the same in every process.

    Args:
        prefix: as it was typed.
        option: where, for the error.

    Raises:
        ConfigError: it is written so that nothing can be said to lie below it.
    """
    if _written(prefix)[0] is None:
        raise ConfigError(
            f"{option}: got {mask_uri(prefix)}, which climbs or chains file systems: nothing lies below that; takes a "
            "folder, or https://HOST"
        )
    return settled(prefix)


def _written(uri: str) -> tuple[str | None, str]:
    """Scheme and path of a URI, local ones as of :func:`local_path`; no scheme where it is not plain what it names."""
    if "\0" in uri or len(parts_of(uri)) > 1:
        return None, ""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme in ("file", "local"):
        return "file", local_path(uri)
    host, _, path = rest.partition("/")
    if ".." in unquote(unquote(path.partition("?")[0])).replace("\\", "/").split("/"):
        return None, ""
    return scheme, f"{host.lower() if scheme in _WEB else host}/{posixpath.normpath(path) if path else ''}"


def _of(role: Role) -> str:
    return f"{'an' if role[0] in 'aio' else 'a'} {role}"


def _check_is_foreign(parts: Sequence[tuple[str, str]]) -> None:
    scheme, part = parts[-1]
    if scheme in LOCAL:
        raise SchemeError(
            "a listing that came over a network may not name local files; copy the listing here, or set "
            "input.private=allow",
        )
    if scheme in _WEB | _STORES:
        if any(outer in CACHES for outer, _ in parts[:-1]):
            # It would take what is named to this machine's disk, however large, and leave it there.
            raise SchemeError(
                "a listing that came over a network may not name caches; name the file alone, copy the listing here, "
                "or set input.private=allow",
            )
        # The web is asked by a client that looks at each address; stores are where the operator's settings say.
        return
    host = urlsplit(part).hostname
    try:
        found = socket.getaddrinfo(host, None) if host else []
    except OSError:
        return  # nobody is asked who has no address
    for *_, address in found:
        check_is_public(str(address[0]))


def check_is_public(address: str) -> None:
    """Refuse an address of this machine, this link or a private network.

    Raises:
        SchemeError: says which.
    """
    if not is_public(address):
        raise SchemeError(
            f"it leads to {address}, which is no public address, and its listing came over a network; copy the listing "
            "here, or set input.private=allow",
        )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, also where IPv6 wraps an IPv4 one."""
    return all(one.is_global and not one.is_multicast for one in _meanings(address))


def _meanings(address: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    given = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(given, ipaddress.IPv6Address) and given.ipv4_mapped is not None:
        yield given.ipv4_mapped
        return
    yield given
    if isinstance(given, ipaddress.IPv6Address):
        if given.sixtofour is not None:
            yield given.sixtofour
        if given in _TRANSLATED:
            yield ipaddress.IPv4Address(int(given) & 0xFFFFFFFF)


async def public_client(**options: Any) -> Any:
    """An HTTP client for fsspec that connects to public addresses alone.

    Each connection is looked at when its address is known: names that mean something else a moment later, and
    redirections, lead nowhere else.
    """
    import aiohttp

    # One address after another: a race would swallow what the refusal says.
    connector = aiohttp.TCPConnector(socket_factory=_public_socket, happy_eyeballs_delay=None)
    return aiohttp.ClientSession(connector=connector, **options)


def _public_socket(found: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = found
    check_is_public(str(address[0]))
    return socket.socket(family, kind, protocol)
