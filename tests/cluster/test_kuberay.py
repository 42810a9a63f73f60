"""cluster/kuberay: manifests that KubeRay takes, and that fit the image, the configuration and each other."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pager_ray.config import load_config
from pager_ray.version import __version__

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "cluster" / "kuberay"
CRDS_VARIABLE = "PAGER_RAY_KUBERAY_CRDS"
MANIFESTS = ("rayjob.yaml", "raycluster.yaml")
OPEN_OBJECTS = "x-kubernetes-preserve-unknown-fields"
GIBI = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}

Change = Callable[[dict[str, Any]], object]


def read_manifest(name: str) -> dict[str, Any]:
    return copy.deepcopy(yaml.safe_load((KUBERAY / name).read_text(encoding="utf-8")))


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["rayClusterSpec"] if manifest["kind"] == "RayJob" else manifest["spec"]


def groups_of(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = cluster_of(manifest)
    return {"head": cluster["headGroupSpec"], **{group["groupName"]: group for group in cluster["workerGroupSpecs"]}}


def pod_of(group: dict[str, Any]) -> dict[str, Any]:
    return group["template"]["spec"]


def container_of(group: dict[str, Any]) -> dict[str, Any]:
    return pod_of(group)["containers"][0]


def environment_of(group: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in container_of(group)["env"]}


def gpus_of(group: dict[str, Any]) -> int:
    return int(container_of(group)["resources"]["limits"].get("nvidia.com/gpu", 0))


def in_bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMG]i)", quantity).groups()
    return int(number) * GIBI[unit]


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The API server's reading of a CRD's schema: fields that it does not name are errors, not dropped in silence."""
    closed = {
        key: {name: strict(value) for name, value in part.items()}
        if key == "properties"
        else strict(part)
        if isinstance(part, dict)
        else part
        for key, part in schema.items()
    }
    if closed.get("x-kubernetes-int-or-string"):
        closed.pop("anyOf", None)
        closed["type"] = ["integer", "string"]
    elif "properties" in closed and not closed.get(OPEN_OBJECTS):
        closed.setdefault("additionalProperties", False)
    if closed.get("nullable") and isinstance(closed.get("type"), str):
        closed["type"] = [closed["type"], "null"]
    return closed


