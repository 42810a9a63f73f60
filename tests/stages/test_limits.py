"""How near a job came to its own limit: rates of the model stage beside what its workers could do alone."""

from __future__ import annotations

from typing import Any

import pytest

from pager_ray.report.stages import limit_text
from pager_ray.stages.limits import limit_of
from pager_ray.stages.work import StageWork

H100 = {"device": "NVIDIA H100 80GB HBM3", "flop_per_panorama": 30e12, "matrix_rate": 989e12}


def infer(rows: int = 100, seconds: float = 36.0, window: float = 20.0) -> StageWork:
    return StageWork(rows=rows, seconds=seconds, began=5.0, ended=5.0 + window)


def test_rate_beside_what_the_workers_could_do() -> None:
    """A hundred panoramas in 20 s by two workers that were at work for 18 s each: 5 of 5.56 a second, 90 %."""
    limit = limit_of(infer(), 2, [H100, H100], 1.0)
    assert limit is not None
    assert limit["panoramas_per_second"] == 5.0
    assert limit["workers_could"] == pytest.approx(5.556, abs=1e-3)
    assert limit["share"] == 0.9
    # 100 panoramas of 30 TFLOP in 36 s of two chips, 83.3 TFLOP/s each, of 989.
    assert limit["matrix_share"] == pytest.approx(100 * 30 / 36 / 989, rel=1e-3)
    assert limit_text(limit) == (
        "5 panoramas/s, 90% of the 5.56 that 2 model workers alone could do; the network at 8% of the 989 TFLOP/s of "
        "NVIDIA H100 80GB HBM3"
    )


def test_workers_that_share_a_chip_share_its_rate() -> None:
    """Two workers on one GPU: each worker's second is half of the chip's."""
    alone, shared = limit_of(infer(), 2, [H100] * 2, 1.0), limit_of(infer(), 2, [H100] * 2, 2.0)
    assert alone is not None
    assert shared is not None
    assert shared["matrix_share"] == pytest.approx(2 * alone["matrix_share"], rel=1e-3)


@pytest.mark.parametrize(
    "workers", [[], [{"device": "CPU (2 threads)"}], [H100, H100 | {"device": "NVIDIA L4", "matrix_rate": 121e12}]]
)
def test_no_share_of_chips_that_are_unknown_or_mixed(workers: list[dict[str, Any]]) -> None:
    """Without a matrix rate, or with several, the workers' own limit is all that is told."""
    limit = limit_of(infer(), 2, workers, 1.0)
    assert limit is not None
    assert "matrix_share" not in limit
    assert limit_text(limit) == "5 panoramas/s, 90% of the 5.56 that 2 model workers alone could do"


@pytest.mark.parametrize(
    ("work", "workers"),
    [(StageWork(), 1), (infer(rows=0), 1), (infer(), 0), (infer(window=0.0), 1), (StageWork(1, 1.0, began=1.0), 1)],
)
def test_nothing_is_told_before_there_is_something(work: StageWork, workers: int) -> None:
    """No panorama, no worker or no time gives nothing instead of a division by zero."""
    assert limit_of(work, workers) is None
