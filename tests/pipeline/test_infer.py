"""The model actor, called in this process: every row comes out once, and a failure keeps its reason."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pager_ray.errors import CheckpointError
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.model.router import SceneRouter
from pager_ray.pipeline.infer import InferActor, InferSettings, describe_worker
from pager_ray.pipeline.rows import INFER_SCHEMA, READ_SCHEMA, blob, to_table
from tests.geometry.reference import GOLDEN
from tests.infer.golden import FACE, assert_near, assert_near_numbers, faces, model
from tests.infer.test_predictor import FakeRouter

SHAPES = {"depth": (6, FACE, FACE), "normals": (6, FACE, FACE, 3), "sky": (6, FACE, FACE)}


class Remote:
    """Records what an actor is told, without Ray: every method has a ``remote``."""

    def __init__(self) -> None:
        self.workers: list[dict[str, Any]] = []
        self.worker_started = self

    def remote(self, worker: dict[str, Any]) -> None:
        self.workers.append(worker)


def settings_of(name: str = "tiny_unified", **inference: Any) -> InferSettings:
    return InferSettings(
        checkpoint=str(GOLDEN / name),
        revision=None,
        precision="auto",
        device="cpu",
        inference=InferenceSettings(**inference),
        use_router=False,
        router_weights=None,
        threads=None,
    )


@pytest.fixture(scope="module")
def actor() -> InferActor:
    return InferActor(settings_of(), Remote())


def good(name: str, array: np.ndarray, **values: Any) -> dict[str, Any]:
    source = {"width": 256, "height": 128, "coverage": 0.5, "digest": "sha256:00"}
    return {"id": name, "uri": f"/in/{name}.jpg", "scene": "indoor", "faces": blob(array)} | source | values


def bad(name: str) -> dict[str, Any]:
    status = {"stage": "read", "error_class": "missing", "message": "gone", "attempts": 1}
    return {"id": name, "uri": f"/in/{name}.jpg", "scene": "outdoor"} | status


def infer(actor: InferActor, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    table = actor(to_table(list(rows), READ_SCHEMA, len(rows), "test"))
    assert table.schema == INFER_SCHEMA
    assert [row["id"] for row in table.to_pylist()] == [row["id"] for row in rows]
    return table.to_pylist()


def array_of(row: dict[str, Any], kind: str, dtype: type = np.float32) -> np.ndarray:
    return np.frombuffer(row[kind], dtype).reshape(SHAPES[kind])


def assert_same_rows(ours: list[dict[str, Any]], target: list[dict[str, Any]]) -> None:
    """Rows of two forward passes over the same faces."""
    assert len(ours) == len(target)
    for row, other in zip(ours, target, strict=True):
        for kind in SHAPES:
            assert_near(array_of(row, kind), array_of(other, kind))
        numbers = [{key: value for key, value in each.items() if isinstance(value, float)} for each in (row, other)]
        assert_near_numbers(*numbers)
        rest = [key for key in other if key not in SHAPES and key not in numbers[1]]
        assert {key: row[key] for key in rest} == {key: other[key] for key in rest}


def test_rows_are_the_predictions_of_their_faces(actor: InferActor) -> None:
    """Every array and number of a row is the predictor's for the row's own faces and scene."""
    pixels, scenes = faces(), ["outdoor", "indoor"]
    rows = infer(actor, *(good(scene, pixels[n], scene=scene) for n, scene in enumerate(scenes)))
    predictions = Predictor(model("tiny_unified"), InferenceSettings())(pixels, scenes)
    for row, prediction in zip(rows, predictions, strict=True):
        for kind in SHAPES:
            assert_near(array_of(row, kind), getattr(prediction, kind))
        assert row["log_scale"] == pytest.approx(prediction.log_scale, abs=1e-4)
        assert (row["scene"], row["p_outdoor"]) == (prediction.scene, None)
        assert_near_numbers({column: row[column] for column in prediction.quality}, prediction.quality)
        assert (row["width"], row["height"], row["coverage"], row["digest"]) == (256, 128, 0.5, "sha256:00")


def test_rejects_pass_through(actor: InferActor) -> None:
    """Rejected rows keep their place and reason; rows around them get what they get without them."""
    pixels = faces()
    rows = infer(actor, bad("x"), good("a", pixels[0]), bad("y"), good("b", pixels[1]))
    for row, name in ((rows[0], "x"), (rows[2], "y")):
        assert {key: value for key, value in row.items() if value is not None} == bad(name)
    assert_same_rows([rows[1], rows[3]], infer(actor, good("a", pixels[0]), good("b", pixels[1])))


def test_a_block_of_rejects_asks_no_network(actor: InferActor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without faces there is no forward pass; an empty block stays empty."""
    monkeypatch.setattr(actor, "predictor", lambda *_: pytest.fail("a forward pass without faces"))
    assert [row["error_class"] for row in infer(actor, bad("x"), bad("y"))] == ["missing", "missing"]
    assert infer(actor) == []


