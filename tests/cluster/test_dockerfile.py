"""cluster/Dockerfile and .dockerignore: small layers in a good order, no root, no weights."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "cluster" / "Dockerfile"
SOURCES = {"pager_ray", "jobs", "configs"}
WEIGHTS = re.compile(
    r"weights|checkpoint|safetensors|huggingface-cli|hf download|hf_hub|snapshot_download", re.IGNORECASE
)


class Step(NamedTuple):
    """One instruction of a Dockerfile, with its continued lines joined."""

    name: str
    rest: str


def steps(text: str) -> list[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines()]


def copied(step: Step) -> list[str]:
    return step.rest.split()[:-1] if step.name in ("COPY", "ADD") else []


def faults(text: str) -> Iterator[str]:
    """What is wrong with a Dockerfile of this project."""
    found = steps(text)
    users = [step.rest for step in found if step.name == "USER"]
    if not users or re.match(r"(0|root)\b", users[-1]):
        yield "runs as root"
    elif not re.match(r"[1-9]\d*(:|$)", users[-1]):
        yield "Kubernetes cannot tell a user's name from root"
    for step in found:
        if step.name == "ADD":
            yield "ADD fetches and unpacks by itself"
        if step.name in ("COPY", "RUN") and WEIGHTS.search(step.rest):
            yield "weights are in a layer"
        if any(source in (".", "./") for source in copied(step)):
            yield "everything in the checkout is in a layer"
    installs = [i for i, step in enumerate(found) if step.name == "RUN" and "pip install --requirement" in step.rest]
    sources = [i for i, step in enumerate(found) if SOURCES & {source.rstrip("/") for source in copied(step)}]
    if not installs or not sources or max(installs) > min(sources):
        yield "a change of code installs all dependencies again"
    package = [step.rest for step in found if step.name == "RUN" and re.search(r"pip install .*\.( |$)", step.rest)]
    if len(package) != 1 or "--no-deps" not in package[0]:
        yield "the package's own layer is not small"
    for step in found:
        if "apt-get install" in step.rest and "rm -rf /var/lib/apt/lists" not in step.rest:
            yield "package lists stay in a layer"
    environment = dict(pair.split("=", 1) for step in found if step.name == "ENV" for pair in step.rest.split())
    for name, value in {"PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0", "PIP_NO_CACHE_DIR": "1"}.items():
        if environment.get(name) != value:
            yield f"{name} is not {value}"
    if re.search(r"TOKEN|SECRET|PASSWORD", " ".join(environment)):
        yield "a secret is in a layer"
    tools = next((step.rest for step in found if "apt-get install" in step.rest), "")
    for tool in ("wget", "rsync", "openssh-client", "g++"):
        if not re.search(rf"\s{re.escape(tool)}(?=\s)", tools):
            yield f"{tool} is missing"


def test_dockerfile_is_sound() -> None:
    """Dependencies come before sources, the user is no root, and neither weights nor secrets are in a layer."""
    assert list(faults(DOCKERFILE.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("USER 1000:1000", "USER root"),
        lambda text: text.replace("USER 1000:1000", "USER ray"),
        lambda text: text.replace("USER 1000:1000\n", ""),
        lambda text: text + "USER 0\n",
        lambda text: text.replace("COPY pyproject.toml ./", "COPY pyproject.toml pager_ray ./"),
        lambda text: text.replace("COPY pager_ray ./pager_ray", "COPY . ."),
        lambda text: text.replace("COPY jobs", "COPY weights"),
        lambda text: text + "RUN hf download prs-eth/PaGeR\n",
        lambda text: text.replace("install --no-deps .", "install ."),
        lambda text: text.replace("rsync wget", "rsync"),
        lambda text: text.replace("g++ openssh", "openssh"),
        lambda text: text.replace("PYTHONUNBUFFERED=1", "HF_TOKEN=x"),
    ],
)
def test_unsound_dockerfiles_are_found(spoil: Callable[[str], str]) -> None:
    """Each of these checks notices the change that it is there for."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert spoil(text) != text
    assert list(faults(spoil(text)))


def test_dependencies_are_those_of_the_project() -> None:
    """The dependency layer installs what pyproject.toml says, to the letter, without having the package's source: with
    every extra that a job may want, and without those for desks."""
    text = next(step.rest for step in steps(DOCKERFILE.read_text(encoding="utf-8")) if "tomllib" in step.rest)
    command = text.split(">", 1)[0].replace("python", sys.executable, 1)
    lines = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=900)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [name for name in extras if name not in ("demo", "dev", "rerun")]
    assert lines.stdout.splitlines() == [*project["dependencies"], *(line for name in wanted for line in extras[name])]
    ray = next(line for line in project["dependencies"] if line.startswith("ray["))
    of_ray = set(re.search(r"\[(.*)\]", ray)[1].split(","))
    assert of_ray >= {"data", "default"}, "dashboard, job submission and metrics are in Ray's extra 'default'"


def test_python_is_one_that_the_project_takes() -> None:
    """The base image is a slim Python that requires-python allows."""
    base = next(step.rest for step in steps(DOCKERFILE.read_text(encoding="utf-8")) if step.name == "FROM")
    minor = int(re.fullmatch(r"python:3\.(\d+)-slim-\w+", base)[1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert minor >= int(re.fullmatch(r">=3\.(\d+)", project["requires-python"])[1])


def sent(path: str) -> bool:
    """Whether a file of the checkout is sent to the builder: the last matching line of .dockerignore decides."""
    outcome = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = path.split("/")
        heads = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        if pattern.startswith("**/"):
            matches = any(fnmatch(part, pattern[3:]) for part in parts)
        else:
            matches = any(head.count("/") == pattern.count("/") and fnmatch(head, pattern) for head in heads)
        if matches:
            outcome = line.startswith("!")
    return outcome


def test_builder_gets_what_is_copied() -> None:
    """Whatever the Dockerfile copies exists and is sent to the builder."""
    for step in steps(DOCKERFILE.read_text(encoding="utf-8")):
        for source in copied(step):
            path = ROOT / source
            assert path.exists()
            files = [path] if path.is_file() else [p for p in path.rglob("*.*") if "__pycache__" not in p.parts]
            assert files
            assert all(sent(str(file.relative_to(ROOT))) for file in files if file.is_file())


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "quickstart/checkpoint/model.safetensors",
        "pager_ray/model/model.safetensors",
        "configs/weights.pt",
        "pager_ray/__pycache__/cli.cpython-312.pyc",
        "tests/golden/faces.npz",
        "cluster/aws.yaml",
    ],
)
def test_builder_gets_nothing_else(path: str) -> None:
    """Weights, panoramas, tests and environments that lie in a checkout never reach the builder."""
    assert not sent(path)