@pytest.fixture(scope="session")
def schemas() -> dict[str, dict[str, Any]]:
    folder = Path(os.environ.get(CRDS_VARIABLE) or ROOT.parent / "shared" / "kuberay-crds")
    if not folder.is_dir():
        pytest.skip(
            f"needs KubeRay's CRDs: a folder with ray.io_rayjobs.yaml and ray.io_rayclusters.yaml, in {CRDS_VARIABLE}"
        )
    schemas = {}
    for name in ("rayjobs", "rayclusters"):
        crd = yaml.load((folder / f"ray.io_{name}.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
        schema = strict(version["schema"]["openAPIV3Schema"])
        # What every object has is no part of a CRD's own schema.
        schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        schemas[crd["spec"]["names"]["kind"]] = schema
    return schemas


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_follow_kuberays_own_schema(name: str, schemas: dict[str, dict[str, Any]]) -> None:
    """Every manifest is valid by the CRD of its kind, unknown fields being errors."""
    manifest = read_manifest(name)
    assert manifest["apiVersion"] == "ray.io/v1"
    jsonschema.Draft202012Validator(schemas[manifest["kind"]]).validate(manifest)


def misspell_autoscaling(manifest: dict[str, Any]) -> None:
    cluster = cluster_of(manifest)
    cluster["enableInTreeAutoScaling"] = cluster.pop("enableInTreeAutoscaling")


def misspell_in_a_container(manifest: dict[str, Any]) -> None:
    container_of(groups_of(manifest)["gpu"])["volumeMount"] = []


def give_cpus_as_a_number(manifest: dict[str, Any]) -> None:
    groups_of(manifest)["head"]["rayStartParams"]["num-cpus"] = 0


def give_replicas_as_text(manifest: dict[str, Any]) -> None:
    groups_of(manifest)["gpu"]["maxReplicas"] = "sixteen"


def leave_out_the_group_name(manifest: dict[str, Any]) -> None:
    del groups_of(manifest)["cpu"]["groupName"]


def leave_out_the_head(manifest: dict[str, Any]) -> None:
    del cluster_of(manifest)["headGroupSpec"]


def ask_for_an_unknown_autoscaler(manifest: dict[str, Any]) -> None:
    cluster_of(manifest)["autoscalerOptions"]["version"] = "v3"


@pytest.mark.parametrize(
    "spoil",
    [
        misspell_autoscaling,
        misspell_in_a_container,
        give_cpus_as_a_number,
        give_replicas_as_text,
        leave_out_the_group_name,
        leave_out_the_head,
        ask_for_an_unknown_autoscaler,
    ],
)
def test_broken_manifests_are_refused(spoil: Change, schemas: dict[str, dict[str, Any]]) -> None:
    """A misspelt field, a wrong type, a missing or an unknown value fails the validation, at any depth."""
    manifest = read_manifest(MANIFESTS[0])
    spoil(manifest)
    assert not jsonschema.Draft202012Validator(schemas[manifest["kind"]]).is_valid(manifest)


def sizes(manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with groups, their numbers and their memory."""
    groups = groups_of(manifest)
    gpus = 0
    for name, group in groups.items():
        resources = container_of(group)["resources"]
        if resources["requests"] != resources["limits"]:
            yield f"{name}: memory or GPUs are promised that it may not get"
        memory = next(volume["emptyDir"] for volume in pod_of(group)["volumes"] if volume["name"] == "shm")
        if memory.get("medium") != "Memory":
            yield f"{name}: /dev/shm lies on disk"
        if in_bytes(memory["sizeLimit"]) < int(group["rayStartParams"]["object-store-memory"]):
            yield f"{name}: the object store does not fit into /dev/shm"
        if in_bytes(memory["sizeLimit"]) > in_bytes(resources["limits"]["memory"]) // 2:
            yield f"{name}: /dev/shm leaves processes less than half of the memory"
        if not any(mount == {"name": "shm", "mountPath": "/dev/shm"} for mount in container_of(group)["volumeMounts"]):
            yield f"{name}: nothing is mounted at /dev/shm"
        if name != "head" and not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"{name}: replicas are out of their own bounds"
        if gpus_of(group):
            gpus += gpus_of(group) * group["maxReplicas"]
            if group["minReplicas"]:
                yield f"{name}: GPUs that nobody asked for"
            if not any(toleration.get("key") == "nvidia.com/gpu" for toleration in pod_of(group)["tolerations"]):
                yield f"{name}: may not run where GPUs are"
    if groups["head"]["rayStartParams"].get("num-cpus") != "0":
        yield "head: takes tasks"
    if "tolerations" in pod_of(groups["head"]):
        yield "head: may lie on a spot node"
    if manifest["kind"] == "RayCluster" and any(group.get("minReplicas") for group in groups.values()):
        yield "an idle cluster is more than its head"
    if gpus < load_config(ROOT / "configs" / "run.yaml").compute.gpu_workers[1]:
        yield "the pool may grow past the GPUs that the cluster may have"


def stops(manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with how jobs and pods end."""
    own = load_config(ROOT / "configs" / "run.yaml").errors.stop_seconds
    for name, group in groups_of(manifest).items():
        wait = int(environment_of(group)["RAY_JOB_STOP_WAIT_TIME_S"])
        if not own < wait < pod_of(group)["terminationGracePeriodSeconds"]:
            yield f"{name}: is killed while a stopped job still finishes what it has begun"
        if pod_of(group)["restartPolicy"] != "Never":
            yield f"{name}: comes back without its memory"
    if manifest["kind"] == "RayJob":
        if not manifest["spec"]["shutdownAfterJobFinishes"]:
            yield "the cluster outlives the job"
        if manifest["spec"]["backoffLimit"] < 1:
            yield "a job that dies is not resumed"


def secrets(manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with who may do what."""
    if cluster_of(manifest)["authOptions"] != {"mode": "token"}:
        yield "anybody in the network may run code"
    for name, group in groups_of(manifest).items():
        pod = pod_of(group)
        for entry in container_of(group)["env"]:
            if "value" in entry and re.search(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|_KEY", entry["name"]):
                yield f"{name}: {entry['name']} is written out"
        for reference in container_of(group)["envFrom"]:
            if "secretRef" not in reference:
                yield f"{name}: credentials come from elsewhere than a Secret"
        if pod["serviceAccountName"] != service_account()["metadata"]["name"]:
            yield f"{name}: has no identity at the bucket"
        if not pod["securityContext"]["runAsNonRoot"]:
            yield f"{name}: runs as root"


def caches(manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with where weights lie."""
    for name, group in groups_of(manifest).items():
        cache = next(volume for volume in pod_of(group)["volumes"] if volume["name"] == "weight-cache")
        if cache["hostPath"]["type"] != "DirectoryOrCreate":
            yield f"{name}: a fresh node has no cache folder"
        folder = next(m["mountPath"] for m in container_of(group)["volumeMounts"] if m["name"] == "weight-cache")
        for variable in ("PAGER_RAY_CACHE", "HF_HOME"):
            if not environment_of(group)[variable].startswith(folder + "/"):
                yield f"{name}: {variable} does not outlive the pod"
        user = pod_of(group)["securityContext"]["runAsUser"]
        [prepare] = pod_of(group)["initContainers"]
        if prepare["command"] != ["chown", f"{user}:{user}", folder]:
            yield f"{name}: the cache belongs to somebody else than the image's user"


def service_account() -> dict[str, Any]:
    return yaml.safe_load((KUBERAY / "service-account.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("faults", [sizes, stops, secrets, caches])
def test_manifests_mean_what_they_say(name: str, faults: Callable[[dict[str, Any]], Iterator[str]]) -> None:
    """GPUs start from zero, stores fit their memory, stops have time, secrets are references, caches are writable."""
    assert list(faults(read_manifest(name))) == []


@pytest.mark.parametrize(
    ("faults", "spoil"),
    [
        (sizes, lambda m: groups_of(m)["gpu"].update(minReplicas=1, replicas=1)),
        (sizes, lambda m: groups_of(m)["gpu"].update(maxReplicas=15)),
        (sizes, lambda m: groups_of(m)["cpu"].update(minReplicas=2)),
        (sizes, lambda m: groups_of(m)["gpu"]["rayStartParams"].update({"object-store-memory": str(12 * 2**30)})),
        (sizes, lambda m: groups_of(m)["head"]["rayStartParams"].pop("num-cpus")),
        (sizes, lambda m: pod_of(groups_of(m)["head"]).update(tolerations=[{"operator": "Exists"}])),
        (stops, lambda m: pod_of(groups_of(m)["head"]).update(terminationGracePeriodSeconds=120)),
        (secrets, lambda m: container_of(groups_of(m)["cpu"])["env"].append({"name": "HF_TOKEN", "value": "x"})),
        (secrets, lambda m: cluster_of(m)["authOptions"].update(mode="disabled")),
        (caches, lambda m: pod_of(groups_of(m)["gpu"]).update(securityContext={"runAsUser": 999})),
    ],
)
def test_manifests_that_mean_something_else_are_found(
    faults: Callable[[dict[str, Any]], Iterator[str]], spoil: Change
) -> None:
    """Each of these checks notices the change that it is there for."""
    manifest = read_manifest(MANIFESTS[0])
    spoil(manifest)
    assert list(faults(manifest))


@pytest.mark.parametrize("name", MANIFESTS)
def test_one_image_and_its_ray(name: str) -> None:
    """Every container runs the project's image of this version, and rayVersion is the Ray that the project allows."""
    manifest = read_manifest(name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    images = {
        container["image"]
        for group in groups_of(manifest).values()
        for container in (*pod_of(group)["containers"], *pod_of(group)["initContainers"])
    }
    assert images == {f"pager-ray:{__version__}"}
    bound = next(re.search(r">=([\d.]+)", line)[1] for line in project["dependencies"] if line.startswith("ray["))
    assert cluster_of(manifest)["rayVersion"].startswith(f"{bound}.")


def entrypoint() -> list[str]:
    return read_manifest("rayjob.yaml")["spec"]["entrypoint"].split()


def test_entrypoint_starts_what_the_image_holds() -> None:
    """The script, the job and the configuration that the entrypoint names exist, and the image has them."""
    dockerfile = (ROOT / "cluster" / "Dockerfile").read_text(encoding="utf-8")
    words = entrypoint()
    assert [words[0], words[2], words[4]] == ["sh", "python", "--config"]
    for word in (words[1], words[3], words[5]):
        path = Path(word).relative_to("/app")
        assert (ROOT / path).is_file()
        assert re.search(rf"^COPY ({path}|{path.parts[0]}) ", dockerfile, re.MULTILINE)
    assert Path(words[3]).parent == Path("/app/jobs")


def test_entrypoints_overrides_are_keys() -> None:
    """The entrypoint's overrides load on top of the configuration that it names, and the pool they ask for fits."""
    words = entrypoint()
    config = load_config(ROOT / Path(words[5]).relative_to("/app"), words[6:])
    assert config.input.uris
    assert config.output.uri
    gpus = groups_of(read_manifest("rayjob.yaml"))["gpu"]
    assert config.compute.gpu_workers[1] <= gpus["maxReplicas"] * gpus_of(gpus)


def test_entrypoint_passes_through_two_shells() -> None:
    """No character of the entrypoint means something else to the submitter's shell than to the head's."""
    assert not set(read_manifest("rayjob.yaml")["spec"]["entrypoint"]) & set("\n\"'$`\\;&|<>(){}*?#~")


@pytest.mark.parametrize(("code", "outcome"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 4), (130, 130), (143, 143)])
def test_complete_with_rejects_is_success_to_kubernetes(code: int, outcome: int) -> None:
    """finish.sh turns exit code 3 into 0, passes every other code, and hands arguments on as they are."""
    command = ["sh", ROOT / "cluster" / "finish.sh", "sh", "-c", 'echo "$1"; exit $0', str(code), "a  b=[1,16]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == outcome
    assert done.stdout == "a  b=[1,16]\n"
