"""Datasets of the Hugging Face Hub: which commit a name stands for, and the folder of files at it."""

from __future__ import annotations

from pager_ray.datasets.root import store_errors
from pager_ray.errors import ConfigError

HUB = "hub"
_TIMEOUT_SECONDS = 30


def hub_revision(data_path: str | None) -> str | None:
    """The revision that a data path names: of None and ``hub`` the main branch, of ``hub@REV`` REV; else None."""
    if data_path is None or data_path == HUB:
        return "main"
    name, separator, revision = data_path.partition("@")
    return revision if name == HUB and separator and revision else None


def hub_url(repository: str, revision: str) -> str:
    """URL of a dataset's files at a revision, for fsspec."""
    # The revision stands between "@" and the first "/" of the path; a branch may hold slashes.
    return f"hf://datasets/{repository}@{revision.replace('/', '%2F')}"


def pin_revision(name: str, repository: str, revision: str) -> str:
    """Ask the Hub which commit a revision is now, so that a later listing cannot mix two.

    Args:
        name: the dataset, for messages.
        repository: ``owner/name`` of a dataset repository.
        revision: branch, tag or commit.

    Returns:
        The commit; the revision itself where the Hub does not tell.

    Raises:
        ConfigError: there is no such repository or revision, or the Hub cannot be reached; says what to do.
    """
    from huggingface_hub import HfApi, constants, errors

    unusable: tuple[type[Exception], ...] = (*store_errors(), ValueError)
    try:
        commit = HfApi().dataset_info(repository, revision=revision, timeout=_TIMEOUT_SECONDS).sha
    except errors.RevisionNotFoundError:
        raise ConfigError(
            f"{name}: the Hub dataset {repository} has no revision {revision!r}; takes hub, or hub@ and a branch, "
            "tag or commit of it"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ConfigError(
            f"{name}: no such Hub dataset as {repository}, or no right to read it; set HF_TOKEN, or give the folder "
            "that holds its files as data_path"
        ) from None
    except unusable as error:
        # The text of such an error may hold a signed URL.
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else type(error).__name__
        raise ConfigError(
            f"{name}: the Hugging Face Hub cannot be reached ({why}); where there is a network run `hf download "
            f"{repository} --repo-type dataset --local-dir FOLDER/{repository.rpartition('/')[2]}`, then give FOLDER "
            "as data_path"
        ) from None
    return commit or revision
