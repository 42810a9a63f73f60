"""Pillow without its own limits and its warnings, for as long as a decoder runs."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image


class _Quiet:
    """Keeps Pillow's warnings about a file out of the log while decoders run, in whatever thread, and its own limit.

    That limit is below ours for TIFF, where it is asked when pixels are decoded; ours is checked before.

    A file can cause one per metadata entry, each with a text of its own, and Python remembers all of them for ever.
    ``warnings.catch_warnings`` is no help: it is not safe between threads, and makes every other warning that is shown
    once be shown again.
    """

    _RULE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit: int | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Silence for the time of a ``with`` block."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            # Looked for each time: others replace the list of filters as a whole.
            if self._RULE not in warnings.filters:
                warnings.filters.insert(0, self._RULE)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    Image.MAX_IMAGE_PIXELS = self._limit
                if not self._users and self._RULE in warnings.filters:
                    warnings.filters.remove(self._RULE)  # type: ignore[attr-defined]


quiet = _Quiet()
