"""A run's files to a dataset repository, in one commit: readers see all of a run or what was there before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from pager_ray.datasets.hub import hub_url
from pager_ray.errors import ConfigError, PagerError, StorageError
from pager_ray.modalities import MAPS
from pager_ray.plain import get_logger, plain_text
from pager_ray.publish.card import MARK, dataset_card
from pager_ray.reader.run import Run, open_run
from pager_ray.runs.layout import RUN_FILE, SCALES_FILE, SCALES_REPORT, SHARD_SUFFIX, RunLayout
from pager_ray.storage import Folder, client_errors, error_reason, is_temporary
from pager_ray.tracing import span, watcher

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = get_logger(__name__)

CARD: Final = "README.md"
_TARGET: Final = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+?)(?:@((?:[\w./-]|%2[Ff])+?))?/?")
_TAKES: Final = "takes hf://datasets/OWNER/NAME, or with @BRANCH"

# What a run owns in a repository: files that an earlier one left there go.
_OWNED: Final = ("predictions/", "rejects/", "state/", "previews/", "scales/", *(f"{name}/preds/" for name in MAPS))
# Bytes and files that are sent before the client may forget them.
_SENT_TOGETHER, _FILES_TOGETHER = 256 << 20, 64


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        target: the dataset.
        files: how many there are of the run.
        bytes: their size.
        removed: files of an earlier run that went.
        commit: the Hub's name for it.
        kept_card: whether somebody's own card was left alone.
    """

    target: str
    files: int
    bytes: int
    removed: int
    commit: str
    kept_card: bool

    def lines(self) -> list[str]:
        """What was done, and how it is read."""
        gone = f", {self.removed:,} of an earlier run removed" if self.removed else ""
        lines = [
            f"{self.files:,} files ({self.bytes / 1e6:,.1f} MB) published{gone}",
            f"dataset   {self.target} ({self.commit[:12]})",
            f'read it   pager_ray.open_run("{self.target}")',
        ]
        if self.kept_card:
            lines.append(f"card      {CARD} there is somebody's own, and was left alone")
        return lines


