"""Processes beside this one that leave an interrupt to it.

A terminal sends Ctrl-C to all processes of a command. Workers of a pool that took it would each end in a traceback,
while the process that started them is about to end them in order.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import resource_tracker
from typing import Any


class ProcessPool(ProcessPoolExecutor):
    """A pool of spawned processes that no interrupt reaches.

    A ``with`` block that fails drops what has not begun and waits for the rest; one that is interrupted ends it.

    Clients of object stores run threads, which a forked process would lack.

    Args:
        processes: how many, at most.
        start: called once in each.
        arguments: what with.
    """

    def __init__(
        self, processes: int, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
    ) -> None:
        # It lets interrupts through again when it has been started, which is with the first process otherwise.
        resource_tracker.ensure_running()
        super().__init__(processes, multiprocessing.get_context("spawn"), start, arguments)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Have a process call a function; it starts here, and inherits which signals are held back."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(function, *arguments, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the processes."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            for process in [*self._processes.values()]:
                process.terminate()
        self.shutdown(wait=True, cancel_futures=kind is not None)
