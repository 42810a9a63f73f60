"""Scores of predictions against ground truth, and how samples add up: NumPy and OpenCV, no files.

:mod:`~pager_ray.metrics.catalogue` names every score; ``depth``, ``normals`` and ``seams`` compute those of one sample;
``accumulate`` and ``bootstrap`` make means and intervals of many.
"""

from __future__ import annotations

from pager_ray.metrics.accumulate import ExactMean
from pager_ray.metrics.bootstrap import bootstrap_interval, bootstrap_intervals
from pager_ray.metrics.catalogue import (
    ALIGNMENTS,
    FAMILIES,
    LATITUDE_EDGES,
    RANGE_EDGES,
    Metric,
    floor_columns,
    floor_metrics_of,
    metric,
    metrics_of,
)
from pager_ray.metrics.depth import depth_scores
from pager_ray.metrics.normals import normal_scores
from pager_ray.metrics.resize import resize_bilinear
from pager_ray.metrics.seams import SeamThresholds, seam_scores

__all__ = [
    "ALIGNMENTS",
    "FAMILIES",
    "LATITUDE_EDGES",
    "RANGE_EDGES",
    "ExactMean",
    "Metric",
    "SeamThresholds",
    "bootstrap_interval",
    "bootstrap_intervals",
    "depth_scores",
    "floor_columns",
    "floor_metrics_of",
    "metric",
    "metrics_of",
    "normal_scores",
    "resize_bilinear",
    "seam_scores",
]
