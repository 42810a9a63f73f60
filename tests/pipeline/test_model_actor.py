"""The model actor, called in this process: every row comes out once, and a failure keeps its reason."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pager_ray.errors import CheckpointError, ConfigError, PagerError
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.infer.device import describe_worker
from pager_ray.infer.predictor import Pending
from pager_ray.model.router import SceneRouter
from pager_ray.pipeline.model_actor import (
    EXIT_DEVICE_LOST,
    HERE,
    MAX_FAILED_STARTS,
    InferActor,
    InferSettings,
)
from pager_ray.pipeline.trace_log import TraceLog
from pager_ray.stages.rows import INFER_SCHEMA, READ_SCHEMA, blob, to_table
from tests.geometry.reference import GOLDEN
from tests.infer.golden import FACE, assert_near, assert_near_numbers, faces, model
from tests.infer.test_predictor import FakeRouter
from tests.pipeline.boards import LocalBoard, answers_at_once

pytestmark = pytest.mark.usefixtures("networks_once")

__all__ = ["answers_at_once"]

SHAPES = {"depth": (6, FACE, FACE), "normals": (6, FACE, FACE, 3), "sky": (6, FACE, FACE)}


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
    return InferActor(settings_of(), LocalBoard())


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


def test_calls_at_once_do_not_mix() -> None:
    """Two calls at once give each its own rows, and the device's time is counted for both."""
    board = LocalBoard()
    shared, pixels = InferActor(settings_of(), board), faces()
    blocks = [[good(f"{n}{i}", pixels[(n + i) % 2], scene="indoor") for i in range(2)] for n in range(6)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda block: infer(shared, *block), blocks))
    work = board.board.work["infer"]
    assert (work.rows, work.bytes_out > 0, work.seconds > 0) == (12, True, True)
    for block, rows in zip(blocks, results, strict=True):
        assert_same_rows(rows, infer(shared, *block))


def test_rejects_pass_through(actor: InferActor) -> None:
    """Rejected rows keep their place and reason; rows around them get what they get without them."""
    pixels = faces()
    rows = infer(actor, bad("x"), good("a", pixels[0]), bad("y"), good("b", pixels[1]))
    for row, name in ((rows[0], "x"), (rows[2], "y")):
        assert {key: value for key, value in row.items() if value is not None} == bad(name)
    assert_same_rows([rows[1], rows[3]], infer(actor, good("a", pixels[0]), good("b", pixels[1])))


