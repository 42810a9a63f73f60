"""Datasets: what lies on storage in a benchmark's layout, to samples with pictures and ground truth."""

from __future__ import annotations

from pager_ray.datasets.base import Dataset, FolderDataset, GroundTruth, Sample
from pager_ray.datasets.registry import dataset_names, open_dataset

__all__ = ["Dataset", "FolderDataset", "GroundTruth", "Sample", "dataset_names", "open_dataset"]
