"""``gateway.yaml`` of the gateways of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.kills.judge import Prices
from tests.faults.kills.traffic import KEY
from tests.support.sidecar import MASTER

SEGMENT_BYTES = 40_000
WORKERS = 2
DETAIL_DAYS = 1
PRICE = Prices(2_000, 8_000)
MODELS = ("steady", "flaky", "mute", "cutting")


def gateway_config(upstream: str, **more: Any) -> dict[str, Any]:
    """What every gateway of a run is configured with."""
    provider = {"kind": "openai", "base_url": upstream, "api_key": "sk-up", "breaker": {"failures": 100_000}}

    def model(name: str, at_provider: str, **rest: Any) -> dict[str, Any]:
        return {"name": name, "targets": [{"provider": "up", "model": at_provider}], **rest}

    return {
        "server": {"port": 0, "workers": WORKERS, "drain": 5.0},
        "master_key": MASTER,
        "data_dir": "data",
        "providers": [{"name": "up", **provider, "retry": {"attempts": 2, "backoff": 0.01}}],
        "models": [
            model("good", "steady"),
            model("again", "flaky"),
            model("spare", "down", fallbacks=["good"]),
            model("bad", "picky"),
            model("mute", "mute"),
            model("cut", "cutting"),
        ],
        "pricing": [
            {"provider": "up", "model": name, "input_per_1k": 0.002, "output_per_1k": 0.008} for name in MODELS
        ],
        "keys": [{"key": KEY, "name": "static"}],
        "plugins": [
            {"name": "request_tags"},
            {
                "name": "segments",
                "path": str(Path(__file__).with_name("segments.py")),
                "with": {"bytes": SEGMENT_BYTES},
            },
        ],
        "usage": {"detail_days": DETAIL_DAYS},
        "telemetry": {"access_log": False},
        **more,
    }
