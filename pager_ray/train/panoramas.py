"""Panoramas with truth, and their faces: what a training step is fed with.

A file is an uncompressed ``.npz`` with ``rgb`` uint8 (H, 2H, 3), ``depth`` float16 or float32 (H, 2H) in metres along
the ray, 0 at sky and NaN where nobody knows, ``normals`` int8 / 127 or float32 (H, 2H, 3), x forward, y up, z right,
zero where nobody knows, and ``outdoor``. Whatever else is not finite is not known either.
"""

from __future__ import annotations

import math
import os
import time
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.errors import ConfigError
from pager_ray.geometry.faces import FACE_AXES, ray_length_factor
from pager_ray.train.photometry import photometric

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, UInt8

FAR_METRES: Final = 120.0
"""What is farther, and sky, is taught as this far."""
_NEAR_METRES: Final = 0.05
_TILT_DEGREES: Final = 4.0
_UNFINISHED: Final = (".partial.npz", ".tmp.npz")
_LIST_EVERY: Final = 400
RENDER_FAILED: Final = "render-failed.txt"
"""What a renderer leaves among its scenes when it fails: why."""


@dataclass(frozen=True)
class TruePanorama:
    """An ERP picture with its truth, as in the file."""

    rgb: UInt8[np.ndarray, "h w 3"]
    depth: np.ndarray
    normals: np.ndarray
    outdoor: bool


@dataclass(frozen=True)
class FaceSample:
    """Six faces with truth.

    Attributes:
        rgb: (6, 3, S, S) float32 in [0, 1].
        log_z: (6, S, S) float32, natural logarithm of z-depth in metres.
        normals: (6, 3, S, S) float32 unit vectors; zero at sky and where they are not known.
        sky: (6, S, S) bool.
        known: (6, S, S) bool, whether there is any truth.
        outdoor: which scale head learns from it.
    """

    rgb: Float32[np.ndarray, "6 3 s s"]
    log_z: Float32[np.ndarray, "6 s s"]
    normals: Float32[np.ndarray, "6 3 s s"]
    sky: Bool[np.ndarray, "6 s s"]
    known: Bool[np.ndarray, "6 s s"]
    outdoor: bool


def read_panorama(path: str | os.PathLike[str]) -> TruePanorama:
    """Read one file.

    Raises:
        ConfigError: it is no such file, or its arrays do not fit each other.
    """
    with _opened(path) as arrays:
        panorama = TruePanorama(arrays["rgb"], arrays["depth"], arrays["normals"], _is_outdoor(arrays["outdoor"]))
        _check(panorama)
        return panorama


def read_outdoor(path: str | os.PathLike[str]) -> bool:
    """Whether a file's panorama is one outdoors; nothing else of it is read.

    Raises:
        ConfigError: it is no such file.
    """
    with _opened(path) as arrays:
        return _is_outdoor(arrays["outdoor"])


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Mapping[str, np.ndarray]]:
    """A file's arrays, each read when it is asked for; whatever is wrong with them is told with the file's name."""
    try:
        # A file of this name may also hold a single array, which NumPy gives as one.
        with zipfile.ZipFile(path), np.load(path) as arrays:
            yield arrays
    except FileNotFoundError as error:
        raise ConfigError(f"{os.fspath(path)}: is no longer there; render or convert it again") from error
    except (OSError, KeyError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error) or "it ends too early"
        raise ConfigError(
            f"{os.fspath(path)}: is no panorama with truth ({reason}); delete it, and render or convert it again"
        ) from error


def _is_outdoor(value: np.ndarray) -> bool:
    if value.shape != () or value.dtype.kind not in "biu":
        raise ValueError(f"outdoor is {value.dtype} {value.shape}, takes a single bool")
    return bool(value)


def _check(panorama: TruePanorama) -> None:
    """What is read from one array at places of another must have its size."""
    rgb, depth, normals = panorama.rgb, panorama.depth, panorama.normals
    if depth.ndim != 2 or depth.shape[0] < 2 or depth.shape[1] != 2 * depth.shape[0]:
        raise ValueError(f"depth is {depth.shape}, takes (H, 2H)")
    for name, array in (("rgb", rgb), ("normals", normals)):
        if array.shape != (*depth.shape, 3):
            raise ValueError(f"{name} is {array.shape}, and depth {depth.shape}: takes (H, 2H, 3) and (H, 2H)")
    if rgb.dtype != np.uint8:
        raise ValueError(f"rgb is {rgb.dtype}, takes uint8")
    if depth.dtype.kind != "f":
        raise ValueError(f"depth is {depth.dtype}, takes float16 or float32")
    if normals.dtype != np.int8 and normals.dtype.kind != "f":
        raise ValueError(f"normals are {normals.dtype}, takes int8 or float32")


