"""Where the sidecar listens: a Unix socket only its user can reach, and TCP if that is configured."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

BACKLOG = 512


class SocketError(Exception):
    """The address cannot be listened on; the message says which and why."""


class UnixListener:
    """A listening Unix socket, and a lock beside it that one process at a time holds: a crash frees it."""

    def __init__(self, path: str) -> None:
        """Listen at ``path``. Raises :class:`SocketError`, also where another process listens there."""
        self.path = Path(path)
        try:
            self._lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self.socket = self._listen()
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            raise SocketError(f"{path}: {error.strerror or error}") from None

    def _listen(self) -> socket.socket:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SocketError(f"another sidecar is already listening on {self.path}") from None
        if self.path.exists() and not self.path.is_socket():
            raise SocketError(f"{self.path} exists and is not a socket")
        self.path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o077)
        try:
            listening.bind(str(self.path))
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(before)
        return _ready(listening)

    def close(self) -> None:
        """Stop listening; the socket's file goes before the next process may make its own."""
        self.path.unlink(missing_ok=True)
        self.socket.close()
        os.close(self._lock)


def listen_tcp(where: str) -> list[socket.socket]:
    """Listen on every address of ``host:port``; port 0 takes a free one. Raises :class:`SocketError`."""
    host, _, port = where.rpartition(":")
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys((item[0], item[4]) for item in found):
            listening = socket.socket(family, socket.SOCK_STREAM)
            made.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            _ready(listening)
    except (OSError, OverflowError) as error:
        for item in made:
            item.close()
        raise SocketError(f"sidecar.listen {where}: {getattr(error, 'strerror', None) or error}") from None
    return made


def _ready(listening: socket.socket) -> socket.socket:
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening
