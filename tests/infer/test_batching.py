"""Batches that fit: every row comes back once and in order, whatever the memory does."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.errors import InputError
from pager_ray.infer.batching import GROW_AFTER, FittingBatches, is_device_lost, is_out_of_memory


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@settings(max_examples=50)
@given(rows=st.integers(0, 20), most=st.integers(1, 8), fits=st.lists(st.integers(0, 8), min_size=60, max_size=60))
def test_every_row_comes_back_once(rows: int, most: int, fits: list[int]) -> None:
    """However the room changes from call to call, row n's result is at place n, or an error that it is too large."""
    room = iter(fits)
    batches: FittingBatches[int] = FittingBatches(most)

    def call(start: int, stop: int) -> list[int]:
        if stop - start > next(room, 8):
            raise out_of_memory()
        return list(range(start, stop))

    results = batches.run(rows, call)
    assert len(results) == rows
    for number, result in enumerate(results):
        assert result == number or isinstance(result, InputError)
    assert 1 <= batches.size <= most


def test_a_batch_is_halved_and_the_size_is_told() -> None:
    """Out of memory the size halves until it fits; every change is told, and the next rows begin with it."""
    told: list[int] = []
    calls: list[int] = []
    batches: FittingBatches[int] = FittingBatches(8, tell=told.append)

    def call(start: int, stop: int) -> list[int]:
        calls.append(stop - start)
        if stop - start > 2:
            raise out_of_memory()
        return [0] * (stop - start)

    batches.run(5, call)
    batches.run(4, call)
    assert calls == [5, 2, 2, 1, 2, 2]
    assert told == [2]


def test_it_grows_again_ever_more_seldom() -> None:
    """After many full batches a larger one is tried; after each try it takes twice as many."""
    sizes: list[int] = []
    batches: FittingBatches[int] = FittingBatches(4, fitting=2, tell=sizes.append)

    def call(start: int, stop: int) -> list[int]:
        if stop - start > 2:
            raise out_of_memory()
        return [0] * (stop - start)

    batches.run(2 * GROW_AFTER, call)
    assert sizes == [3]
    batches.run(2 * (2 * GROW_AFTER) - 2, call)
    assert sizes == [3, 1, 2] or sizes[:2] == [3, 1]
    tries = []
    for number in range(20 * GROW_AFTER):
        before = len(sizes)
        batches.run(2, call)
        tries += [number] * (len(sizes) > before)
    gaps = [after - earlier for earlier, after in pairwise(tries)]
    assert len(tries) < 12
    assert gaps == sorted(gaps)


def test_what_earlier_starts_found_is_the_beginning() -> None:
    """A size that is known to fit is where it begins, and never more than is wanted."""
    assert FittingBatches(8, fitting=3).size == 3
    assert FittingBatches(2, fitting=3).size == 2
    assert FittingBatches(8).size == 8


def test_other_errors_pass_through() -> None:
    """What is not about memory is not tried again."""

    def call(start: int, stop: int) -> list[int]:
        raise ValueError("shapes")

    with pytest.raises(ValueError, match="shapes"):
        FittingBatches(4).run(3, call)


def test_the_machines_own_memory_counts_too() -> None:
    """Torch's allocator for CPUs, asked for more than there is, says what is understood as out of memory."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_memory_that_others_ask_for_counts_too(text: str) -> None:
    """What the driver and CUDA's libraries did not get is memory that is full, and the device is not lost."""
    for error in (RuntimeError(text), torch.AcceleratorError(text)):
        assert is_out_of_memory(error)
        assert not is_device_lost(error)


def test_a_recording_that_memory_ended_is_a_lack_of_memory() -> None:
    """The recording's own complaint, raised over what ended it, neither hides that nor makes the device a lost one."""

    def record() -> None:
        try:
            raise out_of_memory()
        finally:
            raise torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture")

    with pytest.raises(torch.AcceleratorError) as caught:
        record()
    assert is_out_of_memory(caught.value)
    assert not is_device_lost(caught.value)


def test_a_lost_device_is_no_lack_of_memory() -> None:
    """Errors of the accelerator itself are told from memory that is full."""
    assert is_device_lost(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_device_lost(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_device_lost(RuntimeError("shape mismatch"))
