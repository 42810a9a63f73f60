"""Sample panoramas that the project renders itself, with exact depth, normals and sky as ground truth."""

from __future__ import annotations

from pager_ray.samples.catalogue import STYLES, make_scene
from pager_ray.samples.scene import Kind, Scene
from pager_ray.samples.tracer import RenderedPanorama, render
from pager_ray.samples.writer import write_samples

__all__ = ["STYLES", "Kind", "RenderedPanorama", "Scene", "make_scene", "render", "write_samples"]
