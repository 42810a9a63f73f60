"""Weights that stay in their file: mapped into memory, one copy for all processes of a node.

A mapping is private: what a process writes to it stays its own, and the file never changes. Its pages are those of the
operating system's cache of files, which counts them once however many processes hold them.

A file may be replaced (by a rename) or removed while networks use it: they keep the one that they have loaded. It must
not be cut or written over in place: the networks would read the new bytes, or die where there are none.
"""

from __future__ import annotations

import errno
import math
import mmap
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import torch

from pager_ray.errors import CheckpointError
from pager_ray.plain import get_logger

if TYPE_CHECKING:
    from torch import Tensor

log = get_logger(__name__)

# Linux since 5.14: brings the pages here and says what cannot be read; touching such a page would end the process.
_POPULATE_READ: Final = 22
_UNKNOWN_ADVICE: Final = (errno.EINVAL, errno.ENOSYS)


class MappedWeights:
    """A weights file in memory; it is unmapped when the last of its tensors is gone.

    Args:
        file: may be closed afterwards.
        weights: its path, for errors.

    Raises:
        OSError: the file's system has no mappings, or the process may have no more of them.
    """

    def __init__(self, file: BinaryIO, weights: Path) -> None:
        self.weights = weights
        try:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except ValueError as error:  # an empty file
            raise OSError(errno.EINVAL, str(error)) from error

    def tensor(self, key: str, dtype: torch.dtype, shape: tuple[int, ...], start: int) -> Tensor | None:
        """The tensor that begins at a byte of the file; None where it has to be copied to be used.

        Raises:
            CheckpointError: the file ends before the tensor does, or cannot be read.
        """
        count = math.prod(shape)
        if not count or start % dtype.itemsize:
            return None
        end = start + count * dtype.itemsize
        if end > len(self._bytes):
            raise CheckpointError(f"{self.weights}: {key}: the file ends before this tensor does; fetch it again")
        self._bring(key, start, end)
        return torch.frombuffer(self._bytes, dtype=dtype, count=count, offset=start).view(shape)

    def _bring(self, key: str, start: int, end: int) -> None:
        page = start - start % mmap.PAGESIZE
        try:
            self._bytes.madvise(_POPULATE_READ, page, end - page)
        except OSError as error:
            if error.errno in _UNKNOWN_ADVICE:
                log.debug("%s: is read when it is first used: this system does not know how to read it now", key)
                return
            reason = "Input/output error" if error.errno == errno.EFAULT else error.strerror
            raise CheckpointError(
                f"{self.weights}: {key}: cannot be read ({reason}); check the file and its storage"
            ) from error


def map_weights(file: BinaryIO, weights: Path) -> MappedWeights | None:
    """Map a weights file; None where that is impossible and its tensors have to be read."""
    try:
        return MappedWeights(file, weights)
    except OSError as error:
        log.debug("%s: is read, because it cannot be mapped (%s)", weights, error)
        return None
