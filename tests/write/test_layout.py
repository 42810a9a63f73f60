"""Layout: only committed shards count, and clearing touches nothing of anybody else."""

import pytest

from pager_ray.storage import Folder
from pager_ray.write import RunLayout


@pytest.fixture
def layout(tmp_path):
    layout = RunLayout(Folder(str(tmp_path / "run")))
    layout.make()
    return layout


def test_uncommitted_shards_are_dropped(layout):
    """What a dead writer left is deleted with its record, in every state it can die in; committed shards stay."""
    for name in ("done", "written", "half"):
        layout.predictions.write(f"{name}.parquet", b"x")
    layout.rejects.write("half.parquet", b"x")
    layout.rejects.write("done.parquet", b"x")
    layout.committed.write("done.parquet", b"ids")
    layout.committed.write("written.pending.parquet", b"ids")
    layout.committed.write("before.pending.parquet", b"ids")
    assert layout.committed_shards() == {"done"}
    assert layout.drop_uncommitted() == 2
    assert layout.predictions.names() == ["done.parquet"]
    assert layout.rejects.names() == ["done.parquet"]
    assert layout.committed.names() == ["done.parquet"]
    assert layout.drop_uncommitted() == 0


def test_clear_leaves_foreign_files(layout):
    """Clearing a run deletes what runs write and nothing else in the folder."""
    layout.root.write("run.json", b"{}")
    layout.root.write("notes.txt", b"mine")
    layout.npz("depth").write("a.npz", b"x")
    layout.predictions.write("a.parquet", b"x")
    layout.clear()
    assert layout.root.names() == ["notes.txt"]
    assert not layout.npz("depth").exists("a.npz")
    assert not layout.predictions.exists("a.parquet")
