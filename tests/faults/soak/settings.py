"""The gateway of a soak: each fault alone and with another target behind it, and a model of each special kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.upstream.registry import every

KEY = "gw_live_soak_0123456789"
IDLE = 0.5
"""Seconds an unused connection to a provider is kept, so that none is left soon after the load."""
RELAYED = "message-"
"""How the models begin that speak Messages, and are asked for streams in it."""
HEAVY = frozenset(("huge-event", "endless-event"))
"""Faults of many megabytes."""


def models() -> list[dict[str, Any]]:
    """``alone-<fault>``, ``with-<fault>``, ``message-<fault>`` of those that break streams, and the strategies over a
    mixture of faults.
    """
    made: list[dict[str, Any]] = []
    for name, fault in every().items():
        own = {"provider": "up", "model": name}
        spare = {"provider": "spare", "model": "healthy", "prefill": "message"}
        made.append({"name": f"alone-{name}", "targets": [own]})
        made.append({"name": f"with-{name}", "targets": [own, spare], "stream_recovery": "restart"})
        if fault.family == "streams":
            targets = [own | {"provider": "up-messages"}, spare]
            made.append({"name": f"{RELAYED}{name}", "targets": targets})
    mixed = [{"provider": "up", "model": name} for name in ("healthy", "steady", "slow-first-token", "stream-cut")]
    made.append({"name": "weighted", "strategy": "weighted", "targets": mixed})
    made.append({"name": "quickest", "strategy": "least_latency", "targets": mixed})
    made.append({"name": "hedged", "targets": mixed[2:], "hedge": {"after": 0.05, "share": 1.0, "spend": 1.0}})
    made.append({"name": "falls-back", "targets": [{"provider": "up", "model": "503"}], "fallbacks": ["weighted"]})
    shadow = {"model": "with-stream-cut", "share": 1.0, "budget": 1_000.0, "concurrency": 4}
    made.append({"name": "mirrored", "targets": mixed[:1], "shadow": shadow})
    return made


def configuration(up: str, spare: str, census: Path) -> dict[str, Any]:
    """``gateway.yaml``."""
    shared: dict[str, Any] = {
        "timeouts": {"connect": 2, "first_token": 0.4, "stall": 0.4, "total": 10},
        "retry": {"attempts": 2, "backoff": 0.02},
        "breaker": {"failures": 20, "cooldown": 0.5, "wait": 0.3},
        "connections": {"idle": IDLE, "max": 64, "queue": 64},
    }
    limits = [
        {"metric": "requests", "window": "day", "limit": 10_000_000},
        {"metric": "tokens", "window": "day", "limit": 10_000_000_000},
        {"metric": "cost", "window": "day", "limit": 1_000_000.0},
        {"metric": "concurrency", "limit": 1_000},
    ]
    served = {target["model"] for model in models() for target in model["targets"]} | {"healthy"}
    prices = [
        {"provider": provider, "model": name, "input_per_1k": 0.001, "output_per_1k": 0.002}
        for provider in ("up", "spare", "up-messages")
        for name in sorted(served)
    ]
    return {
        "server": {"port": 0, "drain": 5.0, "request_timeout": 15.0},
        "data_dir": "data",
        "providers": [
            {"name": "up", "base_url": up, **shared},
            {"name": "spare", "base_url": spare, **shared},
            {"name": "up-messages", "kind": "anthropic", "base_url": up, "api_key": "sk-up", **shared},
        ],
        "models": models(),
        "pricing": prices,
        "keys": [{"key": KEY, "name": "soak", "limits": limits}],
        "plugins": [
            {
                "name": "census",
                "path": f"{Path(__file__).with_name('census.py')}:Census",
                "with": {"file": str(census)},
            }
        ],
        "telemetry": {"access_log": False},
    }
