"""What is measured: each peer stands between the load and the mock upstream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.peers import litellm, portkey
from benchmarks.peers.base import Peer

OPTIONAL: dict[str, Callable[[Path, str], AbstractContextManager[Peer]]] = {
    "portkey": portkey.start,
    "litellm": litellm.start,
}
"""Peers measured only when asked for, by the name of their flag."""
