"""A run on a bucket as a PyTorch dataset."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader

import pager_ray
from tests.reader.runs import SmallRun
from tests.reader.test_torch_dataset import IDS, check, fill


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_from_a_bucket(s3_bucket: str, context: str) -> None:
    """Workers read a bucket too, forked from a process whose client is in use."""
    dataset = pager_ray.torch_dataset(fill(SmallRun(f"{s3_bucket}/run")).folder)
    check(dataset[0])
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=context)
    items = list(loader)
    assert [item["id"] for item in items] == IDS
    for item in items:
        check(item)
