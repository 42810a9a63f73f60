"""The kernels are code for GPUs, too, and not for Triton's interpreter alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KERNELS = ROOT / "pager_ray" / "model" / "kernels.py"

pytest.importorskip("triton.backends.nvidia", reason="its compiler for GPUs comes with Triton for Linux")


@pytest.mark.parametrize(("dtype", "capability"), [("float16", 75), ("bfloat16", 90)])
def test_each_kernel_of_the_full_size_network_compiles(tmp_path: Path, dtype: str, capability: int) -> None:
    """With the sizes and dtypes of the released checkpoint, for GPUs from T4 to H200; no pixel is divided in 64 bits.

    Triton's interpreter takes more than its compiler, and such a division is a routine of a hundred instructions.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.harness.kernels", dtype, str(capability)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["name"] for one in found} == {*re.findall(r"@triton\.jit\ndef (\w+)\(", KERNELS.read_text("utf-8"))}
    assert all(one["bytes"] > 1000 for one in found)
    assert {one["name"] for one in found if one["divisions"]} == set()
