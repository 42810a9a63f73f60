"""360° videos as cameras and tools write them: encoded here, with spherical metadata of each kind put in by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from pager_ray.read.containers.spherical import UUID

STEREO_BYTES = {"mono": 0, "top-bottom": 1, "left-right": 2}


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    rate: int = 30,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    gop: int = 12,
    times: Sequence[int] | None = None,
    metadata: str | None = "v2",
    stereo: str = "mono",
    **options: str,
) -> Path:
    """Encode pictures, each uint8 (H, W, 3).

    Args:
        times: when each is shown, in 1/1000 s; by default one after the other at the rate.
        metadata: ``v1``, ``v2`` or None.
        stereo: what they say.
        options: of the encoder.
    """
    settings = {"g": str(gop), "bf": "2", "crf": "10", **options}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=rate, options=settings)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], pixels
        stream.codec_context.thread_count = 1
        if times is not None:
            from fractions import Fraction

            stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if metadata == "v1":
        put_in(path, [b"moov", b"trak"], v1(stereo))
    elif metadata == "v2":
        put_in(path, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", codec_box(path)], v2(stereo))
    return path


def codec_box(path: Path) -> bytes:
    """The kind of the sample's entry."""
    content = path.read_bytes()
    return next(kind for kind in (b"avc1", b"hev1", b"hvc1", b"av01") if kind in content)


def box(kind: bytes, content: bytes) -> bytes:
    """A box of ISO media."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def v1(stereo: str = "mono", **more: Any) -> bytes:
    """The XML of spherical video, version 1."""
    elements = {"Spherical": "true", "Stitched": "true", "ProjectionType": "equirectangular", "StereoMode": stereo}
    inner = "".join(f"<GSpherical:{name}>{value}</GSpherical:{name}>" for name, value in (elements | more).items())
    names = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/"'
    return box(
        b"uuid", UUID + f'<?xml version="1.0"?><rdf:SphericalVideo {names}>{inner}</rdf:SphericalVideo>'.encode()
    )


def v2(
    stereo: str = "mono",
    projection: bytes = b"equi",
    bounds: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
) -> bytes:
    """The boxes of spherical video, version 2."""
    numbers = struct.pack(">4I", *(int(share * 2**32) for share in bounds))
    proj = box(b"prhd", bytes(16)) + box(projection, bytes(4) + numbers)
    sv3d = box(b"svhd", bytes(4) + b"test\0") + box(b"proj", proj)
    return box(b"st3d", bytes(4) + bytes([STEREO_BYTES.get(stereo, 9)])) + box(b"sv3d", sv3d)


def put_in(path: Path, where: Sequence[bytes], more: bytes) -> None:
    """Append a box inside others; the file's samples lie before them."""
    content = bytearray(path.read_bytes())
    start, end, grown = 0, len(content), []
    for kind in where:
        skipped = {b"stsd": 8, b"avc1": 0}.get(where[where.index(kind) - 1], 0) if kind != where[0] else 0
        at = start + skipped
        while content[at + 4 : at + 8] != kind:
            size = int.from_bytes(content[at : at + 4], "big") or int.from_bytes(content[at + 8 : at + 16], "big")
            size = size if size != 1 else int.from_bytes(content[at + 8 : at + 16], "big")
            at += size
            assert at < end, kind
        grown.append(at)
        start, end = at + 8, at + int.from_bytes(content[at : at + 4], "big")
    for at in grown:
        content[at : at + 4] = (int.from_bytes(content[at : at + 4], "big") + len(more)).to_bytes(4, "big")
    content[end:end] = more
    path.write_bytes(bytes(content))
