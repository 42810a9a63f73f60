"""Export per format and core, and many panoramas to GLB on Ray.

1. A rendered street of 2048x4096 with exact maps, stored with the default codec, is exported to every format by one
   process, as a job's worker does it: read and decode the run's row, read the source picture where colours need it,
   make the files, put them on the local disk. Baseline: the released layout (npz). Processor time, the best of
   ``--repeats`` after one warm call; ``ratio`` is the baseline's time over the format's. Points: cleaned as released,
   thinned to a million. ``peak``: the most memory that a process of its own takes for it, libraries included.
2. ``--count`` panoramas of 64x128 in shards of 16 are exported to GLB on a local Ray with ``--cpus`` cores. Printed:
   panoramas per second from the first file to the last, the driver's processor time per panorama and as a share of the
   job's wall time (the share of a single core that the driver needs, so what bounds a job of any size), and the bytes
   that passed through Ray's object store per panorama.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.frame import Report
from pager_ray import open_run
from pager_ray.encode import get_codec
from pager_ray.export.exporter import export_ids
from pager_ray.export.formats import FORMATS, ExportSettings
from pager_ray.export.records import Records
from pager_ray.pipeline.export_chain import run_export_job
from pager_ray.runs import RunLayout, predictions_schema, write_shard
from pager_ray.runs.layout import RUN_FILE
from pager_ray.runs.runfile import begin_start, end_start, new_run_file
from pager_ray.samples import RenderedPanorama, make_scene, render
from pager_ray.stages.rows import ENCODE_SCHEMA, to_table
from pager_ray.storage import Folder

BASELINE = "npz"
ROWS_PER_SHARD = 16
MOST_DRIVER_SHARE = 0.5
MOST_SECONDS = {"splats": 3.0, "mesh": 20.0}
"""Of a core, for a panorama of 2048x4096."""
MOST_MEMORY = {"splats": 1.5}
"""GB, of the same."""
ARRAYS = ("depth", "normals", "sky")


def write_run(folder: Path, truth: RenderedPanorama, ids: list[str]) -> str:
    """A run whose panoramas all are the same scene; gives its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source.jpg"
    cv2.imwrite(str(source), truth.rgb[..., ::-1])
    maps = {
        "depth": np.where(truth.sky, np.float32(75), truth.depth),
        "normals": truth.normals,
        "sky": truth.sky.astype(np.float32),
    }
    blobs = {name: get_codec(name, "default").encode(maps[name]) for name in ARRAYS}  # type: ignore[arg-type]
    height, width = truth.depth.shape
    sizes = {"width": width, "height": height, "map_height": height, "map_width": width}
    layout = RunLayout(Folder(str(folder / "run")))
    layout.make()
    layout.ledger.begin(1)
    heads = [*ARRAYS, "scale_indoor", "scale_outdoor"]
    manifest = new_run_file(
        {"output": {"projection": "erp", "format": "parquet"}},
        {},
        checkpoint={"modalities": heads, "face_size": 504, "cube_fov": 90.0},
    )
    begin_start(manifest)
    schema = predictions_schema(ENCODE_SCHEMA, ARRAYS, codec="default", projection="erp", face_size=504, fov=90.0)
    for number, first in enumerate(range(0, len(ids), ROWS_PER_SHARD)):
        rows = [
            {"id": id, "uri": str(source), "log_scale": 0.0, **sizes, **blobs}
            for id in ids[first : first + ROWS_PER_SHARD]
        ]
        record = write_shard(
            layout, f"0123456789ab-{number:08}-abcdef", to_table(rows, ENCODE_SCHEMA, len(rows), "made"), schema
        )
        layout.ledger.commit(1, f"0123456789ab-{number:08}", record)
    end_start(manifest, "complete", "complete", None)
    layout.root.write_json(RUN_FILE, manifest)
    return str(layout.root)


