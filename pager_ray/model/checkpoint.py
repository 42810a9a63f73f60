"""From the name of a checkpoint to its two files on this machine.

A checkpoint is ``model.safetensors`` beside ``config.yaml``: in a local folder, in a Hugging Face Hub repository (an
alias or ``owner/name``), in a folder on any fsspec URL, or in the package itself. Files from elsewhere come to a node
once, however many of its processes ask at the same time: Hub files to the Hugging Face cache, which locks each file
while it is downloaded (on file systems that only pretend to lock, it may be downloaded twice, never wrongly), files
from a URL as :mod:`pager_ray.model.remote` says.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pager_ray.bounded import MAX_YAML_BYTES, Unreasonable, parse_json, parse_yaml, text_of
from pager_ray.errors import CheckpointError
from pager_ray.model.architecture import Architecture, parse_architecture
from pager_ray.model.digests import file_sha256
from pager_ray.model.impostors import check_is_no_impostor
from pager_ray.plain import plain_text
from pager_ray.tracing import Watcher, watcher

WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"

ALIASES = {
    "pager": "prs-eth/PaGeR",
    "pager-metric-depth": "prs-eth/PaGeR-metric-depth",
    "pager-normals": "prs-eth/PaGeR-normals",
}
RELEASED_LICENCE = "CC BY-NC 4.0"

EMBEDDED = "embedded"
"""Alias of the checkpoint that comes with the package."""
_EMBEDDED_FOLDER = Path(__file__).parents[1] / "checkpoints" / EMBEDDED

_MOST_SAID = 80

_FETCH_AGAIN = "correct it, or fetch the checkpoint again"
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


@dataclass(frozen=True)
class ResolvedCheckpoint:
    """A checkpoint whose files are on this machine.

    Attributes:
        source: what finds the same files again, together with ``revision``; a URL keeps its credentials here.
        name: what people are shown: Hub id, folder, or URL without secrets.
        revision: commit of a Hub repository, else None.
        weights: the ``model.safetensors``.
        config: the ``config.yaml``.
        released_licence: licence of the released weights, which their configuration does not say.
    """

    source: str
    name: str
    revision: str | None
    weights: Path
    config: Path
    released_licence: str | None = None

    @cached_property
    def architecture(self) -> Architecture:
        """The network that the configuration describes.

        Raises:
            CheckpointError: the configuration cannot be read or no network can be built from it.
        """
        return parse_architecture(read_config(self.config), where=str(self.config))

    @cached_property
    def sha256(self) -> str:
        """Digest of the weights file; a large file is hashed once per node, see :func:`file_sha256`."""
        return file_sha256(self.weights)

    @property
    def licence(self) -> str | None:
        """What the released weights have, or the configuration says; None where nobody does."""
        return self.released_licence or self._said("licence")

    @property
    def note(self) -> str | None:
        """What the configuration says that this checkpoint is, in a few words; stands beside its results."""
        return self._said("note")

    def _said(self, key: str) -> str | None:
        text = self.architecture.said(key)
        # Whoever made the file wrote it.
        return None if text is None else plain_text(text, _MOST_SAID)

    @property
    def title(self) -> str:
        """Name and note, as people are shown them."""
        return f"{self.name} ({self.note})" if self.note else self.name

    def describe(self) -> dict[str, str | None]:
        """Provenance for a run's manifest, without secrets."""
        found = {"name": self.name, "revision": self.revision, "sha256": self.sha256, "licence": self.licence}
        return found | ({"note": self.note} if self.note else {})


def resolve_checkpoint(source: str | os.PathLike[str] = "pager", *, revision: str | None = None) -> ResolvedCheckpoint:
    """Find a checkpoint and bring its files to this machine.

    Args:
        source: alias (``embedded``, which comes with the package; ``pager``, ``pager-metric-depth``,
            ``pager-normals``), Hub id, local folder, or fsspec URL of a folder. A folder that is called like an alias
            is written ``./pager``.
        revision: branch, tag or commit of a Hub repository; the main branch when None.

    Raises:
        CheckpointError: there is no such checkpoint, it lacks a file, or it cannot be fetched.
    """
    text = os.fspath(source)
    hub_id = ALIASES.get(text)
    if hub_id is None and not _URL.match(text) and not Path(text).expanduser().exists() and _HUB_ID.match(text):
        hub_id = text
    if hub_id is not None:
        return _from_hub(hub_id, revision)
    if revision is not None:
        raise CheckpointError(
            f"revision: got {revision!r}, but only Hub repositories (owner/name) have revisions; leave it out"
        )
    if text == EMBEDDED:
        # Every node has its own copy, under a path of its own.
        return _from_folder(_EMBEDDED_FOLDER, source=EMBEDDED, name=EMBEDDED)
    if _URL.match(text):
        from pager_ray.model.remote import fetch_checkpoint

        folder, name = fetch_checkpoint(text, (CONFIG, WEIGHTS))
    else:
        # Absolute, because the processes that load the weights may run in another working directory.
        folder = Path(text).expanduser().absolute()
        text = name = str(folder)
    return _from_folder(folder, source=text, name=name)


