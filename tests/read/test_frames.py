"""A frame is the picture that was encoded, whatever was asked before, and decoded once where they come in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import pytest

from pager_ray.errors import InputError
from pager_ray.listing import Listing, list_inputs
from pager_ray.listing.containers import SourceOptions
from pager_ray.read import frames, ranges
from pager_ray.read.containers import IndexSettings, Place
from pager_ray.read.content import decode_content, digest_of
from pager_ray.read.fetch import fetch, fetch_content
from pager_ray.read.panorama import DecodedPanorama
from pager_ray.retrying import Retry
from tests.read import movies
from tests.read.containers.test_videos import SHAPE, pictures


def listed(path: Path, **settings: Any) -> Listing:
    options = SourceOptions(settings=IndexSettings(**{"every": 1, **settings}))
    return list_inputs([str(path)], Retry(0), options=options)


def decoded(uri: str, shown: int | None = None, **settings: Any) -> DecodedPanorama:
    panorama = decode_content(fetch_content(uri, Retry(0), place=Place(shown)), **settings)
    assert isinstance(panorama, DecodedPanorama)
    return panorama


def outcome(uri: str, shown: int | None) -> str:
    """The class of what a frame is rejected for; nothing where it is there."""
    try:
        fetch_content(uri, Retry(0), place=Place(shown))
    except InputError as error:
        return error.error_class if str(error).startswith(uri) else f"nameless: {error}"
    return ""


def grey(panorama: DecodedPanorama) -> float:
    return float(panorama.erp.mean())


@pytest.fixture(autouse=True)
def released() -> Any:
    yield
    frames.HELD_VIDEO.release()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return movies.write_video(tmp_path_factory.mktemp("video") / "walk.mp4", pictures(40))


def test_in_order_nothing_is_searched(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One search for the first frame; each comes out once."""
    searches = []
    search = frames.Decoder._seek
    monkeypatch.setattr(frames.Decoder, "_seek", lambda self, ticks: searches.append(ticks) or search(self, ticks))
    rows = [*listed(video)]
    for number, row in enumerate(rows):
        assert grey(decoded(row.uri, row.offset)) == pytest.approx(20 + 3 * number, abs=2)
    assert len(searches) == 1


def test_any_frame_can_be_asked_for(video: Path) -> None:
    """In any order, with its time or by its number alone: what a resumed job does."""
    rows = [*listed(video)]
    for number in np.random.default_rng(0).permutation(40):
        shown = rows[number].offset if number % 2 else None
        assert grey(decoded(rows[number].uri, shown)) == pytest.approx(20 + 3 * number, abs=2)


@pytest.mark.parametrize(("codec", "options"), [("libx265", {"x265-params": "open-gop=1:bframes=4:log-level=none"})])
def test_open_groups_are_searched_from_before(tmp_path: Path, codec: str, options: dict[str, str]) -> None:
    """Frames that are shown before their key frame need the one before that."""
    path = movies.write_video(tmp_path / "x.mp4", pictures(40), codec=codec, gop=10, **options)
    rows = [*listed(path)]
    for number in (9, 19, 8, 29, 18, 0, 39):
        assert grey(decoded(rows[number].uri)) == pytest.approx(20 + 3 * number, abs=3)


def test_the_left_eye_is_taken_and_told(tmp_path: Path) -> None:
    """Whatever the file or the user says, the other eye's picture is nowhere in it."""
    up, down = np.full(SHAPE, 200, np.uint8), np.full(SHAPE, 50, np.uint8)
    for stereo, axis, remark in (
        ("top-bottom", 0, "left_eye_of_top_bottom"),
        ("left-right", 1, "left_eye_of_left_right"),
    ):
        picture = np.concatenate([up, down], axis)
        path = movies.write_video(tmp_path / "x.mp4", [picture] * 3, stereo=stereo)
        panorama = decoded(listed(path)[1].uri)
        assert panorama.erp.shape == SHAPE
        assert abs(int(panorama.erp.min()) - 200) <= 3
        assert panorama.remarks == (remark,)
        movies.write_video(path, [picture] * 3, metadata=None)
        frames.HELD_VIDEO.release()
        row = listed(path, projection="equirectangular", stereo=stereo)[1]
        told = decoded(row.uri, video={"projection": "equirectangular", "stereo": stereo})
        assert np.array_equal(told.erp, panorama.erp)
        frames.HELD_VIDEO.release()


