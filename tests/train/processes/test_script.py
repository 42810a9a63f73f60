"""The plain script for machines that have little else."""

from __future__ import annotations

import subprocess
import sys


def test_needs_little() -> None:
    """Neither Ray nor OpenCV, Pillow, pydantic or YAML is imported."""
    code = (
        "import sys, pager_ray.train.script;"
        "found = {'ray', 'cv2', 'PIL', 'pydantic', 'yaml', 'pyarrow', 'click', 'fsspec'} & set(sys.modules);"
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
