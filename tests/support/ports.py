"""Ports that nobody else gets between their choice and their use."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 10_000


def free_port() -> int:
    """A port that nobody listens on, outside of the range that the kernel takes ports from by itself.

    One that the kernel gave out and took back is given to the next who asks, or connects from it, at any time.
    """
    first_given, last_given = (int(word) for word in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ours: list[int] = [*range(_LOWEST, first_given), *range(last_given + 1, 65_536)]
    while True:
        port: int = random.SystemRandom().choice(ours)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