def test_thumbnails_pass_untouched(actor: InferActor) -> None:
    """The preview's picture travels past the model as it is, on rows with and without one."""
    pixels = faces()
    rows = infer(actor, good("a", pixels[0], thumbnail=b"rgb"), good("b", pixels[1]))
    assert [row["thumbnail"] for row in rows] == [b"rgb", None]


@pytest.mark.parametrize(("name", "given"), [("tiny_metric_depth", ["depth"]), ("tiny_normals", ["normals"])])
def test_heads_that_are_missing_leave_nulls(name: str, given: list[str]) -> None:
    """What a checkpoint has no head for is null in the row, its scene stays the listing's."""
    row = infer(InferActor(settings_of(name), Remote()), good("a", faces(name, 1)[0]))[0]
    assert [kind for kind in SHAPES if row[kind] is not None] == given
    assert (row["log_scale"], row["scene"]) == (None, "indoor")


def test_settings_reach_the_predictor() -> None:
    """Forced scene and sky filling are those of the settings."""
    pixels = faces(count=1)
    filling = InferActor(settings_of(fill=True, scene_mode="outdoor"), Remote())
    row = infer(filling, good("a", pixels[0]))[0]
    wanted = Predictor(model("tiny_unified"), InferenceSettings(fill=True, scene_mode="outdoor"))(pixels, [None])[0]
    assert row["scene"] == "outdoor"
    assert_near(array_of(row, "depth"), wanted.depth)


def test_lower_precision_sends_half_the_normals() -> None:
    """In half precision normals leave as float16, close to those of single precision; depth stays float32."""
    pixels = faces(count=1)
    half = infer(InferActor(replace(settings_of(), precision="bfloat16"), Remote()), good("a", pixels[0]))[0]
    normals = array_of(half, "normals", np.float16)
    single = Predictor(model("tiny_unified"), InferenceSettings())(pixels, ["indoor"])[0]
    assert single.depth is not None
    assert single.normals is not None
    assert np.median(np.abs(normals - single.normals)) < 0.05
    assert np.median(np.abs(array_of(half, "depth") / single.depth - 1)) < 0.05


def test_the_router_is_loaded_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router is loaded once per actor, from the given weights, and decides rows without a scene."""
    loads: list[tuple[str | None, torch.device]] = []

    def load(weights: str | None, device: torch.device) -> FakeRouter:
        loads.append((weights, device))
        return FakeRouter(0.75)

    monkeypatch.setattr(SceneRouter, "load", load)
    InferActor(settings_of(), Remote())
    assert loads == []
    routed = InferActor(replace(settings_of(), use_router=True, router_weights="/w/clip.pt"), Remote())
    row = infer(routed, good("a", faces(count=1)[0], scene=None))[0]
    assert (row["scene"], row["p_outdoor"]) == ("outdoor", 0.75)
    assert loads == [("/w/clip.pt", torch.device("cpu"))]


def test_a_failed_load_is_raised_by_the_call(tmp_path: Path) -> None:
    """A checkpoint that cannot be loaded lets the actor start and fails every block with the reason."""
    progress = Remote()
    broken = InferActor(replace(settings_of(), checkpoint=str(tmp_path / "gone")), progress)
    table = to_table([good("a", faces(count=1)[0])], READ_SCHEMA, 1, "test")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"gone: no such checkpoint folder"):
            broken(table)
    assert progress.workers == []


def test_faces_of_another_size_are_an_error(actor: InferActor) -> None:
    """Faces that do not fit the checkpoint are no prediction of garbage."""
    table = to_table([good("a", np.zeros((6, FACE // 2, FACE // 2, 3), np.uint8))], READ_SCHEMA, 1, "test")
    with pytest.raises(ValueError, match="reshape"):
        actor(table)


def test_a_worker_describes_itself() -> None:
    """A ready actor reports once what its predictions depend on besides the configuration."""
    progress = Remote()
    InferActor(replace(settings_of(), precision="bfloat16"), progress)
    (worker,) = progress.workers
    assert worker == describe_worker("bfloat16", torch.device("cpu"))
    assert (worker["process"], worker["torch"], worker["cuda"]) == (str(os.getpid()), torch.__version__, None)
    assert worker["device"].startswith("CPU (")


def test_threads_are_set_where_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor on CPUs uses the threads it was given, others keep torch's own number."""
    seen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    InferActor(settings_of(), Remote())
    assert seen == []
    InferActor(replace(settings_of(), threads=3), Remote())
    assert seen == [3]


def test_blocks_of_several_chunks(actor: InferActor) -> None:
    """A block made of several batches is one forward pass, in order."""
    pixels = faces()
    rows = [good("a", pixels[0]), good("b", pixels[1])]
    parts = pa.concat_tables([to_table([row], READ_SCHEMA, 1, "test") for row in rows])
    assert_same_rows(actor(parts).to_pylist(), infer(actor, *rows))
