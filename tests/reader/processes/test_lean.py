"""Reading results needs NumPy, pyarrow, fsspec, blosc2, Pillow and pydantic, and nothing else that the job needs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from pager_ray.reader import open_run
from tests.reader.runs import SmallRun

ROOT = Path(__file__).parents[3]

# What a reader's environment holds: the six, and what they bring along. All else that lies in this one is away.
LEAN = """
import sys, sysconfig
from importlib.machinery import PathFinder

there = set("pager_ray tests numpy pyarrow fsspec blosc2 PIL pydantic".split())
there |= set("pydantic_core annotated_types typing_extensions typing_inspection".split())
there |= set("ndindex msgpack numexpr threadpoolctl httpx httpcore h11 h2 hpack hyperframe".split())
there |= set("anyio idna certifi sniffio".split())
there |= set("rich markdown_it mdurl pygments packaging".split())
site = sysconfig.get_paths()["purelib"]

class Lean:
    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target)
        installed = spec is not None and str(spec.origin or "").startswith(site)
        return None if installed and name.partition(".")[0] not in there else spec

sys.meta_path[:] = [Lean if finder is PathFinder else finder for finder in sys.meta_path]
"""

READ = """
import hashlib, json
import numpy as np
import pager_ray

for folder in sys.argv[1:]:
    run = pager_ray.open_run(folder)
    seen = {}
    for prediction in run:
        maps = [getattr(prediction, name) for name in ("depth", "normals", "sky")]
        seen[prediction.id] = [hashlib.sha256(np.ascontiguousarray(values)).hexdigest() for values in maps]
    assert run.table().num_rows == len(seen) == len(run)
    assert run.ids() == list(seen)
    print(json.dumps(seen))
assert not {"cv2", "ray", "torch", "tenacity", "aiohttp", "yaml", "simplejpeg"} & set(sys.modules)
"""

EXPORT = """
from pager_ray.export.formats import ExportSettings
from pager_ray.pipeline.export import ExportRequest, run_export

request = ExportRequest(sys.argv[1], ExportSettings("npz"), output=sys.argv[2], local=True)
run_export(request)
assert not {"cv2", "ray", "torch"} & set(sys.modules)
"""


def lean(script: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LEAN + script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr
    return done.stdout


def small_run(folder: Path, codec: str = "default", output_format: str = "parquet") -> Path:
    run = SmallRun(folder, codec=codec, output_format=output_format)
    run.write("s1", run.prediction("b/room 1"), run.reject("bad"), run.prediction("a"))
    run.complete()
    return folder


def test_every_codec_reads_to_the_bit(tmp_path: Path) -> None:
    """Ids, table and maps, bit by bit what the whole environment reads."""
    kinds = [(codec, "parquet") for codec in ("exact", "default", "small", "portable")] + [("exact", "npz")]
    folders = [small_run(tmp_path / "-".join(kind), *kind) for kind in kinds]
    seen = [json.loads(line) for line in lean(READ, *map(str, folders)).splitlines()]
    for kind, folder, found in zip(kinds, folders, seen, strict=True):
        expected = {
            prediction.id: [
                hashlib.sha256(np.ascontiguousarray(getattr(prediction, name))).hexdigest()
                for name in ("depth", "normals", "sky")
            ]
            for prediction in open_run(folder)
        }
        assert found == expected, kind


def test_a_run_is_exported(tmp_path: Path) -> None:
    """Formats that need no library of their own are written, without OpenCV, Ray or torch."""
    folder = small_run(tmp_path / "run")
    lean(EXPORT, str(folder), str(tmp_path / "out"))
    assert len(list((tmp_path / "out").rglob("*.npz"))) == 6
