"""Runs to build galleries of: rendered panoramas with their exact maps, and many rows without any pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pager_ray.encode import get_codec
from pager_ray.preview import render_preview
from pager_ray.samples import make_scene, render
from pager_ray.storage import safe_name
from tests.reader.runs import SmallRun

HOSTILE = '</script><img src=x onerror="document.title=1">\u2028&amp;'
"""An id that HTML, JavaScript or a file system might take for something else."""


def encoded(**maps: np.ndarray) -> dict[str, bytes]:
    """Maps as the run stores them, without loss."""
    return {name: get_codec(name, "exact").encode(array) for name, array in maps.items()}  # type: ignore[arg-type]


def rendered_run(folder: Path, names: list[str], height: int = 128, *, previews: bool = False) -> SmallRun:
    """A run over rendered panoramas, indoors and outdoors in turn, with the exact depth, normals and sky."""
    run = SmallRun(folder / "run")
    run.manifest["config"]["output"]["previews"] = previews
    rows = []
    for number, name in enumerate(names):
        kind = "outdoor" if number % 2 else "indoor"
        panorama = render(make_scene(number // 2, kind), height, 2 * height)  # type: ignore[arg-type]
        source = folder / f"source-{number}.png"
        Image.fromarray(panorama.rgb).save(source)
        depth, sky = panorama.depth.astype(np.float32), panorama.sky.astype(np.float32)
        normals = panorama.normals.astype(np.float32)
        numbers = {"depth_p50": float(np.median(depth[depth > 0])), "sky_fraction": float(sky.mean())}
        values: dict[str, Any] = {"uri": str(source), "scene": kind, "map_height": height, "map_width": 2 * height}
        rows.append(run.prediction(name, **values, **numbers, **encoded(depth=depth, normals=normals, sky=sky)))
        if previews:
            picture = render_preview(panorama.rgb, depth, normals, sky, metric=True, title=name)
            run.layout.previews.write(f"{safe_name(name)}.jpg", picture)
    run.write("aaaaaaaaaaaa-00000000-000000", *rows)
    run.complete()
    return run


def many_rows(count: int) -> pa.Table:
    """A run's table of random numbers, without pixels."""
    random = np.random.default_rng(0)
    depth = random.lognormal(1.5, 0.8, count).astype(np.float32)
    depth[::97] = np.nan
    return pa.table(
        {
            "id": [f"site-{k // 500:04d}/scan-{k:07d}" for k in range(count)],
            "uri": [f"s3://panoramas/site-{k // 500:04d}/scan-{k:07d}.jpg" for k in range(count)],
            "scene": pa.array(random.choice(["indoor", "outdoor"], count)),
            "sky_fraction": random.beta(0.5, 2, count).astype(np.float32),
            "depth_p50": depth,
            "depth_p99": depth * np.float32(4),
            "median_confidence": random.uniform(1, 9, count).astype(np.float32),
            "log_scale": random.normal(0, 0.2, count).astype(np.float32),
        }
    )


def strip_panels(jpeg: bytes) -> np.ndarray:
    """The four panels of a card's picture, (4, H, W, 3)."""
    strip = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    return np.stack(np.split(strip, 4, axis=1))
