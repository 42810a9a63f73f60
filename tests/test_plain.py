"""Plain: whatever text comes in, no control character, no markup and no secret comes out of any sink."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from urllib.parse import unquote

from pager_ray.errors import PagerError
from pager_ray.plain import (
    MAX_LABEL,
    MAX_TEXT,
    label_text,
    plain_lines,
    plain_text,
)

COUNT = int(os.environ.get("PAGER_RAY_FUZZED_TEXTS", "10000"))
SECRET = "wJalrXUtnFEMI7MDENG"

CONTROLS = ["\0", "\x07", "\b", "\t", "\n", "\r", "\x0b", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\udcff"]
TURNS = ["\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069", "\u061c", "\ufeff", "\u200b", "\U000e0041"]
SEQUENCES = ["\x1b[2J", "\x1b]0;t\x07", "\x1b]8;;http://e\x1b\\", "\r\n12:00:00 I all is well", "\x1b[31m", "\x9b1A"]
MARKUP = [
    "<script>alert(1)</script>", "<img src=x onerror=1>", "</td>", "&lt;b&gt;", "&#60;b>", '"><b>', "<!--", "[a](http://e)",
    "![a](x)", "`", "``", "**b**", "__b__", "~~s~~", "|", "\\", "# ", "- ", "1. ", "1) ", "> ", "---", "===", "http://e.x",
    "www.e.x", "[x]: http://e", "[ ] ", "$x$", "<http://e>", "_a_", "*a*", "javascript:1", "    code", "```", "]]>",
]  # fmt: skip
SECRETS = [
    f"https://user:{SECRET}@host/a", f"https://host/a?sig={SECRET}", f"Authorization: Bearer {SECRET}",
    f'"api_key": "{SECRET}"', f"AccountKey={SECRET}", f"password={SECRET}", f"hf_{SECRET}{SECRET}",
]  # fmt: skip
ORDINARY = ["room", " ", "é", "日本", "🙂", "a.jpg", "/in/", "×", "1", ":", ","]


def fuzzed_texts(count: int) -> Iterator[str]:
    """Texts of all of these, the same ones each time."""
    chance = random.Random(17)
    kinds = [CONTROLS, TURNS, SEQUENCES, MARKUP, ORDINARY]
    for number in range(count):
        parts = [chance.choice(chance.choice(kinds)) for _ in range(chance.randint(1, 12))]
        if number % 3 == 0:
            # Nothing before it that would make another word of it, nor of what follows.
            parts.insert(chance.randint(0, len(parts)), f" {chance.choice(SECRETS)} ")
        if number % 7 == 0:
            parts.append(chr(chance.randrange(chance.choice([0x20, 0x3000, 0x110000]))))
        yield "".join(parts)


def test_lines_have_no_control_and_no_secret() -> None:
    """A line stays one, of printable characters alone, and what is secret in it is not."""
    for text in fuzzed_texts(COUNT):
        [line] = plain_lines([text])
        assert line.isprintable()
        assert SECRET not in line


def test_long_texts_keep_their_start_and_end() -> None:
    """What happened stands at the start, what to do at the end; a secret that would be cut through is masked before."""
    text = "file.jpg: is wrong (" + "x" * 100_000 + "); give another"
    assert plain_text(text).startswith("file.jpg: is wrong (xxx")
    assert plain_text(text).endswith("xxx); give another")
    assert len(plain_text(text)) == MAX_TEXT
    assert str(PagerError(text)) == plain_text(text)
    for before in range(MAX_TEXT - 40, MAX_TEXT, 7):
        assert SECRET[:6] not in plain_text("x" * before + f" https://u:{SECRET}@host/ " + "x" * 9000)


def test_labels_are_ascii_and_tell_texts_apart() -> None:
    """Whatever a label names, it has no other character, and the text can be read back from it unless it is cut."""
    assert label_text("s3://bucket/a b#c") == "s3://bucket/a b#c"
    assert label_text("/Läufe/100%") == "/L%C3%A4ufe/100%25"
    for text in fuzzed_texts(COUNT // 10):
        label = label_text(text)
        assert label.isascii()
        assert len(label) <= MAX_LABEL
        assert " [...] " in label or unquote(label) == plain_text(text)
    assert label_text("/runs/" + "日" * 5000).startswith("/runs/%E6%97%A5")
