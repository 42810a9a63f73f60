"""What an SFTP server of tests lets in, and how it serves a folder: as OpenSSH does, renames onto nothing alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko

from tests.harness import stores


class Login(paramiko.ServerInterface):
    """Who may come in: the one user, while the server takes logins."""

    def __init__(self, server: stores.SFTPServer) -> None:
        self._server = server

    def check_auth_password(self, username: str, password: str) -> int:
        known = (username, password) == (stores.USER, stores.PASSWORD) and not self._server.refuse
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Handle(paramiko.SFTPHandle):
    def __init__(self, file: Any, flags: int) -> None:
        super().__init__(flags)
        self.readfile = self.writefile = file

    def stat(self) -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class SERVED(paramiko.SFTPServerInterface):
    """A folder of this machine."""

    def __init__(self, login: Login, folder: Path) -> None:
        super().__init__(login)
        self._folder = folder

    def _try(self, call: Callable[..., Any], *paths: str) -> int:
        try:
            call(*(stores.below(self._folder, path) for path in paths))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or errno.EIO)
        return paramiko.SFTP_OK

    def list_folder(self, path: str) -> Any:
        found = []
        try:
            for entry in os.scandir(stores.below(self._folder, path)):
                try:
                    found.append(paramiko.SFTPAttributes.from_stat(entry.stat(), entry.name))
                except FileNotFoundError:
                    continue
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or errno.EIO)
        return found

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(stores.below(self._folder, path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or errno.EIO)

    lstat = stat

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> Any:
        try:
            descriptor = os.open(stores.below(self._folder, path), flags, 0o666)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or errno.EIO)
        mode = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        return _Handle(os.fdopen(descriptor, mode, buffering=0), flags)

    def remove(self, path: str) -> int:
        return self._try(os.remove, path)

    def rename(self, oldpath: str, newpath: str) -> int:
        def move(old: str, new: str) -> None:
            os.link(old, new)
            os.unlink(old)

        return self._try(move, oldpath, newpath)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return self._try(os.replace, oldpath, newpath)

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return self._try(os.mkdir, path)

    def rmdir(self, path: str) -> int:
        return self._try(os.rmdir, path)
