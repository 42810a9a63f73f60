"""Layout: only committed shards count, and clearing touches nothing of anybody else."""

import pytest

from pager_ray.errors import RunMismatchError
from pager_ray.listing import Listed, manifest, write_manifest
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
    assert layout.drop_uncommitted(layout.ledger.standing().shards()) == 2
    assert layout.results.names() == [f"{done}.parquet", "compacted.parquet"]
    assert layout.rejects.names() == [f"{done}.parquet"]
    assert layout.root.names() == ["mine.tmp"]
    assert layout.drop_uncommitted(layout.ledger.standing().shards()) == 0


@pytest.mark.parametrize("folder", ["results", "rejects", "ledger"])
def test_files_of_others_are_not_taken_over(layout, folder):
    """A new run refuses an output whose folders hold files that no run accounts for, and leaves them alone."""
    layout.check_is_free()
    place = layout.ledger.folder if folder == "ledger" else getattr(layout, folder)
    place.write("mine.parquet", b"x")
    with pytest.raises(RunMismatchError, match=r"holds 1 files \(first: mine\.parquet\)"):
        layout.check_is_free()
    assert place.names() == ["mine.parquet"]


def test_clear_leaves_foreign_files(layout, monkeypatch):
    """Clearing a run deletes what runs write and nothing else in the folder."""
    layout.root.write_json("run.json", {"config": {"output": {"previews": True, "format": "npz"}}})
    layout.root.write("notes.txt", b"mine")
    monkeypatch.setattr(manifest, "FILE_ROWS", 1)
    write_manifest(layout.manifest, [Listed("/in/a.jpg", "a"), Listed("/in/b.jpg", "b")])
    assert len(layout.manifest.names()) == 2
    layout.manifest.write("manifest-mine.parquet", b"mine")
    for folder in (layout.results, layout.rejects, layout.previews, layout.npz("depth"), layout.root / "gallery"):
        folder.write("notes.txt", b"mine")
        folder.write("index.html", b"mine")
    layout.npz("depth").write("a.npz", b"x")
    layout.npz("depth").write("mine.npz", b"mine")
    layout.previews.write("a.jpg", b"x")
    layout.results.write("0123456789ab-00000000-abcdef.parquet", b"x")
    layout.results.write("0123456789ab-00000000-abcdef.parquet.0123abcd.tmp", b"x")
    layout.results.write("mine.parquet", b"mine")
    layout.ledger.begin(1)
    layout.clear()
    assert layout.root.names() == ["notes.txt"]
    assert layout.npz("depth").names() == ["index.html", "mine.npz", "notes.txt"]
    assert layout.results.names() == ["index.html", "mine.parquet", "notes.txt"]
    assert layout.previews.names() == ["index.html", "notes.txt"]
    assert (layout.root / "gallery").names() == ["index.html", "notes.txt"]
    assert layout.ledger.folder.names() == []
    assert layout.manifest.names() == ["manifest-mine.parquet"]