def test_a_block_of_rejects_asks_no_network(actor: InferActor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without faces there is no forward pass; an empty block stays empty."""
    monkeypatch.setattr(actor.predictor, "submit", lambda *_: pytest.fail("a forward pass without faces"))
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
    row = infer(InferActor(settings_of(name), LocalBoard()), good("a", faces(name, 1)[0]))[0]
    assert [kind for kind in SHAPES if row[kind] is not None] == given
    assert (row["log_scale"], row["scene"]) == (None, "indoor")


def test_settings_reach_the_predictor() -> None:
    """Forced scene and sky filling are those of the settings."""
    pixels = faces(count=1)
    filling = InferActor(settings_of(fill=True, scene_mode="outdoor"), LocalBoard())
    row = infer(filling, good("a", pixels[0]))[0]
    wanted = Predictor(model("tiny_unified"), InferenceSettings(fill=True, scene_mode="outdoor"))(pixels, [None])[0]
    assert row["scene"] == "outdoor"
    assert_near(array_of(row, "depth"), wanted.depth)


def test_lower_precision_sends_half_the_normals() -> None:
    """In half precision normals leave as float16, close to those of single precision; depth stays float32."""
    pixels = faces(count=1)
    half = infer(InferActor(replace(settings_of(), precision="bfloat16"), LocalBoard()), good("a", pixels[0]))[0]
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
    InferActor(settings_of(), LocalBoard())
    assert loads == []
    routed = InferActor(replace(settings_of(), use_router=True, router_weights="/w/clip.pt"), LocalBoard())
    row = infer(routed, good("a", faces(count=1)[0], scene=None))[0]
    assert (row["scene"], row["p_outdoor"]) == ("outdoor", 0.75)
    assert loads == [("/w/clip.pt", torch.device("cpu"))]


def test_a_failed_load_is_raised_by_the_call(tmp_path: Path) -> None:
    """A checkpoint that cannot be loaded lets the actor start and fails every block with the reason."""
    progress = LocalBoard()
    broken = InferActor(replace(settings_of(), checkpoint=str(tmp_path / "gone")), progress)
    table = to_table([good("a", faces(count=1)[0])], READ_SCHEMA, 1, "test")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"gone: no such checkpoint folder"):
            broken(table)
    assert progress.board.workers == []


def test_faces_of_another_size_are_rejected(actor: InferActor) -> None:
    """Faces that do not fit the checkpoint are no prediction of garbage; the row beside them is predicted."""
    small = good("a", np.zeros((6, FACE // 2, FACE // 2, 3), np.uint8))
    first, second = infer(actor, small, good("b", faces(count=1)[0]))
    assert (first["error_class"], first["stage"], first["depth"]) == ("internal_error", "infer", None)
    assert "reshape" in first["message"]
    assert second["error_class"] is None
    assert second["depth"]


class Memory:
    """A predictor that fits so many panoramas at a time, and none whose first pixel is 255."""

    def __init__(self, predictor: Predictor, fits: int) -> None:
        self.predictor, self.fits, self.calls = predictor, fits, []

    def submit(self, pixels: np.ndarray, scenes: list[str | None], valid: Any = None) -> Pending:
        self.calls.append(len(pixels))
        if len(pixels) > self.fits or (pixels[:, 0, 0, 0, 0] == 255).any():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.predictor.submit(pixels, scenes, valid)


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory the same rows are done in smaller batches, what fits is remembered and told to the board."""
    board = LocalBoard()
    actor = InferActor(replace(settings_of(), batch_size=4), board)
    memory = Memory(actor.predictor, fits=2)
    monkeypatch.setattr(actor, "predictor", memory)
    pixels = faces(count=2)
    rows = infer(actor, *(good(f"{n}", pixels[n % 2]) for n in range(5)))
    assert memory.calls == [4, 2, 2, 1]
    assert all(row["depth"] and row["error_class"] is None for row in rows)
    assert board.board.state()[2] == {"CPU": 2}
    later = InferActor(replace(settings_of(), batch_size=4, fitting={"CPU": 2}), LocalBoard())
    assert later.batches.size == 2


def test_a_panorama_that_does_not_fit_alone_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single row that exhausts the memory is a reject with the cause and the way out; the others are predicted."""
    actor = InferActor(replace(settings_of(), batch_size=4), LocalBoard())
    monkeypatch.setattr(actor, "predictor", Memory(actor.predictor, fits=4))
    pixels = faces(count=2)
    pixels[:, 0, 0, 0, 0] = 0
    large = pixels[0].copy()
    large[0, 0, 0, 0] = 255
    rows = infer(actor, good("a", pixels[0]), good("large", large), good("b", pixels[1]))
    assert [row["error_class"] for row in rows] == [None, "out_of_memory", None]
    assert rows[1]["message"].startswith("/in/large.jpg: does not fit the memory of the model's device alone (")
    assert "Tried to allocate 2.00 GiB" in rows[1]["message"]
    assert "--retry-rejects out_of_memory" in rows[1]["message"]


@pytest.mark.parametrize(
    ("head", "value"), [("depth", np.nan), ("normals", np.inf), ("sky", -np.inf), ("log_scale", np.nan)]
)
def test_output_that_is_no_number_is_rejected(monkeypatch: pytest.MonkeyPatch, head: str, value: float) -> None:
    """One NaN or infinity anywhere in the network's output rejects its row, and not its neighbour."""
    actor = InferActor(replace(settings_of(), batch_size=2), LocalBoard())
    network = actor.predictor.model

    class Spoilt:
        def __getattr__(self, name: str) -> Any:
            return getattr(network, name)

        def __call__(self, *arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
            raw = network(*arguments, **options)
            raw[head] = raw[head].clone()
            raw[head][(1, *(-1 for _ in raw[head].shape[1:]))] = value
            return raw

    monkeypatch.setattr(actor.predictor, "model", Spoilt())
    pixels = faces(count=2)
    rows = infer(actor, good("a", pixels[0]), good("b", pixels[1]))
    assert [row["error_class"] for row in rows] == [None, "non_finite_prediction"]
    assert rows[1]["message"].startswith("/in/b.jpg: the network's output is not all finite")
    assert rows[1]["depth"] is None


def test_a_lost_device_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a CUDA error the actor's process ends, for Ray to start another; the rows are not rejected."""

    class Ended(BaseException):
        pass

    def end(code: int) -> None:
        raise Ended(code)

    def fail(*_: Any) -> Pending:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    actor = InferActor(settings_of(), LocalBoard())
    monkeypatch.setattr(actor.predictor, "submit", fail)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended, match=str(EXIT_DEVICE_LOST)):
        infer(actor, good("a", faces(count=1)[0]))


def test_an_actor_that_dies_while_loading_is_not_started_for_ever() -> None:
    """After several starts of one actor that never was ready, the next one says so instead of loading."""
    board = LocalBoard()
    for _ in range(MAX_FAILED_STARTS):
        board.board.worker_starting(HERE)
    table = to_table([good("a", faces(count=1)[0])], READ_SCHEMA, 1, "test")
    with pytest.raises(PagerError, match=r"died 6 times in a row while loading .* give it more"):
        InferActor(settings_of(), board)(table)


def test_actors_that_load_at_once_are_no_failures() -> None:
    """A pool of any size may load together, and an actor that was ready may start again and again."""
    board = LocalBoard()
    for number in range(3 * MAX_FAILED_STARTS):
        board.board.worker_starting(f"another {number}")
    for _ in range(MAX_FAILED_STARTS + 1):
        InferActor(settings_of(), board)
    assert len(board.board.workers) == MAX_FAILED_STARTS + 1


def test_weights_of_another_digest_end_the_job() -> None:
    """A node whose file is not the one that the job began with predicts nothing: the first call says so."""
    table = to_table([good("a", faces(count=1)[0])], READ_SCHEMA, 1, "test")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        InferActor(replace(settings_of(), sha256="0" * 64), LocalBoard())(table)


def test_a_worker_describes_itself() -> None:
    """A ready actor reports once what its predictions depend on besides the configuration."""
    progress = LocalBoard()
    ready = InferActor(replace(settings_of(), precision="bfloat16"), progress)
    (worker,) = progress.board.workers
    assert worker == describe_worker(ready.predictor.model, "eager (as asked)")
    assert worker["precision"] == "bfloat16"
    assert (worker["process"], worker["torch"], worker["cuda"]) == (str(os.getpid()), torch.__version__, None)
    assert worker["device"].startswith("CPU (")


def test_threads_are_set_where_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor on CPUs uses the threads it was given, others keep torch's own number."""
    seen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    InferActor(settings_of(), LocalBoard())
    assert seen == []
    InferActor(replace(settings_of(), threads=3), LocalBoard())
    assert seen == [3]


def test_blocks_of_several_chunks(actor: InferActor) -> None:
    """A block made of several batches is one forward pass, in order."""
    pixels = faces()
    rows = [good("a", pixels[0]), good("b", pixels[1])]
    parts = pa.concat_tables([to_table([row], READ_SCHEMA, 1, "test") for row in rows])
    assert_same_rows(actor(parts).to_pylist(), infer(actor, *rows))


def test_whole_panoramas_are_sampled_where_the_network_is(actor: InferActor) -> None:
    """Rows with panoramas, of several sizes, get what the predictor makes of them; rejects pass through as ever."""
    random = np.random.default_rng(0)
    panoramas = [random.integers(0, 256, (height, 2 * height, 3), np.uint8) for height in (64, 80)]
    rows = [
        good(f"p{erp.shape[0]}", erp) | {"faces": None, "panorama": blob(erp), "panorama_height": len(erp)}
        for erp in panoramas
    ]
    found = infer(actor, rows[0], bad("gone"), rows[1])
    expected = Predictor(model("tiny_unified"), InferenceSettings()).submit_panoramas(panoramas, ["indoor"] * 2)
    for row, prediction in zip((found[0], found[2]), expected.result(), strict=True):
        assert_near(array_of(row, "depth"), prediction.depth)
    assert found[1]["error_class"] == "missing"


def test_a_worker_says_how_its_network_runs() -> None:
    """What was taken, and why, stands among the facts that the run file keeps of each worker."""
    board = LocalBoard()
    InferActor(replace(settings_of(), acceleration="auto"), board)
    assert board.board.workers[0]["acceleration"] == "eager (auto: cpu has no graphs)"


def test_a_way_that_cannot_be_had_ends_the_job_in_one_line() -> None:
    """Graphs without CUDA are refused by the first call, whose error reaches the driver, as one line."""
    refused = InferActor(replace(settings_of(), acceleration="graphs"), LocalBoard())
    with pytest.raises(ConfigError, match=r"^compute\.acceleration: graphs cannot be had \(.+\); take auto or eager$"):
        infer(refused, good("a", faces()[0]))


def test_a_traced_job_profiles_one_batch_and_times_every_block() -> None:
    """Of a traced job one actor profiles its second batch; its blocks, and what its thread did, are events as well."""
    board = LocalBoard()
    board.board._trace = TraceLog(True)
    traced, pixels = InferActor(settings_of(), board), faces()
    for name in "abc":
        infer(traced, good(name, pixels[0]))
    events = board.board.traced()
    blocks = [event for event in events if event["cat"] == "stage"]
    assert [(event["name"], event["args"]["rows"]) for event in blocks] == [("infer", 1)] * 3
    operations = [event for event in events if event["name"].startswith("aten::")]
    first, last = min(event["ts"] for event in operations), max(event["ts"] for event in operations)
    assert blocks[1]["ts"] <= first <= last <= blocks[1]["ts"] + blocks[1]["dur"]
    assert {event["pid"] for event in blocks} <= {event["pid"] for event in operations}
