"""Where everything of a run lies.

A shard counts once the ledger says so (:mod:`pager_ray.runs.ledger`). Any other is the trace of a writer that died;
its rows are done again under another name, so it is deleted before a run starts and never read.
"""

from __future__ import annotations

import re
from itertools import product

from pager_ray.errors import RunMismatchError, StorageError
from pager_ray.listing.manifest import is_manifest, read_manifest
from pager_ray.listing.remembered import INDEX_NAME
from pager_ray.modalities import MAPS
from pager_ray.owned import foreign_entries
from pager_ray.plain import get_logger
from pager_ray.puts import TEMPORARY_SUFFIX
from pager_ray.runs.columnar import ColumnarCopy
from pager_ray.runs.ledger import Ledger, shards_of
from pager_ray.runs.tally import KnownShards
from pager_ray.storage import Folder, is_temporary, safe_name

log = get_logger(__name__)

SHARD_SUFFIX = ".parquet"
RUN_FILE = "run.json"
PROGRESS_FILE = "progress.json"
SCALES_FILE, SCALES_REPORT = "sequences.parquet", "report.json"
GALLERY_FOLDER, GALLERY_PAGE, GALLERY_MARKER = "gallery", "index.html", "gallery.json"

# What the writer calls its shards. Cleaning up deletes nothing else, whoever put it into a run's folders.
SHARD_NAME = re.compile(r"[0-9a-f]{12}-[0-9]{8}-[0-9a-f]{6}")
REPORT_FILES = ("report.html", "report.md", "report.json")
# What the report calls its pictures: figures, and examples by place, kind and id.
PICTURE_NAME = re.compile(r"(distributions|depth_by_range)\.png|[0-9]+_(worst|median|best)_.+\.jpg", re.DOTALL)

# What a start may leave at the top of an output before its run file stands, and what others may make in a run.
_BEGUN = frozenset(
    {"state", "predictions", "rejects", "previews", "metrics", "gallery", "exports", "scores", "scales", *MAPS}
)


_NAMES_AT_ONCE = 65_536


def _starts(shards: int) -> list[str]:
    """What names of so many shards begin with, so that not too many begin with the same."""
    digits = next(number for number in range(4) if shards <= _NAMES_AT_ONCE * 16**number or number == 3)
    return ["".join(some) for some in product("0123456789abcdef", repeat=digits)]


