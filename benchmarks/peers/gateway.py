"""The gateway as it is meant to run: keys, limits, a plugin, metrics, access log and usage events all on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks import payloads
from benchmarks.child import running
from benchmarks.peers.base import Peer

KEY = "gw_test_benchmark00000000000000000000"
PLENTY = 1_000_000_000_000
"""A limit that is counted and checked but never reached."""


def settings(upstream: str, data_dir: Path, models: Sequence[str] = ()) -> dict[str, Any]:
    """The ``gateway.yaml`` of the benchmark; ``models`` are served by upstream models of the same name."""
    limits = [
        {"metric": "requests", "limit": PLENTY, "window": "minute"},
        {"metric": "tokens", "limit": PLENTY, "window": "day"},
        {"metric": "concurrency", "limit": 100_000},
    ]
    connections = {"max": 20_000, "queue": 20_000, "keep": 512}
    provider = {"name": "mock", "base_url": f"{upstream}/v1", "api_key": "sk-mock", "connections": connections}
    names = {payloads.MODEL: "mock-chat", **{name: name for name in models}}
    served = [{"name": name, "targets": [{"provider": "mock", "model": target}]} for name, target in names.items()]
    key = {"key": KEY, "name": "bench", "organization": "bench", "plan": "bench", "limits": limits}
    return {
        "server": {"host": "127.0.0.1", "port": 0, "workers": 1, "drain": 2},
        "master_key": "gw_test_benchmark_master_key",
        "data_dir": str(data_dir),
        "providers": [provider],
        "models": served,
        "plans": [{"name": "bench", "limits": limits}],
        "keys": [key],
        "pricing": [{"provider": "mock", "model": "mock-chat", "input_per_1k": 0.00015, "output_per_1k": 0.0006}],
        "plugins": [{"name": "noop"}],
    }


def write_config(folder: Path, upstream: str, models: Sequence[str] = ()) -> Path:
    """Write the configuration below ``folder`` and tell where."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump(settings(upstream, folder / "data", models), sort_keys=False))
    return config


@contextmanager
def start(folder: Path, upstream: str, command: Sequence[str], models: Sequence[str] = ()) -> Iterator[Peer]:
    """Run ``COMMAND proxy`` in front of ``upstream``; ready when it says so."""
    config = write_config(folder, upstream, models)
    full = [*command, "proxy", "--config", str(config), "--json"]
    with running(full, folder / "output") as child:
        url = str(child.wait_ready()["url"]).rstrip("/").removesuffix("/v1")
        yield Peer("gateway", url, child, {"Authorization": f"Bearer {KEY}"})
