"""Redis is stopped and comes back, with its memory or without: leases are spent, no limit is passed, nothing lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.budgets.service import BudgetService
from tests.faults.offline.asking import COST, Asked, ask, configuration, ledger_of, until, until_told
from tests.faults.upstream.provider import faulty_provider
from tests.support.gateway import running_gateway
from tests.support.redis_server import running_redis
from tests.support.sidecar_accounts import accounts

AFFORDED = 60
SPARE = 20_000  # nano-dollars, see test_sidecar_away
BEFORE = 10


@pytest.mark.parametrize("keeps", [True, False], ids=["keeps", "forgets"])
async def test_leases_are_spent_and_everything_adds_up(tmp_path: Path, keeps: bool) -> None:
    with running_redis(keeps=keeps) as redis:
        async with faulty_provider() as provider:
            config = configuration(provider.base_url, tmp_path / "data", redis_url=redis.url)
            config["server"]["workers"] = 2
            with running_gateway(config, tmp_path) as gateway:
                await until_told(gateway, "gw_nobody", 401)  # the sidecar answers
                async with accounts(str(tmp_path / "data")) as made:
                    id, secret = await made.create_key()
                    async with made.works.begin(SYSTEM) as work:
                        await BudgetService(work).set("key", id, AFFORDED * COST + SPARE, "total")
                    _, unused = await made.create_key()
                await until(lambda: gateway.log().count("changes are heard") >= 2, "the feed of changes")
                # Asked again where a busy machine's Redis was late: nothing is taken for a refusal.
                served: list[Asked] = [await until_told(gateway, secret, 200) for _ in range(BEFORE)]
                await asyncio.to_thread(redis.stop)
                while (asked := await ask(gateway, secret)).status == 200:
                    served.append(asked)
                assert (asked.status, asked.code) == (503, "limits_unavailable")
                assert asked.headers["retry-after"] == "1"
                assert (await ask(gateway, unused)).status == 200, "a key that nothing limits needs no lease"
                assert (await ask(gateway, "gw_live_made_up")).status == 401, "the sidecar knows that it is nobody's"
                await asyncio.to_thread(redis.start)
                served.append(await until_told(gateway, secret, 200))
                while (asked := await ask(gateway, secret)).status != 429:
                    if asked.status == 200:
                        served.append(asked)
                assert asked.code == "insufficient_quota"
                assert len(served) == AFFORDED
                entries = await ledger_of(tmp_path / "gateway.yaml", tmp_path / "data")
            ids = [entry.id for entry in entries if entry.cost_nanos]
            assert len(set(ids)) == len(ids) == len(provider.calls)
            assert {asked.id for asked in served} <= set(ids)
            assert sum(entry.cost_nanos or 0 for entry in entries) == (AFFORDED + 1) * COST
