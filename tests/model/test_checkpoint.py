from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from huggingface_hub import constants, errors

from pager_ray.errors import CheckpointError
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.model.checkpoint import CONFIG, WEIGHTS, read_config
from pager_ray.tracing import watching
from tests.model.conftest import GOLDEN

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_local_folder_is_its_own_checkpoint():
    """A folder resolves to its two files, with no revision and no licence of its own."""
    folder = GOLDEN / "tiny_normals"
    found = resolve_checkpoint(folder)
    assert (found.weights, found.config) == (folder / WEIGHTS, folder / CONFIG)
    assert found.source == found.name == str(folder)
    assert found.revision is None
    assert found.licence is None
    assert found.architecture.modalities == ("normals",)
    assert found.describe()["sha256"] == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def test_model_knows_where_it_comes_from():
    """A loaded model carries its checkpoint's identity and architecture."""
    model = load_model(GOLDEN / "tiny_normals", device="cpu")
    assert model.identity.weights == GOLDEN / "tiny_normals" / WEIGHTS
    assert model.architecture.face_size == 56


@pytest.mark.parametrize("missing", [WEIGHTS, CONFIG])
def test_folder_without_a_file_is_one_error(tmp_path: Path, missing: str):
    """A folder that lacks one of the two files is an error that names both the folder and the file."""
    shutil.copytree(GOLDEN / "tiny_normals", tmp_path / "c")
    (tmp_path / "c" / missing).unlink()
    with pytest.raises(CheckpointError, match=f"holds no {missing}") as caught:
        load_model(tmp_path / "c", device="cpu")
    assert str(tmp_path / "c") in str(caught.value)


@pytest.mark.parametrize("source", ["/no/such/folder", "./pager", "nothing", "a/b/c"])
def test_unknown_source_lists_what_is_taken(source: str):
    """A source that is neither folder nor Hub id is an error that lists the aliases."""
    with pytest.raises(CheckpointError, match="no such checkpoint folder") as caught:
        resolve_checkpoint(source)
    assert source.removeprefix("./") in str(caught.value)
    assert "pager-metric-depth" in str(caught.value)


def test_weights_file_instead_of_its_folder_is_an_error():
    """Giving the weights file itself is an error that asks for the folder."""
    with pytest.raises(CheckpointError, match="give a folder"):
        resolve_checkpoint(GOLDEN / "tiny_normals" / WEIGHTS)


def test_revision_needs_a_hub_repository():
    """A revision of a local folder is an error instead of being ignored."""
    with pytest.raises(CheckpointError, match=r"^revision: got 'v1', but only Hub repositories .*; leave it out$"):
        resolve_checkpoint(GOLDEN / "tiny_normals", revision="v1")


