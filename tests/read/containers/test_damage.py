"""Damaged and forged containers give rows, rejects or one line, never another error, and cost what limits allow."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pager_ray.errors import InputError
from pager_ray.listing.containers import index_one
from pager_ray.read.containers import Container, IndexSettings, Place
from pager_ray.read.fetch import fetch
from pager_ray.retrying import Retry
from tests.read.packed import FORMS, pack

COUNT = 150
SETTINGS = IndexSettings(retry=Retry(0), max_bytes=1 << 20, max_row_group_bytes=1 << 22)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Bits turned, numbers set to extremes, parts cut out, doubled or put at the wrong place."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        # Where containers keep what they say of themselves.
        if chance.random() < 0.7:
            at = chance.choice([at % min(len(data), 600), max(0, len(data) - 1 - at % 600)])
        kind = chance.randrange(5)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
        elif kind == 2:
            del data[at : at + chance.randrange(1, 700)]
        elif kind == 3:
            data[at:at] = data[: chance.randrange(1, 700)]
        else:
            data[at : at + 12] = f"{chance.randrange(1 << 33):011o}\0".encode()
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("form", FORMS[1:])
def test_any_damage_is_told(form: str, tmp_path: Path) -> None:
    """Of each container every row is read or says why not, and what is read is no larger than the limit."""
    pictures = {f"p{number}": bytes([number]) * (700 + 300 * number) for number in range(6)}
    (name,) = pack(form, tmp_path / "whole", pictures, shards=1)
    whole = (tmp_path / "whole" / name).read_bytes()
    kind = "parquet" if form == "hub" else form
    path = tmp_path / f"x.{kind}"
    read = problems = 0
    for seed in range(COUNT):
        path.write_bytes(damaged(whole, random.Random(f"{form} {seed}")))
        found = index_one(Container(str(path), kind), SETTINGS)  # type: ignore[arg-type]
        problems += found.problem is not None
        for row in found.table.to_pylist():
            if row["error_class"] is not None or not row["is_utf8"]:
                continue
            place = Place(row["offset"], row["size"] if kind != "parquet" else None, row["row_group"], row["row"])
            told = None
            try:
                content = fetch(
                    f"{kind}://{row['name']}::file://{path}", Retry(0), place=place, max_bytes=1 << 20,
                    max_row_group_bytes=1 << 22,
                )  # fmt: skip
                assert len(content) <= 1 << 20
                read += 1
            except InputError as error:
                told = error
            assert told is None or told.error_class not in ("read_failed", "transient"), told
    # Damage does reach these.
    assert read > 0
    assert problems > 0
