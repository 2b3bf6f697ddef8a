"""What is measured: each peer stands between the load and the mock upstream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import litellm, plain, portkey
from benchmarks.peers.base import Peer


class Optional(NamedTuple):
    """How a peer is started, in a folder and in front of an upstream, and how its version is told."""

    start: Callable[[Path, str], AbstractContextManager[Peer]]
    version: Callable[[], str]


OPTIONAL = {
    "plain": Optional(plain.start, plain.version),
    "portkey": Optional(portkey.start, portkey.version),
    "litellm": Optional(litellm.start, litellm.version),
}
"""Peers measured only when asked for, by the name of their flag."""
