"""A price that is corrected while processes die: it holds from before the first request on."""

from __future__ import annotations

import asyncio

import httpx

from tests.faults.kills.deployment import Deployment
from tests.faults.kills.judge import Prices
from tests.support.sidecar import MASTER

CORRECTED = {"steady": Prices(3_000, 12_000)}
AFTER = 1.5  # seconds


async def correct(deployment: Deployment) -> None:
    """Tell the price, again and again until somebody takes it."""
    await asyncio.sleep(AFTER)
    body = {
        "provider": "up",
        "model_id": "steady",
        "input_price_per_1k": 0.003,
        "output_price_per_1k": 0.012,
        "effective_date": "2020-01-01T00:00:00Z",
    }
    headers = {"authorization": f"Bearer {MASTER}"}
    async with httpx.AsyncClient(timeout=10, headers=headers) as client:
        while True:
            for root in deployment.roots():
                try:
                    answer = await client.post(f"{root}/api/v1/pricing", json=body)
                except httpx.TransportError:
                    continue
                if answer.status_code in (201, 409):  # 409: it was taken, and whoever took it died before telling
                    return
                assert answer.status_code >= 500, answer.text
            await asyncio.sleep(0.2)
