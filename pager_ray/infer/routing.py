"""Who decides between the two scale heads where neither configuration nor listing says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pager_ray.model.architecture import Architecture

if TYPE_CHECKING:
    from pager_ray.infer.predictor import Router
    from pager_ray.model import PagerModel


def needs_clip(architecture: Architecture, weights: str | None = None) -> bool:
    """Whether panoramas that nobody has labelled are for CLIP to route.

    Args:
        architecture: a checkpoint's; one that brings a router needs no other.
        weights: CLIP's, where somebody named them: then it takes that router's place.
    """
    has_two_scales = len(architecture.scale_heads) > 1
    return has_two_scales and (weights is not None or not architecture.scene_router)


def load_router(model: PagerModel, weights: str | None = None) -> Router:
    """CLIP as the scene router for a model, on its device, where :func:`needs_clip` says so.

    Args:
        weights: CLIP's; None takes what open_clip fetches or has in its cache.

    Raises:
        CheckpointError: the weights cannot be fetched or read.
    """
    # open_clip takes seconds to import, and a known scene needs none of it.
    from pager_ray.model.router import SceneRouter

    return SceneRouter.load(weights, device=model.device)
