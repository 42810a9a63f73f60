"""The plain script trains from a folder of scenes, goes on from its state, and says what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pager_ray.train.script import main
from tests.train.conftest import TINY

WORDS = ["phases=[[1,28,2]]", f"network={json.dumps(TINY)}", "log_every=1"]


def test_end_to_end(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two commands: the second one goes on where the first ended."""
    assert main([str(scenes), str(tmp_path), "budget.samples=4", *WORDS]) == 0
    assert main([str(scenes), str(tmp_path), "budget.samples=8", *WORDS]) == 0
    steps = [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()]
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["budget.samples=4", "speed=9"], "speed: is no key"),
        (["budget.samples=4", "losses.depth=much"], "losses.depth: takes float"),
        (["budget.samples=4", "losses.depth=NaN"], "losses.depth: takes float, got nan"),
        (["budget.minutes=1e999"], "budget.minutes: takes float, got inf"),
        (["budget.samples=4", "seed=Infinity"], "seed: takes int, got inf"),
        (["budget.samples=4", "phases=[[NaN,28,2],[1,28,2]]"], "phases.until: takes float, got nan"),
        (["budget.samples=4", "phases=[[0.5,28]]"], "phases: takes a list of [until, face_size, batch]"),
        (["budget.samples=4", "phases=[[0.5,28,2]]"], "phases: must end"),
        ([], "budget"),
        (["budget.samples=4", "--device", "gpu"], "device: takes auto, cpu, cuda or cuda:N, got 'gpu'"),
        (["budget.samples=4", "--device", "cuda:99"], "device: got cuda:99, but torch sees "),
    ],
)
def test_wrong_words_are_named(scenes: Path, tmp_path: Path, words: list[str], message: str, capfd) -> None:
    """Exit code 2 and the key."""
    with pytest.raises(SystemExit) as stopped:
        main([str(scenes), str(tmp_path), *words])
    assert stopped.value.code == 2
    assert message in capfd.readouterr().err
