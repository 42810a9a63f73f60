"""Damaged files: what decoders raise on them, and what we say."""

from __future__ import annotations

import struct
import zlib

from pager_ray.errors import InputError

# What Pillow's readers are known to raise on damaged files.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)


def corrupt(name: str, error: Exception | str) -> InputError:
    """The reject of a file of a format, with what its decoder said."""
    # Decoders repeat bytes of the file; a message is one line of text whatever they are.
    reason = "".join(character if character.isprintable() else "?" for character in " ".join(str(error).split())[:200])
    return InputError("corrupt_image", f"{name} file is damaged or incomplete: {reason}")
