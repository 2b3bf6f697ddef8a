"""Limits on requests that reach no model: counted, told in headers, refused in the owner's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gateway.dataplane.forward import Forward
from gateway.dataplane.gate import Limits, upgrades
from gateway.kernel.errors import LimitDetails
from gateway.kernel.money import to_nanos
from gateway.settings.model import Key, Limit, Plan, Settings
from tests.support.worker import MASTER, RunningWorker, running_worker

KEY = "gw_test_counted"
PLANS = (
    Plan(name="small", limits=(Limit(metric="requests", limit=2, window="month"),)),
    Plan(
        name="large", price=20.0, limits=(Limit(metric="requests", limit=5000, window="month"),), features=("support",)
    ),
    Plan(name="yearly", price=120.0, interval="year"),
)


@asynccontextmanager
async def forwarding(directory: Path, *limits: Limit, plan: str | None = None) -> AsyncIterator[RunningWorker]:
    """A worker whose sidecar answers everything with ``{}``."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await reader.readline()) not in (b"", b"\r\n"):
            while await reader.readline() not in (b"", b"\r\n"):
                pass
            assert head
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_unix_server(answer, directory / "sidecar.sock")
    settings = Settings(
        data_dir=str(directory), plans=PLANS, keys=(Key(key=KEY, name="counted", limits=limits, plan=plan),)
    )
    async with running_worker(settings, directory) as running:
        running.worker.forward = Forward(running.worker, f"unix:{directory / 'sidecar.sock'}")
        running.worker.forward.gate = Limits(running.worker)
        try:
            yield running
        finally:
            running.worker.forward.close()
            server.close()


def client_of(running: RunningWorker, key: str | None) -> httpx.AsyncClient:
    host, port = running.address
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=f"http://{host}:{port}", headers=headers)


async def test_a_credential_in_the_query_of_a_stream_is_counted(tmp_path: Path) -> None:
    async with forwarding(tmp_path, Limit(metric="requests", limit=2, window="hour")) as running:
        async with client_of(running, None) as client:
            answer = await client.get("/v1/stream", params={"token": KEY})
            assert answer.headers["x-ratelimit-remaining"] == "1"
            for path, token in (("/v1/stream", "gw_test_unknown"), ("/user/balance", KEY), ("/v1/stream", "")):
                assert "x-ratelimit-remaining" not in (await client.get(path, params={"token": token})).headers
        async with client_of(running, KEY) as client:
            # As the sidecar takes it: a header comes before the query.
            answer = await client.get("/v1/stream?token=gw_test_unknown")
            assert answer.headers["x-ratelimit-remaining"] == "0"
            assert (await client.get("/v1/stream?a=b")).status_code == 429


async def test_a_request_is_counted_and_told_what_is_left(tmp_path: Path) -> None:
    limits = (Limit(metric="requests", limit=3, window="hour"), Limit(metric="ai_requests", limit=1, window="hour"))
    async with forwarding(tmp_path, *limits) as running, client_of(running, KEY) as client:
        for left in (2, 1, 0):
            answer = await client.get("/v1/tenants/me/info")
            assert answer.status_code == 200
            assert answer.headers["x-ratelimit-limit"] == "3"
            assert answer.headers["x-ratelimit-remaining"] == str(left)
            assert answer.headers["x-ratelimit-period"] == "hour"
        answer = await client.get("/user/balance")
        assert answer.status_code == 429
        assert answer.headers["x-ratelimit-remaining"] == "0"
        assert int(answer.headers["retry-after"]) > 0
        assert "Rate limit reached" in answer.json()["detail"], "in Gatewayz' envelope"
        assert running.used("ai_requests", "counted") == 0, "no model was asked"


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", KEY), ("api-key", "gw_test_nobody")],
        [("api-key", "gw_test_nobody"), ("x-api-key", KEY)],
        [("x-api-key", KEY), ("x-api-key", "gw_test_nobody")],
        [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer gw_test_nobody")],
    ],
)
async def test_the_credential_that_counts_is_the_one_the_sidecar_takes(
    tmp_path: Path, headers: list[tuple[str, str]]
) -> None:
    limits = (Limit(metric="requests", limit=1, window="hour"),)
    async with forwarding(tmp_path, *limits) as running, client_of(running, None) as client:
        assert (await client.get("/user/balance", headers=headers)).headers["x-ratelimit-remaining"] == "0"
        assert (await client.get("/user/balance", headers=headers)).status_code == 429
        answer = await client.post("/v1/chat/completions", headers=headers, json={"model": "m"})
        assert answer.status_code != 401, "the same one everywhere"


