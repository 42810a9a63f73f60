"""A walk through a rendered room: pictures, exact depth and poses, as a folder and as a video of each kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from pager_ray.samples import RenderedPanorama, make_scene, render
from tests.read import movies

FRAMES, RATE, HEIGHT = 60, 10, 64


@dataclass(frozen=True, eq=False)
class Walk:
    """Panoramas along a path, where the camera stood, in metres, and how it was turned, (3, 3) from it to the world."""

    panoramas: tuple[RenderedPanorama, ...]
    places: np.ndarray
    turned: tuple[np.ndarray, ...]

    @property
    def pictures(self) -> list[np.ndarray]:
        """RGB, each uint8 (H, 2H, 3)."""
        return [one.rgb for one in self.panoramas]

    def write_folder(self, folder: Path) -> Path:
        """The pictures under their numbers, and a listing with the times."""
        folder.mkdir(parents=True)
        lines = ["uri,id,sequence,time"]
        for number, picture in enumerate(self.pictures):
            Image.fromarray(picture).save(folder / f"{number:06}.png")
            lines.append(f"{number:06}.png,walk/{number:06},walk,{number / RATE}")
        (folder / "walk.csv").write_text("\n".join(lines) + "\n")
        return folder / "walk.csv"

    def write_video(self, path: Path, metadata: str) -> Path:
        """The same as a video."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return movies.write_video(path, self.pictures, rate=RATE, metadata=metadata, crf="8", pixels="yuv444p")


@cache
def walk(seed: int = 0, count: int = FRAMES, height: int = HEIGHT) -> Walk:
    """A slow curve through the middle of a furnished room, a metre and a half in six seconds."""
    scene = make_scene(seed, "indoor")
    along = np.linspace(-1, 1, count)
    x, z = scene.eye[0] + 0.6 * along, scene.eye[2] + 0.3 * np.sin(2 * along)
    places = np.stack([x, np.full(count, scene.eye[1]), z], axis=1)
    heading = scene.heading + 0.5 * along
    scenes = [
        replace(scene, eye=tuple(place.tolist()), heading=float(turn))
        for place, turn in zip(places, heading, strict=True)
    ]
    panoramas = tuple(render(one, height, 2 * height) for one in scenes)
    return Walk(panoramas, places, tuple(one.camera for one in scenes))
