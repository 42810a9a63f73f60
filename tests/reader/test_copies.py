"""A copied run reads in full, or says in one line what did not come along: it is never an empty success."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.config.schema import ErrorsConfig
from pager_ray.errors import StorageError
from pager_ray.listing import Listed
from pager_ray.reader.verify import verify_output
from pager_ray.runs import RunLayout
from pager_ray.runs.claim import claim_output
from pager_ray.runs.runfile import end_start
from pager_ray.storage import Folder
from tests.reader.runs import SmallRun
from tests.reader.test_verify import sound

TOLD = "tells of 4 outcomes, its state/ledger of 0: the proof of what counts did not come along"


@pytest.fixture
def run(tmp_path: Path) -> SmallRun:
    """A closed run of three predictions and a reject, its counts in the run file."""
    small = sound(tmp_path / "run")
    small.layout.ledger.finish(1, small.layout.ledger.read())
    end_start(small.manifest, "complete", "complete", {"inputs": 4, "predictions": 3, "rejects": 1, "missing": 0})
    small.manifest["identity"] = {"listing.sha256": small.manifest["listing"]["sha256"]}
    small.save()
    return small


@pytest.mark.parametrize("lost", ["state", "state/ledger"])
def test_without_its_ledger_a_copy_is_refused_by_all(
    run: SmallRun, lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Readers, commands and the job itself say the same line, and what is there stays there."""
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    shutil.rmtree(copy / lost)
    with pytest.raises(StorageError, match=TOLD):
        pager_ray.open_run(copy)
    for command in (["status"], ["gallery"], ["export", "--to", "npz", "--local"]):
        assert exit_code([command[0], *command[1:], str(copy)]) == 1
        said = capsys.readouterr()
        assert TOLD in said.err
        assert said.err.count("\n") == 1
    shards = sorted(path.name for path in (copy / "predictions").iterdir())
    if lost == "state/ledger":
        assert any(TOLD in problem.what for problem in verify_output(copy).problems)
        assert "--overwrite" not in " ".join(verify_output(copy).lines())
        with pytest.raises(StorageError, match=TOLD):
            claim_output(
                RunLayout(Folder(str(copy))),
                [Listed(f"/in/{name}.jpg", name) for name in ("a", "b/room 1", "c", "bad")],
                config={},
                identity={},
                sections={},
                errors=ErrorsConfig(),
                overwrite=False,
            )
    assert sorted(path.name for path in (copy / "predictions").iterdir()) == shards


def test_behind_links_a_run_reads_in_full(run: SmallRun, tmp_path: Path) -> None:
    """A cache that keeps files elsewhere and links to them, as the Hub's snapshots do, is a run like any other."""
    blobs, copy = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    for number, path in enumerate(path for path in sorted(Path(run.folder).rglob("*")) if path.is_file()):
        link = copy / path.relative_to(run.folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blobs / str(number))
        os.symlink(os.path.relpath(blobs / str(number), link.parent), link)
    linked, there = pager_ray.open_run(copy), pager_ray.open_run(run.folder)
    assert linked.ids() == there.ids()
    assert len(linked) == 3
    assert linked.table().equals(there.table())
    np.testing.assert_array_equal(linked["c"].depth, there["c"].depth)
    assert linked.rejects().num_rows == 1
    assert verify_output(copy).problems == []
