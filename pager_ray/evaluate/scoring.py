"""One panorama's scores: every asked metric in one row, or the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pager_ray.errors import InputError
from pager_ray.evaluate.error_maps import draw_error_maps
from pager_ray.evaluate.floor import stitch_prediction, truth_to_faces
from pager_ray.evaluate.maps import PredictedMaps
from pager_ray.metrics.catalogue import floor_columns
from pager_ray.metrics.depth import depth_scores, fit_alignment
from pager_ray.metrics.normals import normal_scores
from pager_ray.metrics.resize import resize_bilinear
from pager_ray.metrics.seams import SeamThresholds, seam_scores

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from pager_ray.datasets import GroundTruth


@dataclass(frozen=True)
class ScoreSettings:
    """What is computed for every panorama.

    Attributes:
        families: of ``depth``, ``normals`` and ``seams``.
        alignments: of :data:`pager_ray.metrics.catalogue.ALIGNMENTS`, in the order of the report.
        thresholds: when a step between faces counts as a seam.
        floor: whether to score the ground truth's own way through the cubemap too.
        face_size, fov: that cubemap's.
        pictures: whether to draw error maps.
    """

    families: tuple[str, ...]
    alignments: tuple[str, ...]
    thresholds: SeamThresholds = field(default_factory=SeamThresholds)
    floor: bool = True
    face_size: int = 504
    fov: float = 90.0
    pictures: bool = True

    @property
    def maps(self) -> tuple[str, ...]:
        """The predicted maps that the families are computed from."""
        needs_depth = "depth" in self.families or "seams" in self.families
        return (("depth",) if needs_depth else ()) + (("normals",) if "normals" in self.families else ())


def score_sample(
    predicted: PredictedMaps,
    truth: GroundTruth,
    settings: ScoreSettings,
    *,
    rgb: UInt8[np.ndarray, "h2 w2 3"] | None = None,
    title: str = "",
) -> dict[str, Any]:
    """Score one panorama.

    Predictions of another size are resized bilinearly to the truth's, except for seams, which are where the
    prediction's own pixels meet.

    Returns:
        The columns of a row of scores (:mod:`pager_ray.metrics.catalogue`), with ``picture`` where asked for.

    Raises:
        InputError: ``missing_prediction``, ``missing_ground_truth``, ``non_finite_prediction`` or ``no_valid_pixels``.
    """
    for name in settings.maps:
        if getattr(predicted, name) is None:
            raise InputError(
                "missing_prediction",
                f"there is no predicted {name}; leave it out of evaluation.families, or predict it",
            )
    if "normals" in settings.families and truth.normals is None:
        raise InputError(
            "missing_ground_truth", "the dataset has no normals for this sample; leave them out of evaluation.families"
        )
    height, width = truth.depth.shape
    row: dict[str, Any] = {"valid_pixels": int(np.count_nonzero(truth.mask))}
    depth = normals = None
    if "seams" in settings.families and predicted.depth is not None:
        row |= seam_scores(predicted.depth, settings.thresholds)
    if "depth" in settings.families and predicted.depth is not None:
        depth = resize_bilinear(predicted.depth, height, width)
        row |= depth_scores(depth, truth.depth, truth.mask, settings.alignments)
    if "normals" in settings.families and predicted.normals is not None and truth.normals is not None:
        normals = resize_bilinear(predicted.normals, height, width)
        row |= normal_scores(normals, truth.normals, truth.mask)
    if settings.floor:
        row |= _floor(truth, settings)
    if settings.pictures:
        row["picture"] = _picture(depth, normals, truth, settings, rgb, title)
    return row


def _floor(truth: GroundTruth, settings: ScoreSettings) -> dict[str, Any]:
    """Scores of the ground truth after the cubemap and back, by the columns' names with ``floor_`` before them."""
    height, width = truth.depth.shape
    depth, normals = truth_to_faces(truth, settings.face_size, settings.fov)
    with_depth, with_normals = "depth" in settings.families, "normals" in settings.families
    maps = stitch_prediction(
        depth if with_depth else None, normals if with_normals else None, height, width, settings.fov
    )
    row: dict[str, Any] = {}
    if maps.depth is not None:
        row |= floor_columns(depth_scores(maps.depth, truth.depth, truth.mask, ("metric",)))
    if maps.normals is not None and truth.normals is not None:
        row |= floor_columns(normal_scores(maps.normals, truth.normals, truth.mask))
    return row


def _picture(
    depth: np.ndarray | None,
    normals: np.ndarray | None,
    truth: GroundTruth,
    settings: ScoreSettings,
    rgb: np.ndarray | None,
    title: str,
) -> bytes | None:
    if depth is None and normals is None:
        return None
    aligned = None
    if depth is not None:
        scale, shift = fit_alignment(depth, truth.depth, truth.mask, settings.alignments[0])
        aligned, title = depth * scale + shift, f"{title}, alignment: {settings.alignments[0]}"
    both = (truth.normals, normals) if normals is not None and truth.normals is not None else None
    return draw_error_maps(rgb, truth.depth, aligned, truth.mask, both, title=title)
