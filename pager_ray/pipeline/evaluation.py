"""The evaluation jobs: :func:`run_evaluation` predicts and scores in one pass, :func:`run_scoring` scores what stands.

Both read from top to bottom like the inference job and share its life cycle: samples are committed shard by shard, the
same command resumes, and the report is made from what is committed, so that it is the same whatever happened between.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from pager_ray.config import EvaluateConfig, ScoreConfig
from pager_ray.config.evaluation import EvaluationConfig
from pager_ray.config.schema import ComputeConfig
from pager_ray.config.shown import shown_config
from pager_ray.datasets import Dataset, open_dataset
from pager_ray.datasets.hub import hub_revision
from pager_ray.errors import ConfigError
from pager_ray.evaluate import ScoreSettings, open_predictions
from pager_ray.evaluate.predictions import NpzPredictions
from pager_ray.listing import Listed
from pager_ray.masking import carries_secret, mask_uri
from pager_ray.pipeline.chain import ActorOptions, Chain, Stage, run_chain
from pager_ray.pipeline.cluster import READ_TASK_MEMORY, Connection, Reservation, actor_pool
from pager_ray.pipeline.model_actor import InferActor
from pager_ray.plain import get_logger
from pager_ray.report.evaluation_files import report_evaluation
from pager_ray.report.outcomes import EvaluationOutcome
from pager_ray.retrying import Retry
from pager_ray.runs import EvaluationLayout
from pager_ray.runs.claim import Claim, claim_output
from pager_ray.runs.runfile import now, read_run_file, software_versions
from pager_ray.schemes import is_same_place, lies_below, settled
from pager_ray.stages.alignments import more_alignments
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import INFER_SCHEMA, READ_SCHEMA
from pager_ray.stages.score import (
    PICTURE_WIDTH,
    SCORE_TASK_MEMORY,
    ScoreStageSettings,
    make_face_score_fn,
    make_stored_score_fn,
    score_schema,
    stored_schema,
)
from pager_ray.stages.settings import half_normals, infer_settings, rows_per_shard
from pager_ray.stages.subject import (
    ORACLE,
    Subject,
    evaluated_checkpoint,
    oracle,
    score_settings,
    standing_predictions,
)
from pager_ray.stages.truth import SampleSettings, make_oracle_fn, make_sample_read_fn, sample_json
from pager_ray.storage import Folder
from pager_ray.tracing import span

log = get_logger(__name__)


def run_evaluation(
    config: EvaluateConfig, *, overwrite: bool = False, retry_rejects: str | None = None
) -> EvaluationOutcome:
    """Run, or resume, one evaluation to its report.

    Args:
        config: from :func:`pager_ray.config.load_config`.
        overwrite: delete an evaluation of other settings that stands at the same output.
        retry_rejects: a class of rejects to do again, or ``all``.

    Raises:
        ConfigError: before any work, when the dataset, the output or the configuration cannot be used.
        CheckpointError: the checkpoint cannot be used.
        ErrorBudgetExceeded: too many samples could not be scored; the job can be resumed with a larger budget.
        PagerError: the job failed; it can be resumed.
    """
    began = time.monotonic()

    # 1. The dataset: every sample listed, with where its picture and its ground truth are.
    config = config.model_copy(update={"evaluation": _located(config.evaluation)})
    with span("list samples"):
        dataset, listed = _list_samples(config.evaluation)

    connection = Connection(config.compute.address)
    with connection.meanwhile():
        # 2. What is evaluated: a checkpoint, found, pinned and digested once, or the ground truth itself.
        #    Ray starts meanwhile.
        with span("find the checkpoint"):
            subject = oracle(config, dataset) if config.checkpoint == ORACLE else evaluated_checkpoint(config)
        scoring = score_settings(config.evaluation, dataset, subject)
        log.info("%s samples of %s, checkpoint %s", f"{len(listed):,}", dataset.name, subject.description["name"])

        # 3. The output: a new evaluation's manifest, or the same one found again.
        claim = claim_output(
            EvaluationLayout(Folder(config.output.uri, Retry(config.errors.retry_seconds))),
            listed,
            config=shown_config(config),
            identity={"job": "evaluate"} | config.result_keys() | subject.identity,
            sections={"checkpoint": subject.description},
            errors=config.errors,
            overwrite=overwrite,
            retry_rejects=retry_rejects,
        )

        # 4. The pipeline, on a cluster.
        run_chain(
            claim, _compute_for(config, subject), partial(_evaluation, config, subject, scoring, claim), connection
        )

    # 5. The report, from the committed scores.
    settings: dict[str, Any] = {"precision": config.precision, "scene_mode": config.scene_mode}
    settings |= {"depth": config.depth.model_dump(), "sky": config.sky.model_dump()}
    with span("report"):
        return _report(claim, config.evaluation, dataset, scoring, subject, settings, began)


def run_scoring(config: ScoreConfig, *, overwrite: bool = False, retry_rejects: str | None = None) -> EvaluationOutcome:
    """Score, or go on scoring, predictions that stand already.

    Args:
        config: from :func:`pager_ray.config.load_config`.
        overwrite: delete scores of other settings that stand at the same output.
        retry_rejects: a class of rejects to do again, or ``all``.

    Raises:
        ConfigError: before any work, when predictions, dataset or output cannot be used.
        ErrorBudgetExceeded: too many samples could not be scored.
        PagerError: the job failed; the same command goes on.
    """
    began = time.monotonic()

    # 1. The dataset.
    config = config.model_copy(update={"evaluation": _located(config.evaluation)})
    dataset, listed = _list_samples(config.evaluation)

    # 2. The predictions: a run of ours, or a folder in the released layout.
    if carries_secret(config.predictions):
        raise ConfigError(
            f"predictions: {mask_uri(config.predictions)} carries credentials in its URL; give them through the "
            "environment or a profile"
        )
    config = config.model_copy(update={"predictions": settled(config.predictions)})
    stored = open_predictions(config.predictions)
    subject = standing_predictions(config, stored)
    scoring = score_settings(config.evaluation, dataset, subject)
    log.info("%s samples of %s, predictions %s", f"{len(listed):,}", dataset.name, stored.uri)

    # 3. The output: new scores, the same ones found again, or all of them anew with one more alignment.
    output = config.output.uri or Folder(config.predictions).uri(f"scores/{dataset.name}")
    layout = EvaluationLayout(Folder(output, Retry(config.errors.retry_seconds)))
    named = stored.uri if overwrite else _as_named_before(layout, stored.uri)
    identity = {"job": "score", "predictions": named} | config.result_keys() | subject.identity
    more = None if overwrite else more_alignments(layout, listed, identity)
    if more is not None:
        log.info("alignments of the scores at %s from now on: %s", layout.root, ", ".join(more.all))
        config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"alignments": more.all})})
        scoring = replace(scoring, alignments=tuple(more.all))
        identity |= config.result_keys()
    claim = claim_output(
        layout,
        listed,
        config=shown_config(config),
        identity=identity,
        sections={"checkpoint": subject.description},
        errors=config.errors,
        overwrite=overwrite or (more is not None and more.are_new),
        retry_rejects=retry_rejects,
    )

    # 4. The pipeline, on a cluster.
    compute = ComputeConfig(**config.compute.model_dump(), gpus_per_worker=0)
    run_chain(claim, compute, lambda _: _scoring(config, scoring, claim))

    # 5. The report; text summaries also where the released scripts would leave them.
    summaries = Folder(config.predictions) if isinstance(stored, NpzPredictions) else None
    return _report(claim, config.evaluation, dataset, scoring, subject, {}, began, summaries)


def _as_named_before(layout: EvaluationLayout, uri: str) -> str:
    """How the scores that stand at an output name these predictions, whatever they are reached by.

    Scores inside their predictions were moved with them.
    """
    manifest = read_run_file(layout.root, may_be_deleted=True) or {}
    before = (manifest.get("identity") or {}).get("predictions")
    if isinstance(before, str) and (is_same_place(before, uri) or lies_below(layout.root.uri(), uri)):
        return before
    return uri


def _report(
    claim: Claim,
    evaluation: EvaluationConfig,
    dataset: Dataset,
    scoring: ScoreSettings,
    subject: Subject,
    settings: dict[str, Any],
    began: float,
    summaries: Folder | None = None,
) -> EvaluationOutcome:
    facts = {
        "dataset": {
            "name": dataset.name,
            "data_path": mask_uri(evaluation.data_path) if evaluation.data_path else None,
            "listing_sha256": claim.manifest["listing"]["sha256"],
        },
        "protocol": dataset.protocol(),
        "settings": settings
        | {
            "seams": evaluation.seams.model_dump(),
            "limit": evaluation.limit,
            "resampling_floor": {"face_size": scoring.face_size, "fov": scoring.fov} if scoring.floor else None,
        },
        "checkpoint": subject.description,
        "samples": len(claim.inputs),
        "created": now(),
        "versions": software_versions(),
    }
    report = report_evaluation(EvaluationLayout(claim.layout.root), scoring, facts, summaries=summaries)
    return EvaluationOutcome(str(claim.layout.root), report, time.monotonic() - began)


def _evaluation(
    config: EvaluateConfig, subject: Subject, scoring: ScoreSettings, claim: Claim, reservation: Reservation
) -> Chain:
    """Stages of the Ray Data job; every stage maps rows 1:1, rejects included."""
    shard_rows = rows_per_shard(config.output.rows_per_shard, claim.before.inputs)
    on_gpu = reservation.actor_gpus > 0
    evaluation = config.evaluation
    # One by one: in larger batches the last bits of a prediction depend on its neighbours, and then the report would
    # depend on how the samples were split over workers.
    batch_size = 1 if config.compute.batch_size == "auto" else config.compute.batch_size
    samples = SampleSettings(
        dataset=evaluation.dataset,
        data_path=evaluation.data_path,
        face_size=subject.face_size,
        fov=subject.fov,
        thumbnail_width=PICTURE_WIDTH if scoring.pictures else None,
    )
    stage = ScoreStageSettings(
        dataset=evaluation.dataset,
        data_path=evaluation.data_path,
        scoring=scoring,
        half_normals=subject.checkpoint is not None and half_normals(config.precision, on_gpu=on_gpu),
        keep_predictions=config.output.predictions == "npz",
    )
    # 1. list: the samples that earlier starts did not commit, in small blocks.
    if subject.checkpoint is None:
        # 2. + 3. oracle, CPU, 1:1: ground truth → faces, in place of picture and network.
        faces = [Stage(StageName.READ, make_oracle_fn(samples), INFER_SCHEMA, memory=READ_TASK_MEMORY)]
    else:
        model = infer_settings(
            config,
            subject.checkpoint,
            claim.inputs,
            on_gpu=on_gpu,
            threads=reservation.model_threads,
            batch_size=batch_size,
            fitting=claim.batch_sizes,
        )
        actor = ActorOptions(model, actor_pool(config.compute), batch_size)
        faces = [
            # 2. decode + project, CPU, 1:1: the protocol's picture → six uint8 faces.
            Stage(StageName.READ, make_sample_read_fn(samples), READ_SCHEMA, memory=READ_TASK_MEMORY),
            # 3. infer, GPU actors, 1:1: faces → depth, normals and sky on the faces.
            Stage(StageName.INFER, InferActor, INFER_SCHEMA, actor=actor),
        ]
    return Chain(
        [
            *faces,
            # 4. stitch + score, CPU, 1:1: faces and ground truth → one row of metrics.
            Stage(StageName.SCORE, make_face_score_fn(stage), score_schema(stage), memory=SCORE_TASK_MEMORY),
        ],
        # 5. write, CPU, N:1: one shard per block, committed with its ids.
        stored=_results_schema(scoring),
        shard_rows=shard_rows,
        gates=(StageName.READ,) if subject.checkpoint is None else (StageName.READ, StageName.INFER),
    )


def _scoring(config: ScoreConfig, scoring: ScoreSettings, claim: Claim) -> Chain:
    """Stages of the Ray Data job that needs no model."""
    shard_rows = rows_per_shard(config.output.rows_per_shard, claim.before.inputs)
    stage = ScoreStageSettings(
        dataset=config.evaluation.dataset,
        data_path=config.evaluation.data_path,
        scoring=scoring,
        predictions=config.predictions,
    )
    return Chain(
        [
            # 1. list: the samples that earlier starts did not commit, in small blocks.
            # 2. score, CPU, 1:1: standing prediction and ground truth → one row of metrics.
            Stage(StageName.SCORE, make_stored_score_fn(stage), score_schema(stage), memory=SCORE_TASK_MEMORY),
        ],
        # 3. write, CPU, N:1: one shard per block, committed with its ids.
        stored=_results_schema(scoring),
        shard_rows=shard_rows,
        gates=(StageName.SCORE,),
    )


def _located(config: EvaluationConfig) -> EvaluationConfig:
    """The same with a data path that means the same on every worker, whatever folder that runs in."""
    path = config.data_path
    return config if path is None or hub_revision(path) else config.model_copy(update={"data_path": settled(path)})


def _list_samples(config: EvaluationConfig) -> tuple[Dataset, list[Listed]]:
    if config.data_path is not None and carries_secret(config.data_path):
        raise ConfigError(
            f"evaluation.data_path: {mask_uri(config.data_path)} carries credentials in its URL; give them through "
            "the environment or a profile"
        )
    dataset = open_dataset(config.dataset, config.data_path)
    if not dataset.is_benchmark:
        raise ConfigError(
            f"evaluation.dataset: {dataset.name} is what the released weights were trained on: a score on it says "
            "nothing about other panoramas; choose another dataset (pager_ray.datasets.open_dataset reads this one)"
        )
    samples = dataset.samples()[: config.limit]
    return dataset, [Listed(item.uri, item.id, item.scene, sample=sample_json(item)) for item in samples]


def _compute_for(config: EvaluateConfig, subject: Subject) -> ComputeConfig:
    """What the job asks of the cluster: no GPU without a network, and sums that are the same on any pool of CPUs."""
    compute = config.compute
    if subject.checkpoint is None:
        return compute.model_copy(update={"gpus_per_worker": 0.0})
    if compute.threads_per_worker == "auto" and not compute.gpus_per_worker:
        # Torch splits sums by threads: the same everywhere, whatever the number of workers.
        return compute.model_copy(update={"threads_per_worker": 1})
    return compute


def _results_schema(scoring: ScoreSettings) -> pa.Schema:
    identity = [pa.field(name, pa.string()) for name in ("id", "uri", "scene")]
    return pa.schema([*identity, *stored_schema(scoring)])