async def test_a_used_up_plan_names_those_that_allow_more(tmp_path: Path) -> None:
    async with forwarding(tmp_path, plan="small") as running, client_of(running, KEY) as client:
        for _ in range(2):
            await client.get("/v1/tenants/me/info")
        answer = await client.get("/v1/tenants/me/info")
        assert answer.status_code == 429
        body = answer.json()
        assert body["error"] == "quota_exceeded"
        assert body["details"]["quota_limit"] == 2
        assert [option["plan"] for option in body["upgrade_options"]] == ["yearly", "large"]
        assert [option["monthly_price"] for option in body["upgrade_options"]] == [1000, 2000]


@pytest.mark.parametrize("key", [None, "gw_test_nobody", MASTER])
async def test_who_is_not_limited_here_passes(tmp_path: Path, key: str | None) -> None:
    async with forwarding(tmp_path, Limit(metric="requests", limit=0, window="hour")) as running:
        async with client_of(running, key) as client:
            answer = await client.get("/user/balance")
        assert answer.status_code == 200
        assert "x-ratelimit-limit" not in answer.headers


async def test_what_is_refused_elsewhere_is_given_back(tmp_path: Path) -> None:
    limits = (Limit(metric="requests", limit=100, window="hour"), Limit(metric="requests", limit=0, window="minute"))
    async with forwarding(tmp_path, *limits) as running, client_of(running, KEY) as client:
        assert (await client.get("/user/balance")).status_code == 429
        assert running.used("requests", "counted") == 0


def test_upgrades_are_the_plans_with_more_of_it() -> None:
    details = LimitDetails("requests", "key", "k", 2, 2, 0, "month", None, "small", "plan")
    found = upgrades(details, list(PLANS))
    assert [upgrade.plan for upgrade in found] == ["yearly", "large"]
    assert found[0].price == pytest.approx(to_nanos(10), rel=0.001)
    assert found[1].benefits == ("requests per month: 5,000", "support")
    assert upgrades(LimitDetails("tokens", "key", "k", 2, 2, 0, "month", None, "yearly", "plan"), [PLANS[2]]) == ()


def test_upgrades_are_of_a_list_that_shows_the_callers_plan() -> None:
    limits = (Limit(metric="requests", limit=9, window="month"),)
    plans = [
        Plan(name="app", catalogs=("ai_marketplace",)),
        Plan(name="app_more", tier="MORE", price=5, catalogs=("ai_marketplace", "leanvibe"), limits=limits),
        Plan(name="tenant_more", price=1, catalogs=("leanvibe",), limits=limits, benefits=("Peace",)),
        Plan(name="of_all", price=2, limits=limits),
    ]

    def offered(plan: str) -> list[tuple[str, str | None, tuple[str, ...]]]:
        details = LimitDetails("requests", "key", "k", 2, 2, 0, "month", None, plan, "plan")
        return [(upgrade.plan, upgrade.tier, upgrade.benefits) for upgrade in upgrades(details, plans)]

    counted = ("requests per month: 9",)
    assert offered("app") == [("of_all", None, counted), ("app_more", "MORE", counted)]
    assert offered("of_all") == [("tenant_more", None, ("Peace",)), ("app_more", "MORE", counted)]
