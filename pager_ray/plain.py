"""Text from outside on its way to people: the one place that makes it plain.

File names, messages of stores and libraries, and fields of other people's runs may hold escape sequences of terminals,
line breaks that forge a line of a log, signs that turn the direction of text, markup of Markdown or HTML, and secrets.
Each way out has its function; all begin with :func:`plain_text`. Errors of ours are plain from their beginning
(:class:`pager_ray.errors.PagerError`), and so are the logs of this package (:func:`get_logger`).

Stored as data, such as the ids and URIs of a run, text stays what it is.
"""

from __future__ import annotations

import html
import logging
import re
import string
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from pager_ray.masking import mask_text

MAX_TEXT: Final = 4096
"""Characters of a text that people are shown; what is longer loses its middle, as remedies stand at the end."""

MAX_LABEL: Final = 200
"""Characters of a metric's label: each value is a series of its own, kept for ever."""

_LABEL: Final = string.printable.replace("%", "")
"""What a label keeps as it is."""

_MAX_MASKED: Final = 1 << 14
_CUT: Final = " […] "

# What Markdown takes for something else: anywhere; beside a word, or before a link's address; in addresses that become
# links by themselves; at the start of a line.
_MARKDOWN: Final = re.compile(
    r"([\\`*|~$<>&]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|:(?=//)|(?<=www)\."
    r"|\A[#+\-=]|\A\[(?=[ xX]\])|(?<=\A\d)[.)](?=\s|\Z)|(?<=\A\d\d)[.)](?=\s|\Z))"
)


def plain_text(text: object, most: int = MAX_TEXT) -> str:
    """A text masked, on one line, and no longer than ``most`` characters.

    What would move a terminal's cursor, break a line or turn the direction of text is written out (``\\n``,
    ``\\u202e``).
    """
    # Cut in two steps: a secret that is cut through would not be known any more.
    masked = mask_text(_cut(str(text), _MAX_MASKED))
    if masked.isprintable() and len(masked) <= most:
        return masked
    written = "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in _cut(masked, most)
    )
    return _cut(written, most)


def _cut(text: str, most: int, mark: str = _CUT) -> str:
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - len(mark)]}{mark}{text[-end:]}"


def plain_value(value: Any) -> Any:
    """A JSON value with every text in it plain, keys included."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {plain_text(key): plain_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    return value


def plain_lines(lines: Iterable[str]) -> list[str]:
    """Lines for a terminal, each of which stays one."""
    return [plain_text(line) for line in lines]


def markdown_text(text: object) -> str:
    """A text that Markdown shows as it is, in a cell of a table too: no link, picture, HTML or formula."""
    # Blanks at the start would make code of it.
    return _MARKDOWN.sub(r"\\\1", plain_text(text).strip())


def markdown_code(text: object) -> str:
    """A text as a code span, whatever backticks it has."""
    shown = plain_text(text).strip()
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if "`" in (shown[:1], shown[-1:]) else ""
    return f"{fence}{pad}{shown or ' '}{pad}{fence}"


def html_text(text: object) -> str:
    """A text for HTML, between tags or in a quoted attribute."""
    return html.escape(plain_text(text), quote=True)


def comment_text(text: object) -> str:
    """A text for the comment of a text file that is read line by line, such as COLMAP's or PLY's; ASCII alone."""
    line = " ".join(str(text).split())
    return plain_text(line).encode("ascii", "backslashreplace").decode("ascii")


def label_text(text: object) -> str:
    """A value for a metric's label, which Ray takes in ASCII alone: other characters are written as in URIs.

    ``ü`` is ``%C3%BC``, and ``%`` itself ``%25``, so that no two texts become one.
    """
    return _cut(quote(plain_text(text), safe=_LABEL), MAX_LABEL, " [...] ")


class MaskingFilter(logging.Filter):
    """Makes plain what a logger or handler writes, tracebacks included, whose lines are set in."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the record's text."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg} {record.args}"
        record.msg, record.args = plain_text(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        for name in ("exc_text", "stack_info"):
            text = getattr(record, name)
            if text:
                # Set in once: the filters of a logger and of its handlers see the same record.
                lines = (line.removeprefix("  ") for line in text.splitlines())
                setattr(record, name, "\n".join(f"  {plain_text(line)}" for line in lines))
        return True


def get_logger(name: str) -> logging.Logger:
    """The logger of a module, which writes plain text whatever handlers there are."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, MaskingFilter) for one in logger.filters):
        logger.addFilter(MaskingFilter())
    return logger
