"""Portkey's gateway as its npm package starts it: it has no keys and no limits to check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import tools
from benchmarks.child import running
from benchmarks.peers.base import Peer
from benchmarks.peers.ports import free_ports, wait_listening

PACKAGE = tools.CACHE / "portkey/node_modules/@portkey-ai/gateway"


def version() -> str:
    """Portkey's version, installing it on first use."""
    tools.install("portkey")
    return str(json.loads((PACKAGE / "package.json").read_text())["version"])


@contextmanager
def start(folder: Path, upstream: str) -> Iterator[Peer]:
    """Run Portkey in front of ``upstream``."""
    folder.mkdir()
    (port,) = free_ports(1)
    script = PACKAGE / "build/start-server.js"
    env = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"}
    with running([tools.find("node"), str(script), f"--port={port}", "--headless"], folder / "output", env) as child:
        wait_listening(child, port)
        headers = {
            "Authorization": "Bearer sk-mock",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{upstream}/v1",
        }
        yield Peer("portkey", f"http://127.0.0.1:{port}", child, headers)
