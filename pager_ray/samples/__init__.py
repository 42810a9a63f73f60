"""Sample panoramas that the project renders itself, with exact depth, normals and sky as ground truth.

What writes them to storage loads on first use: rendering needs no more than NumPy and its compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pager_ray.samples.catalogue import STYLES, make_scene
from pager_ray.samples.scene import Kind, Scene
from pager_ray.samples.tracer import RenderedPanorama, render

if TYPE_CHECKING:
    from pager_ray.samples.writer import write_samples

__all__ = ["STYLES", "Kind", "RenderedPanorama", "Scene", "make_scene", "render", "write_samples"]


def __getattr__(name: str) -> Any:
    if name == "write_samples":
        from pager_ray.samples.writer import write_samples

        return write_samples
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
