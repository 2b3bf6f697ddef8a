"""What AI Marketplace documents of analytics: reports of what came of decisions, and the dashboard."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from gateway.contract.learned_routes import LearnedRoutes
from gateway.contract.usage import Tokens
from gateway.domain.actor import SYSTEM
from gateway.domain.learning.learner import catch_up, routes
from gateway.domain.learning.model import RoutingDecision, RoutingFeedback
from gateway.domain.learning.service import LearningService
from gateway.kernel.ids import new_id
from tests.dialects.ai_marketplace.routed import CHEAP, DECISION, STRONG, routed
from tests.dialects.ai_marketplace.test_apps import bearer_of, register
from tests.dialects.ai_marketplace.test_refusals import refused
from tests.dialects.entered import called, stopped
from tests.dialects.served import MASTER_KEY, Served
from tests.dialects.shape import example, same_shape

TRACK, DASHBOARD = "/v1/analytics/track", "/v1/analytics/dashboard"


async def app_of(served: Served, tier: str = "DEVELOPER", **asked: Any) -> tuple[str, str]:
    """A new app: what it sends, and the id of its credential."""
    bearer = bearer_of(await register(served, tier=tier, **asked))
    return bearer, (await served.resolve(bearer)).policy.id


async def track(served: Served, secret: str, id: str, **told: Any) -> dict[str, Any]:
    """Report; gives what is told of it."""
    answer = await served.ask("POST", TRACK, secret, json={"requestId": id, **told})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def learnt(served: Served, organization: str = "acme") -> LearnedRoutes:
    """What was learnt until now."""
    async with served.sidecar.works.read(SYSTEM) as work:
        return await routes(work, organization)


async def test_tracking_as_documented(every_served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served = every_served
    now = stopped(served.sidecar.works, monkeypatch)
    bearer, credential = await app_of(served)
    documented = example("ai_marketplace", "POST", TRACK)
    id = await routed(served.sidecar.store, now, credential)
    answer = await served.ask("POST", TRACK, bearer, json=documented.request | {"requestId": id})
    same_shape(documented.response, answer.json())
    found = answer.json()["data"]
    assert found["requestId"] == id
    # 0.0241 and 1923 ms were told; 0.0234 and 1890 ms were expected.
    assert found["predictionAccuracy"] == {
        "costAccuracy": 97.1, "latencyAccuracy": 98.3, "providerMatch": True, "modelMatch": True,
        "overallScore": 98.9,
    }  # fmt: skip
    assert found["contributedToLearning"] is True


async def test_another_target_than_was_chosen(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    now = stopped(served.sidecar.works, monkeypatch)
    bearer, credential = await app_of(served)
    id = await routed(served.sidecar.store, now, credential)
    found = await track(served, bearer, id, actualProvider="OPENAI", actualModel="GPT-4o-mini", actualQuality=0.5)
    assert found["predictionAccuracy"] == {
        "costAccuracy": None, "latencyAccuracy": None, "providerMatch": False, "modelMatch": False, "overallScore": 0,
    }  # fmt: skip
    assert found["contributedToLearning"] is True  # the other was a candidate too
    id = await routed(served.sidecar.store, now, credential)
    found = await track(served, bearer, id, actualProvider="COHERE", actualModel="command-r")
    assert found["contributedToLearning"] is False


async def test_a_report_counts_once_and_is_not_taken_back(
    every_served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = every_served
    now = stopped(served.sidecar.works, monkeypatch)
    bearer, credential = await app_of(served)
    id = await routed(served.sidecar.store, now, credential)
    first = await track(served, bearer, id, userSatisfaction=5)
    assert await track(served, bearer, id, userSatisfaction=5) == first
    told = {"requestId": id, "userSatisfaction": 1}
    body = await refused(served, "POST", TRACK, bearer, 409, "CONFLICT", json=told)
    assert body["details"]["errors"][0]["field"] == "requestId"
    async with served.sidecar.works.read(SYSTEM) as work:
        assert await work.session.scalar(select(func.count()).select_from(RoutingFeedback)) == 1
    answer = await served.ask("GET", DASHBOARD, bearer)
    assert answer.json()["data"]["mlRouting"]["predictionAccuracy"]["provider"] == 100


async def test_no_such_decision_and_another_organizations(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    now = stopped(served.sidecar.works, monkeypatch)
    await served.organization("evil")
    bearer, credential = await app_of(served)
    theirs, _ = await app_of(served, organizationId="evil")
    id = await routed(served.sidecar.store, now - timedelta(hours=1), credential)
    for secret, request_id in ((bearer, "req_nothing"), (bearer, "x" * 200)):
        body = await refused(served, "POST", TRACK, secret, 404, "NOT_FOUND", json={"requestId": request_id})
        assert body["details"]["errors"][0]["field"] == "requestId"
    hidden = await refused(served, "POST", TRACK, theirs, 404, "NOT_FOUND", json={"requestId": id})
    assert hidden["message"] == body["message"]
    async with served.sidecar.works.read(SYSTEM) as work:
        assert await work.session.scalar(select(func.count()).select_from(RoutingFeedback)) == 0
    # A request that no learned route decided is none, either.
    plain = await routed(served.sidecar.store, now, credential, decision=None, id=f"{new_id('req')[:-8]}zzzzzzzz")
    assert plain
    await track(served, MASTER_KEY, id)


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({}, "requestId"),
        ({"requestId": ""}, "requestId"),
        ({"requestId": 7}, "requestId"),
        ({"requestId": "req_1", "actualCost": -1}, "actualCost"),
        ({"requestId": "req_1", "actualCost": "1"}, "actualCost"),
        ({"requestId": "req_1", "actualLatency": 1e12}, "actualLatency"),
        ({"requestId": "req_1", "actualQuality": 1.01}, "actualQuality"),
        ({"requestId": "req_1", "userSatisfaction": 6}, "userSatisfaction"),
        ({"requestId": "req_1", "userSatisfaction": 4.5}, "userSatisfaction"),
        ({"requestId": "req_1", "success": "yes"}, "success"),
        ({"requestId": "req_1", "actualQualty": 1}, "actualQualty"),
        ({"requestId": "req_1", "metadata": []}, "metadata"),
    ],
)
async def test_faulty_reports(served: Served, told: dict[str, Any], field: str) -> None:
    body = await refused(served, "POST", TRACK, MASTER_KEY, 400, "VALIDATION_ERROR", json=told)
    assert [fault["field"] for fault in body["details"]["errors"]] == [field]


async def test_analytics_need_a_tier_that_has_them(served: Served) -> None:
    bearer, _ = await app_of(served, "COMMUNITY")
    body = await refused(served, "GET", DASHBOARD, bearer, 403, "FEATURE_NOT_AVAILABLE")
    assert "DEVELOPER" in body["message"]
    told = {"requestId": "req_1"}
    await refused(served, "POST", TRACK, bearer, 403, "FEATURE_NOT_AVAILABLE", json=told)
    await refused(served, "GET", DASHBOARD, None, 401, "AUTHENTICATION_FAILED")
    await refused(served, "POST", TRACK, None, 401, "AUTHENTICATION_FAILED", json=told)
    enterprise, _ = await app_of(served, "ENTERPRISE")
    assert (await served.ask("GET", DASHBOARD, enterprise)).status_code == 200


async def test_the_dashboard_as_documented(every_served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served, store = every_served, every_served.sidecar.store
    now = stopped(served.sidecar.works, monkeypatch)
    bearer, credential = await app_of(served)
    other, another = await app_of(served)
    cheap = msgspec.structs.replace(DECISION, chosen=CHEAP.target, estimates=(CHEAP, STRONG), confidence=0.5)
    for number in range(30):
        decision = cheap if number % 3 else DECISION
        id = await routed(store, now, credential, decision=decision, ago=timedelta(days=number % 5))
        if number < 20:
            await track(served, bearer, id, actualCost=0.0234 if decision is DECISION else 0.004, actualQuality=1.0)
    for number in range(10):
        outcome = "error" if number < 5 else "ok"
        await called(store, now, credential, number, days=20, outcome=outcome, cost_nanos=250_000_000)
    documented = example("ai_marketplace", "GET", DASHBOARD).response
    answer = await served.ask("GET", f"{DASHBOARD}?period=30d&includeInsights=true", bearer)
    same_shape(
        documented, answer.json(), nullable={"data.mlRouting.predictionAccuracy.latency"},
        free={"data.recommendations[].estimatedSavings"},
    )  # fmt: skip
    data = answer.json()["data"]
    assert data["overview"] == {
        "period": "30d", "totalRequests": 40, "successfulRequests": 35, "failedRequests": 5, "successRate": 88,
        "totalCost": 1.25, "avgResponseTime": 76, "mlRoutingRequests": 30, "mlRoutingSavings": 0.428,
    }  # fmt: skip
    assert {name: len(points) for name, points in data["usage"].items()} == dict.fromkeys(data["usage"], 30)
    assert sum(point["requests"] for point in data["usage"]["requestsOverTime"]) == 40
    assert data["mlRouting"]["providerDistribution"] == [
        {"provider": "OPENAI", "count": 20, "percentage": 67},
        {"provider": "ANTHROPIC", "count": 10, "percentage": 33},
    ]
    assert data["mlRouting"]["avgConfidence"] == pytest.approx((10 * 0.94 + 20 * 0.5) / 30, abs=0.001)
    # Of the 20 reports, 7 told the cost that was expected, 13 twice as much.
    assert data["mlRouting"]["predictionAccuracy"] == {"cost": 68, "latency": None, "provider": 100}
    told = {each["type"]: each for each in data["insights"]}
    assert {"trend", "reliability", "savings", "accuracy"} == told.keys()
    assert "random" in told["savings"]["description"]
    assert {each["type"] for each in data["recommendations"]} == {"optimization", "reliability"}
    short = (await served.ask("GET", f"{DASHBOARD}?period=24h&includeInsights=false", bearer)).json()["data"]
    assert (len(short["usage"]["costOverTime"]), short["insights"]) == (24, [])
    assert short["overview"]["mlRoutingRequests"] in (6, 12)  # 24 hours may begin yesterday
    # Another app sees its own alone; the organization sees all; a stranger nothing.
    assert (await served.ask("GET", DASHBOARD, other)).json()["data"]["overview"]["totalRequests"] == 0
    assert another != credential
    everybody = (await served.ask("GET", DASHBOARD, MASTER_KEY)).json()["data"]
    assert everybody["overview"]["totalRequests"] == 40


async def test_a_dashboard_without_anything(served: Served) -> None:
    bearer, _ = await app_of(served)
    data = (await served.ask("GET", DASHBOARD, bearer)).json()["data"]
    assert (data["insights"], data["recommendations"], data["mlRouting"]["totalDecisions"]) == ([], [], 0)
    body = await refused(served, "GET", f"{DASHBOARD}?period=2d", bearer, 400, "VALIDATION_ERROR")
    assert body["details"]["errors"][0]["field"] == "period"


async def test_reports_are_learned_from_and_move_their_own_organization_alone(
    every_served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, store = every_served, every_served.sidecar.store
    now = stopped(served.sidecar.works, monkeypatch)
    await served.organization("evil")
    bearer, credential = await app_of(served)
    liar, lying = await app_of(served, organizationId="evil")
    for _ in range(40):
        await track(served, bearer, await routed(store, now, credential), actualQuality=1.0, actualLatency=945)
        id = await routed(store, now, lying, organization="evil")
        await track(served, liar, id, success=False)
    # The sidecar's own learner and two more of these: each report is learned from once.
    await asyncio.gather(catch_up(served.sidecar.works), catch_up(served.sidecar.works))
    ours, theirs = await learnt(served), await learnt(served, "evil")
    async with served.sidecar.works.read(SYSTEM) as work:
        exported = [await LearningService(work).export(each) for each in ("acme", "evil")]
    assert [each["state"]["observed"] for each in exported] == [40, 40]
    assert [each["waiting"] for each in exported] == [{"decisions": 0, "feedback": 0}] * 2
    assert {each.target for each in (*ours.shifts, *theirs.shifts)} == {STRONG.target}
    assert all(each.shift > 0.1 for each in ours.shifts)
    assert all(each.shift < -0.5 for each in theirs.shifts)
    (timing,) = ours.timings
    assert timing.first_token + 300 * timing.per_token == pytest.approx(0.945, rel=0.1)
    assert theirs.timings == ()
    assert (await learnt(served, "nobody")).shifts == ()


async def test_what_the_ledger_saw_teaches_times_at_once_and_quality_weakly(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = served.sidecar.store
    now = stopped(served.sidecar.works, monkeypatch)
    _, credential = await app_of(served)
    for number in range(30):
        began = int((now - timedelta(seconds=100)).timestamp() * 1e9)
        await routed(
            store, now, credential, endpoint="chat.completions", started_ns=began, stream=True,
            first_token_ns=began + 200_000_000, ended_ns=began + 3_200_000_000, tokens=Tokens(completion=600),
            outcome="cancelled" if number >= 20 else "ok",
        )  # fmt: skip
    await catch_up(served.sidecar.works)
    found = await learnt(served)
    (timing,) = found.timings
    assert timing.target == STRONG.target
    assert timing.weight == 20
    assert timing.length == pytest.approx(2.0, rel=0.15)
    assert timing.first_token == pytest.approx(0.2, rel=0.3)
    assert timing.per_token == pytest.approx(0.005, rel=0.3)
    assert all(-0.1 < each.shift < 0 for each in found.shifts)


async def test_a_decision_that_can_be_none_leaves_its_request_counted(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = stopped(served.sidecar.works, monkeypatch)
    _, credential = await app_of(served)
    for faulty in (
        msgspec.structs.replace(DECISION, estimates=()),
        msgspec.structs.replace(DECISION, chosen=""),
        msgspec.structs.replace(DECISION, estimates=(msgspec.structs.replace(STRONG, quality=7.0),)),
        msgspec.structs.replace(DECISION, estimates=(msgspec.structs.replace(STRONG, cost_nanos=2**60),)),
    ):
        await routed(served.sidecar.store, now, credential, decision=faulty)
    async with served.sidecar.works.read(SYSTEM) as work:
        assert await work.session.scalar(select(func.count()).select_from(RoutingDecision)) == 0