@dataclass(frozen=True)
class Turn:
    """How a panorama is turned before its faces are taken.

    Attributes:
        rotation: (3, 3), face frame to panorama frame.
    """

    rotation: Float32[np.ndarray, "3 3"]

    @staticmethod
    def none() -> Turn:
        """As it is."""
        return Turn(np.eye(3, dtype=np.float32))

    @staticmethod
    def random(rng: np.random.Generator) -> Turn:
        """Any heading, half of them mirrored, half of them tilted by a few degrees."""
        yaw = rng.uniform(0, 2 * math.pi)
        c, s = math.cos(yaw), math.sin(yaw)
        rotation = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        if rng.random() < 0.5:
            a, b = np.radians(rng.normal(0, _TILT_DEGREES / 2, 2).clip(-2 * _TILT_DEGREES, 2 * _TILT_DEGREES))
            pitch = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
            roll = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
            rotation = rotation @ pitch @ roll
        if rng.random() < 0.5:
            rotation = rotation @ np.diag([1, 1, -1])
        return Turn(rotation.astype(np.float32))


def to_faces(panorama: TruePanorama, face_size: int, turn: Turn) -> FaceSample:
    """Take the six faces at the product's sample positions, the truth from the nearest pixel."""
    height, width = panorama.depth.shape
    rays = _face_rays(face_size) @ turn.rotation.T
    x, y, z = rays[:, 0], rays[:, 1], rays[:, 2]
    column = (np.arctan2(z, x) * np.float32(0.5 / np.pi) + np.float32(0.5)) * width - np.float32(0.5)
    row = (np.float32(0.5) - np.arctan2(y, np.hypot(x, z)) * np.float32(1 / np.pi)) * height - np.float32(0.5)
    row = row.clip(0, height - 1)
    shape = (6, face_size, face_size)
    rgb = _bilinear(panorama.rgb, column, row).reshape(*shape, 3)
    nearest = np.rint(row).astype(np.int32) * width + np.rint(column).astype(np.int32) % width
    depth = panorama.depth.reshape(-1)[nearest].astype(np.float32)
    normals = panorama.normals.reshape(-1, 3)[nearest].astype(np.float32)
    if panorama.normals.dtype == np.int8:
        normals /= 127
    # Rotations and mirrors are orthogonal: the transpose turns back.
    normals = told_normals(normals) @ turn.rotation
    known = np.isfinite(depth)
    sky = known & (depth <= 0)
    metres = np.where(known & ~sky, depth.clip(_NEAR_METRES, FAR_METRES), FAR_METRES)
    return FaceSample(
        rgb=np.ascontiguousarray(rgb.transpose(0, 3, 1, 2)),
        log_z=np.log(metres).reshape(shape) - np.log(ray_length_factor(face_size)),
        normals=np.ascontiguousarray(normals.reshape(*shape, 3).transpose(0, 3, 1, 2)),
        sky=sky.reshape(shape),
        known=known.reshape(shape),
        outdoor=panorama.outdoor,
    )


def told_normals(normals: np.ndarray) -> np.ndarray:
    """Normals (…, 3) with zero, which is how files say that nobody knows, where one is not finite."""
    finite = np.isfinite(normals).all(axis=-1, keepdims=True)
    return normals if finite.all() else np.where(finite, normals, normals.dtype.type(0))


@lru_cache(maxsize=8)
def _face_rays(size: int) -> Float32[np.ndarray, "n 3"]:
    """Rays of the face pixels, end points included, as :func:`pager_ray.geometry.erp_to_cubemap` takes them."""
    plane = np.linspace(-1.0, 1.0, size)
    right, down, forward = FACE_AXES[:, 0], FACE_AXES[:, 1], FACE_AXES[:, 2]
    rays = (
        forward[:, None, None, :]
        + plane[None, None, :, None] * right[:, None, None, :]
        + plane[None, :, None, None] * down[:, None, None, :]
    )
    return rays.reshape(-1, 3).astype(np.float32)


def _bilinear(
    image: UInt8[np.ndarray, "h w 3"], column: Float32[np.ndarray, " n"], row: Float32[np.ndarray, " n"]
) -> Float32[np.ndarray, "n 3"]:
    """Sample in [0, 1]; columns wrap."""
    height, width = image.shape[:2]
    pixels = image.reshape(-1, 3)
    left, top = np.floor(column).astype(np.int32), np.minimum(np.floor(row).astype(np.int32), height - 2)
    along, down = (column - left)[:, None], (row - top)[:, None]
    left, right = left % width, (left + 1) % width
    above, below = top * width, (top + 1) * width
    upper = pixels[above + left] * (1 - along) + pixels[above + right] * along
    lower = pixels[below + left] * (1 - along) + pixels[below + right] * along
    return (upper * (1 - down) + lower * down) * np.float32(1 / 255)


