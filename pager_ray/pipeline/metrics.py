"""What a job shows to Prometheus while it runs: the names, and the one place that sets them.

Ray serves these on each node's metrics port with ``ray_`` before their names; ``cluster/monitoring`` scrapes and draws
them. All are set in the process of the board, which hears of every block, so one node serves a job's whole story.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ray.util.metrics import Counter, Gauge

from pager_ray.plain import get_logger, label_text

log = get_logger(__name__)

OUTPUT = "output"
"""The label that every series has: the job's output, without secrets."""

PREFIX = "ray_"
"""What Ray puts before every metric's name when it is scraped; behind a counter's it puts ``_total``."""


@dataclass(frozen=True)
class Metric:
    """A counter grows until the job ends, a gauge says what is true now; ``labels`` are those beside ``output``."""

    kind: Literal["counter", "gauge"]
    description: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "pager_ray_panoramas": Metric("counter", "Panoramas with an outcome: predicted or rejected.", ("outcome",)),
    "pager_ray_rejects": Metric("counter", "Rejected inputs by error class.", ("error_class",)),
    "pager_ray_panoramas_left": Metric("gauge", "Panoramas without an outcome yet."),
    "pager_ray_seconds_left": Metric("gauge", "Time until the last outcome at the present rate; absent before a rate."),
    "pager_ray_stage_panoramas": Metric("counter", "Panoramas that a stage has finished.", ("stage",)),
    "pager_ray_stage_busy_seconds": Metric(
        "counter", "Time that a stage's workers, or infer's devices, were at work, summed over workers.", ("stage",)
    ),
    "pager_ray_stage_cpu_seconds": Metric("counter", "Processor time of a stage's workers.", ("stage",)),
    "pager_ray_stage_bytes": Metric("counter", "Bytes that a stage handed on.", ("stage",)),
    "pager_ray_stage_queue": Metric(
        "gauge", "Panoramas that the stage before has handed on and this one has not finished.", ("stage",)
    ),
    "pager_ray_bytes_written": Metric("counter", "Bytes put on the output storage."),
    "pager_ray_model_workers": Metric("gauge", "Model actors heard of in the last ten minutes.", ("device",)),
    "pager_ray_batch_size": Metric("gauge", "Panoramas per forward at most, as they fit.", ("device",)),
    "pager_ray_model_memory_bytes": Metric(
        "gauge",
        "Most memory that a model actor has held: the GPU's as reserved by torch, on CPUs the process's own.",
        ("device",),
    ),
}


class Meters:
    """Sets the metrics of one job; to be made and used in one process of its cluster.

    No job fails for its metrics: what Ray does not take is logged once, and left out.

    Args:
        output: the job's output, without secrets.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._shown: dict[tuple[str, tuple[str, ...]], float] = {}
        self._has_failed = False
        self._metrics: dict[str, Counter | Gauge] = {}
        kinds: Mapping[str, type[Counter] | type[Gauge]] = {"counter": Counter, "gauge": Gauge}
        for name, metric in METRICS.items():
            with self._unharmed():
                tags = (OUTPUT, *metric.labels)
                self._metrics[name] = kinds[metric.kind](name, description=metric.description, tag_keys=tags)

    def count(self, name: str, amount: float, *labels: str) -> None:
        """Add to a counter."""
        with self._unharmed():
            if amount > 0:
                self._metrics[name].inc(amount, self._tags(name, labels))

    def show(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._shown[name, labels] = value
        with self._unharmed():
            self._metrics[name].set(value, self._tags(name, labels))

    def again(self) -> None:
        """Set every gauge to what it shows: Ray hands on a value once, and where that is lost it would be missing."""
        for (name, labels), value in [*self._shown.items()]:
            self.show(name, value, *labels)

    def _tags(self, name: str, labels: tuple[str, ...]) -> dict[str, str]:
        # Some labels are what a library, or somebody's code, called its error.
        values = (self._output, *labels)
        return {label: label_text(value) for label, value in zip((OUTPUT, *METRICS[name].labels), values, strict=True)}

    @contextmanager
    def _unharmed(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the job matters more
            if not self._has_failed:
                log.warning("metrics are incomplete, the job goes on: %s: %s", type(error).__name__, error)
            self._has_failed = True
