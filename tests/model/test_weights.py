from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pager_ray.errors import CheckpointError
from pager_ray.model import load_model
from pager_ray.model.checkpoint import CONFIG, WEIGHTS
from pager_ray.model.weights import TensorEntry, read_entries
from tests.model.conftest import GOLDEN, Golden, random_faces


def copy_of(name: str, folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """A golden checkpoint's configuration with other tensors."""
    folder.mkdir()
    shutil.copy(GOLDEN / name / CONFIG, folder)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / WEIGHTS)
    return folder


def tensors_of(name: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / name / WEIGHTS)


def test_every_tensor_arrives_unchanged(unified: Golden):
    """In float32, every parameter holds exactly the file's numbers."""
    file = tensors_of("tiny_unified")
    held = dict(unified.model.network.named_parameters())
    assert held.keys() == {key for key in file if not key.startswith(("model.cam_dec.", "model.cam_enc."))}
    for key, value in held.items():
        assert torch.equal(value, file[key]), key


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_any_stored_dtype_loads_in_any_precision(tmp_path: Path, stored: torch.dtype, precision: str):
    """Weights stored in another dtype are converted once, tensor by tensor."""
    tensors = {key: value.to(stored) for key, value in tensors_of("tiny_normals").items()}
    model = load_model(copy_of("tiny_normals", tmp_path / "c", tensors), device="cpu", precision=precision)
    for key, parameter in model.network.named_parameters():
        assert torch.equal(parameter, tensors[key].to(parameter.dtype)), key


@pytest.mark.parametrize("layout", ["head_modules", "scratch"])
@pytest.mark.parametrize("name", ["tiny_metric_depth", "tiny_normals"])
def test_older_single_head_layouts_load(tmp_path: Path, name: str, layout: str):
    """Files that keep their one head directly under model.head. give the same numbers, both depth channels included."""
    head = "depth" if name == "tiny_metric_depth" else "normals"
    old = {}
    for key, value in tensors_of(name).items():
        renamed = key.replace(f"model.head.heads.{head}.", "model.head.")
        if layout == "scratch":
            renamed = renamed.replace(f"model.head.head_modules.{head}.", "model.head.scratch.")
        old[renamed] = value
    assert old.keys() != tensors_of(name).keys()
    faces = random_faces(1)
    raw, expected = (load_model(f, device="cpu")(faces) for f in (copy_of(name, tmp_path / "c", old), GOLDEN / name))
    assert raw.keys() == expected.keys()
    for output, value in expected.items():
        assert torch.equal(raw[output], value)


