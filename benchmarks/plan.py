"""What a plan is worth: planned seconds beside those that the job takes.

Renders a few JPEGs of 4096×2048, lists 500 panoramas over them, plans the job with the profile of a simulated GPU, and
then runs it: the job of the benchmark ``pipeline``, in which everything but the network is real. The sleep of the
simulated GPUs is chosen so that all of them together take ``--panorama-rate`` panoramas per second; at a rate above
what the cores can feed, the plan has to find that the cores decide.

Printed: the plan, how long the run took, and the plan's error.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import ray

from benchmarks.frame import Report
from benchmarks.pipeline import PANORAMAS, make_listing, simulated
from pager_ray.config import load_config
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.pipeline.job import run_job
from pager_ray.plan.outcome import read_plan
from pager_ray.plan.request import Request, plan_job
from pager_ray.plan.text import plan_lines
from pager_ray.report.stages import stage_lines
from pager_ray.samples import write_samples

MOST_ERROR = 0.20


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--gpus", type=int, default=2, help="simulated GPUs")
    parser.add_argument("--panorama-rate", type=float, default=1.2, help="panoramas per second of all GPUs together")
    parser.add_argument("--samples", type=int, default=8, help="panoramas that the plan measures")
    parser.add_argument("--height", type=int, default=2048, help="of the panoramas")
    parser.add_argument("--face-size", type=int, default=504)
    parser.add_argument("--object-store", type=int, default=4, help="GiB")
    parser.add_argument("--panoramas", type=Path, help="a folder of JPEGs to list instead of rendering some")


def measure(options: argparse.Namespace, report: Report) -> None:
    """Plan, run, compare."""
    seconds = options.gpus / options.panorama_rate
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rendered = options.panoramas or folder / "panoramas"
        if options.panoramas is None:
            write_samples(rendered, PANORAMAS, height=options.height, ground_truth=False)
        listing = make_listing(folder, options.rows, sorted(rendered.glob("*.jpg")))
        write_random_checkpoint(folder / "checkpoint", "tiny", face_size=options.face_size)
        profile = folder / "profile.json"
        profile.write_text(json.dumps({"device": "simulated GPU", "seconds_per_panorama": seconds}), encoding="utf-8")
        config = load_config(
            None,
            [
                f"input.uris={listing}",
                f"output.uri={folder / 'run'}",
                f"checkpoint={folder / 'checkpoint'}",
                "scene_mode=indoor",
                f"compute.gpu_workers={options.gpus}",
            ],
        )
        plan = plan_job(config, Request(options.samples, str(profile), local=True))
        report.line("\n".join(plan_lines(plan)))
        plan_file, traces = folder / "plan.json", folder / "traces"
        plan_file.write_text(json.dumps(plan.to_json()), encoding="utf-8")
        traces.mkdir()
        ray.init(
            address="local",
            num_cpus=os.cpu_count(),
            num_gpus=options.gpus,
            object_store_memory=options.object_store << 30,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="warning",
        )
        try:
            stage = simulated(seconds, options.face_size, traces)
            summary = run_job(config, plan=read_plan(str(plan_file)), model_stage=stage)
        finally:
            ray.shutdown()
        manifest = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    report.line("\n".join([*summary.lines(), *stage_lines(manifest["starts"][-1]["stages"])]))
    error = plan.seconds.estimate / summary.seconds - 1
    inside = plan.seconds.low <= summary.seconds <= plan.seconds.high
    report.line(
        f"planned {plan.seconds.estimate:.0f} s ({plan.seconds.low:.0f} – {plan.seconds.high:.0f}), took "
        f"{summary.seconds:.0f} s, {'inside' if inside else 'outside'} the band; the plan's error is {error:+.1%}"
    )
    stages = manifest["starts"][-1]["stages"]
    report.details |= {"planned": plan.to_json(), "actual_seconds": summary.seconds, "stages": stages}
    name = f"error of a plan, {options.panorama_rate:g} panoramas/s of all GPUs together"
    band = f"{plan.seconds.low:.0f} to {plan.seconds.high:.0f}"
    note = f"planned {plan.seconds.estimate:.0f} s ({band}), took {summary.seconds:.0f} s"
    report.figure(name, 100 * abs(error), "%", most=100 * MOST_ERROR, note=note)