class RunLayout:
    """The folders of one job's output; ``results`` holds the shards with one row per input that has a result."""

    RESULTS = "predictions"
    HAS_COPY = True

    def __init__(self, output: Folder) -> None:
        self.root = output
        self.results = output / self.RESULTS
        self.rejects = output / "rejects"
        self.previews = output / "previews"
        self.manifest = output / "state" / "manifest"
        self.copy = ColumnarCopy(output / "state" / "table")
        self.ledger = Ledger(output / "state" / "ledger", self.copy if self.HAS_COPY else None)
        self.lease = output / "state" / "lease"
        self.progress = output / "state"
        self.scales = output / "scales"

    def npz(self, name: str) -> Folder:
        """Folder of one array's npz files, as in the released layout."""
        return self.root / name / "preds"

    def make(self) -> None:
        """Create the folders that every run has."""
        for folder in (self.results, self.rejects, self.manifest, self.ledger.folder):
            folder.make()

    def check_is_free(self) -> None:
        """Refuse an output that holds something else, where a new run would write and a later one clean up.

        Raises:
            RunMismatchError: there is no run file, and yet there are results, rejects, a ledger or anybody's files.
        """
        for folder in self._written():
            if names := [name for name in folder.names() if not is_temporary(name)]:
                raise RunMismatchError(
                    f"output.uri: {folder} holds {len(names)} files (first: {names[0]}), but {self.root} has no "
                    f"{RUN_FILE}: they belong to no run; choose another output, or move them away"
                )
        if others := [name for name in foreign_entries(self.root, _BEGUN) if not is_temporary(name)]:
            raise RunMismatchError(
                f"output.uri: {self.root} holds {len(others)} files or folders (first: {others[0]}) and no {RUN_FILE}: "
                "they belong to no run; choose another output, such as a new folder in it"
            )

    def _written(self) -> list[Folder]:
        """Folders in which a run's files have names that anybody's may have."""
        named_by_id = [self.previews, *(self.npz(name) for name in MAPS)]
        return [self.results, self.rejects, self.ledger.folder, *named_by_id]

    def clear(self) -> None:
        """Delete what the run has written, and nothing else: its shards, and files that the manifest's ids name."""
        ids = self._listed_ids()
        shards = self._known_shards()

        def is_shard(name: str) -> bool:
            shard = name.removesuffix(SHARD_SUFFIX)
            return is_temporary(name) or shard in shards or SHARD_NAME.fullmatch(shard) is not None

        self.results.delete_where(is_shard)
        self.rejects.delete_where(is_shard)
        for folder, suffix in self._named_by_id():
            names = {f"{safe_name(id)}{suffix}" for id in ids}
            folder.delete_where(lambda name, names=names: name in names or is_temporary(name))  # type: ignore[misc]
        self._clear_more()
        # Not the lease: it is held by the job that clears.
        self.ledger.clear()
        self.copy.clear()
        self.manifest.delete_where(lambda name: is_manifest(name) or name == INDEX_NAME or is_temporary(name))
        self.progress.delete([PROGRESS_FILE])
        self.scales.delete([SCALES_FILE, SCALES_REPORT])
        gallery = self.root / GALLERY_FOLDER
        if gallery.exists(GALLERY_MARKER):
            # It would go on showing what is deleted.
            gallery.delete([GALLERY_PAGE])
        # The run file goes last: while it stands, a half-deleted output is still known as one.
        self.root.delete([RUN_FILE])

    def _named_by_id(self) -> list[tuple[Folder, str]]:
        """Folders in which this very run has put files that its ids name, and their suffix."""
        config = self.root.read_json(RUN_FILE).get("config") if self.root.exists(RUN_FILE) else None
        output = config.get("output") if isinstance(config, dict) else None
        if not isinstance(output, dict):
            return []
        found = [(self.previews, ".jpg")] if output.get("previews") else []
        if "npz" in (output.get("format"), output.get("predictions")):
            found += [(self.npz(name), ".npz") for name in MAPS]
        return found

    def _listed_ids(self) -> list[str]:
        try:
            ids: list[str] = read_manifest(self.manifest, ["id"]).column("id").to_pylist()
        except StorageError as error:
            log.warning("%s; files that are named by its ids stay where they are", error)
            return []
        return ids

    def _known_shards(self) -> set[str]:
        try:
            return self.committed_shards()
        except StorageError:
            # A damaged ledger is what --overwrite is for; shards are known by their names, too.
            return set()

    def _clear_more(self) -> None:
        """Delete what other kinds of job write beside."""

    def committed_shards(self) -> set[str]:
        """Names of the shards that count, without suffix."""
        return shards_of(self.ledger.read())

    def drop_uncommitted(self, kept: KnownShards) -> int:
        """Delete the shards that do not count; returns how many did not.

        For the holder of the lease, once its generation has begun and while none of its own writers is at work.
        Previews and npz files are named by id: the rows are done again and overwrite them.

        Args:
            kept: the shards that count.
        """
        orphans: set[str] = set()
        for folder in (self.results, self.rejects):
            lost: set[str] = set()
            for page in folder.pages(SHARD_SUFFIX, _starts(len(kept))):
                others = kept.others([name.removesuffix(SHARD_SUFFIX) for name in page])
                lost.update(shard for shard in others if SHARD_NAME.fullmatch(shard))
            folder.delete(f"{shard}{SHARD_SUFFIX}" for shard in lost)
            orphans |= lost
        if self.root.is_local:
            named_by_id = [self.previews, *(self.npz(name) for name in MAPS)]
            for folder in [
                self.root,
                self.results,
                self.rejects,
                self.manifest,
                self.ledger.folder,
                self.copy.folder,
                *named_by_id,
            ]:
                folder.delete([name for page in folder.pages(TEMPORARY_SUFFIX) for name in page if is_temporary(name)])
        return len(orphans)

    def drop(self, shard: str) -> None:
        """Delete one shard that does not count."""
        for folder in (self.results, self.rejects):
            folder.delete([f"{shard}{SHARD_SUFFIX}"])


class EvaluationLayout(RunLayout):
    """The folders of an evaluation: per-sample scores are its results, the report lies beside them."""

    RESULTS = "metrics/samples"
    # Its results are columns alone, in shards that hold nothing else.
    HAS_COPY = False

    def __init__(self, output: Folder) -> None:
        super().__init__(output)
        self.metrics = output / "metrics"

    def _clear_more(self) -> None:
        self.clear_pictures()
        self.metrics.delete_where(lambda name: name in REPORT_FILES or is_temporary(name))

    def clear_pictures(self) -> None:
        """Delete the report's pictures."""
        (self.metrics / "pictures").delete_where(lambda name: PICTURE_NAME.fullmatch(name) is not None)
