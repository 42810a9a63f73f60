"""What several test folders share: golden files, a tiny checkpoint, rendered samples, one Ray for all.

Folders say what a test needs besides this process, so that ``pytest -m "not ray"`` means what it says: a test below a
folder of one of the names in :data:`NEEDS` has its markers. The rest of the path mirrors the package.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.harness.forking import WORKERS, forking
from tests.harness.head import START_SECONDS, TOO_BUSY
from tests.harness.starting import STARTING
from tests.harness.untraced import UNTRACED

pytest_plugins = ["tests.harness.fixtures"]

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden"

NEEDS = {
    "ray": ("ray",),
    "store": ("store",),
    "browser": ("browser",),
    "processes": ("slow",),
    "slow": ("ray", "slow"),
    "stress": ("ray", "slow"),
}
"""Markers by folder: one Ray for all of a kind; a real S3 server; a browser; interpreters and compilers
that take their time; clusters, nodes, kernels of its own."""

APART = {"test_elastic.py"}
"""Files whose slow tests share nothing: each has a cluster of its own."""

SLOW_SECONDS = 3600
"""For a test with a Ray, on a machine that is busy with other things; far more than it takes."""

# A busy machine makes no example wrong. New ones are tried by whoever runs the tests at home; CI judges a change by
# the same ones each time.
hypothesis.settings.register_profile("busy machine", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("busy machine")

# Nothing in the tests may reach a network: the Hub's client answers from its cache or fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Nor may they join a cluster that somebody else, or a test beside them, has on this machine.
os.environ["RAY_ADDRESS"] = "local"
# A Ray keeps as many idle workers as a test's job has tasks at once: the next test's find what they import imported.
os.environ.setdefault("RAY_num_workers_soft_limit", "8")
# None before the first job: those that are forked cannot be of another.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
# How its processes start on a machine with too much to do.
for name, value in STARTING.items():
    os.environ.setdefault(name, value)
# Ray's workers give way to all other processes, and so to whatever the tests beside theirs are doing.
os.environ.setdefault("RAY_worker_niceness", "0")
# As many tests run side by side as there are cores: threads of one would only wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Models have two, and one that waits for the other would spin for several times as long as they compute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Without a GPU Triton interprets the kernels, which it decides when it is imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def needs(path: Path) -> set[str]:
    """Markers of a test file, by the folders that it lies in."""
    return {marker for folder in path.relative_to(TESTS).parts[:-1] for marker in NEEDS.get(folder, ())}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by folder. Those that share one Ray, a store's server or a browser, and so one process, come first: each is
    as long as a few files. Then the slow ones, of these first whose drivers share a Ray, so that files that need one
    follow each other; in the end those that are short, and fill the time in which the last of the others wait."""
    for item in items:
        markers = needs(item.path)
        for marker in markers:
            item.add_marker(marker)
        if "ray" in markers:
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
    sharing = {item.path for item in items if "ray_address" in getattr(item, "fixturenames", ())}

    def turn(item: pytest.Item) -> int:
        markers = needs(item.path)
        if "slow" in markers:
            return 5 if "ray" not in markers else 3 if item.path in sharing else 4
        return [{"ray"}, {"store"}, {"browser"}].index(markers) if markers else 6

    items.sort(key=turn)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays to the end: looking for garbage in it over and over takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Count no lines of the files that are listed for that.

    pytest-cov's own marker stops one counter of the two that it has in each of xdist's processes.
    """
    if not item.config.pluginmanager.hasplugin("_cov") or str(item.path.relative_to(TESTS)) not in UNTRACED:
        return (yield)
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    try:
        return (yield)
    finally:
        sys.settrace(here)
        threading.settrace(in_threads)  # type: ignore[arg-type]


def shares(nodeid: str) -> str:
    """What must run in one process, where there are several: tests of a kind share a Ray, a server or a browser.

    A file of slow tests starts its own, and shares that among its tests; some share nothing.
    """
    file, _, _ = nodeid.partition("::")
    markers = needs(TESTS.parent / file)
    if "slow" in markers:
        return nodeid if Path(file).name in APART else file
    return "+".join(sorted(markers)) or file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spread what :func:`shares` keeps together; xdist's own groups are lost on node ids of pytest 9."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shares(nodeid)

    return Sharing(config, log)


_seconds: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what each folder takes."""
    _seconds[report.nodeid.split("::")[0].rpartition("/")[0]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the time went, by folder; side by side, the sum is more than what a clock shows."""
    terminalreporter.section("seconds by folder")
    for folder, seconds in _seconds.most_common(20):
        terminalreporter.line(f"{seconds:8.1f}  {folder}")


@pytest.fixture(scope="session")
def tiny_unified() -> Path:
    """A checkpoint in the released format with all five heads, 56-px faces, random weights."""
    return GOLDEN / "tiny_unified"


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Listing of eight rendered panoramas of 128x256, four indoor and four outdoor."""
    from pager_ray.samples import write_samples

    return Path(write_samples(tmp_path_factory.mktemp("samples"), 8, height=128, seed=3))


_networks: dict[tuple[Any, ...], Any] = {}


@pytest.fixture(scope="module")
def networks_once() -> Iterator[None]:
    """Each checkpoint's network is built and filled once per process, whoever asks; for tests that are not about it."""
    from pager_ray.model import serving

    plain = serving.load_network

    def load_network(architecture: Any, weights: Path, **options: Any) -> Any:
        if options.get("on_filled") is not None:
            return plain(architecture, weights, **options)
        found = weights.stat()
        key = (weights, found.st_mtime_ns, found.st_size, *sorted(options.items()))
        if key not in _networks:
            _networks[key] = plain(architecture, weights, **options)
        return _networks[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(serving, "load_network", load_network)
        yield


@pytest.fixture(scope="module")
def ray_cluster() -> None:
    """One Ray for file after file: starting one costs seconds, and :func:`pytest_runtest_teardown` ends it."""
    if has_ray():
        return
    import ray

    from pager_ray.pipeline.connecting import without_servers

    with pytest.MonkeyPatch.context() as patched, without_servers():
        # Its workers find these tests whoever the driver is.
        paths = [str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        patched.setenv("PYTHONPATH", os.pathsep.join(paths))
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                ray.init(
                    address="local",
                    num_cpus=2,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
                return
            except Exception as error:
                if TOO_BUSY not in str(error) or time.monotonic() > deadline:
                    raise
                ray.shutdown()


_forking = ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let all Rays that this process's tests start, from the first on, fork their workers, where systems have forks
    that are safe with what the workers import."""
    if sys.platform == "linux" and item.get_closest_marker("ray") and WORKERS not in os.environ:
        _forking.enter_context(forking())


def pytest_sessionfinish() -> None:
    """End what workers were forked from."""
    _forking.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End the Ray that files share once a file comes that needs none: it would take its part of the machine idly."""
    yield
    ends = nextitem is None or nextitem.path != item.path
    if ends and has_ray() and "ray_cluster" not in getattr(nextitem, "fixturenames", ()):
        sys.modules["ray"].shutdown()


@pytest.fixture(scope="module")
def ray_address(ray_cluster: None) -> str:
    """Where drivers in processes of their own join the shared Ray, so that each may be killed and none has to start
    one.

    Ray Data keeps actors of its own on a cluster, beyond the job that needed them first. They are made here, so that
    none of them belongs to a driver whose processes a test waits to see the end of.
    """
    import ray

    class Nothing:
        def __call__(self, table: Any) -> Any:
            return table

    progress = ray.data.DataContext.get_current().enable_progress_bars
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.range(1).map_batches(Nothing, concurrency=1, num_cpus=0).materialize()
    ray.data.DataContext.get_current().enable_progress_bars = progress
    return str(ray.get_runtime_context().gcs_address)


def has_ray() -> bool:
    """Whether this process is connected to a Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@pytest.fixture(autouse=True)
def says_what_it_needs(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that starts a Ray lies in a folder that says so; one that is there for others stays."""
    before = has_ray()
    yield
    # After patches are undone: some tests pretend that there is one.
    if has_ray() and not before and request.node.get_closest_marker("ray") is None:
        sys.modules["ray"].shutdown()
        pytest.fail(f"starts Ray: belongs in a folder called one of {', '.join(NEEDS)}")


@pytest.fixture(autouse=True)
def impatience(says_what_it_needs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that tests let fail are asked once, where no test says otherwise: the default waits two minutes."""
    from pager_ray.read import fetch
    from pager_ray.retrying import Retry

    monkeypatch.setattr(fetch, "PATIENT", Retry(0))
