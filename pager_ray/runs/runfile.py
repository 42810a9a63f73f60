"""``run.json``: what a run is, so that it can be resumed, checked and understood years later."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pager_ray.errors import RunMismatchError, StorageError
from pager_ray.ranges import MAX_DEPTH
from pager_ray.runs.layout import RUN_FILE, RunLayout
from pager_ray.runs.shards import SCHEMA_VERSION
from pager_ray.storage import Folder
from pager_ray.version import __version__

RUNNING, COMPLETE, FAILED, STOPPED = "running", "complete", "failed", "stopped"

MAX_FACE_SIZE = 8192

DELETING = "deleting"
"""State of a run that ``--overwrite`` has begun to delete: what is left of it is no run to go on with."""


def read_run_file(output: Folder, *, may_be_deleted: bool = False) -> dict[str, Any] | None:
    """The run's manifest, or None where the folder holds no run.

    Args:
        may_be_deleted: also where ``--overwrite`` has begun to delete the run, and died.

    Raises:
        StorageError: it is there and cannot be understood, or was written by another schema version; or the run is half
            deleted.
    """
    if not output.exists(RUN_FILE):
        return None
    manifest = output.read_json(RUN_FILE)
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise StorageError(
            f"{output}: its {RUN_FILE} has schema version {manifest.get('schema_version')!r}; this pager_ray "
            f"({__version__}) reads version {SCHEMA_VERSION}; read it with what wrote it, or choose "
            "another output"
        )
    _check_sections(manifest, output)
    if manifest.get("state") == DELETING and not may_be_deleted:
        raise StorageError(
            f"{output}: holds what is left of a run that --overwrite began to delete; start anew with --overwrite"
        )
    return manifest


def _check_sections(manifest: Mapping[str, Any], output: Folder) -> None:
    """Refuse a run file, which may be anybody's, whose sections are not of the kind that they are read as."""
    config = manifest.get("config")
    inner = config if isinstance(config, dict) else {}
    asked = ("config", "identity", "checkpoint", "listing", "counts")
    sections = {name: manifest[name] for name in asked if name in manifest}
    sections |= {f"config.{name}": inner[name] for name in ("input", "output", "depth") if name in inner}
    # A run that has not ended has no counts.
    if sections.get("counts", {}) is None:
        del sections["counts"]
    wrong = [name for name, value in sections.items() if not isinstance(value, dict)]
    counts = manifest["counts"] if isinstance(manifest.get("counts"), dict) else {}
    wrong += [f"counts.{name}" for name, value in counts.items() if type(value) is not int or not 0 <= value < 2**63]
    depth = inner.get("depth")
    if isinstance(depth, dict):
        limits = [depth.get(name) for name in ("min", "max")]
        wrong += ["config.depth"] * any(not isinstance(one, int | float) or not abs(one) < MAX_DEPTH for one in limits)
    starts = manifest.get("starts")
    if starts is not None and (not isinstance(starts, list) or any(not isinstance(one, dict) for one in starts)):
        wrong.append("starts")
    if wrong:
        raise StorageError(
            f"{output}: its {RUN_FILE} cannot be understood ({', '.join(wrong)} is not what a job writes); restore it "
            "from a copy, or start the run anew with --overwrite"
        )


def faces_told(checkpoint: Mapping[str, Any]) -> tuple[int, float]:
    """Side of the faces and their field of view in degrees, as a run file's section ``checkpoint`` has them.

    Raises:
        KeyError: it does not say.
        TypeError, ValueError, OverflowError: no network has such faces.
    """
    size, fov = int(checkpoint["face_size"]), float(checkpoint["cube_fov"])
    if not 1 <= size <= MAX_FACE_SIZE or not 0 < fov < 180:
        raise ValueError(f"faces of {size} pixels and {fov:g}°")
    return size, fov


