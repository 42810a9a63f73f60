from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pager_ray.errors import CheckpointError
from pager_ray.model import load_model
from pager_ray.model.checkpoint import CONFIG, WEIGHTS, read_config
from pager_ray.model.random_checkpoint import TINY, main, write_random_checkpoint
from tests.model.conftest import meta_keys, random_faces


@pytest.mark.parametrize("seed", range(4))
def test_predictions_are_finite_and_look_like_a_room(tmp_path: Path, seed: int):
    """Untrained outputs are finite, vary over the image, and most depths lie between half a metre and twenty."""
    write_random_checkpoint(tmp_path, "tiny", seed=seed)
    raw = load_model(tmp_path, device="cpu")(random_faces(2), ["indoor", "outdoor"])
    assert all(value.isfinite().all() for value in raw.values())
    assert raw["depth"].std() > 0.1
    inside = (raw["depth"] > math.log(0.5)) & (raw["depth"] < math.log(20))
    assert inside.float().mean() > 0.9
    assert raw["normals"].std() > 0.1
    assert raw["sky"].std() > 0.05
    assert raw["log_scale"].abs().max() < 3


def test_same_seed_same_bytes(tmp_path: Path):
    """The same arguments write the same files; another seed writes other weights."""
    one, two, other = (write_random_checkpoint(tmp_path / n, "tiny", seed=s) for n, s in (("a", 1), ("b", 1), ("c", 2)))
    for file in (WEIGHTS, CONFIG):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    assert (one / WEIGHTS).read_bytes() != (other / WEIGHTS).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_files_are_released_format(tmp_path: Path, dtype: torch.dtype):
    """The safetensors library reads the file, with exactly the keys and shapes that the configuration needs."""
    write_random_checkpoint(tmp_path, "tiny", modalities=["depth", "sky"], face_size=28, dtype=dtype)
    tensors = load_file(tmp_path / WEIGHTS)
    model = load_model(tmp_path, device="cpu")
    assert model.architecture.modalities == ("depth", "sky")
    assert model.architecture.face_size == 28
    assert {key: list(value.shape) for key, value in tensors.items()} == meta_keys(model.architecture)
    assert {value.dtype for value in tensors.values()} == {dtype}


def test_tiny_writes_explicit_sections(tmp_path: Path):
    """No preset has the tiny size, so its configuration spells it out."""
    config = read_config(write_random_checkpoint(tmp_path, "tiny") / CONFIG)
    assert config["pretrained_model_name"] == "custom"
    assert config["backbone"] == TINY["backbone"]
    assert config["head"] == TINY["head"]


def test_command_line_writes_a_loadable_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The command writes a checkpoint and says where, and that it is untrained."""
    assert main([str(tmp_path / "c"), "--modalities", "normals", "--seed", "4"]) == 0
    printed = capsys.readouterr().out
    assert "untrained" in printed
    assert str(tmp_path / "c") in printed
    assert set(load_model(tmp_path / "c", device="cpu")(random_faces(1))) == {"normals"}


def test_command_line_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A size that cannot be built ends with exit code 2 and one line."""
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--face-size", "55"])
    error = capsys.readouterr().err
    assert "face_size" in error
    assert error.count("\n") == 1


def test_unknown_preset_lists_known_ones(tmp_path: Path):
    """An unknown preset is an error that lists the known ones."""
    with pytest.raises(CheckpointError, match="tiny, mid, da3-giant"):
        write_random_checkpoint(tmp_path, "huge")


def test_other_dtypes_are_refused(tmp_path: Path):
    """A dtype that no checkpoint is stored in is an error that lists those that are."""
    with pytest.raises(CheckpointError, match=r"^dtype: takes torch\.float32, .*, got torch\.int8$"):
        write_random_checkpoint(tmp_path, "tiny", dtype=torch.int8)


def test_folders_that_cannot_be_made_are_named(tmp_path: Path):
    """A folder below a file is an error with its name, the reason and what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError) as caught:
        write_random_checkpoint(tmp_path / "file" / "c", "tiny")
    assert str(caught.value) == (
        f"{tmp_path}/file/c: cannot be written (Not a directory); choose a folder that can be written to"
    )
