"""The inference job in this process alone, for a few panoramas: the same stages and the same output, without Ray.

What it leaves is a run like any other: ``verify``, ``gallery``, ``export`` and a later job on a cluster take it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from pager_ray.config import RunConfig
from pager_ray.errors import ConfigError
from pager_ray.infer import Predicts
from pager_ray.model import ResolvedCheckpoint
from pager_ray.runs import Reconciliation, write_shard
from pager_ray.runs.claim import run_to_end
from pager_ray.runs.growing import Growing
from pager_ray.scaling import settle_scales
from pager_ray.stages.claim_run import claim_run
from pager_ray.stages.infer import make_infer_fn
from pager_ray.stages.names import StageName
from pager_ray.stages.read import make_read_fn
from pager_ray.stages.settings import check_scales, projects_on_device, run_settings
from pager_ray.stages.sources import list_sources
from pager_ray.stages.stitch import make_stitch_fn

Tell = Callable[[str], None]


def run_here(
    config: RunConfig,
    checkpoint: ResolvedCheckpoint,
    predict: Predicts,
    *,
    on_gpu: bool = False,
    tell: Tell = lambda stage: None,
    overwrite: bool = False,
    retry_rejects: str | None = None,
    growing: Growing | None = None,
) -> Reconciliation:
    """Run, or resume, an inference job panorama by panorama; each is a shard, committed before the next begins.

    Args:
        config: as for :func:`pager_ray.pipeline.job.run_job`; what it says of clusters does not matter.
        checkpoint: the one that ``predict`` holds.
        predict: the model.
        on_gpu: whether it runs on one.
        tell: called with the name of each stage as it begins.
        overwrite: delete a run of other settings that stands at the same output.
        retry_rejects: a class of rejects to do again, or ``all``.
        growing: take what the sources have by now into the run that stands.

    Raises:
        ConfigError: inputs or output cannot be used.
        OutputInUseError: another job is writing there.
        PagerError: the job failed; it can be resumed.
    """
    # 1. The inputs, and the output that they go to.
    if projects_on_device(config):
        raise ConfigError("compute.project_on: gpu takes a job on a cluster (pager-ray run); take cpu or auto here")
    tell(StageName.LIST)
    check_scales(config, checkpoint)
    listed = list_sources(config)
    claim = claim_run(config, checkpoint, listed, overwrite=overwrite, retry_rejects=retry_rejects, growing=growing)

    # 2. Row by row through the stages of the job.
    settings = run_settings(config, checkpoint, claim.inputs, on_gpu=on_gpu)
    read = make_read_fn(settings.read)
    infer = make_infer_fn(settings.read.face_size, predict)
    stitch = make_stitch_fn(settings.stitch)

    def pipeline() -> None:
        for part in claim.parts():
            for number in range(part.num_rows):
                rows = part.slice(number, 1)
                for name, stage in ((StageName.READ, read), (StageName.INFER, infer), (StageName.STITCH, stitch)):
                    tell(name)
                    rows = stage(rows)
                tell(StageName.WRITE)
                task = f"{secrets.token_hex(6)}-{number:08}"
                record = write_shard(claim.layout, f"{task}-{secrets.token_hex(3)}", rows, settings.stored)
                claim.layout.ledger.commit(claim.generation, task, record)

    # 3. The end: reconciled, and noted in the run file, whatever ends it.
    done = run_to_end(claim, pipeline)

    # 4. Sequences: their scales, over what stands by now.
    if config.scale.sequence != "off":
        settle_scales(config.output.uri)
    return done
