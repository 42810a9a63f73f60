"""Normal scores: the angle between predicted and true surface directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from pager_ray.errors import InputError
from pager_ray.metrics.bands import (
    Scores,
    by_latitude,
    check_map,
    count_rows,
    ratio,
    row_bands,
    solid_angle_weights,
    weighted_sum,
)
from pager_ray.metrics.catalogue import SOLID_ANGLE_SUFFIX

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64

_LEAST_LENGTH: Final = 1e-6
# Squared lengths below this leave the precision of a band alone; a band with more is done in double precision.
_MOST_SQUARED: Final = 1e15
_TIGHT, _LOOSE = 5.0, 22.5


def normal_scores(
    prediction: Float32[np.ndarray, "h w 3"], truth: Float32[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> Scores:
    """Score one map of normals.

    The angle at a pixel is arccos of the dot product of both vectors, each divided by its length, in degrees. Over
    valid pixels: ``normals_mean``, the mean angle; ``normals_mse``, the mean squared angle; ``normals_delta_5`` and
    ``normals_delta_22_5``, the share of angles below 5° and 22.5°. As the golden values show, pixels are valid where
    the mask of the sample's *depth* is, each sample is averaged on its own, and the released figure is the plain mean
    over samples. They leave open, and are decided here:

    * Lengths below 1e-6 are divided by 1e-6, as :func:`pager_ray.geometry.normalise_normals` does. So a predicted
      zero (what the job writes for sky) is 90° off.
    * A truth shorter than 1e-6 has no direction; its pixel is not valid.

    Args:
        prediction: x forward, y up, z right, of any length; finite at valid pixels.
        truth: the same.
        mask: which pixels are valid; what the others hold has no influence.

    Returns:
        The four metrics, the same weighted by solid angle under ``…_solid_angle`` (floats), and
        ``normals_mean_by_latitude`` (6,) float64, NaN where a band has no valid pixel. Dot products are taken in
        single precision as released, which resolves angles to about 0.03° near 0.

    Raises:
        ShapeError: wrong shapes or dtypes.
        InputError: ``no_valid_pixels``; ``non_finite_prediction`` or ``bad_ground_truth`` with the number of pixels.
    """
    check_map("mask", mask, None, np.bool_)
    check_map("truth", truth, (*mask.shape, 3))
    check_map("prediction", prediction, (*mask.shape, 3))
    height, width = mask.shape
    angle, squared = np.zeros(height), np.zeros(height)
    tight, loose, pixels = (np.zeros(height, np.int64) for _ in range(3))
    product = np.empty((row_bands(height, width)[0].stop, width, 3), np.float32)
    for rows in row_bands(height, width):
        degrees, valid = _angles(prediction, truth, mask, rows, product)
        pixels[rows] = count_rows(valid)
        tight[rows] = count_rows((degrees < _TIGHT) & valid)
        loose[rows] = count_rows((degrees < _LOOSE) & valid)
        degrees *= valid
        angle[rows] = np.add.reduce(degrees, axis=1)
        squared[rows] = np.add.reduce(np.square(degrees, out=degrees), axis=1)
    if not pixels.any():
        raise InputError("no_valid_pixels", "the ground truth has no valid normal to score; check its mask")
    scores: Scores = {}
    for weights, suffix in ((None, ""), (solid_angle_weights(height), SOLID_ANGLE_SUFFIX)):
        total = weighted_sum(pixels, weights)
        for name, rows_of in (("mean", angle), ("mse", squared), ("delta_5", tight), ("delta_22_5", loose)):
            scores[f"normals_{name}{suffix}"] = weighted_sum(rows_of, weights) / total
    scores["normals_mean_by_latitude"] = ratio(by_latitude(angle), by_latitude(pixels))
    return scores


def _angles(
    prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray, rows: slice, product: np.ndarray
) -> tuple[Float64[np.ndarray, "rows w"], Bool[np.ndarray, "rows w"]]:
    """Angles of a band in degrees, finite everywhere, and which of them are valid."""
    band: list[np.ndarray] = [prediction[rows], truth[rows]]
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = [_dot(vectors, vectors, product) for vectors in band]
    # No comparison holds with NaN.
    if not all(float(length.max()) < _MOST_SQUARED for length in lengths):
        _refuse(prediction, truth, mask)
        band = [np.where(mask[rows, :, None], vectors, 0).astype(np.float64) for vectors in band]
        product = np.empty(band[0].shape)
        lengths = [_dot(vectors, vectors, product) for vectors in band]
    # Near 1, where cosines of good predictions are, single precision would round them by more than angles may move.
    predicted_squared, true_squared = (length.astype(np.float64) for length in lengths)
    least = _LEAST_LENGTH**2
    valid = true_squared >= least
    valid &= mask[rows]
    np.maximum(predicted_squared, least, out=predicted_squared)
    np.maximum(true_squared, least, out=true_squared)
    norm = np.multiply(predicted_squared, true_squared, out=true_squared)
    cosine = np.divide(_dot(band[0], band[1], product), np.sqrt(norm, out=norm), out=predicted_squared)
    np.clip(cosine, -1, 1, out=cosine)
    degrees = np.arccos(cosine, out=cosine)
    degrees *= 180 / np.pi
    return degrees, valid


def _dot(first: np.ndarray, second: np.ndarray, product: np.ndarray) -> np.ndarray:
    product = np.multiply(first, second, out=product[: len(first)])
    return cv2.transform(product, np.ones((1, 3), product.dtype))


def _refuse(prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> None:
    for name, vectors, error_class, advice in (
        ("predicted normals are", prediction, "non_finite_prediction", "predict again"),
        ("true normals are", truth, "bad_ground_truth", "mask them out"),
    ):
        bad = np.count_nonzero(~np.isfinite(vectors).all(axis=-1) & mask)
        if bad:
            raise InputError(error_class, f"the {name} NaN or infinite at {bad} valid pixels; {advice}")
