"""Deaths on order: a process of a job kills itself, with SIGKILL, at a named point of the code.

An order is a file named after a point in a folder of orders. The first process that comes by takes it and dies there.
The package knows nothing of this: its functions are wrapped, in the driver by ``python -m tests.harness.faults`` and in
Ray's workers by a setup hook.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "PAGER_RAY_TEST_FAULTS"
"""Environment variable that names the folder of orders."""

# What is put or deleted, by the path inside the output.
KINDS: Final = {
    "lease": r"state/lease/\d{8}\.json",
    "manifest": r"state/manifest/manifest\.parquet",
    "run file": r"run\.json",
    "snapshot": r"state/ledger/\d{8}\.parquet",
    "final snapshot": r"state/ledger/\d{8}\.final\.parquet",
    "record": r"state/ledger/\d{8}/[^/]+\.parquet",
    "results": r"predictions/[^/]+\.parquet",
    "rejects": r"rejects/[^/]+\.parquet",
    "npz file": r"(depth|normals|sky)/preds/[^/]+\.npz",
    "preview": r"previews/[^/]+\.jpg",
}

# Functions of stages: point → module, object, function; a process dies before or after it.
STAGES: Final = {
    "fetch": ("pager_ray.pipeline.read", None, "fetch"),
    "decode": ("pager_ray.pipeline.read", None, "decode_panorama"),
    "project": ("pager_ray.pipeline.read", None, "erp_to_cubemap"),
    "load the model": ("pager_ray.pipeline.infer", "InferActor", "_load"),
    "forward": ("pager_ray.pipeline.infer", "InferActor", "_predict"),
    "encode": ("pager_ray.pipeline.stitch", None, "_store"),
    "report the shard": ("pager_ray.pipeline.sink", "ShardSink", "write"),
    "reconcile": ("pager_ray.pipeline.lifecycle", None, "reconcile"),
}

DRIVER_POINTS: Final = [
    "before putting lease",
    "after putting lease",
    "before putting manifest",
    "after putting manifest",
    "before putting run file",
    "after putting run file",
    "before putting snapshot",
    "after putting snapshot",
    "after deleting snapshot",
    "after reconcile",
]
"""Where a driver dies before its pipeline runs, in the order of the code."""

WORKER_POINTS: Final = [
    "before fetch",
    "after fetch",
    "after decode",
    "after project",
    "before load the model",
    "before forward",
    "after forward",
    "before encode",
    "after encode",
    "before putting npz file",
    "after putting npz file",
    "before putting preview",
    "after putting preview",
    "before putting results",
    "half-way through putting results",
    "after putting results",
    "before putting rejects",
    "after putting rejects",
    "before putting record",
    "after putting record",
    "after report the shard",
]
"""Where a worker dies: reading, model, stitching, writing."""

ENDING_POINTS: Final = [
    "before putting final snapshot",
    "after putting final snapshot",
    "before deleting final snapshot",
]
"""Where a driver dies after its pipeline, and where the next one dies that finds a finished ledger."""

POISON: Final = b"kills its decoder"
"""Bytes that no worker survives: a file that holds them is a poison input."""

_LOG: Final = "predicted"


def order(folder: Path, point: str) -> None:
    """Let the next process that comes by a point die there."""
    (folder / point).touch()


def is_pending(folder: Path, point: str) -> bool:
    """Whether nobody has died there since it was ordered."""
    return (folder / point).exists()


def deaths(folder: Path) -> list[str]:
    """The points of all deaths so far."""
    return sorted(path.name.split("@")[0] for path in folder.glob("*@*"))


def predicted(folder: Path) -> list[str]:
    """Ids of all rows that model actors finished, with repetitions."""
    logs = folder.glob(f"{_LOG}.*.log")
    return [line for log in logs for line in log.read_text(encoding="utf-8").splitlines()]


def _pass(folder: Path, point: str) -> None:
    place = folder / point
    if not place.exists():
        return
    try:
        place.rename(folder / f"{point}@{os.getpid()}.{time.time_ns()}")
    except FileNotFoundError:
        # Another process was faster.
        return
    os.kill(os.getpid(), signal.SIGKILL)


def install(folder: Path) -> None:
    """Wrap the package's functions in this process."""
    from pager_ray.storage import Folder

    for name in ("write", "create"):
        _wrap(Folder, name, functools.partial(_put, folder, getattr(Folder, name)))
    _wrap(Folder, "delete", functools.partial(_delete, folder, Folder.delete))
    storage = importlib.import_module("pager_ray.storage")
    _wrap(storage, "_write_temporary", functools.partial(_half, folder, storage._write_temporary))
    for point, (module, owner, name) in STAGES.items():
        if module == "pager_ray.pipeline.lifecycle" and module not in sys.modules:
            # A worker's process has no driver in it, and is not to import one.
            continue
        place: Any = importlib.import_module(module)
        place = getattr(place, owner) if owner else place
        _wrap(place, name, functools.partial(_call, folder, point, getattr(place, name)))
    for place, name in ((importlib.import_module("pager_ray.pipeline.read"), "decode_panorama"),):
        _wrap(place, name, functools.partial(_poisoned, getattr(place, name)))
    actor = importlib.import_module("pager_ray.pipeline.infer").InferActor
    _wrap(actor, "__call__", functools.partial(_note, folder, actor.__call__))


