"""Tars as WebDataset and img2dataset write them: samples of members that share a name, found by hopping from header to
header, and one ranged read per picture.

A sample's name is that of its members up to the first dot of the base name. Its picture is the component that is called
by an image's suffix alone (``jpg``, ``png``, …); where there is none, every component that ends in one is a picture of
its own (``left.jpg``, ``right.jpg``).
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pager_ray.bounded import lines_of, parse_json
from pager_ray.errors import InputError
from pager_ray.read.containers.columns import described
from pager_ray.read.containers.places import (
    BEHIND_TOOLS,
    CHANGED,
    CORRUPT,
    REPLACED,
    IndexSettings,
    Members,
    bad_name,
    last_of_each,
    members_of,
    plain,
)
from pager_ray.read.containers.sequences import flat
from pager_ray.read.formats import IMAGE_SUFFIXES, is_left_behind
from pager_ray.read.ranges import WINDOW, Ranged, read_range

BLOCK: Final = 512
MAX_JSON: Final = 1 << 20
MAX_MEMBERS: Final = 5_000_000

COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_CALLED_TAR: Final = re.compile(r"\.(tar(\.\w+)?|tgz|tbz2|txz)$")
# Which of several pictures of a sample is the one.
_ORDER: Final = ("jpg", "jpeg", "png", "webp", "avif", "tif", "tiff", "bmp", "jpe", "jfif")
# What a hop fetches is so small a share of the body that it skipped, and at least a header with its extensions.
_SHARE: Final = 48
_SMALLEST: Final = 4096
# What the standard library raises at headers that are none.
_DAMAGE: Final = (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError)
# Extended headers hold names and times; one that says it is larger is none.
_LONGEST_HEADER: Final = 1 << 22


@dataclass(frozen=True)
class _Component:
    """A member: its name, the name's part after the sample's, where its bytes are, and its header's checksum."""

    name: str
    suffix: str
    offset: int
    size: int
    stamp: int | None = None

    @property
    def is_image(self) -> bool:
        return f".{self.suffix.rpartition('.')[2]}" in IMAGE_SUFFIXES


def split_name(name: str) -> tuple[str, str]:
    """A member's sample and component: ``a/b.left.jpg`` is ``a/b`` and ``left.jpg``, in small letters."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), suffix.lower()


def index_tar(
    file: Ranged,
    settings: IndexSettings,
    dali: bytes | None = None,
    known: Mapping[str, dict[str, Any]] | None = None,
) -> Members:
    """List the pictures of a tar.

    Args:
        file: the tar.
        settings: how it is understood.
        dali: the text of an index beside it, which is used where it fits.
        known: columns of its samples, where a file beside it has them.
    """
    found = Members(members_of([]))
    if (compressed := _compressed(file)) is not None:
        found.problem, found.problem_class = compressed, "unsupported_format"
        return found
    rows: list[dict[str, Any]] = []
    components: list[_Component] = []
    columns = dict(known or {})
    try:
        for component in _indexed(file, dali) or _hop(file, found.left_out):
            components.append(component)
            if len(components) > MAX_MEMBERS:
                found.problem = f"has more than {MAX_MEMBERS} members; write smaller tars"
                break
            sample = split_name(component.name)[0]
            if component.suffix == "json" and component.size <= MAX_JSON:
                columns[sample] = columns.get(sample, {}) | _columns(file, component, settings)
    except _DAMAGE as error:
        last = f" behind {components[-1].name}" if components else ""
        found.problem = f"cannot be read as a tar{last} ({' '.join(str(error).split())}); fetch it again"
    counts = last_of_each([component.name for component in components])
    found.left_out.update({REPLACED: counts.count(False)} if not all(counts) else {})
    components = [component for component, is_last in zip(components, counts, strict=True) if is_last]
    for sample, parts in _samples(components):
        rows += _pictures(sample, parts, columns.get(sample, {}), file.size, settings, found.left_out)
    found.table = members_of(rows)
    return found


def tar_places(file: Ranged) -> dict[str, tuple[int, int]]:
    """Offset and size of every file of a tar, by name.

    Raises:
        InputError: it cannot be read, not even its first member.
    """
    if (problem := _compressed(file)) is not None:
        raise InputError("unsupported_format", f"its tar {problem}")
    places: dict[str, tuple[int, int]] = {}
    try:
        for component in _hop(file, Counter()):
            places[component.name] = component.offset, component.size
            if len(places) > MAX_MEMBERS:
                break
    except _DAMAGE as error:
        if not places:
            raise InputError(CORRUPT, f"its tar cannot be read ({' '.join(str(error).split())})") from error
    return places


def _compressed(file: Ranged) -> str | None:
    """What is wrong with a tar that was compressed; None for one that was not."""
    start = file.at(0, BLOCK)
    name = next((name for magic, name in COMPRESSED.items() if start.startswith(magic)), None)
    if name is None:
        return None
    if not _CALLED_TAR.search(file.path.lower()):
        return f"is compressed with {name}; decompress it and give what it holds"
    return (
        f"is compressed with {name}: its members cannot be read one by one; decompress it (pictures are compressed "
        "already) and give the plain tar"
    )


def _hop(file: Ranged, left_out: Counter[str]) -> Iterator[_Component]:
    """Every file of a tar, without reading what is between two headers.

    Raises:
        tarfile.TarError, ValueError: what follows cannot be understood.
    """
    if file.size == 0:
        raise tarfile.ReadError("it is empty")
    file.window, file.most = _SMALLEST, _LONGEST_HEADER
    file.seek(0)
    # It is told that the file is a tar: opening it in any other way would try decompressors.
    archive = tarfile.TarFile(fileobj=file, mode="r", errors="surrogateescape")
    at = -1
    while (member := archive.next()) is not None:
        if archive.offset <= at or member.size < 0:
            # A size below nothing would lead back, again and again.
            raise tarfile.ReadError(f"the header at byte {member.offset} leads back")
        at = archive.offset
        # Otherwise it remembers all of them.
        archive.members.clear()  # type: ignore[attr-defined]
        file.window = min(WINDOW, max(_SMALLEST, member.size // _SHARE))
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            left_out["links and special files"] += 1
            continue
        if is_left_behind(member.name):
            left_out[BEHIND_TOOLS] += 1
            continue
        name = member.name.removeprefix("./")
        # The sum is over name, size and time.
        yield _Component(name, split_name(name)[1], member.offset_data, member.size, member.chksum)
    if archive.offset < file.size and any(file.at(archive.offset, BLOCK)):
        raise tarfile.ReadError(f"no header at byte {archive.offset} of {file.size}")


def _indexed(file: Ranged, dali: bytes | None) -> list[_Component] | None:
    """The files of a tar as an index beside it names them (DALI's, from version 1.2 on); None where it does not fit."""
    if dali is None:
        return None
    head, *lines = lines_of(dali.decode("utf-8", "replace").rstrip("\r\n"))
    version, _, _ = head.partition(" ")
    if version not in ("v1.2", "v1.3"):
        return None
    components = []
    try:
        for line in lines:
            words = line.split(" ")
            for suffix, offset, size, name in zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True):
                components.append(_Component(name.removeprefix("./"), suffix.lower(), int(offset), int(size)))
        if any(one.offset < BLOCK or not 0 <= one.size <= file.size - one.offset for one in components):
            return None
        # A tar that was written anew has other headers there.
        for component in (components[0], components[-1]):
            check_header(file.at(component.offset - BLOCK, BLOCK), component.size)
            if split_name(component.name)[1] != component.suffix:
                return None
    except (ValueError, IndexError, InputError):
        return None
    return components


