"""The GPU's benchmark goes through all of its parts on a CPU, with little installed, and a part that fails is alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pager_ray.plan.profile import read_profile

ROOT = Path(__file__).parents[3]
SMALL = ["--device=cpu", "--preset=tiny", "--repeats=1"]

# What a machine with Python, torch, NumPy and safetensors lacks of the package's and the benchmarks' libraries.
ABSENT = """
import sys
from importlib.machinery import PathFinder

absent = set("ray pyarrow pydantic yaml fsspec s3fs huggingface_hub cv2 PIL click rich simplejpeg blosc2".split())
absent |= set("open_clip matplotlib tenacity pandas psutil hypothesis jaxtyping pytorch360convert".split())

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in absent else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Absent if finder is PathFinder else finder for finder in sys.meta_path]
from benchmarks.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str, absent: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-c", ABSENT] if absent else ["-m", "benchmarks"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *start, "gpu", *SMALL, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=580)


def test_parts_run_with_torch_numpy_and_safetensors_alone(tmp_path: Path) -> None:
    """Golden errors, the network both ways, 8-bit products, the predictor and where its time goes; the job says what
    it lacks."""
    file = tmp_path / "gpu.json"
    parts = ["golden", "network", "precisions", "predictor", "job", "kernels"]
    done = run("--json", str(file), "--parts", *parts, absent=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["complete"]
    assert found["failures"] == {}
    details = found["details"]
    assert list(details["part_seconds"]) == parts
    assert {row["way"] for row in details["rows"]} >= {"released", "ours, eager"}
    assert "int8" in details["precisions"]
    assert details["predictor"]["two batches in flight"] > 0
    assert details["job"].startswith("left out: ray, pyarrow")
    spent = {name: milliseconds for name, _, milliseconds in details["kernels"]["kernels"]}
    assert list(spent.values()) == sorted(spent.values(), reverse=True)
    assert spent["aten::addmm"] > 0
    assert details["kernels"]["attention"]["default"] > 0
    held = {figure["name"]: figure["holds"] for figure in found["figures"] if "holds" in figure}
    assert held["tiny_unified, float32: largest error of depth"]
    assert held["relative error of log-depth"]
    profile = read_profile(str(file))
    assert profile.device.startswith("CPU, 1 threads")
    assert profile.seconds[0] == min(row["network"] / row["batch"] for row in details["rows"] if "ours" in row["way"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--golden", "/no/such/folder"], {"golden": "FileNotFoundError"}),
        (["--minutes", "0"], dict.fromkeys(["golden", "job"], "not begun: the 0 minutes are over")),
    ],
)
def test_a_part_that_fails_leaves_the_others(tmp_path: Path, arguments: list[str], says: dict[str, str]) -> None:
    """What failed is named in the file with its reason, what did not is there, and the exit code is 1."""
    file = tmp_path / "gpu.json"
    done = run("--json", str(file), "--parts", "golden", "job", *arguments, absent=True)
    assert done.returncode == 1
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["failures"].keys() == says.keys()
    assert all(said in found["failures"][part] for part, said in says.items())
    assert list(found["details"]["part_seconds"]) == ["golden", "job"]
    assert ("job" in found["details"]) == ("job" not in says)
    assert all(f"FAILED  {part}: " in done.stdout for part in says)


def test_without_a_gpu_the_default_says_so() -> None:
    """On a machine where torch sees none the command ends at once, in one line that names the CPU form."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "gpu"], env=environment, capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 1
    assert "--device cpu --preset tiny" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
