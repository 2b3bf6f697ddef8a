"""What AI Marketplace documents of billing: what an app has used of its tier, and another tier for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.apps.billing import project
from gateway.domain.ledger.query import Sums
from gateway.domain.limits.service import LimitService, LimitSpec
from tests.dialects.ai_marketplace.routed import routed
from tests.dialects.ai_marketplace.test_analytics import app_of, track
from tests.dialects.ai_marketplace.test_apps import bearer_of, register
from tests.dialects.ai_marketplace.test_refusals import refused
from tests.dialects.entered import called
from tests.dialects.served import MASTER_KEY, Served
from tests.dialects.shape import example, same_shape

USAGE, UPGRADE = "/v1/billing/usage", "/v1/billing/upgrade"
NOW = datetime(2026, 3, 21, tzinfo=UTC)


@pytest.fixture(autouse=True)
def noon(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the 21st of a month of 31 days, after twenty whole ones."""
    monkeypatch.setattr(served.sidecar.works, "_clock", lambda: NOW)


async def usage(served: Served, secret: str, query: str = "") -> dict[str, Any]:
    """What is told of usage."""
    answer = await served.ask("GET", USAGE + query, secret)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def test_usage_as_documented(served: Served) -> None:
    store = served.sidecar.store
    bearer, credential = await app_of(served)
    for number in range(10):
        await called(store, NOW, credential, number, days=2 * number + 1, cost_nanos=250_000_000)
    await called(store, NOW, credential, 10, days=30)
    await called(store, NOW, credential, 11, days=75)
    await called(store, NOW, "key_of_no_app", 12, days=1)
    for _ in range(2):
        id = await routed(store, NOW, credential)
    await track(served, bearer, id, actualQuality=1.0)
    documented = example("ai_marketplace", "GET", USAGE).response
    answer = await served.ask("GET", f"{USAGE}?period=current&includeProjections=true", bearer)
    same_shape(documented, answer.json(), nullable={"data.currentPeriod.utilization.cost"}, more={"data"})
    data = answer.json()["data"]
    assert data["currentPeriod"] == {
        "start": "2026-03-01T00:00:00Z",
        "end": "2026-03-31T23:59:59Z",
        "usage": {"requestsCount": 12, "mlRoutingCount": 2, "analyticsRequests": 1, "totalCost": 2.5},
        "limits": {"requestsPerMonth": 50_000, "requestsPerMinute": 100},
        "utilization": {"requests": 0, "cost": None},
    }
    month = data["projections"]["endOfMonth"]
    assert (month["projectedRequests"], month["projectedCost"]) == (19, 3.875)
    assert 50 < month["confidence"] < 99
    assert {each["eventType"]: each["count"] for each in data["breakdown"]["byEventType"]} == {
        "ml_route": 2, "analytics": 1, "inference": 10,
    }  # fmt: skip
    assert data["breakdown"]["byProvider"] == [
        {"provider": "FAKE", "count": 10, "totalCost": 2.5},
        {"provider": "ANTHROPIC", "count": 2, "totalCost": 0},
    ]
    assert data["history"] is None
    details = (await served.ask("GET", f"/v1/apps/{bearer.partition(':')[0]}", bearer)).json()["app"]
    assert details["usage"]["currentMonthUsage"]["mlRoutingCount"] == 2
    longer = await usage(served, bearer, "?period=3months&includeProjections=false&includeBreakdown=false")
    assert (longer["projections"], longer["breakdown"]) == (None, None)
    assert [(each["start"][:7], each["requestsCount"], each["totalCost"]) for each in longer["history"]] == [
        ("2026-01", 1, 0.25), ("2026-02", 1, 0.25), ("2026-03", 12, 2.5),
    ]  # fmt: skip
    assert len((await usage(served, bearer, "?period=12months"))["history"]) == 12


async def test_a_limit_of_money_tells_how_much_of_it_is_used(served: Served) -> None:
    bearer, credential = await app_of(served)
    async with served.sidecar.works.begin(SYSTEM) as work:
        await LimitService(work).set(
            LimitSpec(scope="key", scope_id=credential, metric="cost", window="month", limit=1_000_000_000)
        )
    await called(served.sidecar.store, NOW, credential, 1, days=1, cost_nanos=250_000_000)
    assert (await usage(served, bearer))["currentPeriod"]["utilization"]["cost"] == 25


async def test_usage_is_of_apps_alone(served: Served) -> None:
    # For any other credential the path is another reference's.
    for secret in (MASTER_KEY, None, await served.signed_in("acme", "owner")):
        answer = await served.ask("GET", USAGE, secret)
        assert answer.status_code == 404
        assert "requestId" not in answer.json()
    bearer, _ = await app_of(served, "COMMUNITY")
    assert (await usage(served, bearer))["app"]["tier"] == "COMMUNITY"
    await refused(served, "GET", f"{USAGE}?period=2months", bearer, 400, "VALIDATION_ERROR")
    await refused(served, "GET", USAGE, f"{bearer}x", 401, "AUTHENTICATION_FAILED")