def publish_run(run_uri: str, target: str, *, private: bool = False, previews: bool = False) -> Published:
    """Publish a finished run, or what changed of it.

    Args:
        run_uri: the run's output.
        target: ``hf://datasets/OWNER/NAME[@BRANCH]``; both are made where there is none.
        private: make it visible to its owner alone; says nothing of one that is there.
        previews: also its previews.

    Raises:
        ConfigError: the target is none, the run is not finished, or the Hub does not let this account write there.
        RunNotFoundError: there is no run.
        StorageError: the run cannot be read, or the Hub cannot be reached.
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        raise ConfigError(f"publish: got {plain_text(target)}; {_TAKES}")
    repository, branch = match[1], unquote(match[2] or "main")
    shown_target = f"hf://datasets/{repository}" if branch == "main" else hub_url(repository, branch)
    run = open_run(run_uri)
    if (state := run.manifest["state"]) != "complete":
        raise ConfigError(f"publish: {run} is {state}; finish it with the command that began it, then publish")
    root = Folder(run_uri)
    sources = dict(_files_of(run, root, previews))
    card = dataset_card(run, repository, branch).encode()
    from huggingface_hub import HfApi

    with _hub_errors(repository):
        api = HfApi()
        with span("repository"):
            api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
            if branch != "main":
                api.create_branch(repository, repo_type="dataset", branch=branch, exist_ok=True)
            there = set(api.list_repo_files(repository, repo_type="dataset", revision=branch))
            keeps_card = CARD in there and not _is_ours(api, repository, branch)
        operations: list[Any] = []
        size = 0
        for group in _grouped(root, sources):
            # Sent here and forgotten: the commit below names what lies there already.
            with span("upload"):
                api.preupload_lfs_files(repository, group, repo_type="dataset", revision=branch)
            operations += group
            size += sum(one.upload_info.size for one in group)
            if (shown := watcher()) is not None:
                shown.look({"total": len(sources), "predicted": len(operations), "rejected": 0})
        gone = sorted(name for name in there if name.startswith(_OWNED) and name not in sources)
        with span("commit"):
            commit = api.create_commit(
                repository,
                [*operations, *_last(card, keeps_card, gone)],
                commit_message=f"{len(run):,} panoramas by pager_ray",
                repo_type="dataset",
                revision=branch,
            )
    return Published(shown_target, len(sources), size, len(gone), str(commit.oid), keeps_card)


def _files_of(run: Run, root: Folder, previews: bool) -> Iterator[tuple[str, str]]:
    """Names of the run's files: in the repository, and below the run's folder. Nothing that others made in it."""
    layout = RunLayout(root)
    output = run.manifest["config"]["output"]
    yield RUN_FILE, RUN_FILE
    shards = layout.committed_shards()
    folders = [
        ("predictions", layout.results, SHARD_SUFFIX),
        ("rejects", layout.rejects, SHARD_SUFFIX),
        ("state/table", root / "state" / "table", SHARD_SUFFIX),
        ("state/manifest", layout.manifest, SHARD_SUFFIX),
    ]
    if output.get("format") == "npz":
        folders += [(f"{name}/preds", layout.npz(name), ".npz") for name in run.maps]
    if previews:
        folders.append(("previews", layout.previews, ".jpg"))
    for name in (SCALES_FILE, SCALES_REPORT):
        if layout.scales.exists(name):
            yield f"scales/{name}", f"scales/{name}"
    # Records of a generation that nobody folded lie in a folder of its own.
    for place in _below(layout.ledger.folder):
        yield f"state/ledger/{place}", f"state/ledger/{place}"
    for name, folder, suffix in folders:
        for file in folder.names(suffix):
            is_shard = name in ("predictions", "rejects")
            if not is_temporary(file) and not (is_shard and file.removesuffix(suffix) not in shards):
                yield f"{name}/{file}", f"{name}/{file}"


def _below(folder: Folder) -> list[str]:
    """Names of the Parquet files in a folder and in those in it."""
    folder.filesystem.invalidate_cache()
    start = len(folder.path.rstrip("/")) + 1
    paths = [path for path in folder.filesystem.find(folder.path) if path.endswith(SHARD_SUFFIX)]
    return sorted(path[start:] for path in paths if not is_temporary(path.rpartition("/")[2]))


def _grouped(root: Folder, sources: dict[str, str]) -> Iterator[list[Any]]:
    """The additions of a commit, as many together as may be in memory."""
    from huggingface_hub import CommitOperationAdd

    group: list[Any] = []
    for place, name in sources.items():
        folder, _, file = name.rpartition("/")
        where = root / folder if folder else root
        # From a disk, piece by piece; from a store, whole.
        content = where.join(file) if where.is_local else where.read(file)
        group.append(CommitOperationAdd(place, content))
        if len(group) == _FILES_TOGETHER or sum(one.upload_info.size for one in group) >= _SENT_TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _last(card: bytes, keeps_card: bool, gone: Iterable[str]) -> Iterator[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    if not keeps_card:
        yield CommitOperationAdd(CARD, card)
    for name in gone:
        yield CommitOperationDelete(name)


def _is_ours(api: HfApi, repository: str, branch: str) -> bool:
    """Whether the card that stands there was made here."""
    path = api.hf_hub_download(repository, CARD, repo_type="dataset", revision=branch)
    with open(path, encoding="utf-8", errors="replace") as file:
        return MARK in file.read()


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Turns what the Hub's client raises into one line of ours."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    told: tuple[type[Exception], ...] = (LocalTokenNotFoundError, HfHubHTTPError, ValueError, *client_errors())
    try:
        yield
    except PagerError:
        raise
    except told as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, LocalTokenNotFoundError) or status in (401, 403):
            raise ConfigError(
                f"publish: the Hub does not let this account write to {repository} ({status or 'no token'}); log in "
                "with `hf auth login`, or set HF_TOKEN to a token that may write there"
            ) from error
        raise StorageError(
            f"publish: {repository} cannot be written ({plain_text(error_reason(error))[:200]}); run the same "
            "command again: what was sent is not sent twice"
        ) from error
