"""What hostile files take of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.harness import mutations
from tests.read.test_fuzz import LIMIT, plain_picture

# What a file within LIMIT may add to a process: 24 bytes a pixel (a decoder's frames, its result, Pillow's copy and
# ours), the text that Pillow inflates, and what libavif decodes before it notices that a picture is larger than told.
PEAK_BYTES = 24 * LIMIT + (160 << 20)

MEASURE = """
import json, pathlib, sys
from pager_ray.errors import InputError
from pager_ray.read import decode_panorama

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10

files = sorted(pathlib.Path(sys.argv[1]).iterdir())
before, grown = None, {}
for file in [files[0], *files]:
    data = file.read_bytes()
    before = before or peak()
    try:
        decode_panorama(data, max_pixels=int(sys.argv[2]))
    except InputError:
        pass
    grown[file.name] = peak() - before
print(json.dumps(grown))
"""


def test_memory_is_bounded_by_the_pixel_limit(tmp_path: Path) -> None:
    """The worst of all bombs adds no more to a process than the stated bound, at a limit of 2^20 pixels."""
    (tmp_path / "00 plain").write_bytes(mutations.bases()[0].data)
    for name in mutations.bombs(LIMIT):
        (tmp_path / name).write_bytes(mutations.made_bomb(name, LIMIT))
    (tmp_path / "huge tile").write_bytes(mutations.tile_bomb(12_000))
    for name, data in mutations.xml_bombs().items():
        (tmp_path / f"XMP {name}").write_bytes(mutations.with_xmp(plain_picture(), "PNG", data))
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(tmp_path), str(LIMIT)]
    grown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {name: size for name, size in grown.items() if size > PEAK_BYTES} == {}
