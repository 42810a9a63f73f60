"""Six files that are one cubemap: how their names say so, and the URI that stands for all of them.

That URI has the six names in braces, as shells write them: ``s3://bucket/a/{front,right,back,left,up,down}.jpg``,
``zip://in/x_skybox{1,2,3,4,0,5}_sami.jpg::x.zip``. Every name says which face it is, so their order is free;
:func:`cubemap_uri` writes them in the order of :data:`pager_ray.geometry.FACE_NAMES`.

Faces are views from inside, upright; the up face has the front face below its bottom edge, the down face above its top
edge. That is how OpenGL samples a cubemap whose front is +z, how krpano, Pannellum and the simulators of Matterport3D
show one, and how ``+z`` became Matterport's skybox 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

FACES: Final = ("front", "right", "back", "left", "up", "down")
"""The order of the faces."""

_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "words": ("front", "right", "back", "left", "up", "down"),
    "letters": ("f", "r", "b", "l", "u", "d"),
    "axes": ("pz", "px", "nz", "nx", "py", "ny"),
    "signs": ("posz", "posx", "negz", "negx", "posy", "negy"),
    "skybox": ("1", "2", "3", "4", "0", "5"),
}
"""What faces are called, in that order, by kind of name."""

_KNOWN: Final = {
    word: (kind, face) for kind, words in _WORDS.items() if kind != "skybox" for face, word in enumerate(words)
} | {"top": ("words", 4), "bottom": ("words", 5)}

_SKYBOX: Final = re.compile(r"(?is)(.*[_-]skybox)([0-5])((?:_sami)?\.[^./]+)")
_NAMED: Final = re.compile(
    r"(?is)((?:.*[/_-])?)((?:pos|neg)[xyz]|[pn][xyz]|front|right|back|left|up|top|down|bottom|[a-z])(\.[^./]+)"
)
_BRACES: Final = re.compile(r"(?s)(.*)\{([^{}/]*)\}([^{}/]*)")
_RANGE: Final = "0..5"

_WORD: Final = r"(?:(?:pos|neg)[xyz]|[pn][xyz]|front|right|back|left|up|top|down|bottom|[a-z])"
CANDIDATES: Final = rf"(?is)(?:([/_-]|^){_WORD}|([_-]skybox)[0-5]((?:_sami)?))(\.[^./:]+(?:::.*)?)$"
"""URIs that may be a face's, as RE2 has it."""
WITHOUT_WORDS: Final = r"\1\2{}\3\4"
"""In place of what matches: the same text for all faces of a cubemap."""


class FaceName(NamedTuple):
    """A name taken apart.

    Attributes:
        before: what the six names have in common, up to the word.
        kind: of naming.
        face: number in :data:`FACES`; None for a single letter that is no face's, and tells that its neighbours are
            none either.
        word: as it is written.
        after: the rest, with the suffix.
    """

    before: str
    kind: str
    face: int | None
    word: str
    after: str


def face_name(name: str) -> FaceName | None:
    """Take the path of a file, or of a member, apart; None where it is no face's."""
    if match := _SKYBOX.fullmatch(name):
        return FaceName(match[1], "skybox", _WORDS["skybox"].index(match[2]), match[2], match[3])
    match = _NAMED.fullmatch(name)
    if match is None:
        return None
    kind, face = _KNOWN.get(match[2].lower(), ("letters", None))
    return FaceName(match[1], kind, face, match[2], match[3])


def common_part(before: str) -> str:
    """What the names of the faces have in common, without what parts it from their words: ``a/x`` of ``a/x_``."""
    return re.sub(r"(?i)[_-]skybox$|[/_-]$", "", before)


def usual_words(kind: str) -> tuple[str, ...]:
    """What the faces are called in one kind of naming, in order."""
    return _WORDS[kind]


def cubemap_uri(before: str, words: Sequence[str], after: str, container: str = "") -> str:
    """The URI of six files.

    Args:
        before, after: as of :class:`FaceName`.
        words: of the faces, in order.
        container: what follows the name of a member, with its ``::``.
    """
    return f"{before}{{{','.join(words)}}}{after}{container}"


def faces_of(uri: str) -> tuple[str, ...] | None:
    """The URIs of a cubemap's six faces, in order; None for a URI that stands for no cubemap."""
    if "{" not in uri or uri.startswith("parquet://"):
        return None
    name, container = split_container(uri)
    match = _BRACES.fullmatch(name)
    if match is None:
        return None
    words = [str(number) for number in range(6)] if match[2] == _RANGE else match[2].split(",")
    if len(words) != len(FACES):
        return None
    found: dict[int | None, tuple[FaceName, str]] = {}
    for word in words:
        whole = f"{match[1]}{word}{match[3]}"
        one = face_name(whole)
        if one is None or one.word != word:
            return None
        found[one.face] = one, f"{whole}{container}"
    if {*found} != {*range(len(FACES))} or len({one.kind for one, _ in found.values()}) > 1:
        return None
    return tuple(found[face][1] for face in range(len(FACES)))


def split_container(uri: str) -> tuple[str, str]:
    """The name of a file or a member, and what follows a member's: its container, with the ``::`` before it."""
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme not in ("zip", "tar"):
        return uri, ""
    name, chained, container = uri.partition("::")
    return name, f"{chained}{container}"


def canonical_uri(uri: str) -> str | None:
    """A cubemap's URI with its names in the order of the faces; None for a URI that stands for no cubemap."""
    faces = faces_of(uri)
    if faces is None:
        return None
    name, container = split_container(uri)
    before, _, rest = name.rpartition("{")
    after = rest.partition("}")[2]
    # Words have nothing before or after them that the braces do not.
    words = [split_container(face)[0][len(before) :].removesuffix(after) for face in faces]
    return cubemap_uri(before, words, after, container)


def plain_name(uri: str) -> str | None:
    """What one would call a cubemap's file: ``x.jpg`` for ``in/x_{f,r,b,l,u,d}.jpg``; None for any other URI."""
    if faces_of(uri) is None:
        return None
    name, container = split_container(uri)
    before, _, rest = name.rpartition("{")
    common = common_part(before).rpartition("/")[2]
    if not common and container:
        # Faces at the top of an archive are called by it.
        common = container.rpartition("/")[2].rpartition(".")[0]
    return f"{common or 'cubemap'}.{rest.rpartition('.')[2]}"
