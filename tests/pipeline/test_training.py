"""What a training job is told becomes a schedule, or one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pager_ray.config import load_config
from pager_ray.config.training import TrainConfig
from pager_ray.errors import ConfigError, PagerError, RunMismatchError, StorageError
from pager_ray.pipeline import training
from pager_ray.pipeline.conversion import conversion_settings
from pager_ray.pipeline.training import _workers_cause, progress_line, run_training, train_settings
from pager_ray.train.panoramas import RENDER_FAILED, Numbered
from pager_ray.train.settings import LossWeights, OptimiserSettings


def test_defaults_are_the_scripts() -> None:
    """Two ways to say the same thing say the same."""
    settings = train_settings(load_config(None, ["output.uri=x", "budget.minutes=1"], TrainConfig))
    assert settings.losses == LossWeights()
    assert settings.optimiser == OptimiserSettings()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "budget: takes samples or minutes"),
        (("budget.samples=4", "budget.minutes=1"), "budget: takes samples or minutes"),
        (("budget.samples=4", "phases=[[0.5,28,2]]"), "phases: must end"),
        (("budget.samples=4", "phases=[[1,30,2]]"), "face_size"),
    ],
)
def test_wrong_schedules_are_named(words: tuple[str, ...], message: str) -> None:
    """Before anything starts."""
    with pytest.raises(ConfigError, match=message):
        train_settings(load_config(None, ["output.uri=x", *words], TrainConfig))


def test_takes_a_folder_that_is_mounted() -> None:
    """Workers write states beside each other: no URL."""
    with pytest.raises(ConfigError, match=r"output\.uri"):
        run_training(load_config(None, ["output.uri=s3://bucket/run", "budget.samples=4"], TrainConfig))


def test_steps_that_were_skipped_are_told() -> None:
    """Also where every step of a record was, which leaves no loss to tell."""
    record = {"step": 20, "share": 0.5, "samples": 80, "minutes": 1.0, "face_size": 28, "skipped": 20}
    begin = "50% of the budget, 80 panoramas in 1.0 min, 28 px: "
    assert progress_line(record) == f"{begin}20 steps skipped, whose gradient was not finite"
    whole = record | {"skipped": 3, "loss": 1.0, "depth": 0.25}
    assert progress_line(whole) == f"{begin}loss 1.000, depth 0.250, 3 steps skipped, whose gradient was not finite"


@pytest.mark.parametrize(("name", "content"), [("state.pt", b""), ("log.jsonl", b"{}\n{\n{}\n")])
def test_damage_is_told_before_anything_starts(tmp_path: Path, name: str, content: bytes) -> None:
    """Neither a render nor a worker is needed to find it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StorageError, match=name.replace(".", r"\.")):
        run_training(load_config(None, [f"output.uri={tmp_path}", "budget.samples=4"], TrainConfig))


def test_what_a_worker_says_is_told_as_it_is() -> None:
    """Its own line, out of what Ray Train puts around it; other failures have none."""

    class Group(Exception):
        worker_failures: dict[int, Any]

    error, said = Group("workers"), PagerError("training: at step 3")
    error.worker_failures = {0: RuntimeError("gone"), 1: SimpleNamespace(_base_exc=said)}
    assert _workers_cause(error) is said
    error.worker_failures = {0: RuntimeError("gone")}
    assert _workers_cause(error) is None
    assert _workers_cause(RuntimeError("no group")) is None


def test_scenes_of_other_settings_are_refused(tmp_path: Path) -> None:
    """Also where all of them are rendered already, and nothing would be written."""
    words = [f"output.uri={tmp_path}", "budget.samples=4", "scenes.count=2", "scenes.height=64"]
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "scenes.json").write_text('{"height": 64, "seed": 1, "leave_out": []}')
    for index in range(2):
        (tmp_path / "scenes" / f"000000{index}.npz").touch()
    with pytest.raises(RunMismatchError, match=r"holds scenes of \{'seed': 1\}, not of \{'seed': 2\}"):
        run_training(load_config(None, [*words, "scenes.seed=2"], TrainConfig))


def test_a_family_that_there_is_not_is_told(tmp_path: Path) -> None:
    """Before anything is rendered: a misspelt one would be trained on, or be waited for."""
    words = [f"output.uri={tmp_path / 'run'}", "budget.samples=4", "scenes.leave_out=[galery]"]
    with pytest.raises(ConfigError, match="no family galery to leave out; there are living_room, corridor, gallery"):
        run_training(load_config(None, words, TrainConfig))
    assert not (tmp_path / "run").exists()


def test_workers_learn_that_rendering_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the folder that all nodes see; the job ends with the renderer's reason, and the next start has none."""

    def fail(*_: object) -> None:
        raise StorageError("cannot write scenes to there: no space left on device; choose a folder")

    config = load_config(None, [f"output.uri={tmp_path}", "budget.samples=4"], TrainConfig)
    (tmp_path / RENDER_FAILED).write_text("an earlier start's")
    monkeypatch.setattr(training, "_render", fail)
    why = r"^scenes could not be rendered: cannot write scenes to there: no space"
    with pytest.raises(PagerError, match=why), training._rendering(config, tmp_path, 1):
        Numbered(tmp_path, 4, 0, patience=600.0).sample(0, 28)
    monkeypatch.setattr(training, "_render", lambda *_: None)
    with training._rendering(config, tmp_path, 1):
        assert not (tmp_path / RENDER_FAILED).exists()


def test_a_data_path_is_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is written; what is secret in it is not noted."""

    def noted(path: str) -> Any:
        words = ["output.uri=x", "budget.samples=4", "scenes.dataset=ZuriPano", f"scenes.data_path={path}"]
        return conversion_settings(load_config(None, words, TrainConfig))["data_path"]

    monkeypatch.chdir(tmp_path)
    assert noted("data/../sets") == noted(str(tmp_path / "sets")) == str(tmp_path / "sets")
    assert noted("hub@v1") == "hub@v1"
    assert "secret" not in noted("https://user:secret@host/sets")
