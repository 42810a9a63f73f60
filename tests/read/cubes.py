"""A scene that is known in every direction, and cameras that look at it: the truth for cubemaps under any name.

Cameras are written as their makers describe them, not as the package has its faces: by pan and tilt, as viewers of
panoramas turn, and by OpenGL's table of a cubemap's axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests.read.images import encode

FACES = ("front", "right", "back", "left", "up", "down")

# Degrees to the right, and upwards.
TURNS = {"front": (0, 0), "right": (90, 0), "back": (180, 0), "left": (-90, 0), "up": (0, 90), "down": (0, -90)}

# OpenGL 4.6, table 8.19: from the direction to the major axis, s and t; x right, y up, z forward from inside.
OPENGL: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "px": lambda s, t, m: (m, -t, -s),
    "nx": lambda s, t, m: (-m, -t, s),
    "py": lambda s, t, m: (s, m, t),
    "ny": lambda s, t, m: (s, -m, -t),
    "pz": lambda s, t, m: (s, -t, m),
    "nz": lambda s, t, m: (-s, -t, -m),
}

NAMES = {
    "words": {word: f"{word}.png" for word in FACES},
    "top": {word: f"Room-{ ({'up': 'Top', 'down': 'Bottom'}.get(word, word)) }.png" for word in FACES},
    "letters": {word: f"room_{word[0]}.png" for word in FACES},
    "matterport": {
        word: f"0af1_skybox{number}_sami.png" for word, number in zip(FACES, (1, 2, 3, 4, 0, 5), strict=True)
    },
    "axes": {axis: f"{axis}.png" for axis in OPENGL},
    "signs": {axis: f"{axis.replace('p', 'pos', 1).replace('n', 'neg', 1)}.png" for axis in OPENGL},
}
"""Names of the files, by kind, and the camera that each of them is of."""


def scene(right: np.ndarray, up: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Levels (…, 3) in a direction: smooth, and unlike themselves however they are turned or mirrored."""
    length = np.sqrt(right**2 + up**2 + forward**2)
    x, y, z = right / length, up / length, forward / length
    return np.stack(
        [
            128 + 70 * np.sin(2 * x + y - 2 * z) + 30 * x * y,
            128 + 60 * z + 50 * x * y + 20 * x,
            128 + 70 * np.cos(2 * y + x * z) + 30 * x,
        ],
        -1,
    )


def panorama(height: int) -> np.ndarray:
    """The scene as an ERP (H, 2H, 3) uint8."""
    longitude = ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5) * 2 * np.pi
    latitude = ((0.5 - (np.arange(height) + 0.5) / height) * np.pi)[:, None]
    along = np.cos(latitude)
    return levels(scene(along * np.sin(longitude), np.sin(latitude) + 0 * longitude, along * np.cos(longitude)))


def levels(values: np.ndarray) -> np.ndarray:
    """As bytes."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def seen(camera: str, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """What a camera of :data:`TURNS` or :data:`OPENGL` sees at places of its plane, −1 to 1 in 90 degrees."""
    ones = np.ones_like(across)
    if camera in OPENGL:
        return scene(*OPENGL[camera](across, down, ones))
    pan, tilt = np.radians(TURNS[camera])
    # First tilted, then turned on its foot.
    up, ahead = -down * np.cos(tilt) + ones * np.sin(tilt), down * np.sin(tilt) + ones * np.cos(tilt)
    return scene(across * np.cos(pan) + ahead * np.sin(pan), up, ahead * np.cos(pan) - across * np.sin(pan))


def face(camera: str, size: int) -> np.ndarray:
    """A camera's picture (N, N, 3) uint8."""
    plane = (np.arange(size) + 0.5) * 2 / size - 1
    return levels(seen(camera, *np.meshgrid(plane, plane)))


def cubemap(size: int) -> list[np.ndarray]:
    """The six faces in the package's order."""
    return [face(camera, size) for camera in FACES]


def pictures(kind: str, size: int) -> dict[str, bytes]:
    """Six PNG files by name."""
    return {name: encode(face(camera, size)) for camera, name in NAMES[kind].items()}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