def test_part_of_a_sphere_is_placed(tmp_path: Path) -> None:
    """Half of it: the rest is black, and no part of what counts."""
    path = movies.write_video(tmp_path / "x.mp4", [np.full((64, 64, 3), 200, np.uint8)] * 2, metadata=None)
    where = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"]
    movies.put_in(path, where, movies.v2(bounds=(0, 0, 0.25, 0.25)))
    panorama = decoded(listed(path)[0].uri)
    assert panorama.coverage == pytest.approx(0.5)
    assert panorama.erp.shape == (64, 128, 3)
    assert panorama.erp[:, :32].max() == 0
    assert panorama.erp[:, 32:96].min() > 190


def test_ordinary_video_is_no_panorama(tmp_path: Path) -> None:
    """16:9 says so with its numbers, even where the user says that it is one."""
    path = movies.write_video(tmp_path / "x.mp4", [np.full((72, 128, 3), 9, np.uint8)] * 2, metadata=None)
    row = listed(path, projection="equirectangular")[0]
    with pytest.raises(InputError, match="128×72 pixels") as caught:
        decoded(row.uri, video={"projection": "equirectangular"})
    assert caught.value.error_class == "not_a_panorama"


def test_colours_are_those_that_were_encoded(tmp_path: Path) -> None:
    """Ten bits as eight, and the matrix of SD for SD, where a file names none."""
    picture = np.zeros(SHAPE, np.uint8)
    picture[:, :64], picture[:, 64:] = (200, 60, 30), (20, 90, 180)
    for codec, pixels in (("libx264", "yuv420p"), ("libx264", "yuv420p10le"), ("libx264", "yuv444p")):
        path = movies.write_video(tmp_path / f"{pixels}.mp4", [picture] * 2, codec=codec, pixels=pixels)
        erp = decoded(listed(path)[0].uri).erp
        assert np.abs(erp[:, 8:56].reshape(-1, 3).mean(0) - (200, 60, 30)).max() < 4, pixels
        assert np.abs(erp[:, 72:120].reshape(-1, 3).mean(0) - (20, 90, 180)).max() < 4, pixels


@pytest.mark.parametrize(("curve", "white"), [(16, 0.5807), (18, 0.75)])
def test_light_beyond_white_is_brought_into_range(curve: int, white: float) -> None:
    """The white of graphics (BT.2408: 58 % of PQ, 75 % of HLG) is bright, and what is beyond it no other colour."""
    pixels = np.full((64, 128, 3), round(white * 65535), np.uint16)
    pixels[:, 64:] = 65535
    frame = frames.Frame(pixels, {16: "pq", 18: "hlg"}[curve], movies_sphere())
    panorama = frames.decode_frame(frame)
    assert panorama.remarks == ("tone_mapped",)
    assert 205 < panorama.erp[:, :64].mean() < 235
    assert panorama.erp[:, 64:].min() == 255


def movies_sphere() -> Any:
    from pager_ray.read.containers.spherical import Sphere

    return Sphere()


def test_a_turned_picture_is_turned(tmp_path: Path) -> None:
    """As the file's matrix says: a camera that hung upside down."""
    picture = np.full(SHAPE, 30, np.uint8)
    picture[:32] = 220
    path = movies.write_video(tmp_path / "x.mp4", [picture] * 2, metadata=None)
    turned = tmp_path / "y.mp4"
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(180)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    row = listed(turned, projection="equirectangular")[0]
    erp = decoded(row.uri, video={"projection": "equirectangular"}).erp
    assert erp[:30].mean() < 40
    assert erp[34:].mean() > 210


def test_a_matrix_of_zeros_turns_nothing(tmp_path: Path) -> None:
    """Some files have that for none; it has no angle, and the picture stays as it lies."""
    path = movies.write_video(tmp_path / "x.mp4", [np.full(SHAPE, 30, np.uint8)] * 2)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = bytes(36)
    path.write_bytes(content)
    assert decoded(listed(path)[0].uri).erp.shape == SHAPE


def test_what_was_replaced_is_told(video: Path, tmp_path: Path) -> None:
    """A frame that is shown at another time, or is not there, is of another video."""
    row = listed(video)[5]
    with pytest.raises(InputError, match="another one than when it was listed") as caught:
        fetch_content(row.uri, Retry(0), place=Place((row.offset or 0) + 1))
    assert caught.value.error_class == "changed"
    with pytest.raises(InputError) as caught:
        fetch_content(row.uri.replace("000005", "000099"), Retry(0))
    assert caught.value.error_class == "changed"
    for uri in (row.uri.replace("000005", "five"), row.uri.replace("000005", "9" * 40)):
        with pytest.raises(InputError, match="names no frame"):
            fetch_content(uri, Retry(0))
    with pytest.raises(InputError, match="is no file"):
        fetch(row.uri, Retry(0))


