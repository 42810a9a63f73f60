"""Brace patterns as shells and WebDataset have them: ``shard-{000000..000146}.tar``, ``{a,b}.zip``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Final

from pager_ray.errors import ConfigError

MAX_EXPANDED: Final = 1_000_000

_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?")


def has_braces(text: str) -> bool:
    """Whether a text has a pattern that stands for several."""
    return any(_choices(match[1]) for match in _BRACES.finditer(text))


def expand_braces(text: str) -> list[str]:
    """Every text that a pattern stands for, in order; the text itself where there is none.

    Numbers of a range are as wide as its ends are written.

    Raises:
        ConfigError: it stands for more than a million.
    """
    parts: list[list[str]] = []
    at, count = 0, 1
    for match in _BRACES.finditer(text):
        choices = _choices(match[1])
        if not choices:
            continue
        parts += [[text[at : match.start()]], list(choices)]
        at = match.end()
        count *= len(choices)
        if count > MAX_EXPANDED:
            raise ConfigError(f"{text[:200]} stands for more than {MAX_EXPANDED:,} names; give folders or globs")
    parts.append([text[at:]])
    return ["".join(pieces) for pieces in itertools.product(*parts)]


def _choices(inner: str) -> Sequence[str]:
    match = _RANGE.fullmatch(inner)
    if match is None:
        return inner.split(",") if "," in inner else []
    first, last, step = int(match[1]), int(match[2]), int(match[3] or 1) or 1
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    if len(numbers) > MAX_EXPANDED:
        raise ConfigError(f"{{{inner}}} stands for more than {MAX_EXPANDED:,} names; give folders or globs")
    is_padded = match[1].startswith("0") or match[2].startswith("0")
    width = max(len(match[1]), len(match[2])) if is_padded else 0
    return [str(number).zfill(width) for number in numbers]
