"""LiteLLM's proxy with a master key and one model: no database, so no keys of users and no limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks import payloads, tools
from benchmarks.child import running
from benchmarks.peers.base import Peer
from benchmarks.peers.ports import free_ports, wait_listening

KEY = "sk-benchmark"
VENV = tools.CACHE / "litellm"


def version() -> str:
    """LiteLLM's version, installing it on first use."""
    tools.install("litellm")
    found = next(VENV.glob("lib/python*/site-packages/litellm-*.dist-info"))
    return found.name.removeprefix("litellm-").removesuffix(".dist-info")


@contextmanager
def start(folder: Path, upstream: str) -> Iterator[Peer]:
    """Run LiteLLM in front of ``upstream``."""
    folder.mkdir()
    (port,) = free_ports(1)
    target = {"model": "openai/mock-chat", "api_base": f"{upstream}/v1", "api_key": "sk-mock"}
    models = [{"model_name": payloads.MODEL, "litellm_params": target}]
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"model_list": models, "general_settings": {"master_key": KEY}}))
    command = [str(VENV / "bin/litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with running(command, folder / "output", env) as child:
        wait_listening(child, port, timeout=120)
        yield Peer("litellm", f"http://127.0.0.1:{port}", child, {"Authorization": f"Bearer {KEY}"})