def read_config(path: Path) -> Mapping[str, Any]:
    """Read a ``config.yaml``.

    JSON is YAML too, and is read without PyYAML: a folder made by :mod:`pager_ray.model.random_checkpoint` loads where
    only torch, NumPy and safetensors are installed.

    Raises:
        CheckpointError: the file is missing, is no YAML, or holds no mapping.
    """
    check_is_no_impostor(path)
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise CheckpointError(
                f"{path}: has more than {MAX_YAML_BYTES} bytes, a configuration is a page; {_FETCH_AGAIN}"
            )
        text = text_of(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); {_FETCH_AGAIN}") from error
    if text.lstrip().startswith("{"):
        try:
            config = parse_json(text)
        except ValueError as error:
            raise CheckpointError(f"{path}: is neither JSON nor block-style YAML ({error}); {_FETCH_AGAIN}") from error
        return config
    import yaml

    try:
        config = parse_yaml(text)
    except Unreasonable as error:
        raise CheckpointError(f"{path}: {error}; {_FETCH_AGAIN}") from error
    except yaml.YAMLError as error:
        raise CheckpointError(f"{path}: is no YAML ({' '.join(str(error).split())}); {_FETCH_AGAIN}") from error
    if not isinstance(config, Mapping):
        raise CheckpointError(f"{path}: must hold a mapping of keys, got {type(config).__name__}")
    return config


def _from_folder(folder: Path, *, source: str, name: str) -> ResolvedCheckpoint:
    if not folder.is_dir():
        known = ", ".join((EMBEDDED, *ALIASES))
        raise CheckpointError(
            f"{name}: no such checkpoint folder; give a folder with {WEIGHTS} and {CONFIG}, a fsspec URL of one, "
            f"a Hub id (owner/name) or an alias ({known})"
        )
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise CheckpointError(f"{name}: holds no {file}; a checkpoint takes {WEIGHTS} beside {CONFIG}")
    return ResolvedCheckpoint(source=source, name=name, revision=None, weights=folder / WEIGHTS, config=folder / CONFIG)


def _from_hub(repo: str, revision: str | None) -> ResolvedCheckpoint:
    """Both files at one commit, from the Hugging Face cache where they are there."""
    config = _hub_file(repo, CONFIG, revision)
    # The cache keeps files under snapshots/<commit>/; a branch that moves between the two files cannot mix commits.
    commit = config.parent.name
    weights = _hub_file(repo, WEIGHTS, commit)
    return ResolvedCheckpoint(
        source=repo,
        name=repo,
        revision=commit,
        weights=weights,
        config=config,
        released_licence=RELEASED_LICENCE if repo in ALIASES.values() else None,
    )


def _telling(who: Watcher) -> Any:
    """A progress bar of the Hub's client that draws nothing and tells whoever watches how far the weights are."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Telling(tqdm):  # type: ignore[misc, type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"disable": False, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self.total:
                who.begin(f"fetch weights, {self.n / 1e9:.1f} of {self.total / 1e9:.1f} GB")
            return shown

    return Telling


def _hub_file(repo: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import constants, errors, hf_hub_download

    told = {"tqdm_class": _telling(who)} if file == WEIGHTS and (who := watcher()) is not None else {}
    try:
        return Path(hf_hub_download(repo, file, revision=revision, **told))
    except errors.RevisionNotFoundError:
        raise CheckpointError(
            f"{repo}: the Hub repository has no revision {revision!r}; give a branch, tag or commit of it"
        ) from None
    except errors.RepositoryNotFoundError:
        raise CheckpointError(
            f"{repo}: no such Hub repository, or no right to read it; check the id, or set HF_TOKEN"
        ) from None
    except errors.RemoteEntryNotFoundError:
        raise CheckpointError(
            f"{repo}: the Hub repository holds no {file}; a checkpoint takes {WEIGHTS} beside {CONFIG}"
        ) from None
    except errors.LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
        raise CheckpointError(
            f"{repo}: {file} is not in the Hugging Face cache ({constants.HF_HUB_CACHE}) and {why}; run "
            f"`hf download {repo}` where there is a network and point HF_HOME at that cache, or give a local folder"
        ) from None
    except OSError as error:
        # The text of such an error may hold a signed URL.
        raise CheckpointError(
            f"{repo}: {file} cannot be downloaded from the Hub ({type(error).__name__}); check the network and the "
            f"space in {constants.HF_HUB_CACHE}, then run the same command again"
        ) from None
