"""Gallery: a static page over a run's output, to look at panoramas, sort and filter them, and walk around in them."""

from __future__ import annotations

from pager_ray.gallery.build import Gallery, build_gallery

__all__ = ["Gallery", "build_gallery"]
