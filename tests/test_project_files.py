"""Files about the project agree with it: the constraints that image and CI install with, the citation's version."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pager_ray.version import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BY_PLATFORM = {"torch", "torchvision", "triton"}


def pinned() -> dict[str, str]:
    """Versions by name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    """What pyproject.toml names, extras included, has one version there, and its range allows it."""
    versions = pinned()
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    for line in [*PROJECT["dependencies"], *extras]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name not in BY_PLATFORM | {"pager-ray"}:
            assert versions[name] in requirement.specifier, line


def test_what_differs_by_platform_is_left_out() -> None:
    """Torch, its compiler and the vendor's libraries come in other wheels elsewhere; nothing is taken from a place."""
    versions = pinned()
    assert not BY_PLATFORM & set(versions)
    assert not [name for name in versions if name.startswith(("nvidia-", "cuda-"))]
    assert "@" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_the_citation_is_of_this_version() -> None:
    """Who cites the software cites what they ran."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (__version__, PROJECT["license"])
