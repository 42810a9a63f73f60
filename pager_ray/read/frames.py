"""Frames of 360° videos: decoded in order by PyAV (FFmpeg's libraries), which reads of the file what it needs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pager_ray.errors import InputError
from pager_ray.read.containers.movies import Track, Unreadable, read_track
from pager_ray.read.containers.places import CHANGED, CORRUPT
from pager_ray.read.containers.spherical import Sphere, told
from pager_ray.read.containers.videos import NEEDS_EXTRA, is_available
from pager_ray.read.gpano import ASPECT_TOLERANCE, place
from pager_ray.read.highrange import TONE_MAPPED, Exposure, expose
from pager_ray.read.panorama import MAX_WIDTH, DecodedPanorama, placed
from pager_ray.read.pixels import Pixels
from pager_ray.read.ranges import Ranged, look_at
from pager_ray.retrying import Retry

if TYPE_CHECKING:
    from jaxtyping import UInt8, UInt16

LEFT_EYE: Final = {"top-bottom": "left_eye_of_top_bottom", "left-right": "left_eye_of_left_right"}
"""Remarks: a frame holds two pictures, of which the left eye's was taken."""

MAX_FRAME_PIXELS: Final = 2**28
_WINDOW: Final = 1 << 20
_BEFORE: Final = 1 << 40
# So many frames are decoded sooner than a place in the file is searched.
_NEAR: Final = 4
# One-eyed video of less height is SD, whose colours have the older matrix where nothing is said.
_HD: Final = 720
_UNSPECIFIED, _BT709, _BT601 = 2, 1, 5
_PQ, _HLG = 16, 18
_WHITE_NITS: Final = 203.0
_HDR_STOPS: Final = 1.0
_FULL_TURN: Final = 360
_CODECS: Final = "h264,hevc,libdav1d,av1,vp9,libvpx-vp9,mpeg4,prores,mjpeg"


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video as it was decoded, upright.

    Attributes:
        pixels: RGB, uint8 (H, W, 3); or uint16 with the video's own curve, where its light goes beyond white.
        curve: of such pixels, ``pq`` or ``hlg``; None for sRGB's.
        sphere: what the file says of the sphere; None for nothing.
    """

    pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
    curve: str | None
    sphere: Sphere | None

    def digest(self) -> str:
        """SHA-256 of size and pixels, with its name before it."""
        digest = hashlib.sha256(f"{self.pixels.shape} {self.pixels.dtype} ".encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return f"sha256:{digest.hexdigest()}"


def decode_frame(
    frame: Frame,
    *,
    max_pixels: int = MAX_FRAME_PIXELS,
    max_width: int = MAX_WIDTH,
    aspect_tolerance: float = ASPECT_TOLERANCE,
    exposure: Exposure = "auto",
    projection: str = "auto",
    stereo: str = "auto",
) -> DecodedPanorama:
    """Place one eye's picture of a frame on its sphere, as :func:`pager_ray.read.panorama.decode_panorama` does a file.

    Args:
        max_pixels, max_width, aspect_tolerance: as of that.
        exposure: stops for light beyond white; ``auto`` is one stop over the video's own white.
        projection, stereo: what the user says of the video; see :func:`pager_ray.read.containers.spherical.told`.

    Raises:
        InputError: ``not_spherical``, ``not_a_panorama``, ``bad_gpano``, ``too_large`` or ``too_small``.
    """
    sphere = told(frame.sphere, projection, stereo)
    width, height = sphere.eye(frame.pixels.shape[1], frame.pixels.shape[0])
    eye = frame.pixels[:height, :width]
    placement = place(width, height, sphere.gpano(width, height), aspect_tolerance)
    remarks = [LEFT_EYE[sphere.stereo]] if sphere.stereo in LEFT_EYE else []
    if frame.curve is not None:
        rgb = expose(_light_table(frame.curve)[eye], _HDR_STOPS if exposure == "auto" else exposure)
        remarks.append(TONE_MAPPED)
    else:
        rgb = np.ascontiguousarray(eye)
    pixels = Pixels(rgb)
    return placed(lambda *_: pixels, (width, height), placement, tuple(remarks), max_pixels, max_width)


@lru_cache(maxsize=2)
def _light_table(curve: str) -> np.ndarray:
    """float32 (65536,): light by code value, 1 for the white of graphics (203 cd/m²); ITU-R BT.2100, tables 4 and 5."""
    code = np.arange(65536) / 65535
    if curve == "pq":
        power = code ** (1 / 78.84375)
        nits = 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
        return (nits / _WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    # The system's gamma of a screen with 1000 cd/m², channel by channel.
    return (1000 * scene**1.2 / _WHITE_NITS).astype(np.float32)


class Decoder:
    """One video, open at some frame: those after it cost no search.

    Args:
        filesystem, path: where it lies.
        retry: for how long a troubled store is asked.

    Raises:
        InputError: ``corrupt_container``, ``unsupported_format`` or ``not_spherical``.
        OSError and what the file system's client raises.
    """

    def __init__(self, filesystem: Any, path: str, retry: Retry) -> None:
        if not is_available():
            raise InputError("unsupported_format", f"{NEEDS_EXTRA}, then --retry-rejects unsupported_format")
        import av

        facts = look_at(filesystem, path)
        self.stamp = f"{facts.size} {facts.stamp}"
        self._errors = (av.error.FFmpegError, ValueError, IndexError)
        try:
            self.track: Track = read_track(Ranged(filesystem, path, facts.size, retry))
        except Unreadable as error:
            raise InputError(CORRUPT, str(error)) from error
        # FFmpeg's log is of every slice that it cannot use; what matters of it is raised.
        av.logging.set_level(None)
        file = Ranged(filesystem, path, facts.size, retry, window=_WINDOW)
        try:
            # Times are those of the file's own index, without what its edits make of them; a file names no other files.
            self._container = av.open(file, format="mov", options={"ignore_editlist": "1", "codec_whitelist": _CODECS})
            self._stream = next(one for one in self._container.streams.video if one.id == self.track.id)
            context = self._stream.codec_context
            context.thread_count = 1
            context.options = {"err_detect": "explode", "max_pixels": str(MAX_FRAME_PIXELS)}
        except StopIteration:
            raise InputError(CORRUPT, "its video track cannot be opened; fetch it again") from None
        except self._errors as error:
            if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
                raise
            raise InputError(CORRUPT, f"cannot be opened ({_text(error)}); fetch it again") from error
        self._frames: Iterator[tuple[Any, bool]] = iter(())
        self._last: int | None = None

    def close(self) -> None:
        """Give back what it holds."""
        self._container.close()

    def frame(self, number: int, shown: int | None = None) -> Frame:
        """Decode one frame.

        Args:
            number: in the order that frames are shown.
            shown: when that is, as it was listed, in ticks.

        Raises:
            InputError: ``changed``, ``corrupt_container`` or ``unsupported_format``.
            OSError and what the file system's client raises.
        """
        if number >= len(self.track.shown) or (shown is not None and int(self.track.shown[number]) != shown):
            raise InputError(CHANGED, "its video is another one than when it was listed: there is no such frame")
        wanted = int(self.track.shown[number])
        found, is_damaged = self._find(wanted, number)
        if found is None:
            raise InputError(CORRUPT, "the video is damaged before this frame, or ends; fetch it again")
        if is_damaged:
            raise InputError(CORRUPT, "the video is damaged here, between two key frames; fetch it again")
        return self._converted(found)

    def _find(self, wanted: int, number: int) -> tuple[Any | None, bool]:
        """The frame that is shown then, and whether anything since its key frame is damaged."""
        keys = self.track.shown[: number + 1][self.track.is_key[: number + 1]]
        key = int(keys[-1]) if len(keys) else int(self.track.shown[0])
        # Onward, unless a key frame further on is nearer.
        at, begin = (int(np.searchsorted(self.track.shown, ticks)) for ticks in (self._last or 0, key))
        if self._last is None or self._last >= wanted or number - at > number - begin + _NEAR:
            self._seek(key)
        # The last resort is the file's beginning.
        earlier = [int(self.track.shown[0]) - _BEFORE, *keys[-4:-1]]
        while True:
            for frame, is_damaged in self._frames:
                if frame.pts is None or frame.pts < wanted:
                    self._last = frame.pts if frame.pts is not None else self._last
                    continue
                self._last = frame.pts
                if frame.pts == wanted:
                    return frame, is_damaged
                break
            else:
                self._last = None
                return None, False
            # It was searched by the order of decoding, in which a key frame may come behind.
            if not earlier:
                self._last = None
                return None, False
            self._seek(int(earlier.pop()))

    def _seek(self, ticks: int) -> None:
        try:
            self._container.seek(ticks, stream=self._stream, backward=True)
        except self._errors as error:
            raise InputError(CORRUPT, f"the video ends before this frame ({_text(error)}); fetch it again") from error
        self._frames = self._decoded()
        self._last = None

    def _decoded(self) -> Iterator[tuple[Any, bool]]:
        """Frames from where it is, with whether something between them and their key frame is damaged."""
        import av

        is_damaged = False
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
                is_damaged |= packet.is_corrupt
            except StopIteration:
                return
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                # A packet that is none, or a frame beyond the limits; what a store answered is no error of these.
                is_damaged = True
                continue
            for frame in frames:
                if frame.key_frame:
                    is_damaged = False
                yield frame, is_damaged or frame.is_corrupt

    def _converted(self, frame: Any) -> Frame:
        """The frame as RGB; turned as the file says."""
        space = frame.colorspace
        if space == _UNSPECIFIED:
            space = _BT709 if frame.height >= _HD else _BT601
        curve = {_PQ: "pq", _HLG: "hlg"}.get(int(frame.color_trc))
        wanted = "rgb24" if curve is None else "rgb48le"
        try:
            array = frame.reformat(format=wanted, src_colorspace=space, threads=1).to_ndarray()
        except self._errors as error:
            raise InputError("unsupported_format", f"its frames cannot be converted to RGB ({_text(error)})") from error
        # A matrix of zeros, which some cameras write for none, has no angle, and comes as one that there is not.
        turns = round(frame.rotation / 90) % 4 if abs(frame.rotation) <= _FULL_TURN else 0
        return Frame(np.rot90(array, turns) if turns else array, curve, self.track.sphere)


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


class HeldVideo:
    """The video that this process read last: frames that are asked for in order are decoded once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: tuple[Any, str] | None = None
        self._decoder: Decoder | None = None

    def frame(self, filesystem: Any, path: str, number: int, shown: int | None, retry: Retry) -> Frame:
        """As :meth:`Decoder.frame`."""
        with self._lock:
            if self._decoder is None or self._path != (filesystem, path):
                self._release()
                self._decoder, self._path = Decoder(filesystem, path, retry), (filesystem, path)
            try:
                return self._decoder.frame(number, shown)
            except Exception:
                # Where it stands now, nobody knows; and a file that was replaced is opened anew.
                self._release()
                raise

    def release(self) -> None:
        """Close it."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        decoder, self._decoder, self._path = self._decoder, None, None
        if decoder is not None:
            decoder.close()


HELD_VIDEO: Final = HeldVideo()
