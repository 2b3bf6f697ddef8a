"""Requests of these tests, and what the ledger has of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from tests.faults.kills.ledger import Entry, open_ledger
from tests.faults.kills.stand import command
from tests.support.gateway import RunningGateway
from tests.support.sidecar import MASTER

PATIENCE = 60.0
PROMPT, COMPLETION = 10, 11
"""Tokens of the whole answer."""
NANOS = 1_000
"""What a token costs."""
COST = (PROMPT + COMPLETION) * NANOS
BODY: dict[str, Any] = {"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "Tell it."}]}


class Asked(Struct):
    """What a client was told."""

    status: int
    code: str
    id: str
    headers: httpx.Headers


def configuration(upstream: str, data_dir: Path, **more: Any) -> dict[str, Any]:
    """One model, ``m``, at ``upstream``."""
    return {
        "server": {"port": 0, "drain": 5.0},
        "master_key": MASTER,
        "data_dir": str(data_dir),
        "providers": [{"name": "up", "base_url": upstream}],
        "models": [{"name": "m", "targets": [{"provider": "up", "model": "healthy"}]}],
        "pricing": [{"provider": "up", "model": "healthy", "input_per_1k": 0.001, "output_per_1k": 0.001}],
        "telemetry": {"access_log": False},
        **more,
    }


async def ask(gateway: RunningGateway, secret: str, **fields: Any) -> Asked:
    """One request over a connection of its own."""
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(base_url=gateway.root, headers=headers, timeout=PATIENCE) as client:
        answer = await client.post("/v1/chat/completions", json=BODY | fields)
    code = "" if answer.status_code == 200 else str(answer.json()["error"]["code"])
    return Asked(answer.status_code, code, answer.headers["x-request-id"], answer.headers)


async def until_told(gateway: RunningGateway, secret: str, status: int) -> Asked:
    """Ask again and again until the answer has a status."""
    deadline = time.monotonic() + PATIENCE
    while (asked := await ask(gateway, secret)).status != status:
        assert time.monotonic() < deadline, f"{asked} instead of {status}\n{gateway.log()}"
        await asyncio.sleep(0.05)
    return asked


async def until(found: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def ledger_of(config: Path, data_dir: Path) -> list[Entry]:
    """The ledger, once nothing is pending."""
    deadline = time.monotonic() + PATIENCE
    while True:
        code, output = await command("pending", config, "--json")
        if code == 0 and httpx.Response(200, text=output).json()["files"] == []:
            break
        assert time.monotonic() < deadline, output
        await asyncio.sleep(0.1)
    async with open_ledger(None, str(data_dir)) as ledger:
        return await ledger.entries()
