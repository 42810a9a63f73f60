"""``python -m tests.harness.timeline FILE``: notes once a second which nodes a cluster has, until it is killed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray.util.state import list_actors


def look() -> dict[str, Any]:
    """Nodes by kind, and the model actors that are alive."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [resources for resources in alive if "node:__internal_head__" not in resources]
    actors = list_actors(filters=[("state", "=", "ALIVE")], limit=1000)
    return {
        "time": time.time(),
        "gpu_nodes": sum(1 for resources in nodes if resources.get("GPU")),
        "cpu_nodes": sum(1 for resources in nodes if not resources.get("GPU")),
        "model_actors": sum(1 for actor in actors if "PretendingActor" in actor.class_name),
    }


def main(path: str) -> None:
    """Look for ever."""
    ray.init(address="auto", log_to_driver=False)
    with Path(path).open("a") as file:
        while True:
            file.write(json.dumps(look()) + "\n")
            file.flush()
            time.sleep(1.0)


if __name__ == "__main__":
    main(sys.argv[1])
