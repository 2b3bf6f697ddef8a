"""Apps and tenants through the one public port: registered, counted, refused, rotated, suspended, over both planes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.scenarios.admission import MASTER, PATIENCE, as_master, chat, config, counting_provider, sidecar_answers
from tests.support.gateway import RunningGateway, running_gateway

PLANS = [
    {
        "name": "community",
        "catalogs": ["ai_marketplace"],
        "limits": [
            {"metric": "requests", "window": "month", "limit": 1000},
            {"metric": "requests", "window": "minute", "limit": 4},
        ],
    },
    {
        "name": "app_developer",
        "tier": "DEVELOPER",
        "price": 49,
        "catalogs": ["ai_marketplace"],
        "limits": [{"metric": "requests", "window": "month", "limit": 50_000}],
        "features": ["ml_routing"],
    },
    {
        "name": "tiny",
        "price": 5,
        "catalogs": ["leanvibe"],
        "limits": [{"metric": "requests", "window": "month", "limit": 3}],
    },
    {
        "name": "team",
        "price": 200,
        "catalogs": ["leanvibe"],
        "limits": [{"metric": "requests", "window": "month", "limit": 100_000}],
        "benefits": ["100,000 API calls a month"],
    },
]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway with its sidecar, in front of a provider that answers at once."""
    async with counting_provider() as provider:
        provider.go.set()
        with running_gateway(config(provider, tmp_path / "data", plans=PLANS), tmp_path) as running:
            await sidecar_answers(running)
            yield running


async def ask(gateway: RunningGateway, secret: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway.root, timeout=PATIENCE) as client:
        return await client.get(path, headers={"authorization": f"Bearer {secret}"})


async def until(gateway: RunningGateway, secret: str, status: int) -> int:
    """Call the model until that is the answer, which must be soon; how often it was another one."""
    begun, others = time.monotonic(), 0
    while (answer := await chat(gateway, secret))[0] != status:
        assert time.monotonic() - begun < 5.0, answer
        others += 1
    return others


async def tenant(gateway: RunningGateway, plan: str) -> dict[str, Any]:
    return await as_master(
        gateway, "POST", "/v1/tenants", organization_name="Corp", slug="corp", plan=plan, admin_email="a@corp.example"
    )


async def registered(gateway: RunningGateway, **asked: str) -> tuple[str, str]:
    """The public id of a new app, and what it sends."""
    made = await as_master(gateway, "POST", "/v1/apps/register", name="App", **asked)
    return made["app"]["appId"], ":".join(made["credentials"][name] for name in ("appId", "secretKey"))


async def usage_of(gateway: RunningGateway, app_id: str, counted: int, *, of_models: int) -> dict[str, Any]:
    """An app's details once the worker has written its counts down and the ledger has its requests of models, which
    takes less than a second or two."""
    deadline = time.monotonic() + PATIENCE
    while True:
        app: dict[str, Any] = (await as_master(gateway, "GET", f"/v1/apps/{app_id}"))["app"]
        if (app["usage"]["requestsThisPeriod"], app["analytics"]["totalRequests"]) == (counted, of_models):
            return app
        assert time.monotonic() < deadline, app
        await asyncio.sleep(0.05)


async def test_an_app_is_counted_and_limited(gateway: RunningGateway) -> None:
    while True:
        minute = time.time() // 60
        try:
            return await _counted_and_limited(gateway)
        except AssertionError:
            if time.time() // 60 == minute:
                raise  # else the limit began anew in the midst of it


async def _counted_and_limited(gateway: RunningGateway) -> None:
    app_id, bearer = await registered(gateway, tier="COMMUNITY")
    for _ in range(3):
        assert (await chat(gateway, bearer))[0] == 200
    answer = await ask(gateway, bearer, f"/v1/apps/{app_id}")
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit"] == "4"
    assert (answer.headers["x-ratelimit-remaining"], answer.headers["x-ratelimit-period"]) == ("0", "minute")
    await usage_of(gateway, app_id, 4, of_models=3)
    refused = await ask(gateway, bearer, f"/v1/apps/{app_id}")
    body = refused.json()
    assert (refused.status_code, body["code"], body["error"]) == (429, "RATE_LIMIT_EXCEEDED", "Rate Limit Exceeded")
    assert (body["remainingRequests"], body["tier"]) == (0, "COMMUNITY")
    assert body["rateLimitReset"].endswith("Z")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await chat(gateway, bearer))[0] == 429
    # A refused request burns nothing.
    app = await usage_of(gateway, app_id, 4, of_models=3)
    assert app["usage"]["currentMonthUsage"]["requestsCount"] == app["analytics"]["successfulRequests"] == 3
    assert app["analytics"]["failedRequests"] == 0


