from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from pager_ray.model import PagerModel
from pager_ray.model.memory import MAX_BATCH, meta_network, peak_bytes, rehearse, suggested_batch
from pager_ray.model.random_checkpoint import random_architecture
from tests.model.conftest import random_faces

MIB = 1 << 20


def test_rehearsal_counts_what_a_forward_pass_allocates(random_model: Callable[..., PagerModel]):
    """The most bytes alive in a rehearsal are those of a real forward pass as torch's profiler sees its allocator."""
    model = random_model(modalities=["depth", "normals", "sky", "scale_indoor"])
    faces = random_faces(2)
    model(faces)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model(faces)
    changes = [event.nbytes() for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    real = max(accumulate(changes))
    assert real > MIB
    network = meta_network(model.architecture, torch.float32)
    assert rehearse(network, faces.to("meta")) == pytest.approx(real, rel=0.15)


@pytest.mark.parametrize(("precision", "batches"), [("float32", (1, 5)), ("float16", (2, MAX_BATCH - 1))])
def test_a_suggested_batch_fits_and_the_next_does_not(precision: str, batches: tuple[int, ...]):
    """What is suggested fits into the free memory, one more does not, whatever is free."""
    architecture = random_architecture("tiny")
    for wanted in batches:
        free = peak_bytes(architecture, wanted, precision) + 1000
        assert suggested_batch(architecture, free, precision) == wanted
        assert peak_bytes(architecture, wanted + 1, precision) > free


def test_suggestions_have_bounds():
    """Too little memory still suggests one, and any amount no more than the bound."""
    architecture = random_architecture("tiny")
    assert suggested_batch(architecture, 0, "float16") == 1
    assert suggested_batch(architecture, 1 << 50, "float16") == MAX_BATCH


def test_full_size_serving_is_known_to_fit():
    """One full-size panorama in half precision takes more than its weights and less than 6 GiB."""
    architecture = random_architecture("da3-giant")
    weights = 2 * sum(parameter.numel() for parameter in meta_network(architecture, torch.float16).parameters())
    assert weights < peak_bytes(architecture, 1, "float16") < 6 << 30
