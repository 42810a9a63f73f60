"""Small runs of rendered panoramas whose sources lie beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pager_ray.encode import get_codec
from tests.export.scenes import rendered
from tests.reader.runs import FACE, SmallRun

HEIGHT = 64


def scene_run(folder: Path, ids: tuple[str, ...] = ("a", "b"), codec: str = "default", **settings: Any) -> SmallRun:
    """A complete run: each id has the same scene's exact maps, and its picture as ``sources/<number>.png``."""
    run = SmallRun(folder / "run", codec=codec, **settings)
    truth = rendered("outdoor", HEIGHT)[1]
    maps = scene_maps()
    (folder / "sources").mkdir(exist_ok=True)
    rows = []
    for number, id in enumerate(ids):
        source = folder / "sources" / f"{number}.png"
        cv2.imwrite(str(source), truth.rgb[..., ::-1])
        arrays = {name: get_codec(name, codec).encode(maps[name]) for name in run.arrays}  # type: ignore[arg-type]
        sizes = {"map_height": HEIGHT, "map_width": 2 * HEIGHT, "log_scale": 0.0, "sky_fraction": number / 10}
        rows.append(run.prediction(id, uri=str(source)) | arrays | sizes)
    for number, row in enumerate(rows):
        run.write(f"0123456789ab-{number:08}-abcdef", row)
    run.complete()
    return run


def scene_maps() -> dict[str, np.ndarray]:
    """What was encoded."""
    truth = rendered("outdoor", HEIGHT)[1]
    depth = np.where(truth.sky, np.float32(75), truth.depth)
    return {"depth": depth, "normals": truth.normals, "sky": truth.sky.astype(np.float32)}


__all__ = ["FACE", "HEIGHT", "scene_maps", "scene_run"]