async def test_a_rotated_secret_is_dead_within_a_second(gateway: RunningGateway) -> None:
    app_id, old = await registered(gateway, tier="DEVELOPER")
    assert (await chat(gateway, old))[0] == 200
    rotated = (await as_master(gateway, "POST", f"/v1/apps/{app_id}/keys"))["credentials"]
    answered = 1 + await until(gateway, old, 401)
    assert (await chat(gateway, f"{rotated['appId']}:{rotated['secretKey']}"))[0] == 200
    # The app keeps what it has used.
    await usage_of(gateway, app_id, answered + 1, of_models=answered + 1)


async def test_a_suspended_tenant_is_refused_at_both_planes_within_a_second(gateway: RunningGateway) -> None:
    made = await tenant(gateway, "team")
    _, bearer = await registered(gateway, organizationId=made["id"], tier="DEVELOPER")
    async with httpx.AsyncClient(base_url=gateway.root, timeout=PATIENCE) as client:
        asked = {"email": made["admin"]["email"], "password": made["admin"]["initial_password"]}
        owner = (await client.post("/v1/auth/login", json=asked)).json()["access_token"]
    for secret in (owner, bearer):
        assert (await chat(gateway, secret))[0] == 200
    await as_master(gateway, "POST", f"/v1/tenants/{made['id']}/suspend", reason="Payment overdue")
    for secret in (owner, bearer):
        await until(gateway, secret, 451)
    answer = await ask(gateway, owner, "/v1/tenants/me/info")
    assert (answer.status_code, answer.json()["error"]) == (451, "tenant_suspended")
    await as_master(gateway, "POST", f"/v1/tenants/{made['id']}/reactivate")
    for secret in (owner, bearer):
        await until(gateway, secret, 200)
    assert (await ask(gateway, owner, "/v1/tenants/me/info")).status_code == 200


async def test_a_used_up_quota_reads_as_documented(gateway: RunningGateway) -> None:
    made = await tenant(gateway, "tiny")
    async with httpx.AsyncClient(base_url=gateway.root, timeout=PATIENCE) as client:
        asked = {"email": made["admin"]["email"], "password": made["admin"]["initial_password"]}
        owner = (await client.post("/v1/auth/login", json=asked)).json()["access_token"]
    for _ in range(3):
        answer = await ask(gateway, owner, "/v1/tenants/me/quota-check/api_calls?amount=3")
        assert answer.status_code == 200
    refused = await ask(gateway, owner, "/v1/tenants/me/info")
    body = refused.json()
    assert (refused.status_code, body["error"]) == (429, "quota_exceeded")
    reset = body["details"].pop("reset_date")
    assert body["details"] == {"quota_type": "api_calls", "current_usage": 3, "quota_limit": 3}
    assert reset[8:] == "01T00:00:00Z"
    assert body["upgrade_options"][0]["plan"] == "team"
    assert body["upgrade_options"][0]["monthly_price"] == 20_000
    assert refused.headers["x-ratelimit-retry-after"] == refused.headers["retry-after"]
    assert MASTER not in refused.text


async def test_an_app_of_a_tier_with_ml_routing_is_told_what_to_call(gateway: RunningGateway) -> None:
    body = {"messages": [{"role": "user", "content": "Say hi"}], "metadata": {"appVersion": "1.2.0"}}
    _, without = await registered(gateway, tier="COMMUNITY")
    _, bearer = await registered(gateway, tier="DEVELOPER")
    async with httpx.AsyncClient(base_url=gateway.root, timeout=PATIENCE) as client:
        refused = await client.post("/v1/ml/route", json=body, headers={"authorization": f"Bearer {without}"})
        told = refused.json()
        assert (refused.status_code, told["code"]) == (403, "FEATURE_NOT_AVAILABLE")
        assert "COMMUNITY" in told["message"]
        answer = await client.post("/v1/ml/route", json=body, headers={"authorization": f"Bearer {bearer}"})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["meta"]["tier"] == "DEVELOPER"
        assert found["meta"]["remainingRequests"] == 49_999
        assert answer.headers["x-ratelimit-period"] == "month"
        wrong = await client.post("/v1/ml/route", json=body, headers={"authorization": f"Bearer {bearer}x"})
        assert wrong.status_code == 401
        # The ledger has the decision under the id that was told.
        deadline = time.monotonic() + PATIENCE
        path, headers = f"/api/v1/usage/{found['data']['requestId']}", {"authorization": f"Bearer {MASTER}"}
        while (entered := await client.get(path, headers=headers)).status_code == 404:
            assert time.monotonic() < deadline, gateway.log()
            await asyncio.sleep(0.05)
    assert entered.status_code == 200, entered.text
    assert float(entered.json()["data"]["estimated_cost"]) == 0.0
