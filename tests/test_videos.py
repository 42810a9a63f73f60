"""A walk gives the same as a folder and as a video: ids, order, times and, within the codec's loss, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import pager_ray
from pager_ray.config import RunConfig, load_config
from pager_ray.here import run_here
from pager_ray.infer import FacePrediction, Predictor
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.reader import Run
from pager_ray.reader.picture import source_picture
from pager_ray.reader.verify import verify_output
from pager_ray.runs.growing import Growing
from pager_ray.stages.settings import inference_settings
from tests.walk import RATE, walk

pytestmark = pytest.mark.usefixtures("networks_once")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_random_checkpoint(folder, "tiny")
    return folder


def config_of(source: Path, output: Path, checkpoint: Path, **more: object) -> RunConfig:
    given = {"input.uris": source, "output.uri": output, "checkpoint": checkpoint, "scene_mode": "indoor"}
    given |= {"compute.gpus_per_worker": 0, "compute.threads_per_worker": 1, "output.projection": "cubemap", **more}
    return load_config(None, [f"{key}={value}" for key, value in given.items()])


class Dying:
    """A predictor whose process dies at its n-th panorama; counts all."""

    def __init__(self, config: RunConfig, dies_at: int | None = None) -> None:
        self._predict = Predictor(load_model(config.checkpoint), inference_settings(config))
        self.calls, self._dies_at = 0, dies_at

    def __call__(self, faces: np.ndarray, scenes: Sequence[str | None], valid: object = None) -> list[FacePrediction]:
        self.calls += 1
        if self.calls == self._dies_at:
            raise KeyboardInterrupt
        return self._predict(faces, scenes)


def run(config: RunConfig) -> Run:
    result = run_here(config, resolve_checkpoint(config.checkpoint), Dying(config))
    assert result.predictions == result.inputs
    return pager_ray.open_run(config.output.uri)


def test_a_folder_and_videos_give_the_same(checkpoint: Path, tmp_path: Path) -> None:
    """Of one walk: ids, sequence and times exactly, depth far closer than two frames are to each other."""
    one, count = walk(count=12), 12
    folder = run(config_of(one.write_folder(tmp_path / "folder"), tmp_path / "a", checkpoint))
    assert len(folder) == count
    names = ["id", "sequence", "time", "width", "height"]
    expected = folder.table(names).sort_by("id")
    assert expected.column("time").to_pylist() == pytest.approx([number / RATE for number in range(count)])
    for metadata in ("v1", "v2"):
        video = one.write_video(tmp_path / metadata / "walk.mp4", metadata)
        found = run(config_of(video, tmp_path / f"out-{metadata}", checkpoint, **{"input.video.every": 1}))
        table = found.table(names).sort_by("id")
        assert table.drop_columns("time").equals(expected.drop_columns("time"))
        assert table.column("time").to_pylist() == pytest.approx(expected.column("time").to_pylist())
        loss, step = [], []
        ids = expected.column("id").to_pylist()
        for number in range(0, count - 2, 3):
            here, there, later = folder[ids[number]].depth, found[ids[number]].depth, folder[ids[number + 2]].depth
            assert here is not None
            loss.append(np.median(np.abs(np.log(there / here))))
            step.append(np.median(np.abs(np.log(later / here))))
        assert np.mean(loss) < 0.3 * np.mean(step)
        assert not verify_output(str(tmp_path / f"out-{metadata}")).problems


def test_a_killed_job_goes_on_with_the_frame(checkpoint: Path, tmp_path: Path) -> None:
    """What is committed is not done again, and the rest is the same to the last bit as without a death."""
    video = walk(count=12).write_video(tmp_path / "walk.mp4", "v2")
    more = {"input.video.every": 2}
    whole = run(config_of(video, tmp_path / "whole", checkpoint, **more))
    config = config_of(video, tmp_path / "killed", checkpoint, **more)
    with pytest.raises(KeyboardInterrupt):
        run_here(config, resolve_checkpoint(config.checkpoint), Dying(config, dies_at=4))
    again = Dying(config)
    result = run_here(config, resolve_checkpoint(config.checkpoint), again)
    assert (result.predictions, again.calls) == (6, 3)
    killed = pager_ray.open_run(config.output.uri)
    assert killed.table().sort_by("id").equals(whole.table().sort_by("id"))
    for id in whole.ids():
        assert np.array_equal(killed[id].depth, whole[id].depth)


def test_the_picture_is_found_again(checkpoint: Path, tmp_path: Path) -> None:
    """For exports: from the run's own word, with what its user said of the video."""
    one = walk(count=4)
    video = one.write_video(tmp_path / "walk.mp4", "none")
    more = {"input.video.every": 2, "input.video.projection": "equirectangular"}
    found = run(config_of(video, tmp_path / "out", checkpoint, **more))
    assert sorted(found.ids()) == ["walk/000000", "walk/000002"]
    prediction = found["walk/000002"]
    picture = source_picture(prediction, str(tmp_path))
    assert np.abs(picture.astype(int) - one.pictures[2]).mean() < 6