def days(*counts: int) -> list[Sums]:
    """Requests of the first days of March 2026."""
    first = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    return [Sums(start=first + 86_400 * place, requests=count) for place, count in enumerate(counts) if count]


def test_projections_go_on_as_it_was_and_are_surer_the_steadier_and_the_later_it_is() -> None:
    early, late = datetime(2026, 3, 5, tzinfo=UTC), datetime(2026, 3, 21, tzinfo=UTC)
    steady, uneven = project(late, days(*[10] * 20)), project(late, days(*[0, 20] * 10))
    assert (steady.requests, uneven.requests) == (310, 310)
    assert 99 == steady.confidence > uneven.confidence > project(early, days(0, 20, 0, 20)).confidence
    assert project(datetime(2026, 3, 2, tzinfo=UTC), days(10)).confidence <= 25
    # A month without anything until today says little of the days to come.
    assert project(late.replace(hour=18), days(*[0] * 20, 100)).confidence < 50
    assert (project(late, []).requests, project(late, []).confidence) == (0, 0)
    end = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)
    assert project(end, days(*[10] * 31)).requests == 310


async def test_an_upgrade_as_documented(served: Served) -> None:
    owner = await served.signed_in("acme", "owner")
    made = await register(served, owner, tier="DEVELOPER")
    documented = example("ai_marketplace", "POST", UPGRADE)
    asked = documented.request | {"appId": made["app"]["appId"]}
    answer = await served.ask("POST", UPGRADE, owner, json=asked)
    assert answer.status_code == 200, answer.text
    same_shape(documented.response, answer.json(), more={"upgrade.billing", "upgrade.features"})
    upgrade = answer.json()["upgrade"]
    assert (upgrade["previousTier"], upgrade["newTier"]) == ("DEVELOPER", "PROFESSIONAL")
    assert upgrade["limits"] == documented.response["upgrade"]["limits"]
    assert upgrade["billing"] == {
        "cost": 199.0, "period": "monthly", "nextBillingDate": "2026-04-01T00:00:00Z", "charged": False,
    }  # fmt: skip
    held = (await served.resolve(bearer_of(made))).policy
    assert {each.limit for each in held.limits if each.source == "plan"} == {500, 500_000}
    (record,) = await served.records("app.tier_changed")
    assert (record.actor_email, record.after) == ("owner@acme.example", {"plan": "app_professional"})
    assert "pm_1234567890" not in f"{record.before} {record.after} {record.details}"


async def test_a_year_costs_twelve_months(served: Served) -> None:
    made = await register(served)
    asked = {"appId": made["app"]["id"], "targetTier": "developer", "billingPeriod": "yearly", "confirmUpgrade": True}
    upgrade = (await served.ask("POST", UPGRADE, MASTER_KEY, json=asked)).json()["upgrade"]
    assert upgrade["billing"]["cost"] == 12 * 49
    assert upgrade["billing"]["nextBillingDate"] == "2027-03-01T00:00:00Z"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"targetTier": "DEVELOPER"}, "targetTier"),
        ({"targetTier": "COMMUNITY"}, "targetTier"),
        ({"targetTier": "GOLD"}, "targetTier"),
        ({"confirmUpgrade": False}, "confirmUpgrade"),
        ({"confirmUpgrade": "true"}, "confirmUpgrade"),
        ({"billingPeriod": "weekly"}, "billingPeriod"),
        ({"appId": ""}, "appId"),
        ({"paymentMethod": "pm_1"}, "paymentMethod"),
    ],
)
async def test_what_is_no_upgrade(served: Served, change: dict[str, Any], field: str) -> None:
    made = await register(served, tier="DEVELOPER")
    asked = {"appId": made["app"]["appId"], "targetTier": "PROFESSIONAL", "confirmUpgrade": True} | change
    body = await refused(served, "POST", UPGRADE, MASTER_KEY, 400, "VALIDATION_ERROR", json=asked)
    assert [fault["field"] for fault in body["details"]["errors"]] == [field]
    assert not await served.records("app.tier_changed")


async def test_who_may_not_upgrade(served: Served) -> None:
    await served.organization("evil")
    made = await register(served, tier="DEVELOPER")
    asked = {"appId": made["app"]["appId"], "targetTier": "PROFESSIONAL", "confirmUpgrade": True}
    # An app gives itself no tier that costs more, and nobody gives one to another organization's.
    await refused(served, "POST", UPGRADE, bearer_of(made), 403, "FORBIDDEN", json=asked)
    for secret in (await served.signed_in("acme", "viewer"), await served.signed_in("evil", "owner")):
        await refused(served, "POST", UPGRADE, secret, 404, "APP_NOT_FOUND", json=asked)
    agreed = asked | {"targetTier": "ENTERPRISE"}
    owner = await served.signed_in("acme", "owner")
    await refused(served, "POST", UPGRADE, owner, 403, "FORBIDDEN", json=agreed)
    given = await served.ask("POST", UPGRADE, MASTER_KEY, json=agreed)
    assert given.json()["upgrade"]["billing"]["cost"] is None