def new_run_file(config: Mapping[str, Any], identity: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """A run's manifest at its first start.

    Args:
        config: the resolved configuration, without secrets.
        identity: flat keys that decide the results; a resumed run must agree on all of them.
        sections: further sections such as ``checkpoint`` and ``listing``.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "state": RUNNING,
        "config": dict(config),
        "identity": dict(identity),
        **sections,
        "starts": [],
        "counts": None,
    }


def run_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of what a run is from its first start on: it stays when the run is moved, resumed or added to."""
    config, identity, starts = (manifest.get(name) or {} for name in ("config", "identity", "starts"))
    # The listing may grow.
    decided = {key: value for key, value in identity.items() if key != "listing.sha256"}
    told = [config, decided, starts[0].get("began") if starts else None]
    text = json.dumps(told, sort_keys=True, ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def check_same_run(manifest: Mapping[str, Any], identity: Mapping[str, Any], output: Folder) -> None:
    """Refuse to mix two runs in one output.

    Raises:
        RunMismatchError: names every key that differs, with both values.
    """
    before = manifest.get("identity", {})
    differing = [key for key in sorted({*before, *identity}) if before.get(key) != identity.get(key)]
    if differing:
        changes = "; ".join(f"{key}: was {before.get(key)!r}, now {identity.get(key)!r}" for key in differing)
        if "listing.sha256" in differing:
            changes += "; the inputs are others, or their masks, poses, scenes or kept columns are"
        grew = differing == ["listing.sha256"] and "job" not in identity
        raise RunMismatchError(
            f"output.uri: {output} holds a run with other settings ({changes}); choose another output, or give "
            f"{'--append to add what is new to it, or ' if grew else ''}--overwrite to delete it"
        )


def check_same_job(manifest: Mapping[str, Any], identity: Mapping[str, Any], output: Folder) -> None:
    """Refuse the output of another kind of job, whose files this one does not know how to delete.

    Raises:
        RunMismatchError: names both kinds.
    """
    was, now_is = (str(of.get("job", "run")) for of in (manifest.get("identity", {}), identity))
    if was != now_is:
        raise RunMismatchError(
            f"output.uri: {output} holds the output of `pager-ray {was}`, not of `pager-ray {now_is}`; choose another "
            "output"
        )


def standing_run(layout: RunLayout, identity: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
    """The run file of the job that stands at an output, if it is this very job or one that may be deleted.

    Returns:
        None where nothing stands.

    Raises:
        RunMismatchError: another job stands there, or files that belong to none.
        StorageError: the run file cannot be used; see :func:`read_run_file`.
    """
    manifest = read_run_file(layout.root, may_be_deleted=overwrite)
    if manifest is None:
        layout.check_is_free()
        return None
    check_same_job(manifest, identity, layout.root)
    if not overwrite:
        check_same_run(manifest, identity, layout.root)
    return manifest


def begin_start(manifest: dict[str, Any], *, announced: bool = False) -> None:
    """Note that the run is started (again), and with what; ``workers`` is for the model actors to fill.

    Args:
        manifest: of the run.
        announced: whether the output's store does not decide who was first: see :mod:`pager_ray.runs.lease`.
    """
    manifest["state"] = RUNNING
    manifest["versions"] = software_versions()
    start = {"began": now(), "ended": None, "outcome": None, "versions": manifest["versions"], "workers": []}
    manifest["starts"].append(start | {"lease": "announced" if announced else "exclusive"})


def end_start(
    manifest: dict[str, Any],
    state: str,
    outcome: str,
    counts: Mapping[str, int] | None,
    exit_code: int | None = None,
) -> None:
    """Note how the current start ended.

    Args:
        manifest: of the run.
        state: of the run from now on.
        outcome: a sentence for people.
        counts: what is done; None where that is not known.
        exit_code: of the command, where it ended before all was done.
    """
    manifest["state"] = state
    manifest["starts"][-1] |= {"ended": now(), "outcome": outcome}
    if exit_code is not None:
        manifest["starts"][-1]["exit_code"] = exit_code
    if counts is not None:
        manifest["counts"] = dict(counts)


def now() -> str:
    """The time in UTC, to the second, ISO 8601."""
    return datetime.fromtimestamp(int(time.time()), tz=UTC).isoformat()


def software_versions() -> dict[str, str | None]:
    """Versions of everything that a prediction may depend on; None where it is not installed."""

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    packages = (
        "ray",
        "torch",
        "numpy",
        "pyarrow",
        "opencv-python-headless",
        "pillow",
        "simplejpeg",
        "blosc2",
        "pillow-heif",
        "pillow-jxl-plugin",
        "OpenEXR",
    )
    return {
        "pager_ray": __version__,
        "git": _git_revision(),
        "python": platform.python_version(),
        **{name: installed(name) for name in packages},
    }


def _git_revision() -> str | None:
    """The checkout's commit, with ``-dirty`` when it has changes; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
