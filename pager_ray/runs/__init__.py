"""What a run leaves on storage: shards, npz files, previews, and the records that make it resumable."""

from pager_ray.runs.layout import EvaluationLayout, RunLayout
from pager_ray.runs.reconcile import Reconciliation, reconcile
from pager_ray.runs.shards import predictions_schema, write_shard

__all__ = ["EvaluationLayout", "Reconciliation", "RunLayout", "predictions_schema", "reconcile", "write_shard"]
