"""cluster/aws.yaml and gcp.yaml: what Ray's launcher takes, and what the job needs of such a cluster."""

from __future__ import annotations

import copy
import re
import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from pager_ray.config import load_config
from pager_ray.version import __version__

ROOT = Path(__file__).parents[2]
LAUNCHERS = ("aws.yaml", "gcp.yaml")

Change = Callable[[dict[str, Any]], object]


def read_launcher(name: str) -> dict[str, Any]:
    return copy.deepcopy(yaml.safe_load((ROOT / "cluster" / name).read_text(encoding="utf-8")))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a validation asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def take(config: dict[str, Any]) -> None:
    """What `ray up` checks before it asks a cloud; as it stands too, as defaults cover up what is missing."""
    validate_config({**config, "cluster_synced_files": []})
    validate_config(prepare_config(config))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launcher_takes_every_file(name: str) -> None:
    """Each file passes the launcher's own preparation and schema, before and after defaults are filled in."""
    config = read_launcher(name)
    assert config["provider"]["type"] == name.removesuffix(".yaml")
    take(config)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config.update(max_worker=4),
        lambda config: config.update(max_workers="32"),
        lambda config: config.update(head_node_type="haed"),
        lambda config: config["provider"].pop("type"),
        lambda config: config.pop("cluster_name"),
        lambda config: config["docker"].pop("container_name"),
        lambda config: config["available_node_types"]["gpu_worker"].update(min_worker=0),
        lambda config: config["available_node_types"]["gpu_worker"]["resources"].update(GPU="1"),
        lambda config: config["available_node_types"]["cpu_worker"].pop("node_config"),
        lambda config: config["available_node_types"]["gpu_worker"]["docker"].update(run_options=["--gpus all"]),
    ],
    ids=[
        "unknown key",
        "wrong type",
        "unknown head",
        "no provider",
        "no name",
        "no container",
        "unknown key of a node",
        "wrong type in a node",
        "no machine",
        "unknown key of a container",
    ],
)
def test_launcher_refuses_broken_files(spoil: Change) -> None:
    """A misspelt key, a wrong type or a missing part fails the same validation."""
    config = read_launcher(LAUNCHERS[0])
    spoil(config)
    with pytest.raises((jsonschema.ValidationError, ValueError, AssertionError, KeyError)):
        take(config)


def on_spot(provider: str, node: dict[str, Any]) -> bool:
    if provider == "aws":
        return node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    scheduling = node.get("scheduling", {})
    return scheduling.get("provisioningModel") == "SPOT" and scheduling.get("instanceTerminationAction") == "DELETE"


def identity(provider: str, node: dict[str, Any]) -> object:
    return node.get("IamInstanceProfile") if provider == "aws" else node.get("serviceAccounts")


def container_options(config: dict[str, Any]) -> dict[str, list[str]]:
    """What docker run is told on every node, by option."""
    options: dict[str, list[str]] = {}
    for line in config["docker"]["run_options"]:
        option, value = shlex.split(line)
        options.setdefault(option, []).append(value)
    return options


