"""From one panorama's predicted maps and its ground truth to a row of scores; knows nothing of Ray."""

from pager_ray.evaluate.floor import stitch_prediction, truth_to_faces
from pager_ray.evaluate.maps import PredictedMaps
from pager_ray.evaluate.predictions import open_predictions
from pager_ray.evaluate.scoring import ScoreSettings, score_sample

__all__ = [
    "PredictedMaps",
    "ScoreSettings",
    "open_predictions",
    "score_sample",
    "stitch_prediction",
    "truth_to_faces",
]
