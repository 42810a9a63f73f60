"""Whole jobs on real stores, in one process: whatever the store, the same run comes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import fsspec
import pytest

import pager_ray
from pager_ray.errors import StorageError
from pager_ray.here import run_here
from pager_ray.model import resolve_checkpoint
from pager_ray.reader.verify import verify_output
from pager_ray.storage import Folder
from tests.harness import stores
from tests.test_here import COUNT, Dying, config_of, inputs

__all__ = ["inputs"]


@pytest.fixture(params=["sftp", "ftp", "gs", "abfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a place on a server of its kind."""
    with stores.served(request.param, tmp_path / "served") as url:
        yield url


MORE = {"input.schemes": "[sftp, ftp]", "output.previews": "true"}

KILLED = """
import os, signal, sys
from pathlib import Path
from pager_ray.here import run_here
from pager_ray.model import resolve_checkpoint
from tests.store.test_here import MORE
from tests.test_here import Dying, config_of

class Killed(Dying):
    def __call__(self, faces, scenes, valid=None):
        if self.calls == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(faces, scenes)

config = config_of(Path(sys.argv[1]), sys.argv[2], **{"input.uris": sys.argv[3], **MORE})
run_here(config, resolve_checkpoint(config.checkpoint), Killed(config))
"""


def test_a_killed_job_goes_on_on_any_store(inputs: Path, place: str) -> None:
    """SIGKILL after two panoramas: the next start waits for nobody and does the others alone; names stay as given."""
    names = sorted(path.name for path in (inputs / "in").glob("*.jpg"))
    for name in names:
        Folder(f"{place}/in").write(name, (inputs / "in" / name).read_bytes())
    protocol = place.partition(":")[0]
    told = {f"FSSPEC_{protocol.upper()}": json.dumps(fsspec.config.conf[protocol])}
    command = [sys.executable, "-c", KILLED, str(inputs), f"{place}/run", f"{place}/in"]
    done = subprocess.run(command, env=os.environ | told, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == -signal.SIGKILL, done.stderr
    config = config_of(inputs, f"{place}/run", **{"input.uris": f"{place}/in", **MORE})
    second = Dying(config)
    found = run_here(config, resolve_checkpoint(config.checkpoint), second)
    assert (second.calls, found.predictions, found.rejects_by_class) == (COUNT - 2, COUNT, {"not_an_image": 1})
    verified = verify_output(f"{place}/run", 1.0)
    assert (verified.state, list(verified.problems)) == ("complete", [])
    run = pager_ray.open_run(f"{place}/run")
    uris = [*run.table(["uri"]).column("uri").to_pylist(), *run.rejects().column("uri").to_pylist()]
    assert sorted(uris) == [f"{place}/in/{name}" for name in names]
    assert run.manifest["config"]["output"]["uri"] == f"{place}/run"


def test_a_connection_that_breaks_is_made_anew(inputs: Path, tmp_path: Path) -> None:
    """SFTP in mid-run: dropped connections cost nothing; where the login is refused the job stops, and can go on."""
    with stores.sftp(tmp_path / "served") as (place, server):
        more = {"errors.retry_seconds": "60"}
        config = config_of(inputs, f"{place}/run", **more)
        checkpoint = resolve_checkpoint(config.checkpoint)

        def drop(stage: str) -> None:
            if stage == "write":
                server.drop()

        done = run_here(config, checkpoint, Dying(config), tell=drop)
        assert (done.predictions, done.rejects) == (COUNT, 1)

        def refuse(stage: str) -> None:
            if stage == "write":
                server.refuse = True
                server.drop()

        config = config_of(inputs, f"{place}/other", **more)
        with pytest.raises(StorageError, match=r"sftp://tester@.*cannot be written .*Authentication failed"):
            run_here(config, checkpoint, Dying(config), tell=refuse)
        server.refuse = False
        # Its process would be gone by now, which could not give its lease back.
        (lease,) = (tmp_path / "served/place/other/state/lease").iterdir()
        lease.write_text(lease.read_text().replace('"given_back": false', '"given_back": true'))
        assert run_here(config, checkpoint, Dying(config)).is_whole


def presign(bucket: str, key: str, **keys: str) -> str:
    client = botocore.session.Session().create_client("s3", **keys)
    try:
        address: str = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, ExpiresIn=3600)
        return address
    finally:
        client.close()


def test_presigned_addresses_are_used_and_never_stored(inputs: Path, s3_bucket: str, tmp_path: Path) -> None:
    """A run of presigned URLs that stops goes on with the signatures that its listing has then; none is in any file."""
    bucket = s3_bucket.removeprefix("s3://")
    names = sorted(path.name for path in (inputs / "in").glob("0*.jpg"))
    for name in names:
        Folder(s3_bucket).write(f"in & out/+{name}", (inputs / "in" / name).read_bytes())
    listing = tmp_path / "list.txt"
    config = config_of(inputs, tmp_path / "run", **{"input.uris": str(listing)})
    checkpoint = resolve_checkpoint(config.checkpoint)

    wrong = {"aws_access_key_id": "another", "aws_secret_access_key": "one"}
    first = [presign(bucket, f"in & out/+{name}", **(wrong if name == names[-1] else {})) for name in names]
    listing.write_text("\n".join(first))
    with pytest.raises(RuntimeError, match="the power went"):
        run_here(config, checkpoint, Dying(config, fails_at=COUNT - 1))
    listing.write_text("\n".join(presign(bucket, f"in & out/+{name}") for name in names))
    done = run_here(config, checkpoint, Dying(config))
    assert (done.inputs, done.predictions, done.rejects) == (COUNT, COUNT, 0)
    run = pager_ray.open_run(tmp_path / "run")
    assert sorted(run.ids()) == sorted(f"%2B{Path(name).stem}" for name in names)
    assert list(verify_output(str(tmp_path / "run"), 1.0).problems) == []

    # What stands in the first listing by now is refused by the store, row by row.
    listing.write_text("\n".join(first))
    other = config_of(inputs, tmp_path / "other", **{"input.uris": str(listing)})
    done = run_here(other, checkpoint, Dying(other))
    assert (done.predictions, done.rejects_by_class) == (COUNT - 1, {"permission_denied": 1})
    for path in (path for run in ("run", "other") for path in (tmp_path / run).rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not [word for word in (b"Signature", b"X-Amz", b"AWSAccessKeyId") if word in content], path
