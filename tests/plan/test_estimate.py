"""From samples to plans: arithmetic whose answers are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from pager_ray.errors import ConfigError
from pager_ray.plan.estimate import DEVICE_SHARE, estimate
from pager_ray.plan.plan import Nodes
from pager_ray.stages.work import Work
from tests.plan.facts import job, measured, model, sample


def test_where_the_model_is_slower_it_decides() -> None:
    """Four workers of 0.1 s take 100,000 panoramas in 2,500 s of work; start and ends add less than a tenth."""
    plan = estimate(job(), measured(), model(0.1), Nodes())
    assert plan.bottleneck == "infer"
    assert plan.model_seconds.estimate == pytest.approx(2500 * DEVICE_SHARE.estimate, rel=0.01)
    assert plan.model_seconds.estimate < plan.seconds.estimate < 1.1 * plan.model_seconds.estimate


def test_where_the_cores_are_slower_they_decide() -> None:
    """With cores for a tenth of the work the job takes as long as they need, and the dearest stage is named."""
    plan = estimate(job(), measured(), model(0.01), Nodes(cpu_nodes=0))
    assert plan.bottleneck == "stitch"
    assert plan.cores == 4 * 8 - 4
    assert plan.seconds.estimate > plan.cpu_seconds.estimate > 3 * plan.model_seconds.estimate
    assert plan.fed_workers < plan.gpu_workers


def test_nodes_are_added_until_the_model_decides() -> None:
    """Left to the plan, there are as many CPU nodes as make the model the bottleneck, and none where none is needed."""
    wanting = estimate(job(), measured(), model(0.01), Nodes())
    assert wanting.cpu_nodes > 0
    assert wanting.bottleneck == "infer"
    assert wanting.fed_workers >= wanting.gpu_workers
    assert estimate(job(), measured(), model(1.0), Nodes()).cpu_nodes == 0


def test_the_band_holds_the_estimate() -> None:
    """Every band is in order, and wider where the samples differ."""
    even = estimate(job(), measured(), model(0.01), Nodes(cpu_nodes=0))
    uneven = estimate(
        job(), measured(*(sample(0.2 if n % 2 else 0.6) for n in range(8))), model(0.01), Nodes(cpu_nodes=0)
    )
    for plan in (even, uneven):
        for band in (plan.seconds, plan.bytes_in, plan.bytes_out, plan.cores_per_gpu, plan.cpu_seconds):
            assert 0 < band.low <= band.estimate <= band.high
    assert uneven.seconds.high - uneven.seconds.low > even.seconds.high - even.seconds.low


def test_counts_are_exact() -> None:
    """Rows, shards and bytes follow from the listing, the shard's rows and the samples."""
    plan = estimate(job(rows=1000, rejected=24), measured(), model(), Nodes())
    assert (plan.rows, plan.rejects, plan.shards) == (1024, 24, 64)
    assert plan.bytes_in.estimate == 1000 * 1_000_000
    assert plan.bytes_out.estimate == 1000 * 8_000_000


def test_rejected_samples_are_expected_in_the_rest() -> None:
    """Of two rejects in eight samples a quarter of the rows is expected: they cost the model nothing."""
    plan = estimate(job(rows=1000), measured(*(sample(),) * 6, rejected={"corrupt_image": 2}), model(), Nodes())
    assert plan.rejects == 250
    assert plan.bytes_out.estimate == 750 * 8_000_000


def test_stand_in_bytes_reach_further_down() -> None:
    """A stand-in's maps are among the dearest: the band of bytes says that half is as likely."""
    plan = estimate(job(), measured(), model(), Nodes(), stand_in=True)
    assert plan.bytes_out.low < 0.5 * plan.bytes_out.estimate
    assert plan.bytes_out.high > plan.bytes_out.estimate


def test_cost_is_nodes_times_hours() -> None:
    """Four GPU nodes at 2.0 cost 8.0 an hour, with the duration's band; a node without a price leaves no cost."""
    nodes = Nodes(gpu_node_price=2.0)
    plan = estimate(job(), measured(), model(1.0), nodes)
    assert plan.cost is not None
    assert plan.cost.estimate == pytest.approx(8.0 * plan.seconds.estimate / 3600)
    assert plan.cost.high == pytest.approx(8.0 * plan.seconds.high / 3600)
    assert estimate(job(), measured(), model(0.01), nodes).cost is None


