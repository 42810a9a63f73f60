from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace

import pytest
import torch

from pager_ray.errors import ConfigError
from pager_ray.model import load_model
from pager_ray.model.compiled import GraphReplay, _filled, _Inputs, _Recording
from tests.model.conftest import Golden, random_faces


@pytest.mark.skipif(torch.cuda.is_available(), reason="what happens without a GPU")
def test_replay_needs_a_gpu(unified: Golden):
    """On a CPU replaying is refused with the way out, and the model still predicts."""
    with pytest.raises(ConfigError, match=r"replay: takes a model on a CUDA device, got cpu"):
        unified.model.replay()
    assert "depth" in unified.model(unified.faces)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records graphs on a GPU")
def test_replays_equal_forward_passes(unified: Golden):
    """Replayed, batches of any size and route give what they give eagerly, and results stay as they were given."""
    eager, replayed = (load_model(unified.folder, device="cuda") for _ in range(2))
    replayed.replay()
    given = []
    for seed, scenes in enumerate([["indoor"], ["outdoor"], ["indoor", "outdoor"], ["indoor"], ["outdoor", "indoor"]]):
        faces = random_faces(len(scenes), seed=seed)
        given.append((eager(faces, scenes), replayed(faces, scenes)))
    for expected, ours in given:
        assert ours.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(ours[name], value, atol=2e-2, rtol=2e-2, msg=name)


class PretendedGraph:
    """Does again on replay what was done while it recorded, as a graph does: same memory in, same memory out."""

    def __init__(self, again: Callable[[], dict[str, torch.Tensor]]) -> None:
        self.again = again
        self.outputs = {name: value.clone() for name, value in again().items()}

    def replay(self) -> None:
        for name, value in self.again().items():
            self.outputs[name].copy_(value)


@pytest.fixture
def pretended_graphs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """CUDA graphs that record and replay on the CPU; gives the panoramas of each recording, in order."""
    recorded: list[int] = []

    def record(self: GraphReplay, inputs: _Inputs) -> _Recording:
        recorded.append(len(inputs.faces))
        graph = PretendedGraph(lambda: self._forward(*inputs))
        return _Recording(graph, inputs, graph.outputs)

    monkeypatch.setattr(GraphReplay, "_record", record)
    monkeypatch.setattr(GraphReplay, "_warm_up", lambda self, inputs: None)
    return recorded


class HeldGraph:
    """A graph that holds memory for as long as somebody has it."""

    def pool(self) -> object:
        return object()

    def replay(self) -> None:
        """Nothing to be done again."""


class PretendedCuda:
    """What recording asks of ``torch.cuda``, on a machine whose first GPU is the current one; notes what is recorded.

    Attributes:
        recorded: of each graph, the stream that it was recorded on and the device that was the current one meanwhile.
        graphs: those that somebody has.
        is_recording: whether what runs is recorded.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current = torch.device("cuda:0")
        self.recorded: list[tuple[SimpleNamespace, torch.device]] = []
        self.graphs: weakref.WeakSet[HeldGraph] = weakref.WeakSet()
        self.is_recording = False
        for name in ("current_stream", "Stream", "stream", "device", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", self.held_graph)

    def held_graph(self) -> HeldGraph:
        graph = HeldGraph()
        self.graphs.add(graph)
        return graph

    def current_stream(self, device: torch.device | None = None) -> SimpleNamespace:
        return self.Stream(device)

    def Stream(self, device: torch.device | None = None) -> SimpleNamespace:
        return SimpleNamespace(device=device or self.current, wait_stream=lambda other: None)

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device
        yield
        self.current = before

    def stream(self, stream: SimpleNamespace) -> AbstractContextManager[None]:
        return self.device(stream.device)

    @contextmanager
    def graph(self, graph: object, stream: SimpleNamespace | None = None, **_: object) -> Iterator[None]:
        used = stream or self.Stream()
        with self.stream(used):
            self.recorded.append((used, self.current))
            self.is_recording = True
            yield
            self.is_recording = False


def test_graphs_are_recorded_on_the_models_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model on the second GPU: each graph is recorded there, all on one stream, as they share their memory."""
    cuda = PretendedCuda(monkeypatch)
    ran: list[torch.device] = []

    def forward(*_: object) -> dict[str, torch.Tensor]:
        ran.append(cuda.current)
        return {}

    replay = GraphReplay(forward)
    second = torch.device("cuda:1")
    inputs = _Inputs(SimpleNamespace(device=second), (), None, None)  # type: ignore[arg-type]
    for _ in range(2):
        replay._warm_up(inputs)
        replay._record(inputs)
    assert [stream.device for stream, _ in cuda.recorded] == [second, second]
    assert cuda.recorded[0][0] is cuda.recorded[1][0]
    assert {device for _, device in cuda.recorded} | {*ran} == {second}
    assert cuda.current == torch.device("cuda:0")