def measure_formats(work: Path, height: int, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds and bytes of one panorama by format, on one core."""
    print(f"rendering {height}x{2 * height} …", file=sys.stderr)
    truth = render(make_scene(3, "outdoor"), height, 2 * height, supersample=1)
    run = open_run(write_run(work / "large", truth, ["a"]))
    found = {}
    for name in FORMATS:
        # Of its own: memory that an earlier format took would count for all later ones.
        with multiprocessing.get_context("spawn").Pool(1) as process:
            found[name] = process.apply(measure_format, (run.uri, str(work / "out" / name), name, repeats))
    return found


def measure_format(run: str, output: str, name: str, repeats: int) -> dict[str, float]:
    """Seconds, bytes and peak memory of one panorama in one format, in this process."""
    cv2.setNumThreads(1)
    opened, settings = open_run(run), ExportSettings(name, images_from="/")
    seconds = []
    for number in range(repeats + 1):
        began = time.process_time()
        (row,) = export_ids(opened, ["a"], Folder(output), settings).to_pylist()
        if number:
            seconds.append(time.process_time() - began)
        if row["error_class"]:
            raise SystemExit(f"{name}: {row['message']}")
    return {"seconds": min(seconds), "bytes": row["bytes"], "files": row["files"], "peak": _peak_bytes()}


def _peak_bytes() -> int:
    """The most memory that this program had; ``getrusage`` begins with that of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure_job(work: Path, count: int, cpus: int) -> dict[str, float]:
    """What a job of many small panoramas takes, and what of it is the driver's."""
    import ray

    truth = render(make_scene(3, "outdoor"), 64, 128)
    run = write_run(work / "small", truth, [f"{number:06d}" for number in range(count)])
    ids = open_run(run).ids()
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    records = Records(Folder(str(work / "small" / "glb")))
    records.claim({}, overwrite=False)
    most = _watch_object_store()
    began, cpu_began = time.perf_counter(), _cpu_seconds()
    run_export_job(run, ids, records, ExportSettings("glb", images_from="/"))
    wall, cpu = time.perf_counter() - began, _cpu_seconds() - cpu_began
    used = most()
    ray.shutdown()
    standing = records.standing()
    if standing.num_rows != count or standing.column("error_class").null_count != count:
        raise SystemExit(f"{count - standing.column('error_class').null_count} of {count} were not exported")
    times = sorted(os.stat(path).st_mtime for path in (work / "small" / "glb").glob("*.glb"))
    return {
        "wall_seconds": wall,
        "panoramas_per_second": (count - 1) / (times[-1] - times[0]),
        "driver_cpu_seconds": cpu,
        "driver_share_of_a_core": cpu / wall,
        "driver_cpu_ms_per_panorama": cpu / count * 1e3,
        "object_store_bytes": used,
    }


def _cpu_seconds() -> float:
    """Of this process; Ray's own processes are its children, which do not count."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _watch_object_store():  # type: ignore[no-untyped-def]
    """Watch what the object store holds; the function that comes back gives the most that it held, in bytes."""
    import ray

    total = ray.cluster_resources()["object_store_memory"]
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            most[0] = max(most[0], total - ray.available_resources().get("object_store_memory", total))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    def stop() -> float:
        over.set()
        thread.join()
        return most[0]

    return stop


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=1000, help="panoramas of the job; 0 leaves it out")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--height", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=2)


def measure(options: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        formats = measure_formats(Path(folder), options.height, options.repeats)
        base = formats[BASELINE]["seconds"]
        columns = {"seconds": ".2f", "per s and core": ".2f", "MB": ".1f", "peak GB": ".2f", "ratio": ".2f"}
        table = report.table(f"a panorama of {options.height}x{2 * options.height}", columns, "format")
        for name, one in formats.items():
            seconds = one["seconds"]
            table.row(name, seconds, 1 / seconds, one["bytes"] / 1e6, one["peak"] / 1e9, base / seconds)
            if name != BASELINE:
                report.ratio(f"export to {name}", "the released npz", base, seconds, "{:.2f} s")
        if options.height == 2048:
            for name, most in MOST_SECONDS.items():
                report.figure(f"processor seconds of {name}", formats[name]["seconds"], "s", most=most)
            for name, most in MOST_MEMORY.items():
                report.figure(f"peak memory of {name}", formats[name]["peak"] / 1e9, "GB", most=most)
        if not options.count:
            return
        job = measure_job(Path(folder), options.count, options.cpus)
        share = job["driver_share_of_a_core"]
        report.details["job"] = job
        report.line(
            f"\n{options.count} panoramas of 64x128 to GLB on {options.cpus} cores: {job['wall_seconds']:.1f} s, "
            f"{job['panoramas_per_second']:.0f}/s; driver {job['driver_cpu_ms_per_panorama']:.2f} ms each, "
            f"{share:.0%} of a core; object store at most {job['object_store_bytes'] / 1e6:.2f} MB"
        )
        report.figure("share of a core that the export's driver takes", 100 * share, "%", most=100 * MOST_DRIVER_SHARE)