@pytest.mark.parametrize("hours", [0.2, 1.0, 5.0])
def test_the_pool_for_given_hours_is_the_smallest(hours: float) -> None:
    """The pool that is named keeps the time, and one worker less does not."""
    workers = estimate(job(), measured(), model(0.5), Nodes(), hours=hours).workers_for_hours
    assert workers is not None
    assert estimate(job(workers=workers), measured(), model(0.5), Nodes()).seconds.estimate <= hours * 3600
    if workers > 1:
        assert estimate(job(workers=workers - 1), measured(), model(0.5), Nodes()).seconds.estimate > hours * 3600


def test_no_pool_is_faster_than_the_start() -> None:
    """Hours that the start alone takes are answered with no pool at all."""
    plan = estimate(job(), measured(), model(0.5), Nodes(), hours=1e-4)
    assert plan.workers_for_hours is None
    assert plan.hours_asked == 1e-4


def test_last_blocks_leave_workers_idle() -> None:
    """Nine blocks on eight workers take two turns."""
    plan = estimate(job(rows=9 * 16, workers=8), measured(), model(1.0), Nodes())
    assert plan.model_seconds.estimate == pytest.approx(2 * 16 * DEVICE_SHARE.estimate)


def test_a_model_on_cpus_shares_their_cores() -> None:
    """Two workers of 4 s on two cores that they fill take as long as their processor time beside the stages'."""
    cpu = model(4.0, cpu_seconds=(4.0,) * 4)
    plan = estimate(job(rows=100, workers=2, gpus_per_worker=0.0), measured(), cpu, Nodes(here=2))
    assert plan.seconds.estimate > 100 * (4.0 + 0.5) / 2
    assert plan.gpu_nodes == plan.cpu_nodes == 0
    assert plan.cores == 2


@pytest.mark.parametrize(("here", "gpus_per_worker", "cores"), [(2, 1.0, 2), (16, 1.0, 12), (16, 0.0, 16), (4, 1.0, 1)])
def test_workers_on_gpus_hold_a_core_of_this_machine(here: int, gpus_per_worker: float, cores: int) -> None:
    """Four model workers on GPUs hold four cores, but for small machines, where they reserve none."""
    plan = estimate(job(gpus_per_worker=gpus_per_worker), measured(), model(), Nodes(here=here))
    assert plan.cores == cores


def test_waiting_for_storage_widens_the_band() -> None:
    """Seconds that reads wait count at the high end, where nothing hides them; the estimate is of busy cores."""
    quick = estimate(job(), measured(), model(0.01), Nodes(cpu_nodes=0))
    slow = estimate(job(), measured(*(sample(fetch=8.0),) * 8), model(0.01), Nodes(cpu_nodes=0))
    assert slow.seconds.high > quick.seconds.high
    assert slow.seconds.estimate == quick.seconds.estimate


def test_other_work_on_this_machine_is_expected_to_go_on() -> None:
    """Samples that had half of a core double what the cores take here, but for the low end; other machines are free."""
    stages = sample().stages | {"stitch": Work(1, 0.8, 0.4, 8_000_000)}
    busy = measured(*(replace(sample(), stages=stages),) * 8)
    free, here = (estimate(job(), facts, model(0.01), Nodes(here=2)) for facts in (measured(), busy))
    assert (free.core_share, here.core_share) == (1.0, 0.5)
    assert here.cpu_seconds.estimate == pytest.approx(2 * free.cpu_seconds.estimate)
    assert here.cpu_seconds.low == free.cpu_seconds.low
    elsewhere = estimate(job(), busy, model(0.01), Nodes(cpu_nodes=1))
    assert elsewhere.seconds == estimate(job(), measured(), model(0.01), Nodes(cpu_nodes=1)).seconds


def test_nodes_without_cores_are_refused() -> None:
    """Nodes whose cores are all held by model workers, and no others, give one line that says so."""
    with pytest.raises(ConfigError, match=r"--cpu-nodes: got 0, but 4 GPU nodes of 1 cores"):
        estimate(job(), measured(), model(), Nodes(cpus_per_gpu_node=1, cpu_nodes=0))


def test_json_is_plain_and_finite() -> None:
    """What is written can be read back by any reader of JSON, with every number finite."""
    values = json.loads(json.dumps(estimate(job(), measured(), model(), Nodes()).to_json(), allow_nan=False))
    assert values["seconds"]["low"] <= values["seconds"]["estimate"] <= values["seconds"]["high"]
    assert set(values["stages"]) == {"read", "infer", "stitch", "write"}
    assert math.isfinite(values["model_seconds"]["high"])
