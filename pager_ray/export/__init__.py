"""A run's results in the files of other programs: point clouds, images, faces with cameras, the released layout.

Everything but the Ray job (:mod:`pager_ray.pipeline.export`) is here and needs no cluster. The libraries that write the
formats are an extra of the package and are loaded when a format is first written.
"""

from __future__ import annotations
