"""Activity, transactions and the ranking, over what the ledger holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.dialects.gatewayz.ranking import short
from gateway.domain.ledger.entering import enter
from gateway.domain.ledger.ingest import row_of
from gateway.domain.ledger.rating import NoPrices
from tests.dialects.conftest import Api, Person
from tests.dialects.shape import example, same_shape
from tests.support.usage import usage_event

LOG, HISTORY, STATS = "/activity/log", "/activity/history", "/activity/stats"
TRANSACTIONS, RANKING = "/admin/transaction-analytics", "/ranking/models"


async def logged(person: Person, event_type: str = "api_call", **data: Any) -> str:
    """Log an event; gives its id."""
    answer = await person.http.post(LOG, json={"event_type": event_type, "event_data": data})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["activity_id"])


async def told(http: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    """An answer that succeeded."""
    answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body["success"] is True
    return body


async def through_gateway(api: Api, person: Person, **changes: Any) -> None:
    """Enter a request that went through the gateway, of 129 tokens, a tenth of a dollar."""
    given: dict[str, Any] = {
        "organization": person.organization, "user": person.id, "provider": "openai", "model": "gpt-4",
        "target": "gpt-4", "cost_nanos": 100_000_000, "started_ns": 0,
    } | changes  # fmt: skip
    at = int(datetime.now(UTC).timestamp() * 1e9) - given.pop("started_ns")
    event = usage_event(**given, started_ns=at, first_token_ns=at + 1, ended_ns=at + 2)
    row = row_of(event, NoPrices(), at) | {"cost_nanos": event.cost_nanos}
    async with api.sidecar.store.writing() as session:
        await enter(session, [row])


async def test_documented_examples(every_api: Api) -> None:
    user = await every_api.person(role="owner")
    request, response = example("gatewayz", "POST", LOG)
    answer = await user.http.post(LOG, json=request)
    same_shape(response, answer.json())
    body = await told(user.http, HISTORY)
    same_shape(example("gatewayz", "GET", HISTORY).response, body)
    assert (body["total"], body["limit"], body["offset"]) == (1, 50, 0)
    assert body["data"][0]["id"] == answer.json()["activity_id"]
    assert body["data"][0]["event_type"] == "api_call"
    assert body["data"][0]["event_data"] == request["event_data"]
    assert body["data"][0]["timestamp"] == answer.json()["timestamp"]
    stats = await told(user.http, STATS)
    same_shape(example("gatewayz", "GET", STATS).response, stats, free={"statistics.by_model"})
    day = datetime.now(UTC).date().isoformat()
    assert stats["statistics"] == {
        "total_requests": 1, "total_tokens": 100, "total_cost": 0.01, "average_tokens_per_request": 100,
        "by_model": {"openai/gpt-4": 1}, "by_day": [{"date": day, "requests": 1, "tokens": 100, "cost": 0.01}],
    }  # fmt: skip
    free = {f"analytics.{name}" for name in ("by_model", "by_provider", "by_user_tier")}
    sold = await told(every_api.master, TRANSACTIONS)
    same_shape(example("gatewayz", "GET", TRANSACTIONS).response, sold, free=free)
    ranked = await told(every_api.anyone, RANKING)
    same_shape(example("gatewayz", "GET", RANKING).response, ranked)


async def test_the_gateways_requests_are_activity(every_api: Api) -> None:
    user = await every_api.person(role="owner")
    await through_gateway(every_api, user, id="req_a")
    await through_gateway(every_api, user, id="req_b", cost_nanos=None, started_ns=3_600 * 24 * 10**9)
    event = await logged(user, "login", place="home")
    body = await told(user.http, HISTORY)
    assert [(item["id"], item["event_type"], item["event_data"]) for item in body["data"]] == [
        (event, "login", {"place": "home"}),
        ("req_a", "api_call", {"model": "gpt-4", "tokens": 129, "cost": 0.1}),
        ("req_b", "api_call", {"model": "gpt-4", "tokens": 129, "cost": None}),
    ]
    assert body["total"] == 3
    assert (await told(user.http, HISTORY, event_type="login"))["total"] == 1
    calls = await told(user.http, HISTORY, event_type="api_call", limit=1, offset=1)
    assert ([item["id"] for item in calls["data"]], calls["total"]) == (["req_b"], 2)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    earlier = await told(user.http, HISTORY, end_date=yesterday)
    assert ([item["id"] for item in earlier["data"]], earlier["total"]) == (["req_b"], 1)
    stats = (await told(user.http, STATS, group_by="month"))["statistics"]
    assert (stats["total_requests"], stats["total_cost"], stats["by_model"]) == (2, 0.1, {"gpt-4": 2})
    assert sum(item["tokens"] for item in stats["by_month"]) == 258
    usage = await user.http.get("/api/v1/usage")
    assert usage.json()["pagination"]["total_count"] == 2
    assert {row["metadata"]["request_id"] for row in usage.json()["data"]} == {"req_a", "req_b"}
    assert (await user.http.get("/api/v1/costs")).json()["pagination"]["total_count"] == 2


async def test_everyone_sees_their_own(api: Api) -> None:
    ann = await api.person("ann@example.com", "owner")
    bob = await api.person("bob@example.com", "developer", ann.organization)
    eve = await api.person("eve@example.com", "owner")
    await logged(ann, tokens=1)
    await logged(bob, tokens=2)
    await logged(bob, "login")
    assert (await told(ann.http, HISTORY))["total"] == 1
    assert (await told(bob.http, HISTORY))["total"] == 2
    assert (await told(eve.http, HISTORY))["data"] == []
    assert (await told(bob.http, STATS))["statistics"]["total_tokens"] == 2
    assert (await told(api.master, HISTORY))["total"] == 3


async def test_transactions(every_api: Api) -> None:
    owner = await every_api.person("owner@example.com", "owner", await every_api.organization(plan="pro"))
    free = await every_api.person("free@example.com", "owner", await every_api.organization("Free"))
    await logged(owner, model="openai/gpt-4", tokens=10, cost=2.0)
    await logged(owner, model="openai/gpt-4", tokens=10, cost=1.0)
    await logged(free, model="small", provider="mistral", tokens=10, cost=0)
    found = (await told(every_api.master, TRANSACTIONS))["analytics"]
    assert found == {
        "total_transactions": 3, "total_revenue": 3.0, "total_credits_used": 30, "average_transaction_value": 1.0,
        "by_model": {"openai/gpt-4": {"count": 2, "revenue": 3.0, "credits": 30},
                     "small": {"count": 1, "revenue": 0.0, "credits": 0}},
        "by_provider": {"openai": {"count": 2, "revenue": 3.0}, "mistral": {"count": 1, "revenue": 0.0}},
        "by_user_tier": {"pro": {"count": 2, "revenue": 3.0}, "free": {"count": 1, "revenue": 0.0}},
        "time_series": [{"date": datetime.now(UTC).date().isoformat(), "transactions": 3, "revenue": 3.0}],
    }  # fmt: skip
    for query, count in (
        ({"user_id": owner.id}, 2), ({"user_id": str(free.number)}, 1), ({"user_id": "user_0"}, 0),
        ({"model": "small"}, 1), ({"provider": "openai"}, 2), ({"end_date": "2025-01-01"}, 0),
    ):  # fmt: skip
        assert (await told(every_api.master, TRANSACTIONS, **query))["analytics"]["total_transactions"] == count, query
    assert (await owner.http.get(TRANSACTIONS)).status_code == 403


async def test_the_ranking(api: Api) -> None:
    user = await api.person(role="owner")
    await logged(user, model="openai/gpt-4", tokens=1_500_000)
    await logged(user, model="local", provider="up", tokens=900)
    await through_gateway(api, user, provider="up", model="local", target="local", started_ns=40 * 86_400 * 10**9)
    body = await told(api.anyone, RANKING)
    logo = example("gatewayz", "GET", RANKING).response["data"][0]["logo_url"]
    assert body["data"] == [
        {"rank": 1, "model_name": "gpt-4", "author": "openai", "logo_url": logo, "tokens": "1.5M tokens",
         "trend_percentage": "100%", "trend_direction": "up"},
        {"rank": 2, "model_name": "local", "author": "up", "logo_url": None, "tokens": "900 tokens",
         "trend_percentage": "598%", "trend_direction": "up"},
    ]  # fmt: skip
    second = await told(api.anyone, RANKING, limit=1, offset=1)
    assert (second["count"], second["data"][0]["rank"], second["has_logo_urls"]) == (1, 2, False)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"tokens": -1}, "tokens"), ({"tokens": 1.5}, "tokens"), ({"tokens": True}, "tokens"), ({"cost": -1}, "cost"),
        ({"cost": "1"}, "cost"), ({"model": 7}, "model"), ({"tokens": 5, "prompt_tokens": 1}, "tokens"),
        ({"note": "x" * 20_000}, "event_data"),
    ],
)  # fmt: skip
async def test_events_that_are_refused(api: Api, data: dict[str, Any], field: str) -> None:
    user = await api.person(role="owner")
    answer = await user.http.post(LOG, json={"event_type": "api_call", "event_data": data})
    assert answer.status_code == 400
    assert field in answer.json()["detail"]


async def test_a_new_users_own_key_logs_usage(api: Api) -> None:
    made = await api.master.post("/admin/create", json={"username": "new", "email": "new@example.com"})
    http = await api.client(made.json()["api_key"])
    request, response = example("gatewayz", "POST", LOG)
    answer = await http.post(LOG, json=request)
    same_shape(response, answer.json())
    assert (await told(http, STATS))["statistics"]["total_tokens"] == 100
    # Only of themselves, and only here.
    record = {"organization_id": "default", "provider": "openai", "model_id": "m", "input_tokens": 1,
              "output_tokens": 1, "total_tokens": 2}  # fmt: skip
    assert (await http.post("/api/v1/usage", json=record)).status_code == 403


async def test_what_is_refused(api: Api) -> None:
    user = await api.person(role="user")
    assert (await user.http.post(LOG, json={"event_type": "login"})).status_code == 200
    assert (await user.http.post(LOG, json={"event_type": ""})).status_code == 400
    assert (await user.http.post(LOG, json={"event_type": "a", "colour": 1})).status_code == 400
    assert (await api.anyone.get(HISTORY)).status_code == 401
    guest = await api.person("guest@example.com", "guest")
    assert (await guest.http.post(LOG, json={"event_type": "api_call", "event_data": {"cost": 1}})).status_code == 403
    assert (await guest.http.get(HISTORY)).status_code == 403
    assert (await guest.http.get(STATS)).status_code == 403
    dates = {"start_date": "2025-12-01", "end_date": "2025-11-01"}
    assert (await user.http.get(HISTORY, params=dates)).status_code == 400
    assert (await user.http.get(HISTORY, params={"limit": 1_001})).status_code == 400
    assert (await user.http.get(STATS, params={"group_by": "hour"})).status_code == 400


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (950, "950"), (1_500, "1.5K"), (2_000_000, "2M"), (8_200_000_000, "8.2B")]
)
def test_numbers_as_people_say_them(count: int, text: str) -> None:
    assert short(count) == text
