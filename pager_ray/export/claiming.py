"""Whose export a folder holds: a run is known by what it is, wherever it lies by now and whatever it is reached by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pager_ray.errors import PagerError
from pager_ray.export.course import settings_identity
from pager_ray.export.formats import ExportSettings
from pager_ray.export.records import Records
from pager_ray.masking import mask_uri
from pager_ray.reader.run import Run
from pager_ray.runs.runfile import read_run_file, run_digest
from pager_ray.schemes import is_same_place, lies_below
from pager_ray.storage import Folder

_RUN: Final = "run"
"""Where the run lay, which earlier versions knew it by."""

_DIGEST: Final = "run.sha256"
_SCALES: Final = "scales"


def claim_export(records: Records, run: Run, settings: ExportSettings, *, overwrite: bool) -> dict[str, Any]:
    """Begin an export of a run, or find the same one again; gives its identity.

    Args:
        records: of the folder.
        run: as it is opened.
        settings: what is made of it.
        overwrite: forget what stands there.

    Raises:
        RunMismatchError: an export of another run or of other settings stands there.
        StorageError: the folder cannot be used.
    """
    identity = {_RUN: mask_uri(run.uri), _DIGEST: run_digest(run.manifest), **settings_identity(settings)}
    # Exports that began before there were such scales, and those of runs without any, know nothing of them.
    identity |= {_SCALES: run.scales_digest} if run.is_rescaled else {}
    stands = {} if overwrite else records.identity() or {}
    records.claim(_as_it_stands(identity, stands, run, records.output), overwrite=overwrite)
    return identity


def _as_it_stands(
    identity: Mapping[str, Any], stands: Mapping[str, Any], run: Run, output: Folder
) -> Mapping[str, Any]:
    """The identity in the words of an export that stands, where those mean the same."""
    said = dict(identity)
    if isinstance(stands.get(_RUN), str) and _is_same_run(stands, identity[_DIGEST], run, output):
        del said[_DIGEST]
        said |= {name: stands[name] for name in (_RUN, _DIGEST) if name in stands}
    if not run.is_rescaled and stands.get(_SCALES) is not None and stands[_SCALES] == run.scales_digest:
        # Earlier versions told of scales that are those of the predictions.
        said[_SCALES] = stands[_SCALES]
    return said


def _is_same_run(stands: Mapping[str, Any], digest: str, run: Run, output: Folder) -> bool:
    if _DIGEST in stands:
        return bool(stands[_DIGEST] == digest)
    if is_same_place(stands[_RUN], run.uri):
        return True
    # Inside its run it was moved with it; unless it is of another one, which is still where it was.
    return lies_below(output.uri(), run.uri) and _digest_at(stands[_RUN]) in (None, digest)


def _digest_at(uri: str) -> str | None:
    """The digest of the run at a place; None where there is none, or none that can be read."""
    try:
        manifest = read_run_file(Folder(uri).once())
    except PagerError:
        return None
    return None if manifest is None else run_digest(manifest)
