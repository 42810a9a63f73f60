"""Ids: settled as columns, and the same as the rule gives them row by row."""

import posixpath
from collections import Counter

import fsspec
import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.listing import list_inputs

NAMES = st.text("ab.~/", min_size=1, max_size=5).filter(lambda name: not name.startswith("/"))


def by_the_rule(rows):
    """Ids as the module's text says, one row at a time: (uri relative to the listing, given id or None)."""
    paths = [posixpath.normpath(path) for path, _ in rows]
    levels = [
        [posixpath.splitext(path)[0] for path in paths],
        paths,
        [posixpath.normpath(f"in/{path}") for path in paths],
    ]
    derived = [number for number, (_, given) in enumerate(rows) if not given]
    counts = [Counter(level[number] for number in derived) for level in levels]
    taken = {given for _, given in rows if given}

    def choose(number):
        if rows[number][1]:
            return rows[number][1]
        fits = (level[number] for level, count in zip(levels, counts, strict=True) if count[level[number]] == 1)
        return next((name for name in fits if name not in taken), levels[2][number])

    chosen = [choose(number) for number in range(len(rows))]
    reserved, seen, ids = set(chosen), set(), []
    for name in chosen:
        copy = 2
        while name in seen and f"{name}~{copy}" in reserved:
            copy += 1
        ids.append((f"{name}~{copy}", "duplicate_id") if name in seen else (name, None))
        reserved.add(ids[-1][0])
        seen.add(name)
    return ids


@settings(max_examples=200)
@given(rows=st.lists(st.tuples(NAMES, st.none() | st.text("ab~2", min_size=1, max_size=4)), min_size=1, max_size=12))
def test_ids_are_settled_by_the_rule(rows):
    """Columns settle ids as the rule does row by row, whatever collides with what."""
    rows = [row for row in rows if not posixpath.normpath(row[0]).startswith("..")]
    # One that says again what an earlier one says is no other input.
    first: dict[tuple[str, str | None], tuple[str, str | None]] = {}
    for row in rows:
        first.setdefault((posixpath.normpath(row[0]), row[1]), row)
    rows = list(first.values())
    hypothesis.assume(rows)
    memory = fsspec.filesystem("memory")
    table = pa.table({"uri": [path for path, _ in rows], "id": pa.array([given for _, given in rows], pa.string())})
    with memory.open("/in/list.parquet", "wb") as file:
        pq.write_table(table, file)
    listed = list_inputs(["memory://in/list.parquet"])
    assert [(row.id, row.error_class) for row in listed] == by_the_rule(rows)
    assert len({row.id for row in listed}) == len(rows)
