"""Portkey's gateway as its npm package starts it: it has no keys and no limits to check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import tools
from benchmarks.child import running
from benchmarks.peers.base import Peer
from benchmarks.peers.ports import free_ports, wait_listening


@contextmanager
def start(folder: Path, upstream: str) -> Iterator[Peer]:
    """Install Portkey on first use and run it in front of ``upstream``."""
    tools.install("portkey")
    folder.mkdir()
    (port,) = free_ports(1)
    script = tools.CACHE / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    env = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"}
    with running([tools.find("node"), str(script), f"--port={port}", "--headless"], folder / "output", env) as child:
        wait_listening(child, port)
        headers = {
            "Authorization": "Bearer sk-mock",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{upstream}/v1",
        }
        yield Peer("portkey", f"http://127.0.0.1:{port}", child, headers)
