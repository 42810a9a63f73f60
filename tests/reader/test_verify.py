"""Verification: a sound output has no problems, and every kind of damage is named where it is."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.cli import exit_code
from pager_ray.encode import get_codec
from pager_ray.errors import RunNotFoundError
from pager_ray.listing import Listed, listing_digest, write_manifest
from pager_ray.reader.verify import verify_output
from pager_ray.runs import EvaluationLayout
from pager_ray.runs.layout import RUN_FILE
from pager_ray.runs.ledger import record_of
from pager_ray.runs.runfile import begin_start, end_start, new_run_file
from pager_ray.storage import Folder
from pager_ray.validity import Validity
from tests.reader.runs import SmallRun, maps_of

RESTORE = "restore what is damaged or lacking from a copy; what has none is done again by a new run"
IDS = ["a", "b/room 1", "c", "bad"]


def sound(folder: Path, **options: Any) -> SmallRun:
    """A complete run of three predictions and a reject, listed and committed."""
    small = SmallRun(folder, **options)
    listed = [Listed(f"/in/{name}.jpg", name) for name in IDS]
    write_manifest(small.layout.manifest, listed)
    small.manifest["listing"] = {"rows": len(listed), "sha256": listing_digest(listed)}
    small.manifest["config"]["depth"] = {"min": 0.01, "max": 75.0}
    small.write("s1", small.prediction("a"), small.reject("bad"))
    small.write("s2", small.prediction("b/room 1"), small.prediction("c", log_scale=None))
    small.complete()
    return small


def problems_of(small: SmallRun, **options: Any) -> list[tuple[str, str]]:
    return [(item.where, item.what) for item in verify_output(small.folder, **options).problems]


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
@pytest.mark.parametrize(("output_format", "codec"), [("parquet", "exact"), ("parquet", "default"), ("npz", "exact")])
def test_a_sound_run_has_no_problems(tmp_path: Path, projection: str, output_format: str, codec: str) -> None:
    """Every layout and codec of a complete run verifies, every row decoded."""
    small = sound(tmp_path / "run", projection=projection, output_format=output_format, codec=codec)
    found = verify_output(small.folder)
    assert found.problems == []
    assert found.decoded == 3
    assert found.lines()[-1] == "verified: nothing lost, nothing twice"
    assert exit_code(["verify", str(small.folder)]) == 0


def test_what_is_lost_or_twice_is_named(tmp_path: Path) -> None:
    """Missing, duplicated and unlisted ids, and shards without a commit, each by name; the exit code is 1."""
    small = sound(tmp_path / "run")
    (small.folder / "state" / "ledger" / "00000001" / "s1.parquet").unlink()
    small.write("s3", small.prediction("c"), small.prediction("stranger"))
    orphan = "0123456789ab-00000007-a1b2c3"
    small.write(orphan, small.prediction("a"), committed=False)
    problems = dict(problems_of(small))
    assert orphan in problems[str(small.folder / "predictions")]
    assert problems["'a'"].startswith("has no result")
    assert problems["'bad'"].startswith("has no result")
    assert problems["'c'"] == "is stored more than once"
    assert problems["'stranger'"] == "is stored, but was never listed"
    assert exit_code(["verify", str(small.folder)]) == 1


@pytest.mark.parametrize("folder", ["predictions", "rejects"])
def test_files_of_others_among_the_shards_are_named(tmp_path: Path, folder: str) -> None:
    """A copy under another name is rows twice to whoever reads the folder, as pages say to do; hidden files are not."""
    small = sound(tmp_path / "run")
    shard = (small.folder / folder / "s1.parquet").read_bytes()
    for name in ("s1 (1).parquet", ".s1.parquet", "_s1.parquet", "notes.txt"):
        (small.folder / folder / name).write_bytes(shard)
    ((where, what),) = problems_of(small)
    assert where == str(small.folder / folder)
    assert what.startswith("1 Parquet files are none of this run's (first: s1 (1).parquet)")
    assert exit_code(["verify", str(small.folder)]) == 1


def spoilt(name: str, value: float) -> dict[str, bytes]:
    array = maps_of("d")[name].copy()
    array[3, 5] = value
    return {name: get_codec(name, "exact").encode(array)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (spoilt("depth", np.nan), "depth is outside of .* or no number at 1 of 512 pixels"),
        (spoilt("depth", 75 * 1.75 * np.exp(0.5)), "depth is outside of"),
        (spoilt("depth", 0.001), "depth is outside of"),
        (spoilt("sky", 1.5), "sky is outside of 0…1 or no number at 1"),
        (spoilt("normals", 3.0), "normals have another length than 1 or 0 at 1 pixels"),
        ({"depth": b"\0" * 40}, "depth of 'c'"),
    ],
    ids=["nan", "far", "near", "sky", "normals", "damaged"],
)
def test_wrong_numbers_are_named(tmp_path: Path, values: dict[str, bytes], message: str) -> None:
    """A map that cannot be decoded, or holds what no prediction can be, names its row; the others are fine."""
    small = sound(tmp_path / "run")
    small.write("s2", small.prediction("b/room 1"), small.prediction("c", **values))
    [(where, what)] = problems_of(small)
    assert where == "'c'"
    assert re.search(message, what)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Validity(16, 32, 0, 0, 32, 16, mask=np.zeros((16, 32), bool)).to_row(), "has no valid pixel"),
        (Validity(16, 32, 0, 0, 32, 16, 10.0).to_row() | {"mask": b"no picture"}, "mask is no PNG"),
        (Validity(16, 32, 0, 0, 33, 16).to_row(), "which no panorama has"),
    ],
)
def test_wrong_masks_are_named(tmp_path: Path, found: dict[str, Any], message: str) -> None:
    """A row of which nothing is valid, or whose mask is damaged, is a problem under its id; its neighbours are none."""
    small = sound(tmp_path / "run")
    small.write("s2", small.prediction("b/room 1", valid=found), small.prediction("c", log_scale=None))
    ((where, what),) = problems_of(small)
    assert where == "'b/room 1'"
    assert message in what


def test_zero_normals_are_sky(tmp_path: Path) -> None:
    """Vectors of length zero are what filled sky leaves."""
    small = sound(tmp_path / "run")
    small.write("s2", small.prediction("b/room 1"), small.prediction("c", **spoilt("normals", 0.0)))
    assert problems_of(small) == []


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    """A shard that is cut off is named, and nothing is said to be verified."""
    small = sound(tmp_path / "run")
    path = small.folder / "predictions" / "s2.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    problems = dict(problems_of(small))
    assert "s2.parquet: is no readable shard" in problems[str(path)]
    assert "s2.parquet: is no readable shard" in problems["'c'"]
    lines = verify_output(small.folder).lines()
    assert lines[-1] == f"{len(lines) - 3} problems; {RESTORE}"
    assert all(line.startswith("PROBLEM ") and "\n" not in line for line in lines[2:-1])


def test_damaged_scores_are_named(tmp_path: Path) -> None:
    """A shard of an evaluation that cannot be read is a problem like others; the other shards are looked at."""
    layout = EvaluationLayout(Folder(str(tmp_path / "run")))
    layout.make()
    listed = [Listed(f"/in/{name}.jpg", name) for name in "abc"]
    write_manifest(layout.manifest, listed)
    manifest = new_run_file({}, {"job": "evaluate"}, listing={"rows": 3, "sha256": listing_digest(listed)})
    begin_start(manifest)
    end_start(manifest, "complete", "complete", None)
    layout.root.write_json(RUN_FILE, manifest)
    layout.ledger.begin(1)
    for shard, scores in (("s1", {"a": 0.5}), ("s2", {"b": 0.5}), ("s3", {"c": math.nan})):
        sink = io.BytesIO()
        pq.write_table(pa.table({"id": list(scores), "error": list(scores.values())}), sink, use_dictionary=False)
        content = sink.getvalue()
        if shard == "s2":
            # The column alone: the footer and the ids stay as they were.
            column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(1)
            start = column.data_page_offset
            content = content[:start] + bytes([255]) * 8 + content[start + 8 :]
        layout.results.write(f"{shard}.parquet", content)
        record = record_of(shard, scores, [None], hashlib.sha256(content).hexdigest())
        assert layout.ledger.commit(1, shard, record)
    found = verify_output(tmp_path / "run")
    where = str(tmp_path / "run" / "metrics" / "samples" / "s2.parquet")
    problems = {item.where: item.what for item in found.problems}
    assert problems.keys() == {where, "'c'"}
    assert problems[where].startswith(f"{where}: is no readable shard (")
    assert problems["'c'"] == "its error is no number"
    assert found.decoded == 2
    assert (
        found.lines()[-1]
        == "2 problems; restore what is damaged or lacking from a copy; what has none is done again by a new run"
    )


def test_exchanged_and_lost_shards_are_named(tmp_path: Path) -> None:
    """A shard with other bytes or rows than were committed, or none at all, is named with what it should hold."""
    small = sound(tmp_path / "run")
    small.write("s2", small.prediction("b/room 1", depth_p50=9.0), small.prediction("c"), committed=False)
    path = str(small.folder / "predictions" / "s2.parquet")
    assert problems_of(small) == [(path, "is not the file that was committed (its SHA-256 differs)")]
    assert problems_of(small, sample=0.0) == []
    small.write("s2", small.prediction("c"), small.prediction("b/room 1"), committed=False)
    assert (path, "holds other rows than the 2 that were committed (first: 'b/room 1')") in problems_of(small)
    Path(path).unlink()
    assert "does not exist" in dict(problems_of(small, sample=0.0))[path]
    (small.folder / "rejects" / "s1.parquet").unlink()
    rejects = str(small.folder / "rejects" / "s1.parquet")
    assert dict(problems_of(small))[rejects] == "lacks 1 of its 1 rejects (first: 'bad')"


def test_npz_files_that_are_gone_are_named(tmp_path: Path) -> None:
    """A run in npz layout needs its files."""
    small = sound(tmp_path / "run", output_format="npz")
    small.layout.npz("normals").delete(["b%2Froom%201.npz", "b%2Froom 1.npz"])
    [(where, what)] = problems_of(small)
    assert where == "'b/room 1'"
    assert "normals/preds" in what


def test_another_listing_is_named(tmp_path: Path) -> None:
    """A manifest that was exchanged does not pass for the one that the run file has the digest of."""
    small = sound(tmp_path / "run")
    write_manifest(small.layout.manifest, [Listed(f"/other/{name}.jpg", name) for name in IDS])
    assert problems_of(small) == [("state/manifest", "is not the listing that run.json has the digest of")]


def test_damaged_scales_of_sequences_are_named(tmp_path: Path) -> None:
    """Every reader applies them, and can read nothing where they are damaged."""
    small = sound(tmp_path / "run")
    small.layout.scales.make()
    small.layout.scales.write("sequences.parquet", b"no Parquet")
    [(where, what)] = problems_of(small)
    assert where == str(small.layout.root)
    assert "scales/sequences.parquet: cannot be read as scales of sequences" in what
    assert "pager-ray scale" in what


def test_rejects_have_reasons(tmp_path: Path) -> None:
    """A reject without class or message is a problem."""
    small = sound(tmp_path / "run")
    small.write("s1", small.prediction("a"), small.reject("bad") | {"message": None})
    assert problems_of(small) == [("'bad'", "is a reject without a reason")]


def test_previews_are_counted(tmp_path: Path) -> None:
    """Where previews were asked for, every result has one."""
    small = sound(tmp_path / "run")
    small.manifest["config"]["output"]["previews"] = True
    small.save()
    small.layout.previews.write("a.jpg", b"jpeg")
    assert problems_of(small) == [("'b/room 1'", "has no preview"), ("'c'", "has no preview")]


def test_a_sample_is_a_part_and_always_the_same(tmp_path: Path) -> None:
    """A share of the rows is decoded, chosen by id; reconciliation still covers all of them."""
    small = SmallRun(tmp_path / "run")
    names = [f"room{number}" for number in range(40)]
    listed = [Listed(f"/in/{name}.jpg", name) for name in names]
    write_manifest(small.layout.manifest, listed)
    small.manifest["listing"] = {"rows": 40, "sha256": listing_digest(listed)}
    small.write("s1", *(small.prediction(name) for name in names))
    small.complete()
    few, again, none = (verify_output(small.folder, share) for share in (0.25, 0.25, 0.0))
    assert 2 <= few.decoded == again.decoded <= 20
    assert none.decoded == 0
    assert few.reconciliation.predictions == 40
    assert exit_code(["verify", str(small.folder), "--sample", "25%"]) == 0
    assert exit_code(["verify", str(small.folder), "--sample", "0.25"]) == 2


def test_what_was_found_is_written_as_json(tmp_path: Path) -> None:
    """Counts and problems for programs."""
    small = sound(tmp_path / "run")
    small.write("s3", small.prediction("a"))
    assert exit_code(["verify", str(small.folder), "--json", str(tmp_path / "found.json")]) == 1
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["counts"]["duplicated"] == 1
    assert found["problems"] == [{"where": "'a'", "what": "is stored more than once"}]


def test_folders_without_a_job_are_told(tmp_path: Path) -> None:
    """A folder that no job wrote is no output."""
    with pytest.raises(RunNotFoundError, match="holds no run"):
        verify_output(tmp_path)


def test_a_run_that_is_only_incomplete_goes_on(tmp_path: Path) -> None:
    """Inputs without an outcome need the same command again, and no file of the run is to be deleted."""
    small = sound(tmp_path / "run")
    listed = [Listed(f"/in/{name}.jpg", name) for name in [*IDS, "later"]]
    write_manifest(small.layout.manifest, listed)
    small.manifest["listing"] = {"rows": len(listed), "sha256": listing_digest(listed)}
    small.manifest["state"] = "stopped"
    small.save()
    lines = verify_output(small.folder).lines()
    assert lines[-2:] == [
        "PROBLEM 'later': has no result and no reject; run the same command again",
        "1 problem; the run is incomplete: run the same command again",
    ]


def test_a_copy_that_is_not_the_shards_is_a_problem(tmp_path: Path) -> None:
    """Ids of the columnar copy are those of its shards: one that is not is told, with what to do."""
    small = sound(tmp_path / "run")
    gathering = small.layout.ledger.gathering()
    small.layout.ledger.finish(1, small.layout.ledger.standing(gathering), gathering)
    assert problems_of(small) == []
    folder = small.layout.copy.folder
    (name,) = folder.names()
    copied = pq.read_table(folder.join(name))
    ids = pa.array(["else", *copied.column("id").to_pylist()[1:]])
    pq.write_table(copied.set_column(copied.schema.get_field_index("id"), "id", ids), folder.join(name))
    assert problems_of(small) == [
        (str(folder), "has other rows than its shards; delete it, and the shards are read themselves")
    ]
