"""A video is listed from its index alone: each frame that is taken once, by its number, with the time it is shown."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pager_ray.read.containers import Container, IndexSettings, Members, index_container, videos
from pager_ray.read.containers.movies import Track, read_track
from pager_ray.read.containers.spherical import Sphere
from pager_ray.read.ranges import Ranged, look_at
from pager_ray.retrying import Retry
from pager_ray.schemes import open_place
from tests.read import movies

SHAPE = (64, 128, 3)


def pictures(count: int, shape: tuple[int, int, int] = SHAPE) -> list[np.ndarray]:
    """Greys that tell a frame's number."""
    return [np.full(shape, 20 + 3 * number, np.uint8) for number in range(count)]


def index(path: Path, **settings: Any) -> Members:
    return index_container(Container(str(path), "video"), IndexSettings(retry=Retry(0), **settings))


def opened(path: Path) -> Ranged:
    filesystem, place = open_place(str(path), "input")
    return Ranged(filesystem, place, look_at(filesystem, place).size, Retry(0))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 30 frames, with a key frame each 12."""
    return movies.write_video(tmp_path_factory.mktemp("video") / "walk.mp4", pictures(60))


def test_frames_are_listed_in_the_order_they_are_shown(video: Path) -> None:
    """Whatever the order that they are coded in; those between two key frames are of one group."""
    found = index(video, every=1)
    assert found.problem is None
    assert found.form == "video"
    rows = found.table.to_pylist()
    assert [row["name"] for row in rows] == [f"{number:06}" for number in range(60)]
    assert [row["time"] for row in rows] == pytest.approx([number / 30 for number in range(60)])
    assert [row["row_group"] for row in rows] == [number // 12 for number in range(60)]
    assert sorted({row["offset"] for row in rows}) == [row["offset"] for row in rows]


def test_the_index_alone_is_read(tmp_path: Path) -> None:
    """Of a file whose frames are hundreds of kilobytes."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 128, 256, 3), np.uint8)
    path = movies.write_video(tmp_path / "x.mp4", list(noise), crf="1")
    file = opened(path)
    assert len(read_track(file).shown) == 40
    assert file.fetched < path.stat().st_size / 20


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({}, [0, 30, 59]),
        ({"fps": 2.0}, [0, 15, 30, 45, 59]),
        ({"fps": 1000.0}, range(60)),
        ({"fps": 30.0}, range(60)),
        ({"every": 25}, [0, 25, 50]),
        ({"every": 1000}, [0]),
    ],
    ids=str,
)
def test_frames_are_chosen_by_rate_or_number(video: Path, settings: dict[str, Any], numbers: Any) -> None:
    """One a second where nobody says; never one twice; what is left out is told."""
    found = index(video, **settings)
    assert found.table.column("row").to_pylist() == [*numbers]
    assert found.left_out.total() == 60 - len(numbers)


def test_the_nearest_frame_is_taken_where_the_rate_varies() -> None:
    """Gaps have none, and no frame is taken for two places."""
    shown = np.array([0, 400, 900, 1100, 3000, 3100, 7000])
    track = Track(1, 128, 64, 1000, shown, np.ones(7, dtype=bool), None)
    assert videos.choose(track, 1.0, None).numbers.tolist() == [0, 2, 4, 6]


def test_long_groups_are_parted() -> None:
    """What a task holds is bounded, however far apart key frames are."""
    shown = np.arange(200)
    track = Track(1, 128, 64, 30, shown, shown % 150 == 0, None)
    groups = videos.choose(track, None, 1).groups
    assert [int((groups == group).sum()) for group in np.unique(groups)] == [64, 64, 22, 50]


def test_time_begins_with_the_first_picture(tmp_path: Path) -> None:
    """And goes on as the file says, at whatever rate."""
    times = [0, 100, 150, 400, 1000]
    path = movies.write_video(tmp_path / "x.mp4", pictures(5), times=times)
    assert index(path, every=1).table.column("time").to_pylist() == pytest.approx([time / 1000 for time in times])


@pytest.mark.parametrize("stereo", ["mono", "top-bottom", "left-right"])
@pytest.mark.parametrize("metadata", ["v1", "v2"])
def test_both_kinds_of_metadata_are_understood(tmp_path: Path, metadata: str, stereo: str) -> None:
    """The same video says the same."""
    path = movies.write_video(tmp_path / "x.mp4", pictures(2), metadata=metadata, stereo=stereo)
    assert read_track(opened(path)).sphere == Sphere("equirectangular", stereo)  # type: ignore[arg-type]


def test_the_boxes_count_where_both_stand(tmp_path: Path) -> None:
    """As their specification says."""
    path = movies.write_video(tmp_path / "x.mp4", pictures(2), stereo="top-bottom")
    movies.put_in(path, [b"moov", b"trak"], movies.v1("left-right"))
    assert read_track(opened(path)).sphere == Sphere(stereo="top-bottom")


