"""Deaths on order: a process of a job kills itself, with SIGKILL, at a named point of the code.

An order is a file named after a point in a folder of orders. The first process that comes by takes it and dies there.
The package knows nothing of this: its functions are wrapped, in the driver by ``python -m tests.harness.faults`` and in
Ray's workers by a setup hook.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from tests.harness.forking import environment_of
from tests.harness.valve import Valve

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
    "fetch": ("pager_ray.stages.read", None, "fetch_content"),
    "decode": ("pager_ray.stages.read", None, "decode_content"),
    "project": ("pager_ray.read.panorama", "DecodedPanorama", "faces"),
    "load the model": ("pager_ray.pipeline.model_actor", "InferActor", "_load"),
    "forward": ("pager_ray.pipeline.model_actor", "InferActor", "_predict"),
    "encode": ("pager_ray.stages.stitch", None, "_store"),
    "report the shard": ("pager_ray.pipeline.sink", "ShardSink", "write"),
    "reconcile": ("pager_ray.runs.claim", None, "reconcile"),
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

CARRIED: Final = ("AWS_", "FSSPEC_", "GCSFS_", "PAGER_RAY_")
"""Variables of a driver that its workers have too begin like this."""

_LOG: Final = "predicted"
_VALVE: Final = "valve"


ROOT: Final = Path(__file__).parents[2]


def environment(folder: Path, address: str = "local") -> dict[str, str]:
    """What :func:`main` is to be started with: a Ray of its own on this machine, or the address of one to join.

    A worker that cannot import its setup hook is started again for ever, and the job waits for it; the workers of a Ray
    that is joined must find these tests by themselves.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {FOLDER: str(folder), "RAY_ADDRESS": address, "PYTHONPATH": os.pathsep.join(paths)}


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


def hold(folder: Path) -> Valve:
    """Let model actors that start from now on do only what is let through."""
    return Valve(folder / _VALVE)


@contextmanager
def killed_in_the_end(driver: subprocess.Popen[str], folder: Path) -> Iterator[None]:
    """Kill a driver at the end of a ``with`` block, and wait until none of its workers is left."""
    try:
        yield
    finally:
        driver.kill()
        driver.communicate()
        await_end(folder)


def await_end(folder: Path, seconds: float = 600) -> None:
    """Wait until no worker of a driver that was killed is left: what they still commit until then counts.

    Raises:
        TimeoutError: somebody lives on.
    """
    deadline = time.monotonic() + seconds
    while alive := [process for process in psutil.process_iter() if _is_ours(process, folder)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"live on: {alive}")
        time.sleep(0.2)


def _is_ours(process: psutil.Process, folder: Path) -> bool:
    try:
        return environment_of(process).get(FOLDER) == str(folder)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


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
    """Wrap the package's functions in this process, those of modules that are not imported yet as soon as they are."""
    storage = importlib.import_module("pager_ray.storage")
    for name in ("write", "create"):
        _wrap(storage.Folder, name, functools.partial(_put, folder, getattr(storage.Folder, name)))
    _wrap(storage.Folder, "delete", functools.partial(_delete, folder, storage.Folder.delete))
    puts = importlib.import_module("pager_ray.puts")
    _wrap(puts, "_write_temporary", functools.partial(_half, folder, puts._write_temporary))
    modules = {module for module, _, _ in STAGES.values()} | {"pager_ray.pipeline.quarantine"}
    sys.meta_path.insert(0, _AfterImport(modules, functools.partial(_wrap_stages, folder)))


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls something with a module once it is imported: no worker imports torch for wrappers that it never calls."""

    def __init__(self, names: set[str], call: Callable[[Any], None]) -> None:
        self.names, self.call = names, call
        for name in names & set(sys.modules):
            self.names.discard(name)
            call(sys.modules[name])

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The module's own spec, whose loader calls back."""
        if name not in self.names:
            return None
        self.names.discard(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_call(module: Any) -> None:
                execute(module)
                self.call(module)

            spec.loader.exec_module = execute_and_call  # type: ignore[method-assign]
        return spec


def _wrap_stages(folder: Path, module: Any) -> None:
    for point, (name, owner, function) in STAGES.items():
        if name == module.__name__:
            place = getattr(module, owner) if owner else module
            _wrap(place, function, functools.partial(_call, folder, point, getattr(place, function)))
    if module.__name__ == "pager_ray.stages.read":
        _wrap(module, "decode_content", functools.partial(_poisoned, module.decode_content))
    if module.__name__ == "pager_ray.pipeline.quarantine":
        # Suspected rows meet the same faults as their worker.
        module.CODE = f"from tests.harness.faults import install_from_environment as i; i(); {module.CODE}"
    if module.__name__ == "pager_ray.pipeline.model_actor":
        _wrap(module.InferActor, "__call__", functools.partial(_note, folder, module.InferActor.__call__))
        if (folder / _VALVE).exists():
            _wrap(module.InferActor, "_predict", functools.partial(_held, folder, module.InferActor._predict))


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


def _poisoned(original: Callable[..., Any], data: Any, **options: Any) -> Any:
    if any(POISON in part for part in ([data] if isinstance(data, bytes) else data)):
        # As a decoder's own fault would: no exception, no exit code, no message.
        os.kill(os.getpid(), signal.SIGSEGV)
    return original(data, **options)


def _held(folder: Path, original: Callable[..., Any], actor: Any, table: Any) -> Any:
    Valve(folder / _VALVE).wait(table.num_rows)
    return original(actor, table)


def _note(folder: Path, original: Callable[..., Any], actor: Any, table: Any) -> Any:
    result = original(actor, table)
    with (folder / f"{_LOG}.{os.getpid()}.log").open("a", encoding="utf-8") as log:
        log.writelines(f"{id}\n" for id in result.column("id").to_pylist())
    return result


def main() -> None:
    """Run ``pager-ray`` with deaths on order: ``python -m tests.harness.faults run …``."""
    import ray

    from pager_ray import cli

    folder = Path(os.environ[FOLDER])
    install(folder)
    start = ray.init
    hook = f"{install_from_environment.__module__}.{install_from_environment.__name__}"
    hook = hook.replace("__main__", "tests.harness.faults")

    def init(*arguments: Any, **options: Any) -> Any:
        # Workers of a Ray that others started have its environment: they would reach neither this one's store nor its
        # orders.
        variables = {name: value for name, value in os.environ.items() if name.startswith(CARRIED)}
        options["runtime_env"] = {"worker_process_setup_hook": hook, "env_vars": variables}
        return start(*arguments, **options)

    ray.init = init
    cli.main()


if __name__ == "__main__":
    main()
