"""``alerts:…`` and ``forecasts:…`` of ``/v1/stream``, from a sidecar that watches by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from gateway.contract.usage import Tokens
from gateway.domain.actor import SYSTEM
from gateway.domain.alerts import repo
from gateway.domain.analytics.periods import to_ns
from gateway.domain.budgets.service import BudgetService
from gateway.sidecar import parts, watching
from gateway.sidecar.watching import Watching
from tests.dialects.conftest import MASTER, Api
from tests.dialects.llm_cost_ops.streaming import Served, closed, hear, say, serving
from tests.support.accounts import START
from tests.unit.domain.ledger.support import enter, event

DOLLAR = 1_000_000_000
DAY = 86_400 * DOLLAR


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "Watching", partial(Watching, look=0.05))
    monkeypatch.setattr(watching, "REST", 0.0)


@pytest.fixture
async def served(often: None, api: Api, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(api.app, tmp_path / "s") as made:
        yield made


async def used(api: Api, organization: str) -> None:
    """Forty days of a dollar each, but for the last, of five; they end on 13 March 2026."""
    events = []
    for back in range(40, 0, -1):
        began = to_ns(START) - back * DAY
        tokens = Tokens(prompt=DOLLAR if back > 1 else 5 * DOLLAR)
        events.append(event(back, organization=organization, started_ns=began, ended_ns=began, tokens=tokens))
    assert (await enter(api.sidecar.store, *events)).entries == 40


async def heard(client: ClientConnection, count: int) -> dict[str, list[dict[str, Any]]]:
    """The next messages, by event."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(count):
        told = await hear(client)
        found.setdefault(told["event"], []).append(told)
    return found


async def test_alerts_and_forecasts_are_told_as_documented(api: Api, served: Served) -> None:
    person = await api.person(role="engineer")
    own = person.organization
    await used(api, own)
    async with api.sidecar.works.begin(SYSTEM) as work:
        budget = await BudgetService(work).set("organization", own, 20 * DOLLAR, "month", name="Cap")
    mine = await served.listen(person.key, f"alerts:{own}", f"forecasts:{own}")
    every = await served.listen(MASTER, "alerts:*", "forecasts:*")
    api.sidecar.notices._clock = lambda: START
    told = await heard(mine, 4)
    also = await heard(every, 4)
    assert {name: [each["data"] for each in found] for name, found in told.items()} == {
        name: [each["data"] for each in found] for name, found in also.items()
    }
    assert {each["channel"] for found in also.values() for each in found} == {"alerts:*", "forecasts:*"}
    half, most = told["budget.threshold_exceeded"]
    assert half["data"].pop("alert_id").startswith("alert_")
    assert (half["channel"], half["timestamp"]) == (f"alerts:{own}", "2026-03-14T15:09:26Z")
    assert half["data"] == {
        "organization_id": own, "currency": "USD", "budget_id": budget.id, "budget_name": "Cap",
        "scope": "organization", "scope_id": own, "budget_period": "month", "period_start": "2026-03-01T00:00:00Z",
        "period_end": "2026-04-01T00:00:00Z", "budget_amount": 20.0, "current_spend": 17.0, "spend_percentage": 85.0,
        "threshold": 0.5, "triggered_at": "2026-03-14T15:09:26Z",
    }  # fmt: skip
    assert most["data"]["threshold"] == 0.75
    (anomaly,) = told["forecast.anomaly_detected"]
    assert anomaly["channel"] == f"alerts:{own}"
    assert anomaly["data"].pop("alert_id").startswith("alert_")
    assert anomaly["data"] == {
        "organization_id": own, "currency": "USD", "date": "2026-03-13", "actual_cost": 5.0, "expected_cost": 1.0,
        "deviation": 400.0, "severity": "high", "zscore": 80.0, "description": "Cost spike detected",
    }  # fmt: skip
    (forecast,) = told["forecast.generated"]
    assert forecast["channel"] == f"forecasts:{own}"
    _holds_what_the_reference_names(forecast["data"])


def _holds_what_the_reference_names(data: dict[str, Any]) -> None:
    assert data["forecast_id"].startswith("forecast_")
    assert (data["model"], data["confidence_level"]) == ("exponential_smoothing", 0.95)
    assert data["generated_at"] == "2026-03-14T15:09:26Z"
    assert data["historical_period"] == {"start": "2026-02-02T00:00:00Z", "end": "2026-03-14T00:00:00Z"}
    assert data["forecast_period"] == {"start": "2026-03-15T00:00:00Z", "end": "2026-04-13T23:59:59Z"}
    assert [each["date"] for each in data["predictions"]][::29] == ["2026-03-15", "2026-04-13"]
    for each in data["predictions"]:
        assert set(each) == {"date", "predicted_cost", "lower_bound", "upper_bound", "confidence"}
        assert 0 <= each["lower_bound"] <= each["predicted_cost"] <= each["upper_bound"]
    total = sum(each["predicted_cost"] for each in data["predictions"])
    assert data["summary"].pop("total_predicted_cost") == pytest.approx(total)
    assert data["summary"].pop("average_daily_cost") == pytest.approx(total / 30)
    assert data["summary"] == {"trend": "stable", "seasonality_detected": False}
    assert set(data["metrics"]) == {"mape", "rmse", "mae"}


async def test_who_subscribes_has_the_forecast_of_today_made(api: Api, served: Served) -> None:
    async with api.sidecar.store.writing() as session:
        assert await repo.take(session, "notices", "another", 2**61, 2**62)  # another sidecar watches, and is late
    api.sidecar.notices._clock = lambda: START
    person = await api.person(role="analyst")
    own = person.organization
    await used(api, own)
    for is_first in (True, False):
        client = await served.listen(person.key, f"forecasts:{own}", f"alerts:{own}")
        if is_first:
            assert (await hear(client))["event"] == "forecast.generated"
        assert (await say(client, action="ping"))["action"] == "pong"
    assert api.sidecar.notices.raised == {"forecast.generated": 1}
    made = await api.master.put(f"/roles/{person.id}", json={"role": "viewer"})
    assert made.status_code == 200, made.text
    code, reason = await closed(client)
    assert (code, reason.partition(":")[0]) == (1008, "INSUFFICIENT_PERMISSIONS")


async def test_who_may_not_see_budgets_or_forecasts_is_refused(api: Api, served: Served) -> None:
    viewer = await api.person(role="viewer")
    client = await served.connect(viewer.key)
    for channel in ("alerts", "forecasts"):
        for whose in (viewer.organization, "default", "*"):
            told = await say(client, action="subscribe", channels=[f"{channel}:{whose}"])
            assert told["error"]["code"] == "INSUFFICIENT_PERMISSIONS"
    only = await api.person("only@x.example", "owner", scopes=["forecast:read"])
    client = await served.connect(only.key)
    told = await say(client, action="subscribe", channels=[f"alerts:{only.organization}"])
    assert "budgets:read" in told["error"]["message"]
    told = await say(client, action="subscribe", channels=[f"forecasts:{only.organization}"])
    assert told["channels"] == [f"forecasts:{only.organization}"]
