"""Who decides between the two scale heads where neither configuration nor listing says."""

from __future__ import annotations

from pager_ray.infer.predictor import Router
from pager_ray.model import PagerModel


def load_router(model: PagerModel, weights: str | None = None) -> Router:
    """The scene router for a model, on its device; the one place that chooses it.

    Args:
        weights: CLIP's; None takes what open_clip fetches or has in its cache.

    Raises:
        CheckpointError: the weights cannot be fetched or read.
    """
    # open_clip takes seconds to import, and a known scene needs none of it.
    from pager_ray.model.router import SceneRouter

    return SceneRouter.load(weights, device=model.device)
