"""What a HEIC file takes that holds more than it says."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.read.test_heif import heic


def test_limits_hold_for_what_is_coded(tmp_path: Path) -> None:
    """What is coded beyond what is said is refused by the decoder before it takes the memory."""
    big = heic(Image.new("RGB", (4096, 2048), (9, 90, 200)), quality=30)
    at = big.index(b"ispe") + 8
    (tmp_path / "big").write_bytes(big[:at] + struct.pack(">II", 128, 64) + big[at + 8 :])
    script = (
        "import sys, pathlib, resource\n"
        "from pager_ray.errors import InputError\n"
        "from pager_ray.read import decode_panorama\n"
        "import pager_ray.read.formats as formats\n"
        "formats._heif_reader()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    decode_panorama(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "except InputError as error:\n"
        "    print(error.error_class, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "big")]
    ended, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert ended == "corrupt_image"
    # Its planes alone are 12 MB.
    assert int(grown) < 8
