"""Layout: only committed shards count, and clearing touches nothing of anybody else."""

import pytest

from pager_ray.errors import RunMismatchError
from pager_ray.runs import RunLayout
from pager_ray.runs.ledger import record_of
from pager_ray.storage import Folder


@pytest.fixture
def layout(tmp_path):
    layout = RunLayout(Folder(str(tmp_path / "run")))
    layout.make()
    return layout


def test_uncommitted_shards_are_dropped(layout):
    """What a dead writer left is deleted, whole or half written; all else stays, files of others included."""
    done, written, half = (f"0123456789ab-{number:08}-abcdef" for number in range(3))
    for name in (done, written, half, "compacted"):
        layout.results.write(f"{name}.parquet", b"x")
    layout.rejects.write(f"{half}.parquet", b"x")
    layout.rejects.write(f"{done}.parquet", b"x")
    layout.results.write(f"{half}.parquet.0123abcd.tmp", b"x")
    layout.root.write("mine.tmp", b"x")
    layout.ledger.begin(1)
    layout.ledger.commit(1, done[:21], record_of(done, ["a"], [None], "0"))
    assert layout.committed_shards() == {done}
    assert layout.drop_uncommitted({done}) == 2
    assert layout.results.names() == [f"{done}.parquet", "compacted.parquet"]
    assert layout.rejects.names() == [f"{done}.parquet"]
    assert layout.root.names() == ["mine.tmp"]
    assert layout.drop_uncommitted({done}) == 0


@pytest.mark.parametrize("folder", ["results", "rejects", "ledger"])
def test_files_of_others_are_not_taken_over(layout, folder):
    """A new run refuses an output whose folders hold files that no run accounts for, and leaves them alone."""
    layout.check_is_free()
    place = layout.ledger.folder if folder == "ledger" else getattr(layout, folder)
    place.write("mine.parquet", b"x")
    with pytest.raises(RunMismatchError, match=r"holds 1 files \(first: mine\.parquet\)"):
        layout.check_is_free()
    assert place.names() == ["mine.parquet"]


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