def test_camera_decoder_is_ignored_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Released files hold a camera decoder; with or without it they load, and nothing is said of it."""
    tensors = tensors_of("tiny_normals")
    assert any(key.startswith("model.cam_dec.") for key in tensors)
    without = {key: value for key, value in tensors.items() if not key.startswith("model.cam_dec.")}
    load_model(GOLDEN / "tiny_normals", device="cpu")
    load_model(copy_of("tiny_normals", tmp_path / "c", without), device="cpu")
    assert "cam_dec" not in caplog.text


def test_missing_keys_are_named_and_counted(tmp_path: Path):
    """Missing keys are one error with the file, the first few keys and their number."""
    tensors = tensors_of("tiny_normals")
    gone = [key for key in tensors if ".attn.qkv." in key]
    for key in gone:
        del tensors[key]
    with pytest.raises(CheckpointError, match=f"{len(gone)} missing keys: .*qkv.*, …") as caught:
        load_model(copy_of("tiny_normals", tmp_path / "c", tensors), device="cpu")
    assert str(tmp_path / "c" / WEIGHTS) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unexpected_keys_are_named_and_counted(tmp_path: Path):
    """Keys that the configuration does not explain are an error, not dropped."""
    tensors = tensors_of("tiny_normals") | {"model.backbone.pretrained.register_tokens": torch.zeros(1, 4, 32)}
    with pytest.raises(CheckpointError, match=r"1 unexpected keys: model\.backbone\.pretrained\.register_tokens"):
        load_model(copy_of("tiny_normals", tmp_path / "c", tensors), device="cpu")


def test_wrong_shapes_are_named_with_both_shapes(tmp_path: Path):
    """A tensor of another shape is an error that gives the file's shape and the network's."""
    tensors = tensors_of("tiny_normals")
    tensors["model.backbone.pretrained.cls_token"] = torch.zeros(1, 1, 48)
    with pytest.raises(CheckpointError, match=r"cls_token \[1, 1, 48\] instead of \[1, 1, 32\]"):
        load_model(copy_of("tiny_normals", tmp_path / "c", tensors), device="cpu")


def test_another_checkpoints_weights_are_one_error(tmp_path: Path):
    """Weights of other heads give one error that says what is missing and what is too much."""
    with pytest.raises(CheckpointError, match=r"missing keys: .*unexpected keys: .*; give it its own config\.yaml$"):
        load_model(copy_of("tiny_metric_depth", tmp_path / "c", tensors_of("tiny_normals")), device="cpu")


@pytest.mark.parametrize("kept", [0, 4, 100, -1, -5000])
def test_truncated_file_is_one_error(tmp_path: Path, kept: int):
    """A file cut anywhere, in its header or its last tensor, is an error that names it."""
    folder = tmp_path / "c"
    shutil.copytree(GOLDEN / "tiny_normals", folder)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:kept])
    with pytest.raises(
        CheckpointError, match=r"damaged, truncated or no safetensors file .*; fetch it again$"
    ) as caught:
        load_model(folder, device="cpu")
    assert str(folder / WEIGHTS) in str(caught.value)


def test_other_file_formats_are_one_error(tmp_path: Path):
    """A file that is no safetensors file is an error that names it."""
    folder = copy_of("tiny_normals", tmp_path / "c", {})
    (folder / WEIGHTS).write_bytes(b"PK\x03\x04" + bytes(4096))
    with pytest.raises(CheckpointError, match="no safetensors"):
        load_model(folder, device="cpu")


def test_integer_tensors_are_refused(tmp_path: Path):
    """Quantised or integer tensors are an error that names the dtype."""
    tensors = tensors_of("tiny_normals")
    tensors["model.backbone.pretrained.cls_token"] = torch.zeros(1, 1, 32, dtype=torch.int8)
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: holds tensors of dtype I8; takes F64, F32, F16, BF16"):
        load_model(copy_of("tiny_normals", tmp_path / "c", tensors), device="cpu")


def test_files_that_are_gone_are_named(tmp_path: Path):
    """A weights file that cannot be opened is an error with its path, the reason and what to check."""
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}/w: cannot be read \(.*No such file.*\); check the file"):
        read_entries(tmp_path / "w")


def replaced_while_loading(monkeypatch: pytest.MonkeyPatch, replace: Callable[[Path], None]) -> None:
    """Let something happen to the weights between the reading of their header and of their tensors."""

    def read_first(weights: Path) -> dict[str, TensorEntry]:
        entries = read_entries(weights)
        replace(weights)
        return entries

    monkeypatch.setattr("pager_ray.model.weights.read_entries", read_first)


def test_files_that_shrink_while_they_load_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file that another program cuts meanwhile is an error with file, tensor and what to do."""
    folder = copy_of("tiny_normals", tmp_path / "c", tensors_of("tiny_normals"))
    replaced_while_loading(monkeypatch, lambda path: os.truncate(path, path.stat().st_size - 100))
    with pytest.raises(
        CheckpointError, match=rf"^{folder}/{WEIGHTS}: model\..*: the file ends before .*fetch it again$"
    ):
        load_model(folder, device="cpu")


def test_storage_that_breaks_off_while_it_loads_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A read that the system refuses is an error with file, tensor, the system's reason and what to check."""

    class Broken(io.RawIOBase):
        def readinto(self, _: object) -> int:
            raise OSError(5, "Input/output error")

        def seek(self, *_: int) -> int:
            return 0

    folder = copy_of("tiny_normals", tmp_path / "c", tensors_of("tiny_normals"))
    replaced_while_loading(monkeypatch, lambda _: monkeypatch.setattr(Path, "open", lambda *_, **__: Broken()))
    with pytest.raises(
        CheckpointError, match=r": model\..*: cannot be read \(Input/output error\); check the file and its"
    ):
        load_model(folder, device="cpu")
