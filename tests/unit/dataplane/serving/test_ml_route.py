"""The routing API: documented answers, tiers, limits, errors in its own envelope, an event for each decision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.contract.usage import Tokens
from gateway.dataplane.breaker import Breaker
from gateway.settings.learned import Auto, Routing
from gateway.settings.model import Key, Limit, Model, Plan, Price, Provider, Settings, Target
from tests.dialects.shape import same_shape
from tests.support.worker import RunningWorker, running_worker

HELLO = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is 12*7?"}]
DECISION = {
    "requestId": "req_1",
    "provider": "A",
    "model": "m",
    "estimatedCost": 0.1,
    "estimatedLatency": 1,
    "confidence": 0.9,
    "reasoning": "why",
    "optimizationType": "balanced",
}
OTHER = {"provider": "A", "model": "m", "estimatedCost": 0.1, "estimatedLatency": 1, "reasoning": "why"}
DOCUMENTED = {
    "success": True,
    "data": {**DECISION, "alternatives": [OTHER], "timestamp": "2024-01-01T12:00:00Z"},
    "meta": {"tier": "DEVELOPER", "remainingRequests": 1, "processingTime": 1},
}
DOCUMENTED_BATCH = {
    "success": True,
    "data": {
        "batchId": "batch_1",
        "responses": [DECISION],
        "batchMetrics": {
            "totalEstimatedCost": 0.1,
            "avgEstimatedLatency": 1,
            "providerDistribution": {},
            "processingTime": 1,
        },
    },
}
PRICES = {"small": (0.0001, 0.0002), "middle": (0.001, 0.004), "large": (0.01, 0.03)}
PER_MINUTE, PER_MONTH = 40, 1000


def settings() -> Settings:
    """Three providers with a model each, and keys of every tier."""
    limits = (
        Limit(metric="requests", window="minute", limit=PER_MINUTE),
        Limit(metric="requests", window="month", limit=PER_MONTH),
    )
    tiers = {"community": (), "developer": ("ml_routing",), "professional": ("ml_routing", "batch_routing")}
    plans = [Plan(name=name, features=features, limits=limits) for name, features in tiers.items()]
    plans.append(Plan(name="scarce", tier="DEVELOPER", features=("ml_routing",), limits=(limits[0], _one_a_month())))
    return Settings(
        providers=tuple(Provider(name=name, base_url="http://127.0.0.1:9/v1") for name in PRICES),
        models=tuple(
            Model(name=name, targets=(Target(provider=name, model=f"{name}-model", context_length=2_000),))
            for name in PRICES
        ),
        pricing=tuple(
            Price(provider=name, model=f"{name}-model", input_per_1k=paid[0], output_per_1k=paid[1])
            for name, paid in PRICES.items()
        ),
        plans=tuple(plans),
        routing=Routing(auto=Auto(exploration=0.0)),  # of what is drawn by chance nothing could be said
        keys=(
            *(Key(key=f"gw_test_{plan.name}", name=plan.name, plan=plan.name) for plan in plans),
            Key(key="gw_test_own", name="own"),
            Key(key="gw_test_narrow", name="narrow", models=("small",)),
        ),
    )


def _one_a_month() -> Limit:
    return Limit(metric="requests", window="month", limit=1)


@asynccontextmanager
async def asked(directory: Path) -> AsyncIterator[tuple[RunningWorker, httpx.AsyncClient]]:
    async with running_worker(settings(), directory) as worker:
        host, port = worker.address
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}/v1/ml", timeout=30) as client:
            yield worker, client


def by(plan: str) -> dict[str, str]:
    return {"authorization": f"Bearer gw_test_{plan}"}


async def test_a_decision_is_told_as_documented_and_recorded(tmp_path: Path) -> None:
    async with asked(tmp_path) as (worker, client):
        body = {"messages": HELLO, "metadata": {"appVersion": "1.2.0"}, "constraints": {"excludeProviders": ["LARGE"]}}
        answer = await client.post("/route", json=body, headers=by("developer"))
        assert answer.status_code == 200, answer.text
        told = answer.json()
        same_shape(DOCUMENTED, told)
        data, meta = told["data"], told["meta"]
        assert answer.headers["x-ratelimit-period"] == "minute"
        assert answer.headers["x-ratelimit-remaining"] == str(PER_MINUTE - 1)
        assert (meta["tier"], meta["remainingRequests"]) == ("DEVELOPER", PER_MONTH - 1)
        assert {data["provider"], data["alternatives"][0]["provider"]} == {"SMALL", "MIDDLE"}
        (event,) = await worker.usage(1)
        decision = event.decision
        assert decision is not None
        assert (event.id, event.endpoint, event.model, event.cost_nanos) == (
            data["requestId"], "/v1/ml/route", "auto", 0,
        )  # fmt: skip
        assert (event.provider, event.target) == (data["provider"].lower(), data["model"])
        assert (event.tokens, event.attempts, event.outcome, event.credential) == (Tokens(), [], "ok", "developer")
        assert decision.chosen == f"{event.provider}/{event.target}" == decision.estimates[0].target
        assert decision.estimates[0].cost_nanos == round(data["estimatedCost"] * 1e9)
        assert sum(one.propensity for one in decision.estimates) == pytest.approx(1.0)
        line = msgspec.json.encode(event)
        assert msgspec.json.decode(line, type=type(event)) == event


async def test_tiers_are_held_to_what_they_have(tmp_path: Path) -> None:
    async with asked(tmp_path) as (_, client):
        one, many = {"messages": HELLO}, {"requests": [{"messages": HELLO}]}
        expected = {
            "community": (403, 403), "developer": (200, 403), "professional": (200, 200), "own": (200, 200),
        }  # fmt: skip
        for plan, statuses in expected.items():
            single = await client.post("/route", json=one, headers=by(plan))
            batch = await client.post("/route/batch", json=many, headers=by(plan))
            assert (single.status_code, batch.status_code) == statuses, plan
        refused = (await client.post("/route", json=one, headers=by("community"))).json()
        assert refused["code"] == "FEATURE_NOT_AVAILABLE"
        assert "COMMUNITY" in refused["message"]
        assert "DEVELOPER" in refused["message"]
        nobody = await client.post("/route", json=one)
        assert (nobody.status_code, nobody.json()["code"]) == (401, "AUTHENTICATION_FAILED")


async def test_a_used_up_quota_is_refused_in_the_references_words(tmp_path: Path) -> None:
    async with asked(tmp_path) as (worker, client):
        assert (await client.post("/route", json={"messages": HELLO}, headers=by("scarce"))).status_code == 200
        refused = await client.post("/route", json={"messages": HELLO}, headers=by("scarce"))
        told = refused.json()
        assert (refused.status_code, told["code"]) == (429, "QUOTA_EXCEEDED")
        assert (told["details"]["limit"], told["details"]["tier"]) == (1, "DEVELOPER")
        assert refused.headers["x-ratelimit-period"] == "month"
        assert refused.headers.get_list("x-ratelimit-limit") == ["1"]
        assert len(worker.sink.events) == 1, "what was refused is no event"


async def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    async with asked(tmp_path) as (worker, client):
        cases: list[tuple[Any, str]] = [
            ({"messages": HELLO, "constraints": {"maxCost": 0}}, "constraints.maxCost"),
            ({"messages": HELLO, "constraints": {"minQuality": 1}}, "constraints.minQuality"),
            ({"messages": HELLO, "constraints": {"maxResponseTime": 1}}, "constraints.maxResponseTime"),
            ({"messages": HELLO, "constraints": {"preferredProviders": ["GOOGLE"]}}, "constraints.preferredProviders"),
            ({"messages": HELLO, "optimizeFor": "best"}, "optimizeFor"),
            ({"messages": [{"role": "user", "content": "a" * 20_000}]}, "messages"),
            ({}, "messages"),
        ]
        for body, field in cases:
            answer = await client.post("/route", json=body, headers=by("own"))
            told = answer.json()
            assert (answer.status_code, told["code"]) == (400, "VALIDATION_ERROR"), told
            assert [fault["field"] for fault in told["details"]["errors"]] == [field]
            batch = await client.post("/route/batch", json={"requests": [{"messages": HELLO}, body]}, headers=by("own"))
            assert batch.status_code == 400
            if body:
                assert field in batch.json()["details"]["errors"][0]["field"]
        assert all(event.outcome == "error" for event in worker.sink.events)
        nearest = await client.post("/route", json=cases[0][0], headers=by("own"))
        assert "small/small-model, the nearest, is expected to cost" in nearest.json()["message"]
        assert (await client.get("/route")).status_code == 405
        assert (await client.post("/route", content=b"{", headers=by("own"))).status_code == 400


async def test_a_batch_is_spread_by_priority_and_each_decision_recorded(tmp_path: Path) -> None:
    async with asked(tmp_path) as (worker, client):
        requests = [{"messages": HELLO, "optimizeFor": "quality"} for _ in range(4)]
        alone = await client.post("/route/batch", json={"requests": requests}, headers=by("own"))
        best = alone.json()["data"]["responses"][0]["provider"]
        how = {"loadBalance": True, "priorityOrder": [3, 1]}
        body = {"requests": requests, "batchOptimization": how}
        answer = await client.post("/route/batch", json=body, headers=by("own"))
        told = answer.json()
        same_shape(DOCUMENTED_BATCH, told, more={"data.batchMetrics.providerDistribution"})
        answers, metrics = told["data"]["responses"], told["data"]["batchMetrics"]
        # Four over three providers: two at most each. Those named first have theirs.
        assert max(metrics["providerDistribution"].values()) <= 2
        assert (answers[3]["provider"], answers[1]["provider"]) == (best, best)
        assert answers[0]["provider"] != best
        assert metrics["totalEstimatedCost"] == pytest.approx(sum(one["estimatedCost"] for one in answers))
        events = (await worker.usage(8))[4:]
        assert [event.id for event in events] == [one["requestId"] for one in answers]
        for event, one in zip(events, answers, strict=True):
            assert event.decision is not None
            assert event.decision.estimates[0].propensity == 1.0
            assert event.decision.chosen == f"{one['provider'].lower()}/{one['model']}"


async def test_only_what_the_key_may_use_and_what_is_well_is_chosen(tmp_path: Path) -> None:
    async with asked(tmp_path) as (worker, client):
        narrow = (await client.post("/route", json={"messages": HELLO}, headers=by("narrow"))).json()["data"]
        assert (narrow["provider"], narrow["alternatives"]) == ("SMALL", [])
        targets = worker.runtime.router.targets()
        for name in ("small", "large"):
            _open(targets[name, f"{name}-model"].breaker, worker)
        well = (await client.post("/route", json={"messages": HELLO}, headers=by("own"))).json()["data"]
        assert well["provider"] == "MIDDLE"


def _open(breaker: Breaker, worker: RunningWorker) -> None:
    for _ in range(100):
        breaker.failed(worker.worker.loop.time())
