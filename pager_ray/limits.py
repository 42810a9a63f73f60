"""Limits that many keep to, whatever they import."""

from __future__ import annotations

from typing import Final

MAX_PANORAMA_PIXELS: Final = 2**28
"""Of the largest panorama that a job reads by default, and so of the largest mask."""