def _columns(file: Ranged, component: _Component, settings: IndexSettings) -> dict[str, Any]:
    """The JSON beside a picture; read without a request of its own where it lies in the window."""
    if not settings.wants_columns and component.size > _SMALLEST // 2:
        return {}
    try:
        value = parse_json(file.at(component.offset, component.size), MAX_JSON, nan=True)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    value = flat(value)
    return {name: value[name] for name in settings.columns if name in value}


def _samples(components: list[_Component]) -> Iterator[tuple[str, list[_Component]]]:
    """Members that follow each other and share a name."""
    together: list[_Component] = []
    current: str | None = None
    for component in components:
        sample = split_name(component.name)[0]
        if sample != current and together:
            yield str(current), together
            together = []
        current = sample
        together.append(component)
    if together:
        yield str(current), together


def _pictures(
    sample: str,
    parts: list[_Component],
    columns: dict[str, Any],
    tar_size: int,
    settings: IndexSettings,
    left_out: Counter[str],
) -> Iterator[dict[str, Any]]:
    chosen = _chosen(parts, settings.image_column)
    for part in parts:
        if part not in chosen:
            left_out[f".{part.suffix}" if part.suffix else "without a suffix"] += 1
    for part in chosen:
        name, is_utf8 = plain(part.name)
        # The only picture of a sample has its name; of several each has its own.
        key = plain(sample)[0] if len(chosen) == 1 else name.rpartition(".")[0]
        row = {"name": name, "key": key, "is_utf8": is_utf8, "offset": part.offset, "size": part.size}
        row["stamp"] = part.stamp
        try:
            row |= described(columns, settings)
        except ValueError as error:
            row |= {"error_class": "bad_columns", "message": str(error)}
        if (wrong := bad_name(part.name)) is not None:
            row |= {"error_class": "bad_name", "message": f"the name {wrong}; write the tar anew"}
        elif part.size < 0 or part.offset + part.size > tar_size:
            row |= {"error_class": CORRUPT, "message": "the tar ends in the middle of it; fetch the tar again"}
        elif part.size > settings.max_bytes:
            row |= {
                "error_class": "too_large",
                "message": f"has {part.size} bytes, input.max_bytes takes {settings.max_bytes}",
            }
        yield row


def _chosen(parts: list[_Component], wanted: str | None) -> list[_Component]:
    if wanted is not None:
        return [part for part in parts if part.suffix == wanted.lower().lstrip(".")]
    images = [part for part in parts if part.is_image]
    single = {part.suffix: part for part in images if part.suffix in _ORDER}
    first = next((single[suffix] for suffix in _ORDER if suffix in single), None)
    return [first] if first is not None else images


def check_header(header: bytes, size: int) -> None:
    """Look whether the block before a member's bytes is its header.

    Raises:
        InputError: ``changed``.
    """
    try:
        told = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError:
        told = None
    # Sizes beyond 8 GB, and those in extended headers, are not told here; members of such size are no pictures.
    if told is None or told.size != size:
        raise InputError(
            CHANGED, "its tar is another one than when it was listed: there is no such member at its place"
        )


def read_tar_member(filesystem: Any, path: str, offset: int, size: int) -> bytes:
    """The bytes of a member, with its header in one read.

    Raises:
        InputError: ``changed`` or ``corrupt_container``.
    """
    content = read_range(filesystem, path, offset - BLOCK, offset + size)
    check_header(content[:BLOCK], size)
    if len(content) < BLOCK + size:
        raise InputError(CORRUPT, "the tar ends in the middle of it; fetch the tar again")
    return content[BLOCK:]