def test_what_runs_before_a_recording_has_the_memory_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mixed batch after others of its size: no graph holds memory until every kind of pass has run once more."""
    cuda = PretendedCuda(monkeypatch)
    held: list[int] = []

    def forward(*_: object) -> dict[str, torch.Tensor]:
        if not cuda.is_recording:
            held.append(len(cuda.graphs))
        return {}

    replay = GraphReplay(forward)
    replay.batch = 2
    kinds = [("a",), ("b",), ("a", "b")]
    for number, heads in enumerate(kinds, 1):
        replay(torch.zeros(1, 6, 3, 4, 4), heads)
        assert len(cuda.graphs) == number
        assert len(replay._recordings) == number
    replay(torch.zeros(2, 6, 3, 4, 4), ("b",))
    # Two passes before each of one, then two, then three graphs.
    assert held == [0] * (2 + 4 + 6)
    assert len(cuda.recorded) == 1 + 2 + 3


def test_smaller_batches_share_the_graph_of_the_batch_in_use(unified: Golden, pretended_graphs: list[int]) -> None:
    """One graph per choice of heads serves every number of panoramas up to the batch, and each gets its own maps."""
    network = unified.model.network
    replay = GraphReplay(network)
    replay.batch = 3
    heads = network.architecture.scale_heads
    given = []
    for seed, (rows, chosen) in enumerate([(3, heads[:1]), (1, heads[:1]), (2, heads[:1]), (2, heads)]):
        faces = random_faces(rows, seed=seed)
        outdoor = torch.tensor([seed % 2 == 0] * rows) if len(chosen) > 1 else None
        with torch.no_grad():
            given.append((network(faces, chosen, outdoor), replay(faces, chosen, outdoor)))
    # The second choice is recorded together with the first.
    assert pretended_graphs == [3, 3, 3]
    assert len(replay._recordings) == 2
    for expected, ours in given:
        assert {name: len(value) for name, value in ours.items()} == {name: len(expected[name]) for name in expected}
        for name, value in expected.items():
            torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_another_batch_drops_the_graphs_of_the_one_before(unified: Golden, pretended_graphs: list[int]) -> None:
    """After a lack of memory the halved batch has a graph of its own, and that of the full one holds none any more."""
    replay = GraphReplay(unified.model.network)
    for batch, rows in ((4, 4), (2, 2), (2, 1), (2, 4)):
        replay.batch = batch
        replay(random_faces(rows))
    assert pretended_graphs == [4, 2, 4]
    assert len(replay._recordings) == 2


@pytest.mark.parametrize("when", ["_warm_up", "_record"])
def test_a_recording_that_fails_leaves_nothing_behind(
    unified: Golden, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Out of memory while recording, the next and smaller batch starts with no graph and no pool of memory."""

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    replay = GraphReplay(unified.model.network)
    replay._pool = object()
    monkeypatch.setattr(GraphReplay, "_warm_up", lambda self, inputs: None)
    monkeypatch.setattr(GraphReplay, when, fail)
    with pytest.raises(torch.OutOfMemoryError):
        replay(random_faces(2))
    assert replay._pool is None
    assert not replay._recordings


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_graphs_input_has_the_layout_of_what_it_is_given(channels_last: bool) -> None:
    """Faces whose channels lie last stay so in the graph's own memory, so that filling it is one plain copy."""
    faces = torch.rand(2, 6, 4, 4, 3).permute(0, 1, 4, 2, 3) if channels_last else torch.rand(2, 6, 3, 4, 4)
    filled = _filled(faces, 5)
    assert filled.stride() == faces.stride()
    assert torch.equal(filled[:2], faces)
    assert not filled[2:].any()
