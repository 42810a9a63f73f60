"""Samples take the job's own stages, without Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray

from pager_ray.config import load_config
from pager_ray.errors import ConfigError
from pager_ray.infer.predictor import FacePrediction
from pager_ray.listing import Listed, list_inputs
from pager_ray.model import resolve_checkpoint
from pager_ray.plan.measure import StandIn, measure_samples, spread_evenly

ALL = ("depth", "normals", "sky")


@pytest.mark.parametrize(("count", "wanted"), [(10, 3), (1000, 8), (8, 8), (7, 6)])
def test_samples_are_spread_over_the_listing(count: int, wanted: int) -> None:
    """There is one sample in each equal part of the listing, the same ones in every call."""
    places = spread_evenly(count, wanted)
    assert places == spread_evenly(count, wanted)
    assert [place * wanted // count for place in places] == pytest.approx(range(wanted), abs=1)
    assert len(set(places)) == wanted
    assert all(0 <= place < count for place in places)


def test_few_rows_are_all_samples() -> None:
    """Where there are no more rows than samples, each is measured once."""
    assert spread_evenly(3, 8) == [0, 1, 2]


def config_of(samples: Path, checkpoint: Path, *overrides: str):
    return load_config(
        None,
        [
            f"input.uris={samples}",
            "output.uri=nowhere",
            f"checkpoint={checkpoint}",
            "errors.retry_seconds=0",
            *overrides,
        ],
    )


@pytest.mark.parametrize(
    "overrides", [(), ("output.format=npz", "output.previews=true"), ("output.projection=cubemap",)]
)
def test_every_stage_is_measured(samples: Path, tiny_unified: Path, overrides: tuple[str, ...]) -> None:
    """Each sample has time and bytes of every stage in the form that is to be stored, and leaves nothing behind."""
    config, checkpoint = config_of(samples, tiny_unified, *overrides), resolve_checkpoint(str(tiny_unified))
    stand_in = StandIn(checkpoint.architecture.face_size, ALL, half_normals=False)
    rows = list_inputs(config.input.uris)
    started = ray.is_initialized()
    measured = measure_samples(config, checkpoint, rows, 3, stand_in, on_gpu=False)
    assert ray.is_initialized() == started
    assert (measured.tried, len(measured.samples)) == (3, 3)
    for sample in measured.samples:
        assert [*sample.stages] == ["read", "infer", "stitch", "write"]
        assert all(cost.seconds > 0 and cost.bytes_out > 0 for cost in sample.stages.values())
        assert sample.stages["read"].bytes_out >= 6 * 56 * 56 * 3
        assert sample.bytes_in > 1000
        assert sample.stored_bytes == sample.stages["write"].bytes_out
    assert not Path("nowhere").exists()


def test_rejects_among_the_samples_are_counted(samples: Path, tiny_unified: Path, tmp_path: Path) -> None:
    """Samples that cannot be read, or whose prediction is not finite, are counted; the others are measured."""
    config, checkpoint = config_of(samples, tiny_unified), resolve_checkpoint(str(tiny_unified))
    stand_in = StandIn(checkpoint.architecture.face_size, ALL, half_normals=False)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    good = list(list_inputs(config.input.uris))[:1]
    rows = [*good, Listed(str(tmp_path / "broken.jpg"), "broken"), Listed(str(tmp_path / "absent.jpg"), "absent")]
    measured = measure_samples(config, checkpoint, rows, 8, stand_in, on_gpu=False)
    assert len(measured.samples) == 1
    assert sum(measured.rejected.values()) == 2
    assert measured.first_reason

    class Infinite(StandIn):
        def __call__(self, faces: np.ndarray, scenes: list[str | None]) -> list[FacePrediction]:
            return [FacePrediction(None, None, None, None, None, None, {}, False) for _ in scenes]

    broken = Infinite(checkpoint.architecture.face_size, ALL, half_normals=False)
    with pytest.raises(ConfigError, match=r"none of 1 samples gives a prediction"):
        measure_samples(config, checkpoint, good, 8, broken, on_gpu=False)


def test_listings_of_rejects_alone_are_refused(samples: Path, tiny_unified: Path) -> None:
    """Where the listing rejects every row there is nothing to measure, and the line says so."""
    config, checkpoint = config_of(samples, tiny_unified), resolve_checkpoint(str(tiny_unified))
    stand_in = StandIn(checkpoint.architecture.face_size, ALL, half_normals=False)
    with pytest.raises(ConfigError, match=r"the listing rejects every row"):
        measure_samples(config, checkpoint, [Listed("a", "a", None, "bad", "why")], 8, stand_in, on_gpu=False)


@pytest.mark.parametrize("half", [True, False])
def test_a_stand_in_gives_what_the_checkpoint_has(half: bool) -> None:
    """Shapes and types are a predictor's; heads that the checkpoint lacks are None."""
    prediction = StandIn(56, ("normals",), half_normals=half)(np.zeros((1, 6, 56, 56, 3), np.uint8), ["indoor"])[0]
    assert prediction.depth is None
    assert prediction.sky is None
    assert prediction.normals is not None
    assert prediction.normals.shape == (6, 56, 56, 3)
    assert prediction.normals.dtype == (np.float16 if half else np.float32)
    assert prediction.scene == "indoor"