@pytest.mark.parametrize("content", [b"a: [1", b"- depth", b"", b"{not json", b"\xff\xfe\x00"])
def test_unreadable_configuration_names_the_file(tmp_path: Path, content: bytes):
    """A configuration that is no YAML mapping is one error of one line that names the file."""
    (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(CheckpointError, match=CONFIG) as caught:
        read_config(tmp_path / CONFIG)
    assert re.search(
        r"; correct it, or fetch the checkpoint again$|must hold a mapping of keys, got ", str(caught.value)
    )
    assert "\n" not in str(caught.value)


def test_yaml_and_json_read_alike(tmp_path: Path):
    """JSON text, which is YAML too, gives what block-style YAML gives."""
    config = {"modalities": ["depth"], "face_size": 56, "log_depth": True}
    (tmp_path / "json.yaml").write_text(json.dumps(config))
    (tmp_path / "block.yaml").write_text("modalities:\n- depth\nface_size: 56\nlog_depth: true\n")
    assert read_config(tmp_path / "json.yaml") == read_config(tmp_path / "block.yaml") == config


def cached_repository(cache: Path, repo: str, golden: str) -> Path:
    """A repository as the Hugging Face client keeps it: blobs, a snapshot of links, and the main branch's commit."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    for folder in (root / "refs", root / "blobs", snapshot):
        folder.mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for file in (WEIGHTS, CONFIG):
        content = (GOLDEN / golden / file).read_bytes()
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def test_hub_aliases_work_offline_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Offline, a cached alias, id or commit loads at its pinned commit; others say what to do, without a network."""
    # What the client makes of HF_HUB_CACHE and HF_HUB_OFFLINE when it is imported.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = cached_repository(tmp_path / "hub", "prs-eth/PaGeR-normals", "tiny_normals")
    cached_repository(tmp_path / "hub", "someone/else", "tiny_normals")
    found = load_model("pager-normals", device="cpu").identity
    again = resolve_checkpoint(found.source, revision=found.revision)
    released = (str(snapshot / WEIGHTS), "prs-eth/PaGeR-normals", COMMIT, "CC BY-NC 4.0")
    for one in (found, again):
        assert (str(one.weights), one.name, one.revision, one.licence) == released
    other = resolve_checkpoint("someone/else", revision=COMMIT)
    assert (other.name, other.revision, other.licence) == ("someone/else", COMMIT, None)
    for source, revision, repo in (
        ("pager", None, "prs-eth/PaGeR"),
        ("pager-normals", "v9", "prs-eth/PaGeR-normals"),
        ("someone/absent", None, "someone/absent"),
    ):
        with pytest.raises(CheckpointError, match=rf"^{repo}: ") as caught:
            resolve_checkpoint(source, revision=revision)
        assert "HF_HUB_OFFLINE" in str(caught.value)
        assert f"hf download {repo}" in str(caught.value)


def answered(kind: type[errors.HfHubHTTPError], status: int = 404) -> errors.HfHubHTTPError:
    """What the Hub's client raises for an answer; its own text may hold a signed URL."""
    request = httpx.Request("GET", "https://hub/x?X-Amz-Signature=deadbeef")
    return kind(f"{request.url}", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            answered(errors.RevisionNotFoundError),
            "the Hub repository has no revision 'v9'; give a branch, tag or commit of it",
        ),
        (
            answered(errors.RepositoryNotFoundError, 401),
            "no such Hub repository, or no right to read it; check the id, or set HF_TOKEN",
        ),
        (
            answered(errors.RemoteEntryNotFoundError),
            f"the Hub repository holds no {CONFIG}; a checkpoint takes {WEIGHTS} beside {CONFIG}",
        ),
        (
            answered(errors.HfHubHTTPError, 500),
            f"{CONFIG} cannot be downloaded from the Hub (HfHubHTTPError); check the network and the space in /cache, "
            "then run the same command again",
        ),
        (
            errors.LocalEntryNotFoundError("no connection"),
            f"{CONFIG} is not in the Hugging Face cache (/cache) and the Hub cannot be reached; run `hf download "
            "someone/net` where there is a network and point HF_HOME at that cache, or give a local folder",
        ),
    ],
    ids=["revision", "repository", "file", "answer", "network"],
)
def test_what_the_hub_lacks_is_one_line(monkeypatch: pytest.MonkeyPatch, failure: Exception, message: str):
    """Each way in which the Hub gives no checkpoint is one line: repository, reason, what to do, and no signed URL."""

    def refuse(*_: object, **__: object) -> str:
        raise failure

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint("someone/net", revision="v9")
    assert str(caught.value) == f"someone/net: {message}"


def test_who_watches_is_told_how_far_the_weights_are(monkeypatch: pytest.MonkeyPatch):
    """Weights of gigabytes are fetched with their bytes told and nothing drawn; the small file beside them is not."""
    asked: dict[str, Any] = {}

    def fetched(_: str, file: str, **options: Any) -> str:
        asked[file] = options.get("tqdm_class")
        return f"/cache/commit/{file}"

    told: list[str] = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    with watching(SimpleNamespace(begin=told.append, look=lambda facts: None)):
        resolve_checkpoint("someone/net")
    assert asked[CONFIG] is None
    # As the Hub's client makes it, on a terminal or not.
    bar = asked[WEIGHTS](total=5_600_000_000, unit="B", desc=WEIGHTS, disable=None, name="huggingface_hub.http_get")
    bar.update(3_100_000_000)
    assert told == ["fetch weights, 3.1 of 5.6 GB"]
    resolve_checkpoint("someone/net")
    assert asked[WEIGHTS] is None


def test_offline_without_a_copy_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """With HF_HUB_OFFLINE and an empty cache the line names repository, file, cache and command."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint("pager")
    assert str(caught.value) == (
        f"prs-eth/PaGeR: {CONFIG} is not in the Hugging Face cache ({tmp_path}) and HF_HUB_OFFLINE is set; run `hf "
        "download prs-eth/PaGeR` where there is a network and point HF_HOME at that cache, or give a local folder"
    )
