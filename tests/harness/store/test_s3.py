"""The S3 server that other tests stand on: it keeps what it acknowledged, and decides who was first."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.fs
import pytest
import s3fs

from tests.harness.proxy import FaultProxy
from tests.harness.s3 import WHY_NOT, S3Server, installed

ROUNDS, RACERS = 5, 8


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_objects_survive_a_kill(s3_server: S3Server, s3_bucket: str) -> None:
    """What a put has acknowledged is there after SIGKILL of every daemon and a restart, under the same URL."""
    fs = s3fs.S3FileSystem()
    contents = {f"{s3_bucket}/a/{number} +é.bin": os.urandom(number * 1000) for number in range(20)}
    contents[f"{s3_bucket}/large.bin"] = os.urandom(9 << 20)
    url = s3_server.url
    for path, data in contents.items():
        fs.pipe_file(path, data)
    pids = s3_server.pids
    s3_server.kill()
    assert len(pids) == 3
    assert not any(alive(pid) for pid in pids.values())

    # From a thread that ends, as in a test that restarts the server while a job runs: the daemons must outlive it.
    thread = threading.Thread(target=s3_server.restart)
    thread.start()
    thread.join()
    assert s3_server.url == url
    assert {path: fs.cat_file(path) for path in contents} == contents
    fs.invalidate_cache()
    assert sorted(f"s3://{path}" for path in fs.find(s3_bucket)) == sorted(contents)
    assert all(alive(pid) for pid in s3_server.pids.values())


def test_one_of_several_exclusive_puts_wins(s3_bucket: str) -> None:
    """Of puts with ``mode="create"`` at the same time exactly one succeeds, and its data are what is read."""
    fs = s3fs.S3FileSystem()

    def put(path: str, data: bytes) -> bool:
        try:
            fs.pipe_file(path, data, mode="create")
        except OSError as error:
            if "PreconditionFailed" not in repr(error.__cause__):
                raise
            return False
        return True

    with ThreadPoolExecutor(RACERS) as pool:
        for number in range(ROUNDS):
            path = f"{s3_bucket}/{number}"
            entries = [str(racer).encode() for racer in range(RACERS)]
            won = list(pool.map(put, [path] * RACERS, entries))
            assert won.count(True) == 1
            assert fs.cat_file(path) == entries[won.index(True)]
            assert not put(path, b"late")


def test_signatures_hold_through_the_proxy(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no faults the store accepts what s3fs and pyarrow signed for the proxy's URL, whatever the key."""
    keys = ["plain", "with space", "a+b", "é/ü 日本.jpg", "%41", "a=b&c?d#e", "quo'te\"s", "~.-_(1)"]
    with FaultProxy(s3_server.url) as proxy:
        fs = s3fs.S3FileSystem(endpoint_url=proxy.url)
        for key in keys:
            fs.pipe_file(f"{s3_bucket}/{key}", key.encode())
            assert fs.cat_file(f"{s3_bucket}/{key}", start=1) == key.encode()[1:]
        large = os.urandom(12 << 20)
        with fs.open(f"{s3_bucket}/large", "wb", block_size=5 << 20) as file:
            file.write(large)
        assert fs.cat_file(f"{s3_bucket}/large") == large
        found = {path.partition("/")[2] for path in fs.find(s3_bucket)}
        assert found == {*keys, "large"}

        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        arrow, root = pyarrow.fs.FileSystem.from_uri(s3_bucket)
        with arrow.open_input_file(f"{root}/large") as file:
            assert file.read() == large
        with arrow.open_output_stream(f"{root}/from arrow+") as file:
            file.write(large)
        fs.invalidate_cache()
        assert fs.cat_file(f"{s3_bucket}/from arrow+") == large
        fs.rm(s3_bucket + "/large")
        assert not fs.exists(s3_bucket + "/large")
        assert proxy.counts["requests"] > 4 * len(keys)


@pytest.mark.skipif(not installed(), reason=WHY_NOT)
def test_no_daemon_outlives_its_process(tmp_path: Path) -> None:
    """SIGKILL of the process that made a server ends all of its daemons."""
    program = (
        "import sys, time; from pathlib import Path; from tests.harness.s3 import S3Server\n"
        "server = S3Server(Path(sys.argv[1])); server.start()\n"
        "print(*server.pids.values(), flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path / "s3"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        pids = [int(word) for word in process.stdout.readline().split()]
        watched = [os.pidfd_open(pid) for pid in pids]
        assert len(pids) == 3
        assert all(alive(pid) for pid in pids)
        process.send_signal(signal.SIGKILL)
        process.wait()
    for descriptor in watched:
        with os.fdopen(descriptor) as file:
            assert select.select([file], [], [], 10)[0], "a daemon still runs"
