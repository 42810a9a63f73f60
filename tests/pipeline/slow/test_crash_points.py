"""Crash points: wherever a process of a job dies, the next start ends with every input once, and nothing else."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pager_ray
from pager_ray.reader.verify import verify_output
from pager_ray.runs import RunLayout
from pager_ray.samples import write_samples
from pager_ray.storage import Folder
from tests.harness import drivers, faults

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "docs" / "reliability.md"
ROWS = 24


@dataclass
class Story:
    """A run that met every crash point: exit codes of its starts, and what stood after each of them.

    Attributes:
        output: the run's.
        codes: exit code of each start, by the points at which it was to die.
        standing: ids with an outcome after each start.
        deaths: how often somebody died at each point.
        errors: what the start on a cluster said.
    """

    output: Path
    codes: dict[str, int | None] = field(default_factory=dict)
    standing: dict[str, list[str]] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)
    errors: str = ""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, tiny_unified: Path, ray_address: str) -> Story:
    """One run: a driver's death after the other, all deaths of workers in one start, deaths at the end.

    Before and after its pipeline a driver needs no cluster: what it dies in is the same with one.
    """
    folder = tmp_path_factory.mktemp("crashes")
    listing = Path(write_samples(folder / "panoramas", ROWS, height=64, ground_truth=False))
    # Two inputs that give rejects, for the points around them.
    with listing.open("a") as file:
        file.write("absent-1.jpg,absent-1,\nabsent-2.jpg,absent-2,\n")
    orders = folder / "orders"
    orders.mkdir()
    told = Story(folder / "run")
    settings = [f"input.uris={listing}", f"output.uri={told.output}", f"checkpoint={tiny_unified}"]
    settings += ["scene_mode=indoor", "compute.gpus_per_worker=0", "output.format=npz"]
    settings += ["output.previews=true", "output.size=64x128", "output.rows_per_shard=1"]

    def on_cluster() -> int:
        command = [sys.executable, "-m", "tests.harness.faults", "run", *settings]
        environment = faults.environment(orders, ray_address)
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
        told.errors = ended.stderr
        return ended.returncode

    def start(*points: str, by: Callable[[], int | None] = lambda: drivers.drive(orders, settings)) -> None:
        for point in points:
            faults.order(orders, point)
        name = ", ".join(points)
        told.codes[name] = by()
        told.standing[name] = RunLayout(Folder(str(told.output))).ledger.read().column("id").to_pylist()

    for point in faults.DRIVER_POINTS:
        start(point)
    start(*faults.WORKER_POINTS, by=on_cluster)
    for point in faults.ENDING_POINTS:
        start(point)
    start()
    told.deaths = Counter(faults.deaths(orders))
    return told


def rows_of_the_table() -> list[str]:
    """The first column of the table of crash points."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    cells = [re.match(r"\| `((?:before|after|half-way through) [^`]+)` \|", line) for line in lines]
    return [cell[1] for cell in cells if cell]


def test_the_table_is_whole() -> None:
    """Every row of the documented table is a point at which this test lets a process die, and the other way round."""
    points = [*faults.DRIVER_POINTS, *faults.WORKER_POINTS, *faults.ENDING_POINTS]
    assert Counter(rows_of_the_table()) == Counter(points)


@pytest.mark.parametrize("point", faults.DRIVER_POINTS + faults.ENDING_POINTS)
def test_a_driver_dies_and_is_followed(story: Story, point: str) -> None:
    """The driver dies at the point, what stood before still stands, and the output can be read."""
    assert story.codes[point] == -signal.SIGKILL
    assert story.deaths[point] == 1
    names = list(story.standing)
    before = story.standing[names[names.index(point) - 1]] if names.index(point) else []
    assert set(before) <= set(story.standing[point])
    assert len(set(story.standing[point])) == len(story.standing[point])


@pytest.mark.parametrize("point", faults.WORKER_POINTS)
def test_a_worker_dies_and_its_job_goes_on(story: Story, point: str) -> None:
    """A worker dies at the point, and the start that it belongs to ends with every input done."""
    assert story.deaths[point] == 1
    assert story.codes[", ".join(faults.WORKER_POINTS)] == 3, story.errors
    assert len(story.standing[", ".join(faults.WORKER_POINTS)]) == ROWS + 2
    # Ray's word of every worker that it could not make again.
    assert "constructor arguments" not in story.errors


def test_after_all_of_them_nothing_is_lost(story: Story) -> None:
    """Every input has its one outcome, every map decodes, nothing is left over, and nobody was rejected for a death."""
    assert story.codes[""] == 3
    found = verify_output(story.output)
    assert found.problems == []
    assert found.decoded == ROWS
    run = pager_ray.open_run(story.output)
    assert run.manifest["state"] == "complete"
    assert run.rejects().column("error_class").to_pylist() == ["missing", "missing"]
    assert list(story.output.rglob("*.tmp")) == []
    for folder in ("depth", "normals", "sky"):
        assert len(list((story.output / folder / "preds").iterdir())) == ROWS
    assert len(list((story.output / "previews").iterdir())) == ROWS
