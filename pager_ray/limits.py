"""Limits that many keep to, whatever they import."""

from __future__ import annotations

from typing import Final

MAX_PANORAMA_PIXELS: Final = 2**31
"""Of the largest panorama that a job can be asked to read (65536×32768), and so of the largest mask."""

MAX_SIDE: Final = 32766
"""Of any picture or map that is sampled: OpenCV addresses source and destination with 16-bit signed integers."""

MAX_MAP_PIXELS: Final = MAX_SIDE // 2 * MAX_SIDE
"""Of the largest map that is stitched, and so of the largest that is read."""
