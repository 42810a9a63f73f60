from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from pager_ray.errors import CheckpointError
from pager_ray.model import load_model, mapped
from pager_ray.model.checkpoint import WEIGHTS
from pager_ray.model.low_precision import QuantisedLinear
from pager_ray.model.random_checkpoint import write_random_checkpoint
from tests.model.conftest import GOLDEN, random_faces

UNSHARED = """
    import gc, re, sys
    from pathlib import Path
    import torch
    from pager_ray.model import load_model

    def own():  # what only this process holds
        text = Path("/proc/self/smaps_rollup").read_text()
        return sum(int(kilobytes) for kilobytes in re.findall(r"^Private_\\w+:\\s+(\\d+) kB", text, re.M)) * 1024

    torch.set_num_threads(1)
    before = own()
    model = load_model(sys.argv[1], device="cpu")
    print("loaded", flush=True)
    sys.stdin.readline()
    gc.collect()
    print(own() - before, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN / "tiny_unified", tmp_path / "c")


def mappings_of(path: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(path))


def descriptors_of(path: Path) -> int:
    return sum(os.path.realpath(entry) == str(path) for entry in Path("/proc/self/fd").iterdir())


def test_two_processes_share_the_weights(tmp_path: Path):
    """Of 100 MB that two processes load, neither holds more than a quarter for itself."""
    config = {
        "modalities": ["depth"],
        "face_size": 56,
        "pretrained_model_name": "custom",
        "backbone": {
            "embed_dim": 512,
            "depth": 8,
            "num_heads": 8,
            "out_layers": [1, 3, 5, 7],
            "alt_start": 2,
            "qknorm_start": 2,
            "rope_start": 2,
        },
        "head": {"features": 16, "out_channels": [8, 16, 32, 32]},
    }
    folder = write_random_checkpoint(tmp_path / "c", config)
    size = (folder / WEIGHTS).stat().st_size
    command = [sys.executable, "-c", textwrap.dedent(UNSHARED), str(folder)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for process in running:
            assert process.stdout.readline() == "loaded\n"
        grown = []
        for process in running:
            process.stdin.write("\n")
            process.stdin.flush()
            grown.append(int(process.stdout.readline()))
    finally:
        for process in running:
            process.communicate("\n")
    assert size > 100e6
    assert max(grown) < 0.25 * size, [grown, size]


def test_mapped_and_read_weights_give_the_same_bits(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The network that shares its file predicts what the one with its own copy does."""
    faces = random_faces(1)
    sharing = load_model(folder, device="cpu")
    assert mappings_of(folder)
    monkeypatch.setattr("pager_ray.model.weights.map_weights", lambda *_: None)
    reading = load_model(folder, device="cpu")
    expected = reading(faces, ["indoor"])
    for name, value in sharing(faces, ["indoor"]).items():
        assert torch.equal(value, expected[name]), name


def test_file_is_let_go_with_the_network(folder: Path):
    """Neither a mapping nor an open file stays when the network is gone."""
    model = load_model(folder, device="cpu")
    assert mappings_of(folder) == 1
    del model
    gc.collect()
    assert mappings_of(folder) == descriptors_of(folder / WEIGHTS) == 0


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_network_keeps_the_file_that_it_has_loaded(folder: Path, how: str):
    """Another file under the same name, or none, does not change what the network predicts."""
    faces = random_faces(1)
    expected = load_model(folder, device="cpu")(faces, ["indoor"])
    model = load_model(folder, device="cpu")
    if how == "replaced":
        (folder / "other").write_bytes(bytes((folder / WEIGHTS).stat().st_size))
        (folder / "other").replace(folder / WEIGHTS)
    else:
        (folder / WEIGHTS).unlink()
    for name, value in model(faces, ["indoor"]).items():
        assert torch.equal(value, expected[name]), name


def test_what_a_process_writes_stays_its_own(folder: Path):
    """Changing a parameter changes neither the file nor another network."""
    content = (folder / WEIGHTS).read_bytes()
    one, other = load_model(folder, device="cpu"), load_model(folder, device="cpu")
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.zero_()
    assert (folder / WEIGHTS).read_bytes() == content
    assert any(parameter.count_nonzero() for parameter in other.network.parameters())


def test_what_the_network_holds_otherwise_is_not_mapped(folder: Path):
    """Other dtypes and convolutions, whose order in memory is another, are read into memory of their own."""
    half = load_model(folder, device="cpu", precision="bfloat16")
    assert {p.dtype for p in half.network.parameters()} == {torch.float32, torch.bfloat16}
    begin, end = mapped_range(folder)
    for module in half.network.modules():
        if isinstance(module, nn.Linear):
            assert not begin <= module.weight.data_ptr() < end
    del half
    gc.collect()
    full = load_model(folder, device="cpu")
    begin, end = mapped_range(folder)
    for path, module in full.network.named_modules():
        if isinstance(module, nn.Linear):
            assert begin <= module.weight.data_ptr() < end, path
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.kernel_size != (1, 1):
            assert not begin <= module.weight.data_ptr() < end, path


def mapped_range(folder: Path) -> tuple[int, int]:
    (line,) = (line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line)
    begin, _, end = line.split()[0].partition("-")
    return int(begin, 16), int(end, 16)


def test_low_precision_reads_its_weights(folder: Path):
    """Weights that are rounded while they load are not mapped: their file would count beside them."""
    model = load_model(folder, device="cpu", precision="int8")
    assert any(isinstance(module, QuantisedLinear) for module in model.network.modules())
    assert not mappings_of(folder)


def test_tensors_off_their_alignment_are_read(tmp_path: Path):
    """A header whose length is odd shifts every number; the network holds the same ones."""
    folder = shutil.copytree(GOLDEN / "tiny_normals", tmp_path / "c")
    expected = load_model(folder, device="cpu")(random_faces(1))["normals"]
    raw = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    (folder / WEIGHTS).write_bytes((length + 1).to_bytes(8, "little") + raw[8 : 8 + length] + b" " + raw[8 + length :])
    model = load_model(folder, device="cpu")
    assert all(parameter.data_ptr() % 4 == 0 for parameter in model.network.parameters())
    assert torch.equal(model(random_faces(1))["normals"], expected)


def test_pages_that_cannot_be_read_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Storage that fails under a mapping is one line while loading, not the end of the process later."""

    class Failing(mapped.mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(14, "Bad address")

    monkeypatch.setattr(mapped.mmap, "mmap", Failing)
    with pytest.raises(
        CheckpointError,
        match=rf"^{folder}/{WEIGHTS}: model\..*: cannot be read \(Input/output error\); check the file",
    ):
        load_model(folder, device="cpu")


def test_systems_without_the_advice_load_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A kernel that does not know how to bring pages in brings them when they are used."""

    class Older(mapped.mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mapped.mmap, "mmap", Older)
    model = load_model(folder, device="cpu")
    assert mappings_of(folder) == 1
    assert all(parameter.isfinite().all() for parameter in model.network.parameters())
