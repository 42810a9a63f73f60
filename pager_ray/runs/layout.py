"""Where everything of a run lies.

A shard counts once the ledger says so (:mod:`pager_ray.runs.ledger`). Any other is the trace of a writer that died;
its rows are done again under another name, so it is deleted before a run starts and never read.
"""

from __future__ import annotations

import re

from pager_ray.errors import RunMismatchError
from pager_ray.modalities import MAPS
from pager_ray.runs.ledger import Ledger, shards_of
from pager_ray.storage import TEMPORARY_SUFFIX, Folder

SHARD_SUFFIX = ".parquet"
RUN_FILE = "run.json"
PROGRESS_FILE = "progress.json"
GALLERY_FOLDER, GALLERY_PAGE = "gallery", "index.html"

# What the writer calls its shards. Cleaning up deletes nothing else, whoever put it into a run's folders.
SHARD_NAME = re.compile(r"[0-9a-f]{12}-[0-9]{8}-[0-9a-f]{6}")
TEMPORARY_NAME = re.compile(r".*\.[0-9a-f]{8}\.tmp", re.DOTALL)


class RunLayout:
    """The folders of one job's output; ``results`` holds the shards with one row per input that has a result."""

    RESULTS = "predictions"

    def __init__(self, output: Folder) -> None:
        self.root = output
        self.results = output / self.RESULTS
        self.rejects = output / "rejects"
        self.previews = output / "previews"
        self.manifest = output / "state" / "manifest"
        self.ledger = Ledger(output / "state" / "ledger")
        self.lease = output / "state" / "lease"
        self.progress = output / "state"

    def npz(self, name: str) -> Folder:
        """Folder of one array's npz files, as in the released layout."""
        return self.root / name / "preds"

    def make(self) -> None:
        """Create the folders that every run has."""
        for folder in (self.results, self.rejects, self.manifest, self.ledger.folder):
            folder.make()

    def check_is_free(self) -> None:
        """Refuse an output that holds files of somebody else where a new run would write and clean up.

        Raises:
            RunMismatchError: there is no run file, and yet there are results, rejects or a ledger.
        """
        for folder in (self.results, self.rejects, self.ledger.folder):
            if names := folder.names():
                raise RunMismatchError(
                    f"output.uri: {folder} holds {len(names)} files (first: {names[0]}), but {self.root} has no "
                    f"{RUN_FILE}: they belong to no run; choose another output, or move them away"
                )

    def clear(self) -> None:
        """Delete everything that a run writes, and nothing else."""
        # The run file goes last: while it stands, a half-deleted output is still known as one.
        folders = [self.results, self.rejects, self.previews, *(self.npz(name) for name in MAPS)]
        # Not the lease: it is held by the job that clears.
        for folder in [*folders, *self._more_folders(), self.manifest, self.ledger.folder]:
            folder.remove()
        self.progress.delete([PROGRESS_FILE])
        # It would go on showing what is deleted.
        (self.root / GALLERY_FOLDER).delete([GALLERY_PAGE])
        self.root.delete([RUN_FILE])

    def _more_folders(self) -> list[Folder]:
        return []

    def committed_shards(self) -> set[str]:
        """Names of the shards that count, without suffix."""
        return shards_of(self.ledger.read())

    def drop_uncommitted(self, kept: set[str]) -> int:
        """Delete the shards that do not count; returns how many did not.

        For the holder of the lease, once its generation has begun and while none of its own writers is at work.
        Previews and npz files are named by id: the rows are done again and overwrite them.

        Args:
            kept: the shards that count.
        """
        orphans = set()
        for folder in (self.results, self.rejects):
            shards = (name.removesuffix(SHARD_SUFFIX) for name in folder.names(SHARD_SUFFIX))
            lost = [f"{shard}{SHARD_SUFFIX}" for shard in shards if SHARD_NAME.fullmatch(shard) and shard not in kept]
            folder.delete(lost)
            orphans.update(lost)
        if self.root.is_local:
            named_by_id = [self.previews, *(self.npz(name) for name in MAPS)]
            for folder in [self.root, self.results, self.rejects, self.manifest, self.ledger.folder, *named_by_id]:
                folder.delete(name for name in folder.names(TEMPORARY_SUFFIX) if TEMPORARY_NAME.fullmatch(name))
        return len(orphans)

    def drop(self, shard: str) -> None:
        """Delete one shard that does not count."""
        for folder in (self.results, self.rejects):
            folder.delete([f"{shard}{SHARD_SUFFIX}"])


class EvaluationLayout(RunLayout):
    """The folders of an evaluation: per-sample scores are its results, the report lies beside them."""

    RESULTS = "metrics/samples"

    def __init__(self, output: Folder) -> None:
        super().__init__(output)
        self.metrics = output / "metrics"

    def _more_folders(self) -> list[Folder]:
        return [self.metrics]
