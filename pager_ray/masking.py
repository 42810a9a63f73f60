"""Text that is shown or stored: without passwords, keys, tokens and signed queries, wherever they came from.

URIs that the package itself shows are masked where they are shown (:func:`pager_ray.storage.mask_uri`). This is for
text that others wrote: errors of clients and libraries, which repeat what they were given.
"""

from __future__ import annotations

import logging
import os
import re
from typing import Final

from pager_ray.storage import mask_uri

MASK: Final = "***"

# Named so by the clients of stores and hubs; their values are replaced wherever they stand.
_VARIABLES: Final = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_CLIENT_SECRET",
    "RAY_AUTH_TOKEN",
)
_SHORTEST: Final = 6
"""Values shorter than this may be words of any text."""

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_TOKENS: Final = (
    re.compile(r"\b()hf_[A-Za-z0-9]{16,}"),
    re.compile(r"(?i)(authorization: )[^\s,;'\"]+(?: [^\s,;'\"]+)?"),
    re.compile(r"(?i)([?&](?:sig|key)=|(?:signature|token|secret|password)=)[^\s&'\"]+"),
)


def mask_text(text: str) -> str:
    """The text with secrets replaced by ``***``; URLs lose passwords and signed queries."""
    text = _URL.sub(lambda match: mask_uri(match[0]), text)
    for name in _VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            text = text.replace(value, MASK)
    for pattern in _TOKENS:
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def plain_text(text: str) -> str:
    """The text masked and on one line: what would move a terminal's cursor or break a line is written out."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in mask_text(text)
    )


class MaskingFilter(logging.Filter):
    """Masks what a handler writes, tracebacks included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the record's text."""
        record.msg, record.args = mask_text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask_text(record.exc_text)
        return True
