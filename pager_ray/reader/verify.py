"""Is an output whole and readable: every listed input once, every map decoded, every number within its bounds."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.errors import RunNotFoundError, ShapeError, StorageError
from pager_ray.geometry.faces import half_extent
from pager_ray.listing import MANIFEST_SCHEMA, ChosenIds, Listing, listing_digest, read_manifest
from pager_ray.listing.listed import LATER_COLUMNS
from pager_ray.prediction import Prediction
from pager_ray.reader.run import Run
from pager_ray.runs.layout import SHARD_NAME, SHARD_SUFFIX, EvaluationLayout, RunLayout
from pager_ray.runs.ledger import rows_by_shard, shards_of
from pager_ray.runs.reconcile import Reconciliation, read_shard, read_standing, reconcile
from pager_ray.runs.runfile import COMPLETE, read_run_file
from pager_ray.runs.scales import read_scales
from pager_ray.runs.shards import REJECT_COLUMNS
from pager_ray.storage import Folder, safe_name

SHOWN: Final = 20

# Codecs keep depth to 2.5e-4 and unit vectors to 0.06°; stitching and float32 stay far below.
_DEPTH_TOLERANCE: Final = 1e-3
_LENGTH_TOLERANCE: Final = 2e-2

# Columns of scores that are null where nobody predicted such a thing.
_MAY_BE_UNKNOWN: Final = ("sky_fraction", "log_scale")


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be: where, and what."""

    where: str
    what: str


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what is wrong.

    Attributes:
        output: the job's output.
        state: what its run file says.
        reconciliation: listed ids against stored ones.
        decoded: rows whose maps were decoded.
        problems: in the order in which they were found; empty for a sound output.
    """

    output: str
    state: str
    reconciliation: Reconciliation
    decoded: int
    problems: list[Problem]

    def lines(self) -> list[str]:
        """What was verified, and the first problems."""
        found = self.reconciliation
        lines = [
            f"{self.output}: {found.inputs:,} inputs = {found.predictions:,} results + {found.rejects:,} rejects"
            + (f" + {len(found.missing):,} missing" if found.missing else ""),
            f"{self.decoded:,} results decoded, state {self.state}",
        ]
        lines += [f"PROBLEM {item.where}: {item.what}" for item in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"… and {len(self.problems) - SHOWN:,} more")
        count = len(self.problems)
        problems = f"{count:,} problem{'s' if count > 1 else ''}"
        lines.append(f"{problems}; {self._remedy()}" if count else "verified: nothing lost, nothing twice")
        return lines

    def _remedy(self) -> str:
        """What to do: a run that is only not finished goes on, and of what is there nothing is to be deleted."""
        if not self.reconciliation.is_whole and len(self.problems) == len(self.reconciliation.missing):
            return "the run is incomplete: run the same command again"
        return "restore what is damaged or lacking from a copy; what has none is done again by a new run"

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "output": self.output,
            "state": self.state,
            "counts": self.reconciliation.counts(),
            "decoded": self.decoded,
            "problems": [{"where": item.where, "what": item.what} for item in self.problems],
        }


def verify_output(uri: str | os.PathLike[str], sample: float = 1.0) -> Verification:
    """Verify the output of a run, an evaluation or a scoring; changes nothing, needs no Ray.

    Args:
        uri: the job's ``output.uri``.
        sample: share of the rows whose maps are decoded, chosen by their ids: the same ones each time. Reconciliation
            always looks at all of them.

    Raises:
        RunNotFoundError: there is no output of a job.
        StorageError: the storage cannot be read at all.
    """
    root = Folder(os.fspath(uri))
    manifest = read_run_file(root)
    if manifest is None:
        raise RunNotFoundError(f"{root}: holds no run (no run.json); give the output.uri of a job")
    job = manifest.get("identity", {}).get("job", "run")
    layout = RunLayout(root) if job == "run" else EvaluationLayout(root)
    listed = read_manifest(layout.manifest)
    problems = [*_listing_problems(manifest, listed)]
    try:
        standing = read_standing(layout, manifest)
    except StorageError as error:
        # Which part is damaged is in the error; what it told of cannot be counted.
        found = Reconciliation(listed.num_rows, 0, 0, ChosenIds(Listing.of([]), np.zeros(0, bool)), [], [], {})
        return Verification(
            str(root), str(manifest.get("state")), found, 0, [*problems, Problem(str(root), str(error))]
        )
    found = reconcile(layout, listed, standing)
    problems += _reconciliation_problems(found)
    problems += _shard_problems(layout, standing, sample)
    problems += _orphan_problems(layout, standing, manifest)
    if job == "run":
        problems += _copy_problems(layout, standing)
        problems += _scale_problems(layout)
        decoded, wrong = _decode(Run(uri, "raw"), sample)
    else:
        decoded, wrong = _score_problems(layout, standing)
    return Verification(str(root), str(manifest.get("state")), found, decoded, problems + wrong)


def _listing_problems(manifest: dict[str, Any], listed: pa.Table) -> Iterator[Problem]:
    told = manifest.get("listing")
    if not isinstance(told, dict):
        return
    if told.get("rows") != listed.num_rows:
        yield Problem("state/manifest", f"lists {listed.num_rows} inputs, run.json says {told.get('rows')}")
    if absent := [name for name in MANIFEST_SCHEMA.names if name not in {*listed.column_names, *LATER_COLUMNS}]:
        yield Problem("state/manifest", f"has no column {', '.join(absent)}")
    elif listing_digest(listed) != told.get("sha256"):
        yield Problem("state/manifest", "is not the listing that run.json has the digest of")


def _orphan_problems(layout: RunLayout, standing: pa.Table, manifest: dict[str, Any]) -> Iterator[Problem]:
    """Shards that do not count: what a running job is about to commit, but nothing that an ended one may leave.

    Nor anything of others that whoever reads ``*.parquet`` would take for rows of the run.
    """
    if manifest.get("state") != COMPLETE:
        return
    counted = shards_of(standing)
    for folder in (layout.results, layout.rejects):
        names = (name.removesuffix(SHARD_SUFFIX) for name in folder.names(SHARD_SUFFIX))
        # Readers of Parquet leave hidden files out.
        others = [name for name in names if name not in counted and not name.startswith((".", "_"))]
        if foreign := [name for name in others if not SHARD_NAME.fullmatch(name)]:
            yield Problem(
                str(folder),
                f"{len(foreign)} Parquet files are none of this run's (first: {foreign[0]}{SHARD_SUFFIX}), and are "
                "read with it by who reads the folder; move them away",
            )
        if orphans := [name for name in others if SHARD_NAME.fullmatch(name)]:
            yield Problem(
                str(folder), f"{len(orphans)} shards count for nothing (first: {orphans[0]}); run the command again"
            )


def _shard_problems(layout: RunLayout, standing: pa.Table, sample: float) -> list[Problem]:
    """Every shard is there, undamaged, and holds the rows that the ledger says, each reject with its reason."""
    is_result = pc.is_null(standing.column("error_class"))
    results, rejects = standing.filter(is_result), standing.filter(pc.invert(is_result))
    checks = [partial(_result_shard_problems, layout, *shard, sample) for shard in rows_by_shard(results).items()]
    checks += [partial(_reject_shard_problems, layout, *shard) for shard in rows_by_shard(rejects).items()]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [problem for found in pool.map(lambda check: list(check()), checks) for problem in found]


def _result_shard_problems(layout: RunLayout, shard: str, told: pa.Table, sample: float) -> Iterator[Problem]:
    name = f"{shard}{SHARD_SUFFIX}"
    where = layout.results.uri(name)
    ids = told.column("id").to_pylist()
    try:
        if any(_share_of(id) < sample for id in ids):
            digest = hashlib.sha256(layout.results.read(name)).hexdigest()
            if digest != told.column("sha256")[0].as_py():
                yield Problem(where, "is not the file that was committed (its SHA-256 differs)")
        there = read_shard(layout.results, shard, ["id"])
    except StorageError as error:
        yield Problem(where, str(error))
        return
    if there is None:
        yield Problem(where, f"does not exist; it held {len(ids)} results (first: {ids[0]!r})")
    elif there.column("id").to_pylist() != ids:
        yield Problem(where, f"holds other rows than the {len(ids)} that were committed (first: {ids[0]!r})")


def _copy_problems(layout: RunLayout, standing: pa.Table) -> Iterator[Problem]:
    """What the columnar copy has of the shards that count are their rows."""
    told = standing.filter(pc.is_null(standing.column("error_class")))
    ids = told.column("id")
    copied, lacking = layout.copy.read(told, ["id"])
    if copied is None:
        return
    if lacking:
        ids = ids.filter(pc.invert(pc.is_in(told.column("shard"), value_set=pa.array([*lacking], pa.string()))))
    if not copied.column("id").take(pc.sort_indices(copied.column("id"))).equals(ids.take(pc.sort_indices(ids))):
        yield Problem(
            str(layout.copy.folder), "has other rows than its shards; delete it, and the shards are read themselves"
        )


def _scale_problems(layout: RunLayout) -> Iterator[Problem]:
    """Of the scales of sequences, which every reader applies by default."""
    try:
        read_scales(layout)
    except StorageError as error:
        yield Problem(str(layout.root), str(error))


def _reject_shard_problems(layout: RunLayout, shard: str, told: pa.Table) -> Iterator[Problem]:
    where = layout.rejects.uri(f"{shard}{SHARD_SUFFIX}")
    ids = told.column("id").to_pylist()
    try:
        there = read_shard(layout.rejects, shard, REJECT_COLUMNS)
    except StorageError as error:
        yield Problem(where, str(error))
        return
    found = {row["id"]: row for row in there.to_pylist()} if there is not None else {}
    if lost := [id for id in ids if id not in found]:
        yield Problem(where, f"lacks {len(lost)} of its {len(ids)} rejects (first: {lost[0]!r})")
    for id, row in found.items():
        if not (row["error_class"] and row["message"]):
            yield Problem(repr(id), "is a reject without a reason")


def _reconciliation_problems(found: Reconciliation) -> Iterator[Problem]:
    for what, ids in (
        ("has no result and no reject; run the same command again", found.missing),
        ("is stored more than once", found.duplicated),
        ("is stored, but was never listed", found.unknown),
    ):
        yield from (Problem(repr(id), what) for id in ids)


def _score_problems(layout: RunLayout, standing: pa.Table) -> tuple[int, list[Problem]]:
    """Every score of an evaluation is a number."""
    rows, problems = 0, []
    for shard in sorted(shards_of(standing)):
        try:
            table = read_shard(layout.results, shard, None)
        except StorageError as error:
            # The others are looked at all the same.
            problems.append(Problem(layout.results.uri(f"{shard}{SHARD_SUFFIX}"), str(error)))
            continue
        if table is None:
            continue
        rows += table.num_rows
        ids = table.column("id").to_pylist()
        for field in table.schema:
            if not pa.types.is_floating(field.type) or field.name in _MAY_BE_UNKNOWN:
                continue
            fine = pc.fill_null(pc.is_finite(table.column(field.name)), False).to_pylist()
            problems += [
                Problem(repr(id), f"its {field.name} is no number") for id, ok in zip(ids, fine, strict=True) if not ok
            ]
    return rows, problems


def _decode(run: Run, sample: float) -> tuple[int, list[Problem]]:
    chosen = [id for id in run.ids() if _share_of(id) < sample]
    previews = None
    if run.manifest["config"]["output"].get("previews"):
        previews = set(RunLayout(Folder(run.uri)).previews.names())
    check = partial(_row_problems, run, _depth_bounds(run), previews)
    # Decoding leaves Python's lock; a few rows at a time keep memory at a few panoramas.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        problems = [problem for found in pool.map(check, chosen) for problem in found]
    return len(chosen), problems


def _share_of(id: str) -> float:
    """Where an id falls between 0 and 1, the same for ever."""
    return int.from_bytes(hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()[:6], "big") / 2**48


def _depth_bounds(run: Run) -> Callable[[float | None], tuple[float, float]]:
    """Smallest and largest ray length of a panorama with the given scale."""
    limits = run.manifest.get("config", {}).get("depth")
    if not isinstance(limits, dict):
        return lambda _: (0.0, math.inf)
    low, high = float(limits["min"]), float(limits["max"])
    # A ray to a face's corner is this much longer than its z-depth.
    corner = math.sqrt(1 + 2 * half_extent(float(run.manifest["checkpoint"]["cube_fov"])) ** 2)

    def bounds(log_scale: float | None) -> tuple[float, float]:
        scale = math.exp(log_scale or 0.0)
        return low * scale * (1 - _DEPTH_TOLERANCE), high * corner * scale * (1 + _DEPTH_TOLERANCE)

    return bounds


def _row_problems(
    run: Run, bounds: Callable[[float | None], tuple[float, float]], previews: set[str] | None, id: str
) -> list[Problem]:
    try:
        prediction = run[id]
        problems = list(_map_problems(prediction, bounds(prediction.log_scale)))
    except (StorageError, ShapeError, ArithmeticError) as error:
        return [Problem(repr(id), str(error))]
    if previews is not None and f"{safe_name(id)}.jpg" not in previews:
        problems.append("has no preview")
    return [Problem(repr(id), what) for what in problems]


def _map_problems(prediction: Prediction, depth_bounds: tuple[float, float]) -> Iterator[str]:
    depth, normals, sky = prediction.depth, prediction.normals, prediction.sky
    if depth is not None:
        yield from _range_problem("depth", depth, *depth_bounds)
    if sky is not None:
        yield from _range_problem("sky", sky, 0.0, 1.0)
    if normals is not None:
        length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))
        # Zero where the sky was filled, and where the network gave no direction.
        wrong = ~((np.abs(length - 1) <= _LENGTH_TOLERANCE) | (length <= _LENGTH_TOLERANCE))
        if wrong.any():
            yield f"normals have another length than 1 or 0 at {np.count_nonzero(wrong)} pixels"
    if not prediction.valid.any():
        yield "has no valid pixel"


def _range_problem(name: str, values: np.ndarray, low: float, high: float) -> Iterator[str]:
    # No comparison holds with NaN.
    inside = (values >= np.float32(low)) & (values <= np.float32(high)) & np.isfinite(values)
    if not inside.all():
        count = np.count_nonzero(~inside)
        yield f"{name} is outside of {low:g}…{high:g} or no number at {count} of {values.size} pixels"
