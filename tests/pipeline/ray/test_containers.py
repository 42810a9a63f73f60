"""Pictures in containers: the same predictions as from files, to the byte."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest

import pager_ray
from pager_ray.config import load_config
from pager_ray.listing import list_inputs
from pager_ray.listing.containers import FEW, SourceOptions
from pager_ray.pipeline.indexing import index_on_cluster
from pager_ray.pipeline.job import run_job
from pager_ray.reader.verify import verify_output
from pager_ray.samples import write_samples
from tests.read import movies
from tests.read.packed import FORMS, pack, write_tar
from tests.walk import walk

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROWS = 8


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small panoramas by id."""
    listing = Path(write_samples(tmp_path_factory.mktemp("panoramas"), ROWS, height=64, ground_truth=False))
    return {path.stem: path.read_bytes() for path in sorted(listing.parent.glob("*.jpg"))}


def test_every_form_gives_the_same_predictions(pictures: dict[str, bytes], tiny_unified: Path, tmp_path: Path) -> None:
    """Files, tars, zips, Parquet files and those of the Hub: one prediction each, equal to the byte."""
    for form in FORMS:
        pack(form, tmp_path / form, pictures, suffix="jpg")
    settings = [f"input.uris={tmp_path / form}" for form in FORMS]
    settings += [f"output.uri={tmp_path / 'run'}", f"checkpoint={tiny_unified}", "compute.gpus_per_worker=0"]
    settings += ["scene_mode=indoor", "output.size=32x64", "output.rows_per_shard=4"]
    assert run_job(load_config(None, settings)).exit_code == 0
    verified = verify_output(tmp_path / "run")
    assert not verified.problems, verified.lines()
    run = pager_ray.open_run(tmp_path / "run")
    assert len(run) == len(FORMS) * ROWS
    by_picture = defaultdict(list)
    for file in run.files():
        for row in pq.read_table(file, columns=["digest", "depth", "normals", "sky"]).to_pylist():
            by_picture[row["digest"]].append(tuple(row.values()))
    assert len(by_picture) == ROWS
    assert all(len(maps) == len(FORMS) and len(set(maps)) == 1 for maps in by_picture.values())


def test_many_containers_are_listed_on_the_cluster(tmp_path: Path) -> None:
    """The same listing as by threads, in the same order, with its rejects."""
    for number in range(FEW + 3):
        write_tar(tmp_path / f"{number:03}.tar", [(f"{number}.jpg", bytes([number])), (f"{number}.b.png", b"2")])
    (tmp_path / "004.tar").write_bytes(b"no tar" * 100)
    by_threads = list_inputs([str(tmp_path)])
    with ExitStack() as kept:
        options = SourceOptions(index=index_on_cluster(None, kept))
        on_cluster = list_inputs([str(tmp_path)], options=options)
    assert on_cluster.table == by_threads.table
    assert [row.error_class for row in on_cluster if row.error_class] == ["corrupt_container"]


def test_frames_of_videos_are_rows_like_any_other(tiny_unified: Path, tmp_path: Path) -> None:
    """Each is one prediction or one reject that names it, in a job with pictures of Parquet files beside them."""
    one = walk(count=12)
    one.write_video(tmp_path / "in" / "a.mp4", "v2")
    damaged = one.write_video(tmp_path / "in" / "b.mp4", "v1")
    content = damaged.read_bytes()
    begin, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    damaged.write_bytes(content[:begin] + bytes(end - begin) + content[end:])
    movies.write_video(tmp_path / "in" / "c.mp4", one.pictures[:2], metadata=None)
    pack("parquet", tmp_path / "in", {"p": cv2.imencode(".png", one.pictures[0])[1].tobytes()}, shards=1)
    settings = [f"input.uris={tmp_path / 'in'}", f"output.uri={tmp_path / 'run'}", f"checkpoint={tiny_unified}"]
    settings += ["compute.gpus_per_worker=0", "scene_mode=indoor", "output.size=32x64", "output.rows_per_shard=4"]
    settings += ["input.video.every=2", "scale.sequence=robust"]
    summary = run_job(load_config(None, settings))
    assert summary.exit_code == 3
    assert "in 1 sequence of 6 frames" in "\n".join(summary.lines())
    assert not verify_output(tmp_path / "run").problems
    run = pager_ray.open_run(tmp_path / "run")
    assert sorted(run.ids()) == [*(f"a/{number:06}" for number in range(0, 12, 2)), "p"]
    rejects = {row["id"]: row["error_class"] for row in run.rejects().to_pylist()}
    assert rejects == {"c": "not_spherical", **{f"b/{k:06}": "corrupt_container" for k in range(0, 12, 2)}}
