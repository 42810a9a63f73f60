"""The inference job in this process alone, for a few panoramas: the same stages and the same output, without Ray.

What it leaves is a run like any other: ``verify``, ``gallery``, ``export`` and a later job on a cluster take it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pyarrow as pa

from pager_ray.config import RunConfig
from pager_ray.infer import Predicts
from pager_ray.listing import list_inputs
from pager_ray.model import ResolvedCheckpoint
from pager_ray.pipeline.infer import predicted_row
from pager_ray.pipeline.job import claim_run
from pager_ray.pipeline.lifecycle import run_to_end
from pager_ray.retrying import Retry
from pager_ray.runs import Reconciliation, write_shard
from pager_ray.stages.read import make_read_fn
from pager_ray.stages.rows import IDENTITY, INFER_SCHEMA, SOURCE, STATUS, carry, iterate, to_table, view
from pager_ray.stages.settings import read_settings, stitch_settings, stored_schema
from pager_ray.stages.stitch import make_stitch_fn

Tell = Callable[[str], None]


def run_here(
    config: RunConfig,
    checkpoint: ResolvedCheckpoint,
    predict: Predicts,
    *,
    half_normals: bool = False,
    tell: Tell = lambda stage: None,
) -> Reconciliation:
    """Run, or resume, an inference job panorama by panorama; each is a shard, committed before the next begins.

    Args:
        config: as for :func:`~pager_ray.pipeline.job.run_job`; what it says of clusters does not matter.
        checkpoint: the one that ``predict`` holds.
        predict: the model.
        half_normals: whether it gives normals as float16.
        tell: called with the name of each stage as it begins.

    Raises:
        ConfigError: inputs or output cannot be used.
        OutputInUseError: another job is writing there.
        PagerError: the job failed; it can be resumed.
    """
    # 1. The inputs, and the output that they go to.
    tell("list")
    listed = list_inputs(config.input.uris, Retry(config.errors.retry_seconds), config.input.schemes)
    claim = claim_run(config, checkpoint, listed)

    # 2. Row by row through the stages of the job.
    read = make_read_fn(read_settings(config, checkpoint))
    stitch = make_stitch_fn(stitch_settings(config, checkpoint, half_normals=half_normals))
    schema = stored_schema(config, checkpoint)

    def pipeline() -> None:
        for part in claim.parts():
            for number in range(part.num_rows):
                tell("read")
                rows = read(part.slice(number, 1))
                tell("infer")
                rows = _infer(rows, predict, checkpoint.architecture.face_size)
                tell("stitch")
                rows = stitch(rows)
                tell("write")
                task = f"{secrets.token_hex(6)}-{number:08}"
                record = write_shard(claim.layout, f"{task}-{secrets.token_hex(3)}", rows, schema)
                claim.layout.ledger.commit(claim.generation, task, record)

    # 3. The end: reconciled, and noted in the run file, whatever ends it.
    return run_to_end(claim, nullcontext(), pipeline)


def _infer(rows: pa.Table, predict: Predicts, face_size: int) -> pa.Table:
    """Stage *infer*: ``READ_SCHEMA`` → ``INFER_SCHEMA``, one row each, rejects included."""
    inferred = []
    for scalars in iterate(rows):
        row = carry(scalars, [*IDENTITY, *STATUS, *SOURCE])
        row["thumbnail"] = memoryview(scalars["thumbnail"].as_buffer()) if scalars["thumbnail"].is_valid else None
        faces = view(scalars["faces"], np.uint8, (6, face_size, face_size, 3))
        if faces is not None:
            row = predicted_row(row, predict(faces[None].copy(), [row["scene"]])[0])
        inferred.append(row)
    return to_table(inferred, INFER_SCHEMA, rows.num_rows, "infer")
