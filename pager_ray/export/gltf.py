"""Binary glTF 2.0: a description and the arrays that it points to, in one file."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

# The standard's numbers.
POINTS: Final = 0
INT: Final = 5125
FLOAT: Final = 5126
ARRAY: Final = 34962
INDICES: Final = 34963


def encode_gltf(about: Mapping[str, Any], parts: Sequence[tuple[np.ndarray | bytes, int | None]]) -> bytes:
    """A file with one scene of one node with one mesh; two chunks of known layout, at the speed of a copy.

    Args:
        about: scenes, meshes, accessors and what else there is; buffer and views are added.
        parts: what the views hold, in order, little-endian, and what for: :data:`ARRAY`, :data:`INDICES`, or None.
    """
    views: list[dict[str, int]] = []
    data: list[bytes] = []
    at = 0
    for content, target in parts:
        raw = content.tobytes() if isinstance(content, np.ndarray) else content
        views.append({"buffer": 0, "byteOffset": at, "byteLength": len(raw)})
        if target is not None:
            views[-1]["target"] = target
        # Whatever a view holds begins at a whole multiple of four bytes.
        padding = -len(raw) % 4
        data += [raw, bytes(padding)]
        at += len(raw) + padding
    whole = {
        "asset": {"version": "2.0", "generator": "pager_ray"},
        "scene": 0,
        "nodes": [{"mesh": 0}],
        **about,
        "bufferViews": views,
        "buffers": [{"byteLength": at}],
    }
    text = json.dumps(whole, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 12 + 8 + len(text) + 8 + at, len(text), b"JSON")
    return b"".join([head, text, struct.pack("<I4s", at, b"BIN\0"), *data])
