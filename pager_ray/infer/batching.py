"""Batches that fit the accelerator's memory, found by trying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import torch

from pager_ray.errors import InputError
from pager_ray.plain import get_logger

log = get_logger(__name__)

Result = TypeVar("Result")

GROW_AFTER: Final = 64
"""Full batches in a row before a larger one is tried; doubled each time."""

LONGEST_PATIENCE: Final = 4096

# The allocator for CPUs, the driver (pinned memory, a graph's own) and CUDA's libraries have no class of their own.
_NO_MEMORY: Final = ("DefaultCPUAllocator", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    """Whether a smaller batch may fit: torch ran out of the accelerator's memory, or of the machine's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, torch.OutOfMemoryError | MemoryError) or any(word in str(seen) for word in _NO_MEMORY):
            return True
        # What ends a recording that ran out of memory complains of the recording.
        seen = seen.__cause__ or seen.__context__
    return False


def is_device_lost(error: Exception) -> bool:
    """Whether the process cannot use its accelerator any more, as after a fault of a kernel or of the hardware."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


class FittingBatches(Generic[Result]):
    """Calls a function on runs of rows as long as memory allows.

    A batch that does not fit is halved and the same rows are done again; a single row that does not fit gives an error
    of its own. After a while a larger batch is tried, more seldom each time that it fails: what filled the memory may
    have been another process, or one odd row.

    Args:
        most: rows per batch that are wanted.
        fitting: rows that are known to fit from an earlier start; None where nothing is known.
        tell: called with the new number of rows whenever it changes.
    """

    def __init__(
        self, most: int, fitting: int | None = None, tell: Callable[[int], object] = lambda size: None
    ) -> None:
        self.most = most
        self.size = min(most, fitting or most)
        self._tell = tell
        self._patience = GROW_AFTER
        self._full_batches = 0

    def run(self, rows: int, call: Callable[[int, int], list[Result]]) -> list[Result | InputError]:
        """Do rows 0…``rows``.

        Args:
            rows: how many there are.
            call: gives one result for each of the rows from its first argument up to its second, exclusive; safe to
                repeat.

        Returns:
            Its results in order; an ``InputError`` of class ``out_of_memory`` for a row that does not fit alone.
        """
        results: list[Result | InputError] = []
        while len(results) < rows:
            start = len(results)
            stop = min(start + self.size, rows)
            try:
                results += call(start, stop)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if stop - start == 1:
                    results.append(_too_large(error))
                else:
                    self._shrink(stop - start)
            else:
                self._grow_after(stop - start)
            # Outside of the handler: until it is left, the traceback holds the failed batch's tensors.
            if len(results) < stop and torch.cuda.is_available():
                torch.cuda.empty_cache()
        return results

    def _shrink(self, failed: int) -> None:
        self._set(max(failed // 2, 1))
        self._full_batches = 0

    def _grow_after(self, done: int) -> None:
        if self.size >= self.most or done < self.size:
            return
        self._full_batches += 1
        if self._full_batches >= self._patience:
            self._full_batches = 0
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
            self._set(min(self.size + max(self.size // 2, 1), self.most))

    def _set(self, size: int) -> None:
        log.warning("batches of %d panoramas from now on (before: %d)", size, self.size)
        self.size = size
        self._tell(size)


def _too_large(error: Exception) -> InputError:
    return InputError(
        "out_of_memory",
        f"does not fit the memory of the model's device alone ({' '.join(str(error).split())[:200]}); free memory "
        "there or take a larger one, then --retry-rejects out_of_memory",
    )
