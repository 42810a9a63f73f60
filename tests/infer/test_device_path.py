"""What happens on an accelerator between upload and download, on stand-ins: no waiting, tables once, work in advance.

The stand-in for a device is torch's ``meta``: nothing that it holds has a value, so whatever asks for one - a scalar, a
truth value, a shape that depends on data - is an error there as it is a wait on a GPU.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pager_ray.errors import ConfigError
from pager_ray.geometry import erp_to_cubemap
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.infer.batching import FittingBatches
from pager_ray.model import PagerModel
from pager_ray.model.acceleration import Acceleration
from pager_ray.model.checkpoint import ResolvedCheckpoint
from pager_ray.model.memory import meta_network
from pager_ray.model.random_checkpoint import random_architecture
from tests.infer.golden import faces, model

META = torch.device("meta")
SIZE = 56


class MetaRouter:
    def p_outdoor(self, faces: torch.Tensor) -> torch.Tensor:
        return faces.float().mean(dim=(1, 2, 3, 4))


class Uploads(TorchDispatchMode):
    """Notes the shapes of what is copied from the host to the stand-in."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [value for value in tree_leaves((args, kwargs)) if torch.is_tensor(value)]
        made = [value for value in tree_leaves(result) if torch.is_tensor(value)]
        if any(value.device.type == "meta" for value in made):
            self.shapes += [tuple(value.shape) for value in given if value.device.type == "cpu" and value.ndim]
        return result


@cache
def meta_model() -> PagerModel:
    nowhere = ResolvedCheckpoint("none", "none", None, Path(), Path(), None)
    return PagerModel(meta_network(random_architecture("tiny"), torch.float32), nowhere, META, "float32")


def meta_predictor(**settings: Any) -> Predictor:
    return Predictor(meta_model(), InferenceSettings(**settings), MetaRouter())


# Every pair of choices: what a third would add to two is no other operation.
@pytest.mark.parametrize(
    ("fill", "scenes", "of_panoramas", "masked"),
    [
        (False, ["indoor", "outdoor"], False, False),
        (False, [None, "indoor"], True, True),
        (True, ["indoor", "outdoor"], True, True),
        (True, [None, "indoor"], False, True),
        (True, [None, "indoor"], True, False),
    ],
)
def test_nothing_asks_for_a_value_on_the_way(
    fill: bool, scenes: list[str | None], of_panoramas: bool, masked: bool
) -> None:
    """Projection, router, network, range, quality and sky run to their end on tensors that have no values."""
    predictor = meta_predictor(fill=fill)
    valid = [np.zeros((6, SIZE, SIZE), bool), None] if masked else None
    if of_panoramas:
        pending = predictor.submit_panoramas([np.zeros((64, 128, 3), np.uint8)] * 2, scenes, valid)
    else:
        pending = predictor.submit(np.zeros((2, 6, SIZE, SIZE, 3), np.uint8), scenes, valid)
    assert pending._arriving.tensors["depth"].shape == (2, 6, SIZE, SIZE)


def test_a_batch_uploads_its_pixels_and_scenes_alone() -> None:
    """No table goes up with a batch, the first included: what depends on checkpoint and size alone is there before."""
    predictor = meta_predictor()
    for _ in range(2):
        with Uploads() as uploads:
            predictor.submit(np.zeros((2, 6, SIZE, SIZE, 3), np.uint8), ["indoor", None])
        assert sorted(uploads.shapes) == [(2,), (2,), (2, 6, SIZE, SIZE, 3)]


def test_panoramas_sampled_on_the_device_are_predicted_like_their_faces() -> None:
    """Rounding faces to uint8 is all that is between the two ways."""
    predictor = Predictor(model("tiny_unified"), InferenceSettings())
    ramp = (np.add.outer(np.arange(112), np.arange(224)) // 2).astype(np.uint8)
    erp = np.repeat(ramp[..., None], 3, axis=2)
    by_faces = predictor(erp_to_cubemap(erp, SIZE)[None], ["indoor"])[0]
    sampled = predictor.submit_panoramas([erp], ["indoor"]).result()[0]
    difference = np.abs(np.log(sampled.depth) - np.log(by_faces.depth))
    assert 0 < difference.mean() < 0.05


def test_preparing_on_a_cpu_costs_no_forward() -> None:
    """Eager on a CPU has nothing to record: `auto` says so, and no batch of nothing is run."""
    predictor = Predictor(model("tiny_unified"), InferenceSettings(scene_mode="indoor"))
    called = []
    predictor._rehearse = lambda start, stop: called.append(stop)  # type: ignore[method-assign, assignment]
    taken = predictor.prepare("auto", FittingBatches(4))
    assert (taken.way, called) == ("eager", [])


class Graphs:
    """Stands in for a model on a GPU whose graphs hold so many panoramas, or cannot be recorded."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, fits: int, error: Exception) -> None:
        self.ways: list[str] = []
        self.tried: list[int] = []

        def accelerate(asked: str, batch: int | None = None) -> Acceleration:
            way = "graphs" if asked in ("auto", "graphs") else asked
            self.ways.append(way)
            return Acceleration(way, "as told")

        def rehearse(start: int, stop: int) -> list[None]:
            self.tried.append(stop - start)
            if stop - start > fits:
                raise error
            return [None] * (stop - start)

        monkeypatch.setattr(predictor.model, "accelerate", accelerate)
        monkeypatch.setattr(predictor, "_rehearse", rehearse)


def test_a_batch_that_does_not_fit_is_halved_before_there_are_panoramas(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsal finds the size that fits, as loading, and keeps the way that was taken."""
    predictor = Predictor(model("tiny_unified"), InferenceSettings(scene_mode="indoor"))
    graphs = Graphs(predictor, monkeypatch, 2, torch.OutOfMemoryError("CUDA out of memory"))
    batches: FittingBatches[Any] = FittingBatches(8)
    assert predictor.prepare("auto", batches).way == "graphs"
    assert batches.size == 2
    assert graphs.tried[:3] == [8, 4, 2]


def test_graphs_that_cannot_be_recorded_are_left_by_auto_and_refused_where_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`auto` goes on eagerly and says why; `graphs` is an error in one line that names the key and the way out."""
    predictor = Predictor(model("tiny_unified"), InferenceSettings(scene_mode="indoor"))
    graphs = Graphs(predictor, monkeypatch, 0, RuntimeError("operation not permitted\nwhen stream is capturing"))
    taken = predictor.prepare("auto", FittingBatches(4))
    assert taken.way == graphs.ways[-1] == "eager"
    assert "operation not permitted when stream is capturing" in taken.reason
    with pytest.raises(ConfigError, match=r"^compute\.acceleration: graphs cannot be had \(.+\); take auto or eager$"):
        predictor.prepare("graphs", FittingBatches(4))


def test_graphs_follow_the_size_that_batches_have_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each batch the model hears how many panoramas batches have, also after they were halved."""
    predictor = Predictor(model("tiny_unified"), InferenceSettings(scene_mode="indoor"))
    batches: FittingBatches[Any] = FittingBatches(4)
    predictor.prepare("auto", batches)
    told: list[int | None] = []
    monkeypatch.setattr(predictor.model, "use_batch", told.append)
    predictor.submit(faces("tiny_unified", 1), ["indoor"])
    batches.size = 2
    predictor.submit(faces("tiny_unified", 1), ["indoor"])
    assert told == [4, 2]
