"""Faces in, geometry on faces out: the network with everything that is cheapest beside it on the accelerator."""

from pager_ray.infer.predictor import FacePrediction, InferenceSettings, Predictor, Predicts

__all__ = ["FacePrediction", "InferenceSettings", "Predictor", "Predicts"]
