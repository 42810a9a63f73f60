"""Real servers of other stores than S3 on loopback: SFTP, FTP, Google's and Azure's object stores.

Each is a context manager that gives the URL of an empty place, and has fsspec's clients of this process reach it, as a
user's ``fsspec`` configuration or environment would.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.harness.ports import free_port

# gcsfs asks through gRPC what kind of bucket it is, which the emulator does not answer; read when it is imported.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

USER, PASSWORD = "tester", "no-secret-at-all"

AZURITE = "azurite-blob"
WHY_NO_AZURITE = "needs Azure's emulator: npm install --global azurite"
# Azurite's own, published account and key.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

START_SECONDS = 600


@contextlib.contextmanager
def configured(protocol: str, **options: Any) -> Iterator[None]:
    """Options of fsspec's client of a protocol, as a configuration file of fsspec gives them."""
    before = fsspec.config.conf.get(protocol)
    fsspec.config.conf[protocol] = options
    kind = fsspec.get_filesystem_class(protocol)
    kind.clear_instance_cache()
    try:
        yield
    finally:
        kind.clear_instance_cache()
        fsspec.config.conf.pop(protocol)
        if before is not None:
            fsspec.config.conf[protocol] = before


class SFTPServer:
    """An SSH server that serves a folder.

    Attributes:
        port: on loopback.
        refuse: whether logins are refused from now on.
    """

    def __init__(self, folder: Path) -> None:
        import paramiko

        self.folder = folder
        self.refuse = False
        self._key = paramiko.ECDSAKey.generate()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._transports: list[Any] = []
        self._thread = threading.Thread(target=self._accept, name="sftp", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        import paramiko

        from tests.harness.sftp_files import SERVED, Login

        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self._key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, SERVED, self.folder)
            self._transports.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(event=threading.Event(), server=Login(self))

    def drop(self) -> None:
        """Close every connection that there is; new ones are taken."""
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def close(self) -> None:
        """Serve no more."""
        # Wakes the thread that accepts; a server is closed once more when its test ends.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        self.drop()


@contextlib.contextmanager
def sftp(folder: Path) -> Iterator[tuple[str, SFTPServer]]:
    """A server of SFTP, and the URL of a folder on it."""
    (folder / "place").mkdir(parents=True)
    server = SFTPServer(folder)
    try:
        with configured("sftp", password=PASSWORD, look_for_keys=False, allow_agent=False):
            yield f"sftp://{USER}@127.0.0.1:{server.port}/place", server
    finally:
        server.close()


@contextlib.contextmanager
def ftp(folder: Path) -> Iterator[str]:
    """A server of FTP, and the URL of a folder on it."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    (folder / "place").mkdir(parents=True)
    rights = DummyAuthorizer()
    rights.add_user(USER, PASSWORD, str(folder), perm="elradfmwMT")
    handler = type("Handler", (FTPHandler,), {"authorizer": rights})
    server = ThreadedFTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"handle_exit": False}, name="ftp", daemon=True)
    thread.start()
    try:
        with configured("ftp", password=PASSWORD):
            yield f"ftp://{USER}@127.0.0.1:{server.address[1]}/place"
    finally:
        server.close_all()
        thread.join()


@contextlib.contextmanager
def gcs(port: int | None = None) -> Iterator[tuple[str, str]]:
    """Google's object store, emulated: the URL of a bucket, and the address of the server."""
    from gcp_storage_emulator.server import create_server

    port = port or free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        address = f"http://127.0.0.1:{port}"
        with configured("gs", token="anon", endpoint_url=address):
            yield "gs://bucket/place", address
    finally:
        server.stop()


@contextlib.contextmanager
def azure(folder: Path, protocol: str = "az") -> Iterator[tuple[str, str]]:
    """Azure's object store, emulated: the URL of a container, and the address of the server.

    Args:
        protocol: ``az``, or ``abfs``, whose URLs name the account.
    """
    port = free_port()
    command = [AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    process = subprocess.Popen([*command, "--skipApiVersionCheck"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "Azurite ended while it started"
            assert time.monotonic() < deadline, "Azurite does not answer"
            time.sleep(0.05)
        address = f"http://127.0.0.1:{port}"
        with configured(protocol, connection_string=connection_string(address)):
            fsspec.filesystem(protocol).mkdir("container")
            host = f"@{ACCOUNT}.dfs.core.windows.net" if protocol == "abfs" else ""
            yield f"{protocol}://container{host}/place", address
    finally:
        # It waits for its clients' connections before it ends by itself.
        process.kill()
        process.wait()


@contextlib.contextmanager
def served(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a place on a server of a kind; the test that asks for one that is not installed skips."""
    if kind in ("az", "abfs") and not has_azurite():
        pytest.skip(WHY_NO_AZURITE)
    with contextlib.ExitStack() as stack:
        if kind == "ftp":
            yield stack.enter_context(ftp(folder))
        elif kind == "sftp":
            yield stack.enter_context(sftp(folder))[0]
        else:
            yield stack.enter_context(gcs() if kind == "gs" else azure(folder, kind))[0]


def connection_string(address: str) -> str:
    """How Azure's clients are told of an account at an address."""
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={address}/{ACCOUNT};"


def has_azurite() -> bool:
    """Whether Azure's emulator is installed."""
    return shutil.which(AZURITE) is not None


def below(folder: Path, path: str) -> str:
    """A served path as one of this machine."""
    return os.path.join(folder, os.path.normpath(f"/{path}").lstrip("/"))
