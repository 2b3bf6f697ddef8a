"""A price that is corrected while processes die: it holds from before the first request on."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
from sqlalchemy.exc import DBAPIError

from gateway.kernel.errors import GatewayError
from tests.faults.kills.deployment import Deployment
from tests.faults.kills.judge import Prices
from tests.faults.kills.ledger import open_ledger
from tests.support.sidecar import MASTER

CORRECTED = {"steady": Prices(3_000, 12_000)}
ENTERED = 20
"""How much was entered at the wrong price by then, at least."""


async def _entered(deployment: Deployment) -> None:
    """Wait until something stands in the ledger that is to be corrected."""
    while True:
        with contextlib.suppress(DBAPIError, GatewayError):  # there are no tables yet
            async with open_ledger(deployment.database_url, deployment.data_dir) as ledger:
                if sum([await ledger.count_of(model) for model in CORRECTED]) >= ENTERED:
                    return
        await asyncio.sleep(0.2)


async def correct(deployment: Deployment) -> None:
    """Tell the price, again and again until somebody takes it."""
    await _entered(deployment)
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
