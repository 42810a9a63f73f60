"""Reading what a run left: tables without pixels, and single panoramas."""

from pager_ray.prediction import Prediction
from pager_ray.reader.run import Run, open_run

__all__ = ["Prediction", "Run", "open_run"]