class Folder:
    """The panoramas of a folder, indoors and outdoors in turn, in an order that depends on the seed alone.

    Args:
        folder: its ``.npz`` files, but for ``*.partial.npz``.
        seed: of the order and of what is done to each panorama.
        growing: list the folder again every so often, for scenes that are rendered while training runs; what a number
            gives then depends on when it is asked for.
        cameras: see :func:`augmented`.
        names: of the files that count, where not all do; some of them may be missing.

    Raises:
        ConfigError: there is no panorama in it, or a file that is none.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        seed: int,
        *,
        growing: bool = False,
        cameras: float = 0.0,
        names: Collection[str] | None = None,
    ) -> None:
        self.folder, self.seed, self.growing, self.cameras = Path(folder), seed, growing, cameras
        self.names = None if names is None else frozenset(names)
        self._asked = 0
        self._kinds: dict[str, bool] = {}
        self._lists: tuple[list[str], list[str]] = ([], [])
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self.refresh()

    def refresh(self) -> None:
        """List the folder again."""
        names = sorted(path.name for path in self.folder.glob("*.npz") if not path.name.endswith(_UNFINISHED))
        names = [name for name in names if self.names is None or name in self.names]
        for name in names:
            if name not in self._kinds:
                self._kinds[name] = read_outdoor(self.folder / name)
        if not names:
            raise ConfigError(f"{self.folder}: holds no .npz panoramas; render some first")
        self._lists = ([n for n in names if not self._kinds[n]], [n for n in names if self._kinds[n]])
        self._orders.clear()

    def __len__(self) -> int:
        return len(self._lists[0]) + len(self._lists[1])

    def sample(self, number: int, face_size: int, *, augment: bool = True) -> FaceSample:
        """The sample of a number: the same for the same seed, number and folder."""
        self._asked += 1
        if self.growing and self._asked % _LIST_EVERY == 0:
            self.refresh()
        kind = number % 2
        names = self._lists[kind] or self._lists[1 - kind]
        epoch, place = divmod(number // 2, len(names))
        key = (kind, epoch)
        if key not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k[0] != kind}
            self._orders[key] = np.random.default_rng([self.seed, kind, epoch]).permutation(len(names))
        panorama = read_panorama(self.folder / names[self._orders[key][place]])
        if not augment:
            return to_faces(panorama, face_size, Turn.none())
        return augmented(panorama, face_size, [self.seed, number, 1], self.cameras)


class Numbered:
    """The panoramas ``0000000.npz …`` of a folder that is being filled, indoors at even and outdoors at odd numbers.

    The first epoch goes through them in their order and waits for what is not there yet, later ones in an order that
    the seed decides: what a sample number gives does not depend on how fast scenes are rendered.

    Args:
        folder: where they appear, each at once.
        count: how many there will be.
        seed: of the order and of what is done to each panorama.
        patience: seconds after which one that does not appear is an error.
        cameras: see :func:`augmented`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        count: int,
        seed: int,
        *,
        patience: float = 900.0,
        cameras: float = 0.0,
    ) -> None:
        self.folder, self.count, self.seed = Path(folder), count, seed
        self.patience, self.cameras = patience, cameras

    def sample(self, number: int, face_size: int) -> FaceSample:
        """The sample of a number.

        Raises:
            ConfigError: its panorama does not appear, will not, or is none.
        """
        kind = number % 2
        epoch, place = divmod(number // 2, max(1, self.count // 2))
        if epoch:
            place = int(_order(self.seed, kind, epoch, max(1, self.count // 2))[place])
        path = self.folder / f"{2 * place + kind:07d}.npz"
        until = time.monotonic() + self.patience
        while not path.exists():
            if (why := _render_failure(self.folder)) is not None:
                raise ConfigError(f"{path}: was not rendered, and no other will be: {why}")
            if time.monotonic() > until:
                raise ConfigError(f"{path}: was not rendered in {self.patience:.0f} s; see the renderer's log")
            time.sleep(0.2)
        return augmented(read_panorama(path), face_size, [self.seed, number, 1], self.cameras)


def _render_failure(folder: Path) -> str | None:
    """Why nothing more is rendered into a folder; None while something may be."""
    try:
        # Empty while it is being written.
        return (folder / RENDER_FAILED).read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None


@lru_cache(maxsize=8)
def _order(seed: int, kind: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, kind, epoch]).permutation(count)


def augmented(panorama: TruePanorama, face_size: int, seed: Sequence[int], cameras: float = 0.0) -> FaceSample:
    """Turned and developed at random; the same for the same seed.

    Args:
        panorama: as rendered.
        face_size: side of a face.
        seed: of this sample.
        cameras: share of the samples whose picture goes through :mod:`pager_ray.train.scenes.camera_effects` (lens
            blur, JPEG, a hidden nadir, …; takes Pillow) instead of a change of tones and noise alone.
    """
    rng = np.random.default_rng(list(seed))
    turn = Turn.random(rng)
    if rng.random() < cameras:
        from pager_ray.train.scenes.camera_effects import photographed

        return to_faces(replace(panorama, rgb=photographed(panorama.rgb, rng)), face_size, turn)
    faces = to_faces(panorama, face_size, turn)
    return replace(faces, rgb=photometric(faces.rgb, rng))
