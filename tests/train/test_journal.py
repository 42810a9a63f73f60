"""A log is continued after its last whole record, whatever a kill left behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pager_ray.errors import StorageError
from pager_ray.train.journal import append_record, mend_log, read_records


@pytest.mark.parametrize("cut", range(len('{"step": 2}')))
def test_a_half_record_at_the_end_is_dropped(tmp_path: Path, cut: int) -> None:
    """Wherever it was cut: what is added next is a record of its own."""
    path = tmp_path / "log.jsonl"
    append_record(path, {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 2}'[:cut])
    assert read_records(path) == [{"step": 1}]
    mend_log(path)
    assert path.read_text() == '{"step": 1}\n'
    append_record(path, {"step": 3})
    assert read_records(path) == [{"step": 1}, {"step": 3}]


def test_a_record_that_lacks_its_end_of_line_alone_is_kept(tmp_path: Path) -> None:
    """It is whole, and gets its end."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    assert read_records(path) == [{"step": 1}, {"step": 2}]
    mend_log(path)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


@pytest.mark.parametrize("line", [b'{"step": 2}{"step"', b"", b"3", b"\xff\x00", b"[" * 100_000])
def test_other_damage_is_named(tmp_path: Path, line: bytes) -> None:
    """With file and line, before anything is added."""
    path = tmp_path / "log.jsonl"
    content = b'{"step": 1}\n' + line + b'\n{"step": 3}\n'
    path.write_bytes(content)
    for use in (read_records, mend_log):
        with pytest.raises(StorageError, match=r"log\.jsonl: its line 2 is no record"):
            use(path)
    assert path.read_bytes() == content


def test_no_log_has_no_records(tmp_path: Path) -> None:
    """Neither reading nor mending makes one."""
    mend_log(tmp_path / "log.jsonl")
    assert read_records(tmp_path / "log.jsonl") == []
    assert not list(tmp_path.iterdir())
