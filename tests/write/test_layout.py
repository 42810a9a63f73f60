"""Layout: only committed shards count, and clearing touches nothing of anybody else."""

import pytest

from pager_ray.errors import RunMismatchError
from pager_ray.storage import Folder
from pager_ray.write import RunLayout


@pytest.fixture
def layout(tmp_path):
    layout = RunLayout(Folder(str(tmp_path / "run")))
    layout.make()
    return layout


def test_uncommitted_shards_are_dropped(layout):
    """What a dead writer left is deleted with its record, in every state it can die in; all else stays."""
    done, written, half, before = (f"0123456789ab-{number:08}" for number in range(4))
    for name in (done, written, half, "compacted"):
        layout.results.write(f"{name}.parquet", b"x")
    layout.rejects.write(f"{half}.parquet", b"x")
    layout.rejects.write(f"{done}.parquet", b"x")
    layout.committed.write(f"{done}.parquet", b"ids")
    layout.committed.write(f"{written}.pending.parquet", b"ids")
    layout.committed.write(f"{before}.pending.parquet", b"ids")
    assert layout.committed_shards() == {done}
    assert layout.drop_uncommitted() == 2
    assert layout.results.names() == [f"{done}.parquet", "compacted.parquet"]
    assert layout.rejects.names() == [f"{done}.parquet"]
    assert layout.committed.names() == [f"{done}.parquet"]
    assert layout.drop_uncommitted() == 0


@pytest.mark.parametrize("folder", ["results", "rejects", "committed"])
def test_files_of_others_are_not_taken_over(layout, folder):
    """A new run refuses an output whose folders hold files that no run accounts for, and leaves them alone."""
    layout.check_is_free()
    getattr(layout, folder).write("mine.parquet", b"x")
    with pytest.raises(RunMismatchError, match=r"holds 1 files \(first: mine\.parquet\)"):
        layout.check_is_free()
    assert getattr(layout, folder).names() == ["mine.parquet"]


def test_clear_leaves_foreign_files(layout):
    """Clearing a run deletes what runs write and nothing else in the folder."""
    layout.root.write("run.json", b"{}")
    layout.root.write("notes.txt", b"mine")
    layout.npz("depth").write("a.npz", b"x")
    layout.results.write("a.parquet", b"x")
    layout.clear()
    assert layout.root.names() == ["notes.txt"]
    assert not layout.npz("depth").exists("a.npz")
    assert not layout.results.exists("a.parquet")
