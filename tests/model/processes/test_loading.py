"""What a process holds at most while it loads a checkpoint."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pager_ray.model.checkpoint import WEIGHTS
from pager_ray.model.random_checkpoint import write_random_checkpoint


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of 0.1 G parameters."""
    folder = tmp_path_factory.mktemp("mid")
    write_random_checkpoint(
        folder,
        {
            "modalities": ["depth"],
            "face_size": 56,
            "pretrained_model_name": "custom",
            "backbone": {
                "embed_dim": 768,
                "depth": 12,
                "num_heads": 12,
                "out_layers": [5, 7, 9, 11],
                "alt_start": 4,
                "qknorm_start": 4,
                "rope_start": 4,
            },
            "head": {"features": 64, "out_channels": [48, 96, 192, 384]},
        },
    )
    yield folder
    shutil.rmtree(folder)


def test_loading_peaks_under_115_percent(large: Path):
    """Loading 0.1 G parameters grows the process by less than 1.15 times the weights' size in their precision."""
    # The smaller one first: what the process has held at most is never told again.
    widths = {"float16": 2, "float32": 4}
    script = r"""
        import re, sys
        from pathlib import Path
        from pager_ray.model import load_model

        def held(name):  # of this program alone: ru_maxrss starts at what the parent held when it forked
            return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

        for precision in sys.argv[2:]:
            before = held("VmRSS")
            model = load_model(sys.argv[1], device="cpu", precision=precision)
            print(held("VmHWM") - before)
            del model
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(large), *widths]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    for bytes_more, width in zip(grown, widths.values(), strict=True):
        size = (large / WEIGHTS).stat().st_size / 4 * width
        assert size > 100e6 * width
        assert 0.5 * size < int(bytes_more) < 1.15 * size