def nodes(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong with which machines there are, and when."""
    provider = config["provider"]["type"]
    types = dict(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    if head["resources"].get("CPU") != 0:
        yield "the head takes tasks"
    if on_spot(provider, head["node_config"]):
        yield "the head lies on spot"
    gpus = 0
    for name, kind in types.items():
        if not on_spot(provider, kind["node_config"]):
            yield f"{name}: is paid in full"
        if kind["resources"].get("GPU"):
            gpus += kind["max_workers"] * kind["resources"]["GPU"]
            if kind.get("docker", {}).get("worker_run_options") != ["--gpus all"]:
                yield f"{name}: the container does not see the GPU"
    if any(kind.get("min_workers") for kind in types.values()):
        yield "an idle cluster is more than its head"
    if sum(kind.get("max_workers", 0) for kind in types.values()) > config["max_workers"]:
        yield "max_workers allows less than the node types together"
    if gpus < load_config(ROOT / "configs" / "run.yaml").compute.gpu_workers[1]:
        yield "the pool may grow past the GPUs that the cluster may have"


def containers(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong with what runs on them."""
    options = container_options(config)
    environment = dict(entry.split("=", 1) for entry in options["--env"])
    if environment.get("RAY_AUTH_MODE") != "token":
        yield "anybody in the network may run code"
    if "~/.ray/auth_token" not in config["file_mounts"]:
        yield "nodes have no token"
    if "RAY_AUTH_TOKEN" in environment:
        yield "the token is written out"
    for variable in ("PAGER_RAY_CACHE", "HF_HOME"):
        if not environment.get(variable, "").startswith("/cache/"):
            yield f"{variable} does not outlive the container"
    for volume in options["--volume"]:
        if not any(volume.split(":")[0] in command.split() for command in config["initialization_commands"]):
            yield f"{volume}: the image's user may not write there"
    own = load_config(ROOT / "configs" / "run.yaml").errors.stop_seconds
    if int(environment.get("RAY_JOB_STOP_WAIT_TIME_S", "3")) <= own:
        yield "a stopped job is killed while it still finishes what it has begun"
    if config["setup_commands"] or config["head_setup_commands"] or config.get("worker_setup_commands"):
        yield "nodes install what the image should have"
    for name, kind in config["available_node_types"].items():
        if not identity(config["provider"]["type"], kind["node_config"]):
            yield f"{name}: has no identity at the bucket"


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("faults", [nodes, containers])
def test_launchers_mean_what_they_say(name: str, faults: Callable[[dict[str, Any]], Iterator[str]]) -> None:
    """Heads stay, workers are spot, GPUs start from zero, the token is a file, and the cache is the node's."""
    assert list(faults(read_launcher(name))) == []


@pytest.mark.parametrize(
    ("faults", "spoil"),
    [
        (nodes, lambda c: c["available_node_types"]["gpu_worker"].update(min_workers=1)),
        (nodes, lambda c: c["available_node_types"]["gpu_worker"].update(max_workers=15)),
        (nodes, lambda c: c["available_node_types"]["gpu_worker"].pop("docker")),
        (nodes, lambda c: c["available_node_types"]["cpu_worker"].update(min_workers=1)),
        (nodes, lambda c: c["available_node_types"]["head"].update(resources={})),
        (nodes, lambda c: c.update(head_node_type="cpu_worker")),
        (containers, lambda c: c["docker"]["run_options"].remove("--env RAY_AUTH_MODE=token")),
        (containers, lambda c: c["docker"]["run_options"].append("--env RAY_AUTH_TOKEN=0123456789abcdef")),
        (containers, lambda c: c["docker"]["run_options"].remove("--env RAY_JOB_STOP_WAIT_TIME_S=120")),
        (containers, lambda c: c["file_mounts"].clear()),
        (containers, lambda c: c["docker"]["run_options"].append("--volume /data:/data")),
    ],
)
def test_launchers_that_mean_something_else_are_found(
    faults: Callable[[dict[str, Any]], Iterator[str]], spoil: Change
) -> None:
    """Each of these checks notices the change that it is there for."""
    config = read_launcher(LAUNCHERS[0])
    spoil(config)
    assert list(faults(config))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_nodes_start_ray_with_options_that_it_has(name: str) -> None:
    """Start commands parse with Ray's own command line; the head scales, takes no tasks, and all show their metrics."""
    from ray.scripts.scripts import start  # takes half a second, in every process that collects this file

    config = read_launcher(name)
    parsed = {}
    for who in ("head", "worker"):
        stop, command = config[f"{who}_start_ray_commands"]
        assert stop == "ray stop"
        words = shlex.split(command.replace("$RAY_HEAD_IP", "10.0.0.1"))
        assert words[:2] == ["ray", "start"]
        parsed[who] = start.make_context("start", words[2:]).params
    assert parsed["head"]["head"]
    assert parsed["head"]["num_cpus"] == 0
    assert parsed["head"]["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    assert parsed["head"]["dashboard_host"] == "127.0.0.1"
    assert parsed["worker"]["address"] == f"10.0.0.1:{parsed['head']['port']}"
    assert parsed["head"]["metrics_export_port"] == parsed["worker"]["metrics_export_port"] == 8080


@pytest.mark.parametrize("name", LAUNCHERS)
def test_one_image(name: str) -> None:
    """All nodes run the project's image of this version, and the example's submission names what the image holds."""
    assert read_launcher(name)["docker"]["image"] == f"pager-ray:{__version__}"
    text = (ROOT / "cluster" / name).read_text(encoding="utf-8")
    named = set(re.findall(r"/app/(\S+)", text))
    assert named == {"cluster/finish.sh", "jobs/infer.py", "configs/run.yaml"}
    assert all((ROOT / path).is_file() for path in named)
