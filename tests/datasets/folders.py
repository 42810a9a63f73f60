"""Small trees in the layouts of the datasets, on any file system, and the bytes of their files."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

STANFORD = "_frame_equirectangular_domain"


def picture_bytes(height: int = 8, width: int = 16, seed: int = 0, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)
    return image_bytes(pixels, kind)


def image_bytes(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def depth_png(height: int = 8, width: int = 16, steps: int = 3000) -> bytes:
    return image_bytes(np.full((height, width), steps, np.uint16))


def dpt_bytes(depth: np.ndarray) -> bytes:
    height, width = depth.shape
    return struct.pack("<fii", 202021.25, width, height) + depth.astype("<f4").tobytes()


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def write_tree(url: str, files: dict[str, bytes]) -> None:
    """Put files below a URL."""
    filesystem, path = fsspec.core.url_to_fs(url)
    for name, data in files.items():
        target = f"{path.rstrip('/')}/{name}"
        filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(target, data)


def write_zip(path: str, folder: str, files: dict[str, bytes]) -> None:
    """Put files into a folder of a new zip archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"{folder}/{name}", data)


def parquet_bytes(rows: list[dict[str, Any]], *, image_columns: tuple[str, ...] = (), **options: Any) -> bytes:
    """A Parquet file; image columns become Hugging Face's structs of bytes and path."""
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in image_columns:
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            columns[name] = pa.array([{"bytes": value, "path": None} for value in values], kind)
        else:
            columns[name] = pa.array(values)
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def zuripano_rows(count: int = 2) -> list[dict[str, Any]]:
    mask = image_bytes(np.full((8, 16), 255, np.uint8))
    return [
        {"id": f" Place {number}", "rgb": picture_bytes(seed=number), "depth": depth_png(), "mask": mask}
        for number in range(count)
    ]


def zuripano_bytes(rows: list[dict[str, Any]] | None = None, **options: Any) -> bytes:
    return parquet_bytes(rows or zuripano_rows(), image_columns=("rgb", "depth", "mask"), **options)


def infinigen_bytes(count: int = 2, height: int = 8, width: int = 16, channel_axis: bool = False) -> bytes:
    depth = np.full((height, width), 2, np.float32)
    normals = np.zeros((height, width, 3), np.float32)
    normals[..., 1] = 1
    if channel_axis:
        depth, normals = depth[None], np.ascontiguousarray(np.moveaxis(normals, -1, 0))
    rows = [
        {"image": picture_bytes(height, width, number), "depth": npy_bytes(depth), "normals": npy_bytes(normals)}
        for number in range(count)
    ]
    return parquet_bytes(rows, image_columns=("image",))


def _matterport() -> dict[str, bytes]:
    depth = dpt_bytes(np.full((8, 16), 2, np.float32))
    return {
        "scenes_test.txt": b"sceneA\n\n",
        "part1/data/sceneA/sceneA_0_rgb.png": picture_bytes(),
        "part1/data/sceneA/sceneA_0_depth.dpt": depth,
        "part1/data/sceneA/alone_rgb.png": picture_bytes(),
        "part1/data/sceneTrain/sceneTrain_0_rgb.png": picture_bytes(),
        "part1/data/sceneTrain/sceneTrain_0_depth.dpt": depth,
    }


def _stanford() -> dict[str, bytes]:
    return {
        f"area_3/pano/rgb/camera_0f_WC_1{STANFORD}_rgb.png": picture_bytes(),
        f"area_3/pano/depth/camera_0f_WC_1{STANFORD}_depth.png": depth_png(),
        "area_3/data/rgb/camera_0f_WC_1_frame_0_domain_rgb.png": picture_bytes(),
        f"area_3/pano/other/camera_0e_WC_1{STANFORD}_rgb.png": picture_bytes(),
    }


def _replica() -> dict[str, bytes]:
    return {
        "frl_apartment_0/0007_rgb_pano.jpg": picture_bytes(kind="JPEG"),
        "frl_apartment_0/0007_depth_pano.dpt": dpt_bytes(np.full((8, 16), 2, np.float32)),
        "frl_apartment_0/0007_mask_pano.png": image_bytes(np.full((8, 16), 255, np.uint8)),
    }


def _structured3d() -> dict[str, bytes]:
    files = {}
    for scene in ("03249", "03250", "03499", "03500"):
        folder = f"scene_{scene}/2D_rendering/77/panorama/full"
        files |= {
            f"{folder}/rgb_rawlight.png": picture_bytes(),
            f"{folder}/depth.png": depth_png(),
            f"{folder}/normal.png": image_bytes(np.full((8, 16, 3), 200, np.uint8)),
            f"scene_{scene}/2D_rendering/77/perspective/full/0/rgb_rawlight.png": picture_bytes(),
        }
    return files


def _synthetic() -> dict[str, bytes]:
    arrays = io.BytesIO()
    depth = np.full((8, 16), 2, np.float32)
    depth[:2] = 0
    np.savez(arrays, depth=depth, normals=np.zeros((8, 16, 3), np.float32), sky=depth == 0)
    return {
        "samples.csv": b"uri,id,scene\n0000-office.jpg,0000-office,indoor\n",
        "0000-office.jpg": picture_bytes(kind="JPEG"),
        "ground_truth/0000-office.npz": arrays.getvalue(),
    }


TREES: dict[str, dict[str, bytes]] = {
    "Matterport3D360": _matterport(),
    "Stanford2D3DS": _stanford(),
    "Replica360_4K": _replica(),
    "Structured3D": _structured3d(),
    "ZuriPano": {"data/test-00000-of-00001.parquet": zuripano_bytes()},
    "synthetic": _synthetic(),
    "PanoInfinigen/nature": {"data/nature/train-00000.parquet": infinigen_bytes()},
}
"""What the folder of each dataset holds."""

TRUTHS: dict[str, list[str]] = {
    "Matterport3D360": ["part1/data/sceneA/sceneA_0_depth.dpt"],
    "Stanford2D3DS": [f"area_3/pano/depth/camera_0f_WC_1{STANFORD}_depth.png"],
    "Replica360_4K": ["frl_apartment_0/0007_depth_pano.dpt", "frl_apartment_0/0007_mask_pano.png"],
    "Structured3D": [f"scene_03250/2D_rendering/77/panorama/full/{name}.png" for name in ("depth", "normal")],
    "synthetic": ["ground_truth/0000-office.npz"],
}
"""Files of ground truth of each dataset's first sample."""


def folder_name(name: str) -> str:
    """What a dataset's folder is called."""
    return name.partition("/")[0]


def write_dataset(name: str, data_path: str) -> str:
    """Write a dataset's tree; returns its ``data_path``: for the synthetic one the folder itself."""
    folder = f"{data_path}/{folder_name(name)}"
    write_tree(folder, TREES[name])
    return folder if name == "synthetic" else data_path
