"""Ids: settled as columns, and the same as the rule gives them row by row."""

import posixpath
from collections import Counter

import fsspec
import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.errors import ConfigError
from pager_ray.listing import ids as ids_module
from pager_ray.listing import list_inputs, parts

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


@settings(max_examples=150)
@given(st.lists(st.tuples(st.text("ab./ü\n", max_size=4), st.sampled_from(["", ".jpg", ".j", ".ü"])), max_size=8))
def test_extensions_are_cut_off_as_python_does(pieces):
    """Whatever the first path's extension is, each loses its own."""
    paths = ["".join(piece) for piece in pieces]
    found = ids_module.stems(pa.chunked_array([pa.array(paths, pa.string())]))
    assert found.to_pylist() == [posixpath.splitext(path)[0] for path in paths]


@pytest.mark.parametrize("part_rows", [parts.PART_ROWS, 2])
@settings(max_examples=80)
@given(rows=st.lists(st.tuples(NAMES, st.none() | st.text("ab~2", min_size=1, max_size=4)), min_size=1, max_size=12))
def test_ids_are_settled_by_the_rule(part_rows, rows):
    """Columns settle ids as the rule does row by row, whatever collides with what, in one part or several."""
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
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parts, "PART_ROWS", part_rows)
        listed = list_inputs(["memory://in/list.parquet"])
    assert [(row.id, row.error_class) for row in listed] == by_the_rule(rows)
    assert len({row.id for row in listed}) == len(rows)


def test_rows_are_listed_once_across_parts(monkeypatch, tmp_path):
    """A row that says again what one in an earlier part says is dropped; one with another id is a row of its own."""
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    rows = [("a.jpg", "a"), ("b.jpg", None), ("c.jpg", None), ("a.jpg", "a"), ("b.jpg", None), ("a.jpg", "other"),
            ("d.jpg", "c"), ("e.jpg", "a")]  # fmt: skip
    uris, ids = zip(*rows, strict=True)
    pq.write_table(pa.table({"uri": uris, "id": ids}), tmp_path / "list.parquet")
    listed = list(list_inputs([str(tmp_path / "list.parquet")]))
    assert [row.id for row in listed] == ["a", "b", "c.jpg", "other", "c", "a~2"]
    assert [row.error_class for row in listed] == [None] * 5 + ["duplicate_id"]
    assert listed[-1].message == f"id 'a' is already taken by {tmp_path}/a.jpg; give every row an id of its own"


def test_a_wrong_row_is_told_by_its_place_in_the_listing(monkeypatch, tmp_path):
    """Rows are counted through all parts."""
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    pq.write_table(pa.table({"uri": ["a.jpg", "b.jpg", "c.jpg", ""]}), tmp_path / "list.parquet")
    with pytest.raises(ConfigError, match=r"list\.parquet row 4 has no uri"):
        list_inputs([str(tmp_path / "list.parquet")])
