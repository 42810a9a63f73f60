"""Small runs, written with the storage's own functions: no network, no Ray."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pager_ray.encode import get_codec
from pager_ray.listing.kept import kept_fields
from pager_ray.runs import RunLayout, predictions_schema, write_shard
from pager_ray.runs.layout import RUN_FILE
from pager_ray.runs.runfile import begin_start, end_start, new_run_file
from pager_ray.stages.rows import ENCODE_SCHEMA, to_table
from pager_ray.storage import Folder

HEIGHT, WIDTH, FACE = 16, 32, 8
GENERATION = 1


def maps_of(name: str, projection: str = "erp") -> dict[str, np.ndarray]:
    """Depth, normals and sky that belong to an id: other ids have others."""
    random = np.random.default_rng(list(name.encode()))
    grid = (HEIGHT, WIDTH) if projection == "erp" else (6, FACE, FACE)
    normals = random.normal(size=(*grid, 3)).astype(np.float32)
    return {
        "depth": random.uniform(1, 9, grid).astype(np.float32),
        "normals": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
        "sky": random.uniform(0, 1, grid).astype(np.float32),
    }


def npz_of(name: str, array: np.ndarray) -> bytes:
    """The released layout: channels first under ``arr_0``."""
    file = io.BytesIO()
    np.savez(file, np.moveaxis(array, -1, -3) if name == "normals" else np.expand_dims(array, -3))
    return file.getvalue()


@dataclass
class SmallRun:
    """A run's output that a test fills shard by shard."""

    folder: Path | str
    output_format: str = "parquet"
    projection: str = "erp"
    codec: str = "exact"
    modalities: tuple[str, ...] = ("depth", "normals", "sky", "scale_indoor", "scale_outdoor")
    kept: tuple[str, ...] = ()
    upright: str = "off"
    layout: RunLayout = field(init=False)

    def __post_init__(self) -> None:
        self.layout = RunLayout(Folder(str(self.folder)))
        self.layout.make()
        self.layout.ledger.begin(GENERATION)
        self.arrays = tuple(name for name in ("depth", "normals", "sky") if name in self.modalities)
        self.manifest = new_run_file(
            {
                "output": {"projection": self.projection, "format": self.output_format},
                "input": {"keep_columns": [*self.kept], "upright": self.upright},
            },
            {},
            checkpoint={"modalities": list(self.modalities), "face_size": FACE, "cube_fov": 90.0},
        )
        begin_start(self.manifest)
        self.save()

    def save(self) -> None:
        self.layout.root.write_json(RUN_FILE, self.manifest)

    def complete(self) -> None:
        end_start(self.manifest, "complete", "complete", None)
        self.save()

    def prediction(self, name: str, **values: Any) -> dict[str, Any]:
        """A row as it arrives at the writer."""
        maps = maps_of(name, self.projection)
        encode = npz_of if self.output_format == "npz" else self._coded
        scalars = {"scene": "indoor", "p_outdoor": 0.25, "log_scale": 0.5, "depth_p50": 3.0, "digest": "sha256:00"}
        row = {"id": name, "uri": f"/in/{name}.jpg", "width": WIDTH, "height": HEIGHT, "coverage": 1.0}
        sizes = {"map_height": HEIGHT, "map_width": WIDTH}
        return row | sizes | scalars | {key: encode(key, maps[key]) for key in self.arrays} | values

    def reject(self, name: str, error_class: str = "missing") -> dict[str, Any]:
        status = {"stage": "read", "error_class": error_class, "message": f"{name}: why", "attempts": 1}
        return {"id": name, "uri": f"/in/{name}.jpg"} | status

    def write(self, shard: str, *rows: dict[str, Any], committed: bool = True) -> None:
        schema = predictions_schema(
            ENCODE_SCHEMA,
            self.arrays,
            codec=self.codec if self.output_format == "parquet" else None,
            projection=self.projection,
            face_size=FACE,
            fov=90.0,
            kept=kept_fields([pa.chunked_array([[row.get("kept") for row in rows]], pa.string())], self.kept),
        )
        record = write_shard(self.layout, shard, to_table(list(rows), ENCODE_SCHEMA, len(rows), "test"), schema)
        if committed:
            (self.layout.ledger.folder / f"{GENERATION:08}").delete([f"{shard}.parquet"])
            self.layout.ledger.commit(GENERATION, shard, record)

    def _coded(self, name: str, array: np.ndarray) -> bytes:
        return get_codec(name, self.codec).encode(array)  # type: ignore[arg-type]