def test_what_a_frame_lacks_of_the_sphere_becomes_gpano(tmp_path: Path) -> None:
    """Half a sphere, as VR180 has it, in V2's shares and in V1's pixels."""
    sphere = Sphere(bounds=(0.0, 0.0, 0.25, 0.25))
    numbers = sphere.gpano(100, 100)
    assert numbers["FullPanoWidthPixels"] == "200"
    assert numbers["CroppedAreaLeftPixels"] == "50"
    path = movies.write_video(tmp_path / "x.mp4", pictures(2, (64, 64, 3)), metadata=None)
    movies.put_in(path, [b"moov", b"trak"], movies.v1(**(dict.fromkeys(numbers, 64) | {"FullPanoWidthPixels": 128})))
    found = read_track(opened(path)).sphere
    assert found is not None
    assert found.gpano(64, 64)["FullPanoWidthPixels"] == "128"
    assert Sphere().gpano(128, 64) == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (movies.v2(projection=b"cbmp"), "its projection is cubemap"),
        (movies.v2(projection=b"mshp"), "its projection is mesh"),
        (movies.v2(projection=b"what"), "no projection that is known"),
        (movies.v2(stereo="of three"), "its stereo mode is 9"),
        (movies.v2(bounds=(0.5, 0.6, 0, 0)), "leave nothing of the sphere"),
    ],
)
def test_other_spheres_are_refused_by_name(tmp_path: Path, more: bytes, said: str) -> None:
    """One line, of a class of its own."""
    path = movies.write_video(tmp_path / "x.mp4", pictures(2), metadata=None)
    movies.put_in(path, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"], more)
    found = index(path)
    assert found.problem is not None
    assert said in found.problem
    assert found.problem_class == "not_spherical"


def test_without_metadata_the_user_has_to_say(tmp_path: Path) -> None:
    """A dual fisheye is 2:1 as well: nothing is guessed."""
    path = movies.write_video(tmp_path / "x.mp4", pictures(2), metadata=None)
    found = index(path)
    assert found.table.num_rows == 0
    assert "input.video.projection=equirectangular" in str(found.problem)
    assert found.problem_class == "not_spherical"
    assert index(path, projection="equirectangular", every=1).table.num_rows == 2


def test_a_second_eye_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, by the file's name."""
    path = movies.write_video(tmp_path / "two.mp4", pictures(2, (128, 128, 3)), stereo="top-bottom")
    with caplog.at_level(logging.INFO):
        index(path)
    assert "two.mp4 holds two eyes (top-bottom); the left one is taken" in caplog.text


def test_a_missing_extra_is_one_line(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to install it."""
    monkeypatch.setattr(videos, "is_available", lambda: False)
    found = index(video)
    assert "pip install 'pager_ray[video]'" in str(found.problem)
    assert found.problem_class == "unsupported_format"


def test_large_frames_are_refused_before_they_are_decoded(video: Path) -> None:
    """By what the index says."""
    found = index(video, max_pixels=8000)
    assert found.problem_class == "too_large"


def test_damage_is_one_line(video: Path, tmp_path: Path) -> None:
    """Cut anywhere, or with any byte turned over, a file is listed or says why it is not: never anything else."""
    content = video.read_bytes()
    path = tmp_path / "x.mp4"
    for end in (0, 7, 40, len(content) // 2, len(content) - 100):
        path.write_bytes(content[:end])
        found = index(path)
        assert found.problem is not None
        assert found.problem_class in ("corrupt_container", "not_spherical")
    random, begin = np.random.default_rng(7), content.index(b"moov") - 4
    for _ in range(200):
        damaged = bytearray(content)
        for place in random.integers(begin, len(content), 4):
            damaged[place] = random.integers(256)
        path.write_bytes(bytes(damaged))
        found = index(path, every=1)
        assert found.problem is None or " ".join(found.problem.split()) == found.problem


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty; fetch it again"),
        (b"<html>not found</html>", "is no MP4 or QuickTime file (it starts with b'<html>not found<'); fetch it again"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "is no MP4 or QuickTime file (it starts with"),
    ],
)
def test_what_is_no_video_is_called_that(tmp_path: Path, content: bytes, told: str) -> None:
    """By what it is, not by what it lacks."""
    (tmp_path / "x.mp4").write_bytes(content)
    assert told in str(index(tmp_path / "x.mp4").problem)


def test_fragments_are_told(tmp_path: Path) -> None:
    """Their index is all over the file."""
    import av

    path = tmp_path / "x.mp4"
    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for picture in pictures(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert "is fragmented" in str(index(path).problem)
