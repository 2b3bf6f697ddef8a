"""Loopback ports for programs that must be told theirs."""

from __future__ import annotations

import socket
import time

from benchmarks.child import Child, StartError


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def wait_listening(child: Child, port: int, timeout: float = 30.0) -> None:
    """Wait until something accepts on ``port``. Raises :class:`~benchmarks.child.StartError`."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            child.check()
        if time.monotonic() > deadline:
            raise StartError(f"nothing listens on port {port} after {timeout:g} s:\n{child.tail()}")
        time.sleep(0.01)
