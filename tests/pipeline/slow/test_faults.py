"""Bad inputs, some of which kill their worker, and killed drivers: every input ends as one prediction or one reject,
little is done twice, and what killed its worker is lost alone."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pager_ray
from pager_ray.config import load_config
from pager_ray.reader.verify import verify_output
from pager_ray.runs import RunLayout
from pager_ray.samples import make_scene, render
from pager_ray.storage import Folder
from tests.harness import faults
from tests.harness.jobs import run_in_process

ROOT = Path(__file__).parents[3]

PANORAMAS = 20
ROWS_PER_SHARD = 4
LET_THROUGH = 16
"""Rows that the first start may do; it ends with a few less where the last, shorter shard was among them."""


def encoded(picture, image_format="JPEG", **options):
    file = io.BytesIO()
    picture.save(file, image_format, **options)
    return file.getvalue()


def png_header_of(width, height):
    """A PNG of the given size with hardly any data: a decompression bomb's first bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 << 16))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bad_inputs(picture):
    """Awkward files: name → (bytes, expected error class, or None where they can be read)."""
    good = encoded(picture)
    shrunk = picture.resize((128, 64))
    deep = Image.fromarray((np.asarray(shrunk.convert("L")).astype(np.uint16) << 8) | 7)
    return {
        # Poison is behind the end of the image, where decoders do not look.
        "poison_first.jpg": (good + faults.POISON, "worker_death"),
        "empty.jpg": (b"", "empty_file"),
        "empty.png": (b"", "empty_file"),
        "truncated.jpg": (good[: len(good) // 2], "corrupt_image"),
        "truncated_early.jpg": (good[:300], "corrupt_image"),
        "truncated.png": (encoded(picture, "PNG")[:5000], "corrupt_image"),
        "text.jpg": (b"these are words, not pixels\n" * 40, "not_an_image"),
        "zeros.jpg": (bytes(4096), "not_an_image"),
        "one_pixel.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
        "three_to_one.jpg": (encoded(picture.resize((384, 128))), "not_a_panorama"),
        "square.jpg": (encoded(picture.resize((128, 128))), "not_a_panorama"),
        "portrait.jpg": (encoded(picture.resize((128, 256))), "not_a_panorama"),
        "bomb.png": (png_header_of(30_000, 15_000), "too_large"),
        "gif.jpg": (encoded(shrunk, "GIF"), "unsupported_format"),
        "grey.jpg": (encoded(shrunk.convert("L")), None),
        "grey_alpha.png": (encoded(shrunk.convert("LA"), "PNG"), None),
        "rgba.png": (encoded(shrunk.convert("RGBA"), "PNG"), None),
        "sixteen_bit.png": (encoded(deep, "PNG"), None),
        "cmyk.jpg": (encoded(shrunk.convert("CMYK")), None),
        "poison_last.jpg": (good + faults.POISON, "worker_death"),
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """20 rendered panoramas (five scenes, each turned to four headings) and awkward rows, as a listing."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = []
    for number in range(5):
        rendered = render(make_scene(number, ("indoor", "outdoor")[number % 2]), 128, 256, supersample=1)
        for turn in range(PANORAMAS // 5):
            name = f"scene{number}_{turn:02}"
            turned = np.roll(rendered.rgb, turn * 64, axis=1)
            (folder / f"{name}.jpg").write_bytes(encoded(Image.fromarray(turned), quality=95))
            rows.append((name, f"{name}.jpg", rendered.scene))
    picture = Image.open(folder / rows[0][1])
    expected = {}
    for name, (content, error_class) in bad_inputs(picture).items():
        (folder / name).write_bytes(content)
        rows.append((Path(name).name, name, ""))
        expected[name] = error_class
    rows += [("absent", "absent.jpg", ""), ("scene0_00", "scene0_01.jpg", "")]
    expected |= {"absent": "missing", "scene0_00~2": "duplicate_id"}
    listing = folder / "listing.csv"
    listing.write_text("id,uri,scene\n" + "".join(f"{','.join(row)}\n" for row in rows))
    return listing, expected


def start(settings, orders, address):
    environment = faults.environment(orders, address)
    command = [sys.executable, "-m", "tests.harness.faults", "run", *settings]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def committed_ids(output):
    return RunLayout(Folder(str(output))).ledger.read().column("id").to_pylist()


def test_a_killed_run_with_bad_inputs_loses_nothing(inputs, tmp_path, tiny_unified, ray_address):
    """Killed halfway and started again: 0 missing, 0 duplicated, nothing that was committed repeated, exit code 3."""
    listing, expected = inputs
    output = tmp_path / "run"
    rows, orders = PANORAMAS + len(expected), tmp_path / "orders"
    valve = faults.hold(orders)
    valve.let_through(LET_THROUGH)
    settings = [f"input.uris={listing}", f"output.uri={output}", f"checkpoint={tiny_unified}", "scene_mode=outdoor"]
    settings += ["compute.gpus_per_worker=0", "output.format=npz", f"output.rows_per_shard={ROWS_PER_SHARD}"]

    first = start(settings, orders, ray_address)
    deadline = time.monotonic() + 1800
    with faults.killed_in_the_end(first, orders):
        while len(committed_ids(output)) <= LET_THROUGH - ROWS_PER_SHARD:
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < deadline, "the first start did not get so far"
            time.sleep(0.1)
    before = committed_ids(output)
    assert len(before) <= LET_THROUGH
    finished = {path.stem for path in (output / "depth" / "preds").iterdir()}
    assert finished <= set(before)

    growing = pager_ray.open_run(output)
    assert growing.manifest["state"] == "running"
    assert set(growing.ids()) <= set(before)

    valve.open()
    second = start(settings, orders, ray_address)
    stdout, stderr = second.communicate(timeout=1800)
    assert second.returncode == 3, stderr

    run = pager_ray.open_run(output)
    predicted, rejects = run.ids(), run.rejects()
    rejected = dict(zip(rejects.column("id").to_pylist(), rejects.column("error_class").to_pylist(), strict=True))
    assert len(predicted) == len(set(predicted))
    assert not set(predicted) & set(rejected)
    assert len(predicted) + rejects.num_rows == rows
    assert rejected == {name: error_class for name, error_class in expected.items() if error_class}
    assert {name for name, error_class in expected.items() if error_class is None} <= set(predicted)
    assert all(rejects.column("message").to_pylist())

    shown = stdout.splitlines()
    assert f"output    {output}" in shown
    assert shown[-1] == f"{rejects.num_rows} rejects: {output}/rejects"
    assert [item["outcome"] for item in run.manifest["starts"]] == [None, "complete"]
    assert run.manifest["counts"] == {
        "inputs": rows,
        "predictions": len(predicted),
        "rejects": rejects.num_rows,
        "missing": 0,
        "duplicated": 0,
    }
    assert np.isfinite(run["sixteen_bit.png"].depth).all()
    assert verify_output(output).problems == []

    poisoned = [row for row in rejects.to_pylist() if row["error_class"] == "worker_death"]
    for row in poisoned:
        assert (row["stage"], row["attempts"]) == ("read", 3)
        assert "killed its worker 3 times in stage read" in row["message"]
        assert "--retry-rejects worker_death" in row["message"]

    # The files are replaced: what was a reject becomes a prediction, which needs no Ray.
    for row in poisoned:
        path = listing.parent / row["id"]
        path.write_bytes(path.read_bytes().removesuffix(faults.POISON))
    assert run_in_process(load_config(None, settings), retry_rejects="worker_death").fresh == len(poisoned)
    run.refresh()
    assert {*run.ids()} == {*predicted, *(row["id"] for row in poisoned)}
    assert run.rejects().num_rows == rejects.num_rows - len(poisoned)
    assert verify_output(output).problems == []