def test_a_video_that_is_damaged_has_its_beginning(checkpoint: Path, tmp_path: Path) -> None:
    """Every frame that was listed is a prediction or a reject that names it."""
    one = walk(count=20)
    video = one.write_video(tmp_path / "walk.mp4", "v2")
    content = bytearray(video.read_bytes())
    begin = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[(begin + end) // 2 : end] = bytes(end - (begin + end) // 2)
    video.write_bytes(bytes(content))
    config = config_of(video, tmp_path / "out", checkpoint, **{"input.video.every": 2})
    result = run_here(config, resolve_checkpoint(config.checkpoint), Dying(config))
    assert result.inputs == 10 == result.predictions + result.rejects
    assert result.predictions >= 3
    rejects = pager_ray.open_run(config.output.uri).rejects().to_pylist()
    assert {row["error_class"] for row in rejects} == {"corrupt_container"}
    assert all("walk.mp4" in row["message"] for row in rejects)


def test_a_collection_of_videos_grows(checkpoint: Path, tmp_path: Path) -> None:
    """What is new is done, another video or more frames of one; what stands is not done again."""
    one = walk(count=12)
    one.write_video(tmp_path / "in" / "a.mp4", "v2")
    first = config_of(tmp_path / "in", tmp_path / "out", checkpoint, **{"input.video.every": 6})
    assert sorted(run(first).ids()) == ["a/000000", "a/000006"]
    one.write_video(tmp_path / "in" / "b.mp4", "v1")
    for every, expected in ((6, 2), (3, 4)):
        config = config_of(tmp_path / "in", tmp_path / "out", checkpoint, **{"input.video.every": every})
        predict = Dying(config)
        run_here(config, resolve_checkpoint(config.checkpoint), predict, growing=Growing(False))
        assert predict.calls == expected
    found = pager_ray.open_run(tmp_path / "out")
    assert sorted(found.ids()) == [f"{name}/{number:06}" for name in "ab" for number in (0, 3, 6, 9)]
    assert {*found.table(["sequence"]).column(0).to_pylist()} == {"a", "b"}


def test_frames_may_be_listed_one_by_one(checkpoint: Path, tmp_path: Path) -> None:
    """By somebody who knows more of them, such as where the camera stood."""
    one = walk(count=4)
    video = one.write_video(tmp_path / "walk.mp4", "v1")
    lines = ["uri,id,sequence,time,x", *(f"video://{k:06}::{video},f{k},mine,{k},{k / 2}" for k in (3, 1))]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    more = {"input.keep_columns": "[x, sequence]"}
    found = run(config_of(tmp_path / "list.csv", tmp_path / "out", checkpoint, **more))
    rows = found.table(["id", "sequence", "time", "x"]).sort_by("id").to_pylist()
    assert rows == [
        {"id": "f1", "sequence": "mine", "time": 1.0, "x": 0.5},
        {"id": "f3", "sequence": "mine", "time": 3.0, "x": 1.5},
    ]