def install_from_environment() -> None:
    """Setup hook of Ray's workers."""
    install(Path(os.environ[FOLDER]))


def _wrap(place: Any, name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(place, name)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        return wrapper(*arguments, **options)

    setattr(place, name, wrapped)


def _kind(path: str) -> str | None:
    return next((kind for kind, pattern in KINDS.items() if re.search(rf"(^|/){pattern}$", path)), None)


def _put(folder: Path, original: Callable[..., Any], target: Any, name: str, data: Any) -> Any:
    kind = _kind(target.join(name))
    _pass(folder, f"before putting {kind}")
    result = original(target, name, data)
    _pass(folder, f"after putting {kind}")
    return result


def _half(folder: Path, original: Callable[..., str], path: str, data: Any) -> str:
    temporary = original(path, data)
    _pass(folder, f"half-way through putting {_kind(path)}")
    return temporary


def _delete(folder: Path, original: Callable[..., int], target: Any, names: Any) -> int:
    names = list(names)
    kinds = {_kind(target.join(name)) for name in names}
    for kind in kinds:
        _pass(folder, f"before deleting {kind}")
    result = original(target, names)
    for kind in kinds:
        _pass(folder, f"after deleting {kind}")
    return result


def _call(folder: Path, point: str, original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    _pass(folder, f"before {point}")
    result = original(*arguments, **options)
    _pass(folder, f"after {point}")
    return result


def _poisoned(original: Callable[..., Any], data: bytes, **options: Any) -> Any:
    if POISON in data:
        # As a decoder's own fault would: no exception, no exit code, no message.
        os.kill(os.getpid(), signal.SIGSEGV)
    return original(data, **options)


def _note(folder: Path, original: Callable[..., Any], actor: Any, table: Any) -> Any:
    result = original(actor, table)
    with (folder / f"{_LOG}.{os.getpid()}.log").open("a", encoding="utf-8") as log:
        log.writelines(f"{id}\n" for id in result.column("id").to_pylist())
    return result


def main() -> None:
    """Run ``pager-ray`` with deaths on order: ``python -m tests.harness.faults run …``."""
    import ray

    from pager_ray import cli
    from pager_ray.pipeline import lifecycle  # noqa: F401 - wrapped below

    folder = Path(os.environ[FOLDER])
    install(folder)
    start = ray.init
    hook = f"{install_from_environment.__module__}.{install_from_environment.__name__}"
    hook = hook.replace("__main__", "tests.harness.faults")

    def init(*arguments: Any, **options: Any) -> Any:
        options["runtime_env"] = {"worker_process_setup_hook": hook, "env_vars": {FOLDER: str(folder)}}
        return start(*arguments, **options)

    ray.init = init
    cli.main()


if __name__ == "__main__":
    main()