def test_a_file_that_ends_early_has_its_beginning(tmp_path: Path) -> None:
    """Frames up to the damage are there, and each of the others says why not."""
    noise = np.random.default_rng(0).integers(0, 255, (40, *SHAPE), np.uint8)
    path = movies.write_video(tmp_path / "x.mp4", list(noise), movflags="faststart")
    content = path.read_bytes()
    first = tmp_path / "first.mp4"
    with av.open(str(path)) as source, av.open(str(first), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = first.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    first.write_bytes(content[: len(content) // 2])
    outcomes = [outcome(row.uri, row.offset) for row in listed(first, projection="equirectangular")]
    there = outcomes.index("corrupt_container")
    assert 10 < there < 25
    assert {*outcomes[:there]} == {""}
    assert {*outcomes[there:]} == {"corrupt_container"}


def test_damage_inside_ends_with_the_next_key_frame(tmp_path: Path) -> None:
    """No frame is made up of what is not there."""
    noise = np.random.default_rng(0).integers(0, 255, (40, *SHAPE), np.uint8)
    path = movies.write_video(tmp_path / "x.mp4", list(noise), gop=10)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        entry = stream.index_entries[12]
        content[entry.pos + 40 : entry.pos + entry.size] = bytes(entry.size - 40)
    whole = {row.id: digest_of(fetch_content(row.uri, Retry(0))) for row in listed(path)}
    path.write_bytes(bytes(content))
    frames.HELD_VIDEO.release()
    found = [outcome(row.uri, row.offset) for row in listed(path)]
    lost = [number for number, one in enumerate(found) if one]
    assert {found[number] for number in lost} == {"corrupt_container"}
    assert {*lost} <= {*range(10, 20)}
    for number, (row, one) in enumerate(zip(listed(path), found, strict=True)):
        if not one:
            assert digest_of(fetch_content(row.uri, Retry(0))) == whole[row.id], number


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some megabytes: noise cannot be compressed."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 256, 512, 3), np.uint8)
    return movies.write_video(tmp_path_factory.mktemp("large") / "x.mp4", list(noise), gop=4, crf="4")


def test_a_frame_costs_its_part_of_the_file(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store nothing is fetched but the index and what lies around the frame."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/x.mp4", large.read_bytes())
    rows = listed_uri("memory://bucket/x.mp4")
    fetched = []
    original = ranges.read_range

    def counting(*asked: Any) -> bytes:
        content = original(*asked)
        fetched.append(len(content))
        return content

    monkeypatch.setattr(ranges, "read_range", counting)
    monkeypatch.setattr(frames, "_WINDOW", 1 << 16)
    decoded(rows[24].uri, rows[24].offset)
    assert sum(fetched) < large.stat().st_size / 4
    fetched.clear()
    for row in rows[25:40]:
        decoded(row.uri, row.offset)
    assert sum(fetched) < large.stat().st_size / 2
    memory.rm("/bucket", recursive=True)


def listed_uri(uri: str) -> Listing:
    return list_inputs([uri], Retry(0), options=SourceOptions(settings=IndexSettings(every=1)))


@pytest.mark.parametrize(
    ("trouble", "error_class"),
    [(PermissionError("no"), "permission_denied"), (TimeoutError("slow"), "transient"), (ValueError("?"), "")],
)
def test_a_store_in_trouble_is_no_damage(
    large: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception, error_class: str
) -> None:
    """What a store answers while a frame is decoded is told as of any read, and the next call begins anew."""
    rows = [*listed(large)]
    monkeypatch.setattr(frames, "_WINDOW", 1 << 14)
    decoded(rows[0].uri)
    original, fails = ranges.read_range, [True]

    def failing(*asked: Any) -> bytes:
        if fails[0]:
            raise trouble
        return original(*asked)

    monkeypatch.setattr(ranges, "read_range", failing)
    with pytest.raises(InputError) as caught:
        fetch_content(rows[30].uri, Retry(0), place=Place(rows[30].offset))
    assert caught.value.error_class != "corrupt_container"
    if error_class:
        assert caught.value.error_class == error_class
    fails[0] = False
    assert decoded(rows[30].uri, rows[30].offset).erp.shape == (256, 512, 3)


def test_larger_frames_than_are_taken_are_not_decoded(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an index said: the decoder itself has a limit."""
    row = listed(video)[0]
    monkeypatch.setattr(frames, "MAX_FRAME_PIXELS", 4096)
    with pytest.raises(InputError) as caught:
        fetch_content(row.uri, Retry(0))
    assert caught.value.error_class == "corrupt_container"


def test_strangers_name_no_videos_of_ours(video: Path) -> None:
    """A listing that came over a network reads no local file, by a frame of it either."""
    for uri in (f"video://000001::{video}", f"video://000001::file://{video}"):
        with pytest.raises(InputError) as caught:
            fetch_content(uri, Retry(0), strangers=True)
        assert caught.value.error_class == "forbidden_uri"
