"""A forked worker is what Ray's own would be: its environment, its module path, names that nobody else gives."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from tests.harness.forking import PATHS, environment_of


@ray.remote(num_cpus=0)
class Told:
    """What a worker says of itself."""

    def all(self) -> dict[str, Any]:
        """Its parent, environment, module path, a name for an object, and whether torch is there unasked."""
        return {
            "pid": os.getpid(),
            "parent": psutil.Process().parent().cmdline(),
            "environment": dict(os.environ),
            "path": list(sys.path),
            "name": ray.ObjectRef.from_random().hex(),
            "torch": "torch" in sys.modules,
        }


def is_forked(told: dict[str, Any]) -> bool:
    return "tests.harness.forking" in told["parent"]


@pytest.fixture(scope="module")
def workers(ray_cluster: None) -> list[dict[str, Any]]:
    """Three of them: two alike, one with a variable of its own."""
    hosts = [Told.remote(), Told.remote(), Told.options(runtime_env={"env_vars": {"OF_THE_JOB": "here"}}).remote()]
    told = ray.get([host.all.remote() for host in hosts])
    for one in told:
        one["seen from outside"] = environment_of(psutil.Process(one["pid"]))
    for host in hosts:
        ray.kill(host)
    return told


def test_workers_are_forked(workers: list[dict[str, Any]]) -> None:
    """All come from a process that had imported what they need, those with variables of their own too."""
    assert all(is_forked(one) and one["torch"] for one in workers)
    assert len({one["pid"] for one in workers}) == 3


def test_names_are_given_once(workers: list[dict[str, Any]]) -> None:
    """What Ray's core draws at random differs, though the workers began as copies of one process."""
    assert len({one["name"] for one in workers}) == 3


def test_environments_are_their_own(workers: list[dict[str, Any]]) -> None:
    """Each has the variables that Ray gave it, and whoever looks at it from outside sees them."""
    assert [one["environment"].get("OF_THE_JOB") for one in workers] == [None, None, "here"]
    assert [one["seen from outside"].get("OF_THE_JOB") for one in workers] == [None, None, "here"]
    for one in workers:
        assert one["environment"]["RAY_JOB_ID"] == ray.get_runtime_context().get_job_id()


def with_path(folder: Path) -> dict[str, Any]:
    """What a worker says that finds modules in a folder first."""
    paths = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    host = Told.options(runtime_env={"env_vars": {"PYTHONPATH": paths}}).remote()
    told = ray.get(host.all.remote())
    ray.kill(host)
    assert str(folder) not in os.environ[PATHS]
    return told


def test_a_path_of_its_own(ray_cluster: None, tmp_path: Path) -> None:
    """Module paths are those of a worker that Ray started: one that would find another torch than the one that is
    loaded."""
    alike, other = tmp_path / "alike", tmp_path / "other"
    alike.mkdir()
    other.mkdir()
    (other / "torch.py").touch()
    forked, started = with_path(alike), with_path(other)
    assert (is_forked(forked), is_forked(started)) == (True, False)
    assert [path.replace(str(alike), str(other)) for path in forked["path"]] == started["path"]
