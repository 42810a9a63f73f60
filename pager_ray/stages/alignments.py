"""Scores that stand, and one more alignment: what another command on the same predictions adds to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pager_ray.config.evaluation import Alignment
from pager_ray.listing import Listed
from pager_ray.runs import EvaluationLayout
from pager_ray.runs.growing import listing_sha256
from pager_ray.runs.runfile import check_same_job, check_same_run, read_run_file

KEY = "evaluation.alignments"


@dataclass(frozen=True)
class MoreAlignments:
    """What scores have, and what they are to have.

    Attributes:
        all: those that stand, then those that are new.
        are_new: whether any is new; then every panorama is scored again, in all of them.
    """

    all: list[str]
    are_new: bool


def more_alignments(
    layout: EvaluationLayout, listed: Sequence[Listed], identity: Mapping[str, Any]
) -> MoreAlignments | None:
    """The alignments of scores to which a command adds its own; None where it is the very command, or nothing stands.

    One pass scores all alignments, and reading predictions is most of it. So scores are not pieced together from
    several passes: they are made anew with all alignments, which a kill in between cannot mix.

    Args:
        layout: of the scores.
        listed: the samples.
        identity: of the command.

    Raises:
        RunMismatchError: scores of other settings stand there, or another job.
        StorageError: the output cannot be read.
    """
    manifest = read_run_file(layout.root)
    before = (manifest or {}).get("identity", {}).get(KEY)
    if manifest is None or before == identity[KEY]:
        return None
    check_same_job(manifest, identity, layout.root)
    sha256 = listing_sha256(layout, listed, overwrite=False, any_other=False)
    check_same_run(manifest, {**identity, KEY: before, "listing.sha256": sha256}, layout.root)
    known = get_args(Alignment)
    standing = [one for one in before if one in known] if isinstance(before, list) else []
    new = [one for one in identity[KEY] if one not in standing]
    return MoreAlignments(standing + new, bool(new))
