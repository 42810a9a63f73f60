"""What a model worker takes per panorama, as somebody measured it: a profile, an earlier run, or a benchmark's report.

All of them are files from elsewhere: bounded, and every number that is taken from them is checked.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pager_ray.bounded import parse_json
from pager_ray.errors import ConfigError, StorageError
from pager_ray.masking import mask_uri
from pager_ray.plain import plain_text
from pager_ray.plan.spread import Band, mean_band
from pager_ray.runs.layout import RUN_FILE
from pager_ray.storage import Folder, client_errors, error_reason

MAX_BYTES = 16 << 20
"""Of a profile; the run file of a job with thousands of model workers has a few megabytes."""

MIN_SECONDS, MAX_SECONDS = 1e-4, 3600.0
_LONGEST_NAME = 200

PROFILE = Band(1.0, 0.93, 1.07)
"""How far a device of the same kind may be from a profile: clocks, cooling, versions of libraries."""

_JOBS_WAYS = ("ours, eager", "ours, graphs")

_TAKES = (
    '--profile takes {"device": "NAME", "seconds_per_panorama": 0.1}, the output or run.json of an earlier run, or '
    "what python -m benchmarks gpu (or model) --json FILE wrote"
)


@dataclass(frozen=True)
class ModelProfile:
    """What the model takes per panorama.

    Attributes:
        device: what it ran on.
        seconds: of one model worker, one value per measurement.
        cpu_seconds: processor time that the network itself took; 0 where it ran on an accelerator.
        load_seconds: loading the checkpoint; None where nobody measured it.
        source: how this is known, for people.
        is_measured: whether the values are measurements that show their spread; a profile is one number.
    """

    device: str
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...] = (0.0,)
    load_seconds: float | None = None
    source: str = "measured here"
    is_measured: bool = True

    def band(self) -> Band:
        """Seconds per panorama."""
        return mean_band(self.seconds) if self.is_measured else PROFILE.times(self.seconds[0])


def read_profile(uri: str) -> ModelProfile:
    """Find out which of the three it is.

    Args:
        uri: path or fsspec URL of a JSON file, or of a run's output.

    Raises:
        ConfigError: it cannot be read, is too large, or is none of the three.
    """
    shown = mask_uri(uri)
    content = _content(uri, shown)
    try:
        value = parse_json(content, nan=True)
    except ValueError as error:
        raise ConfigError(f"{shown}: is not JSON ({' '.join(str(error).split())}); {_TAKES}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{shown}: holds a {type(value).__name__}; {_TAKES}")
    if "starts" in value:
        return _of_run(value, shown)
    if isinstance(value.get("benchmark"), str):
        details = value.get("details")
        return _of_benchmark(details if isinstance(details, dict) else {}, shown)
    if "rows" in value:
        return _of_benchmark(value, shown)
    if unknown := sorted({*value} - {"device", "seconds_per_panorama"}):
        raise ConfigError(f"{shown}: unknown key {plain_text(unknown[0][:_LONGEST_NAME])!r}; {_TAKES}")
    return ModelProfile(
        _name(value.get("device"), f"{shown}: device"),
        (_seconds(value.get("seconds_per_panorama"), f"{shown}: seconds_per_panorama"),),
        source=f"profile {shown}",
        is_measured=False,
    )


def bounded_bytes(uri: str, shown: str, takes: str, most: int = MAX_BYTES) -> bytes:
    """A file's bytes, where it has no more than so many.

    Raises:
        ConfigError: it cannot be read or is larger.
    """
    parent, _, name = uri.rpartition("/")
    try:
        folder = Folder(parent or ("/" if uri.startswith("/") else ".")).once()
        path = folder.join(name)
        size = folder.filesystem.size(path)
        content = folder.read(name) if size is None or size <= most else b""
    except StorageError as error:
        raise ConfigError(f"{shown}: cannot be read ({error}); {takes}") from error
    except client_errors() as error:
        raise ConfigError(f"{shown}: cannot be read ({error_reason(error)}); {takes}") from error
    if max(size or 0, len(content)) > most:
        raise ConfigError(f"{shown}: has more than {most:,} bytes; {takes}")
    return content


def _content(uri: str, shown: str) -> bytes:
    if not uri.endswith(".json") and not os.path.isfile(uri):
        return bounded_bytes(f"{uri.rstrip('/')}/{RUN_FILE}", shown, _TAKES)
    return bounded_bytes(uri, shown, _TAKES)


def _of_run(manifest: Mapping[str, Any], shown: str) -> ModelProfile:
    """The last start that predicted something."""
    starts = manifest["starts"]
    for start in reversed(starts if isinstance(starts, list) else []):
        facts = _inside(start, "stages", "stages", "infer")
        if facts is None:
            continue
        workers = start.get("workers")
        first = workers[0] if isinstance(workers, list) and workers else None
        seconds = _seconds(_inside(facts, "seconds_per_panorama"), f"{shown}: infer.seconds_per_panorama")
        device = _name(_inside(first, "device"), f"{shown}: workers[0].device")
        # A network on CPUs shares them with the other stages.
        cpu = _inside(facts, "cpu_seconds_per_panorama") if device.startswith("CPU") else None
        spent = _seconds(cpu, f"{shown}: infer.cpu_seconds_per_panorama") if cpu is not None else 0.0
        return ModelProfile(device, (seconds,), (spent,), source=f"run {shown}", is_measured=False)
    raise ConfigError(f"{shown}: none of its starts predicted anything; {_TAKES}")


def _of_benchmark(report: Mapping[str, Any], shown: str) -> ModelProfile:
    """The fastest batch, run as a job runs it: operation by operation, or as graphs, but not compiled."""
    rows = report.get("rows")
    ours = [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and row.get("way") in _JOBS_WAYS and row.get("problem") is None
    ]
    found = []
    for row in ours:
        batch = row.get("batch")
        if not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= 4096:
            raise ConfigError(
                f"{shown}: rows[].batch: got {plain_text(repr(batch)[:50])}; takes a whole number from 1; {_TAKES}"
            )
        seconds = _number(row.get("network"), f"{shown}: rows[].network", MIN_SECONDS, MAX_SECONDS * batch)
        found.append((seconds / batch, batch))
    if not found:
        raise ConfigError(f"{shown}: has no measured row of the ways {' or '.join(map(repr, _JOBS_WAYS))}; {_TAKES}")
    best, batch = min(found)
    device = _name(report.get("device"), f"{shown}: device")
    cpu = best if device.startswith("CPU") else 0.0
    source = f"benchmark {shown}, batches of {batch}"
    return ModelProfile(device, (best,), (cpu,), source=source, is_measured=False)


def _inside(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _seconds(value: Any, where: str) -> float:
    return _number(value, where, MIN_SECONDS, MAX_SECONDS)


def _number(value: Any, where: str, low: float, high: float) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if not usable or not math.isfinite(value) or not low <= value <= high:
        shown = plain_text(repr(value)[:50])
        raise ConfigError(f"{where}: got {shown}; takes a number from {low:g} to {high:g}; {_TAKES}")
    return float(value)


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_NAME:
        raise ConfigError(f"{where}: got {plain_text(repr(value)[:50])}; takes a short name; {_TAKES}")
    return plain_text(" ".join(value.split()))
