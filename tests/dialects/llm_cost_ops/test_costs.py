"""Costs: by group and period, broken down, and one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.organizations.requests import NewOrganization
from gateway.domain.organizations.service import OrganizationService
from tests.dialects.conftest import Api, Person
from tests.dialects.llm_cost_ops.ledger import COSTS, ROWS, filled
from tests.dialects.llm_cost_ops.test_keys import refused
from tests.dialects.llm_cost_ops.test_usage import record, reported
from tests.dialects.shape import example, same_shape

PATH, SUMMARY = "/api/v1/costs", "/api/v1/costs/summary"
BREAKDOWN, QUERY = "/api/v1/costs/breakdown", "/api/v1/costs/query"


async def costs(person: Person, **query: Any) -> dict[str, Any]:
    """An answer about costs."""
    answer = await person.http.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def groups(person: Person, **query: Any) -> list[tuple[str | None, float, int, int]]:
    """The groups of an answer: value, cost, tokens, requests."""
    found = (await costs(person, **query))["data"]["breakdown"]
    return [(item["value"], item["cost"], item["tokens"], item["requests"]) for item in found]


async def test_documented_examples(every_api: Api) -> None:
    owner = await filled(every_api)
    response = example("llm_cost_ops", "GET", PATH).response
    body = await costs(owner, start_date="2025-11-01", end_date="2025-12-31", group_by="provider", page=1, per_page=50)
    same_shape(response, body, more={"data"})
    assert {name: value for name, value in body["data"].items() if name != "breakdown"} == {
        "total_cost": 11.5, "currency": "USD", "total_tokens": 9_700, "total_requests": 5, "unpriced_requests": 1,
        "period_start": "2025-11-01T00:00:00Z", "period_end": "2025-12-31T23:59:59Z",
    }  # fmt: skip
    assert body["data"]["breakdown"] == [
        {"dimension": "provider", "value": "anthropic", "cost": 6.0, "tokens": 5_200, "requests": 2},
        {"dimension": "provider", "value": "openai", "cost": 5.5, "tokens": 4_500, "requests": 3},
    ]
    request, response = example("llm_cost_ops", "POST", BREAKDOWN)
    asked = request | {"organization_id": owner.organization, "end_date": "2025-11-05T23:59:59Z"}
    answer = await owner.http.post(BREAKDOWN, json=asked)
    same_shape(response, answer.json(), nullable={"data.breakdowns[].project"})
    assert answer.json()["data"] == {
        "breakdowns": [
            {"provider": "openai", "model": "one", "project": "shop", "total_cost": 4.0, "total_tokens": 3_500,
             "request_count": 2},
            {"provider": "openai", "model": "two", "project": None, "total_cost": 1.5, "total_tokens": 1_000,
             "request_count": 1},
        ],
        "totals": {"total_cost": 5.5, "total_tokens": 4_500, "request_count": 3},
    }  # fmt: skip
    request = example("llm_cost_ops", "POST", QUERY).request
    answer = await owner.http.post(QUERY, json=request)
    assert answer.json() == {
        "data": [], "pagination": {"has_more": False, "next_cursor": None, "total_count": 0, "limit": 20}
    }  # fmt: skip


async def test_groups(every_api: Api) -> None:
    owner = await filled(every_api)
    assert await groups(owner, group_by="model") == [
        ("one", 10.0, 8_500, 3), ("two", 1.5, 1_000, 1), ("none", 0.0, 200, 1)
    ]  # fmt: skip
    assert await groups(owner, group_by="day") == [
        ("2025-11-03", 4.0, 3_500, 2), ("2025-11-05", 1.5, 1_000, 1), ("2025-11-10", 6.0, 5_000, 1),
        ("2025-12-01", 0.0, 200, 1),
    ]  # fmt: skip
    assert await groups(owner, group_by="week") == [
        ("2025-11-03", 5.5, 4_500, 3), ("2025-11-10", 6.0, 5_000, 1), ("2025-12-01", 0.0, 200, 1)
    ]  # fmt: skip
    assert await groups(owner, group_by="month") == [("2025-11", 11.5, 9_500, 4), ("2025-12", 0.0, 200, 1)]
    assert await groups(owner, group_by="hour", start_date="2025-11-03", end_date="2025-11-05T12:30:00Z") == [
        ("2025-11-03T00:00:00Z", 2.0, 1_500, 1), ("2025-11-03T23:00:00Z", 2.0, 2_000, 1),
        ("2025-11-05T12:00:00Z", 1.5, 1_000, 1),
    ]  # fmt: skip
    assert await groups(owner, group_by="project") == [
        ("blog", 6.0, 5_000, 1), ("shop", 4.0, 3_500, 2), (None, 1.5, 1_200, 2)
    ]  # fmt: skip
    assert set(await groups(owner, group_by="tag")) == {
        ("project:blog", 6.0, 5_000, 1), ("team:ads", 6.0, 5_000, 1), ("project:shop", 4.0, 3_500, 2),
        ("production", 3.5, 2_500, 2), ("team:search", 2.0, 1_500, 1), (None, 0.0, 200, 1),
    }  # fmt: skip
    assert (await costs(owner, group_by="tag"))["data"]["total_cost"] == 11.5


async def test_groups_sorted_and_paged(api: Api) -> None:
    owner = await filled(api)
    assert [row[0] for row in await groups(owner, group_by="model", sort_by="model_id", order="asc")] == [
        "none", "one", "two"
    ]  # fmt: skip
    assert [row[0] for row in await groups(owner, group_by="model", sort_by="total_tokens", order="asc")] == [
        "none", "two", "one"
    ]  # fmt: skip
    assert (await groups(owner, group_by="day", order="desc"))[0][0] == "2025-12-01"
    assert (await groups(owner, group_by="day", sort_by="total_cost"))[0][0] == "2025-11-10"
    body = await costs(owner, group_by="day", page=2, per_page=3)
    assert [item["value"] for item in body["data"]["breakdown"]] == ["2025-12-01"]
    assert body["data"]["total_cost"] == 11.5
    assert body["pagination"] == {
        "page": 2, "per_page": 3, "total_pages": 2, "total_count": 4, "has_previous": True, "has_next": False
    }  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end", "cost", "requests"),
    [
        ("2025-11-03", "2025-11-03", 4.0, 2),
        ("2025-11-03T00:00:01Z", "2025-11-03T23:59:58Z", 0.0, 0),
        ("2025-11-03T00:00:00Z", "2025-11-03T00:00:00Z", 2.0, 1),
        ("2025-11-03T00:00:01Z", "2025-11-05T12:29:59Z", 2.0, 1),
        ("2025-11-03T00:00:01Z", "2025-11-05T12:30:00Z", 3.5, 2),
        ("2025-11-03T23:59:59+00:00", "2025-11-10T06:00:00Z", 9.5, 3),
        ("2025-11-04T01:00:00+02:00", "2025-11-10", 9.5, 3),
        ("2025-11-06", None, 6.0, 2),
        (None, "2025-11-05T12:30:00Z", 5.5, 3),
    ],
)
async def test_bounds_are_exact(api: Api, start: str | None, end: str | None, cost: float, requests: int) -> None:
    owner = await filled(api)
    query = {name: value for name, value in (("start_date", start), ("end_date", end)) if value is not None}
    for group_by in ("none", "provider", "day", "project"):
        data = (await costs(owner, group_by=group_by, **query))["data"]
        assert (data["total_cost"], data["total_requests"]) == (cost, requests), group_by


async def test_single_costs(every_api: Api) -> None:
    owner = await filled(every_api)
    body = await costs(owner)
    assert [(item["cost"], item["provider"]) for item in body["data"]["breakdown"]] == [
        (cost, row[0]) for cost, row in zip(COSTS[::-1], ROWS[::-1], strict=True)
    ]
    assert body["data"]["period_start"] == "2025-11-03T00:00:00Z"
    assert body["pagination"]["total_count"] == 5
    first = await costs(owner, sort_by="total_cost", limit=2)
    assert first["data"]["breakdown"][0]["cost"] == 6.0
    cursor = first["pagination"]["next_cursor"]
    second = await costs(owner, sort_by="total_cost", limit=3, cursor=cursor)
    assert second["pagination"]["has_more"] is False
    seen = [item["value"] for body in (first, second) for item in body["data"]["breakdown"]]
    assert len(set(seen)) == 5
    assert (await costs(owner, provider="anthropic"))["data"]["total_requests"] == 2
    assert (await costs(owner, provider="openai", model_id="two", group_by="provider"))["data"]["total_cost"] == 1.5


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"provider": {"in": ["openai"]}}, [0, 1, 2]),
        ({"provider": "anthropic"}, [3, 4]),
        ({"provider": {"nin": ["openai"]}}, [3, 4]),
        ({"model_id": {"ne": "one"}}, [2, 4]),
        ({"cost": {"gte": 2.0, "lt": 6.0}}, [0, 1]),
        ({"total_cost": {"gt": 1.5}}, [0, 1, 3]),
        ({"timestamp": {"gte": "2025-11-03T23:59:59Z", "lt": "2025-12-01T00:00:00Z"}}, [1, 2, 3]),
        ({"timestamp": {"gt": "2025-11-03", "lte": "2025-12-01"}}, [2, 3, 4]),
        ({"tags": {"contains": "production"}}, [0, 2]),
        ({"tags": {"contains": "team"}}, [0, 3]),
        ({"tags": {"contains": ["production", "team:search"]}}, [0]),
        ({"tags": {"in": ["team:ads", "team:search"]}}, [0, 3]),
        ({"tags": {"nin": ["production"]}}, [1, 3, 4]),
        ({"project": "shop"}, [0, 1]),
        ({"project": {"ne": "shop"}}, [2, 3, 4]),
        ({"total_tokens": {"lte": 1000}, "provider": "openai"}, [2]),
        ({"output_tokens": {"eq": 0}}, [1]),
        ({"provider": {"eq": "openai", "in": ["openai", "anthropic"]}}, [0, 1, 2]),
    ],
)
async def test_conditions(api: Api, filters: dict[str, Any], expected: list[int]) -> None:
    owner = await filled(api)
    await check_conditions(owner, filters, expected)


async def check_conditions(owner: Person, filters: dict[str, Any], expected: list[int]) -> None:
    """The rows that meet the conditions are those expected."""
    answer = await owner.http.post(QUERY, json={"filters": filters, "order": "asc"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [item["total_cost"] for item in body["data"]] == [COSTS[index] for index in expected]
    assert [item["model_id"] for item in body["data"]] == [ROWS[index][1] for index in expected]
    assert body["pagination"]["total_count"] == len(expected)


async def test_conditions_over_both_databases(every_api: Api) -> None:
    owner = await filled(every_api)
    tagged = {"tags": {"contains": "production"}, "provider": {"in": ["openai"]}, "cost": {"gte": 1.5}}
    await check_conditions(owner, tagged, [0, 2])
    await check_conditions(owner, {"tags": {"nin": ["team"]}, "project": {"ne": "blog"}}, [1, 2, 4])


async def test_pages_of_a_query(api: Api) -> None:
    owner = await filled(api)
    asked: dict[str, Any] = {"filters": {"provider": "openai"}, "limit": 2, "sort_by": "total_tokens", "order": "desc"}
    first = (await owner.http.post(QUERY, json=asked)).json()
    assert [item["total_tokens"] for item in first["data"]] == [2_000, 1_500]
    second = (await owner.http.post(QUERY, json=asked | {"cursor": first["pagination"]["next_cursor"]})).json()
    assert [item["total_tokens"] for item in second["data"]] == [1_000]
    numbered = (await owner.http.post(QUERY, json={"filters": {}, "page": 3, "per_page": 2})).json()
    assert (len(numbered["data"]), numbered["pagination"]["has_previous"]) == (1, True)


async def test_the_documented_summary(every_api: Api) -> None:
    owner = await filled(every_api)
    now = datetime.now(UTC).replace(microsecond=0)
    for days in (0, 1, 6, 7, 29, 30):
        at = (now - timedelta(days=days)).isoformat()
        await reported(owner, record(owner, provider="openai", model_id="one", input_tokens=1_000, output_tokens=0,
                                     total_tokens=1_000, timestamp=at))  # fmt: skip
    for period, requests in (("today", 1), ("yesterday", 1), ("last-7-days", 3), ("last-30-days", 5)):
        data = (await owner.http.get(SUMMARY, params={"period": period})).json()["data"]
        assert (data["total_requests"], data["total_cost"]) == (requests, float(requests))
    answer = await owner.http.get(SUMMARY)
    same_shape(example("llm_cost_ops", "GET", SUMMARY).response, answer.json(), more={"data"})
    data = answer.json()["data"]
    assert (data["average_cost_per_request"], data["average_tokens_per_request"]) == (1.0, 1_000)
    assert data["top_models"] == [{"model_id": "one", "provider": "openai", "cost": 5.0, "requests": 5}]
    assert len(data["daily_trend"]) == 30
    assert data["daily_trend"][-1] == {"date": now.date().isoformat(), "cost": 1.0, "requests": 1}
    this, last = [
        (await owner.http.get(SUMMARY, params={"period": period})).json()["data"]
        for period in ("this-month", "last-month")
    ]
    assert this["daily_trend"][0]["date"] == now.date().replace(day=1).isoformat()
    assert last["daily_trend"][-1]["date"] == (now.date().replace(day=1) - timedelta(days=1)).isoformat()


async def test_whose_costs(api: Api) -> None:
    owner = await filled(api)
    other = await api.person("other@example.com", "owner")
    refused(await other.http.get(PATH, params={"organization_id": owner.organization}), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await other.http.get(SUMMARY, params={"organization_id": owner.organization}), 403,
            "INSUFFICIENT_PERMISSIONS")  # fmt: skip
    asked = {"dimensions": ["model"], "organization_id": owner.organization}
    refused(await other.http.post(BREAKDOWN, json=asked), 403, "INSUFFICIENT_PERMISSIONS")
    of_others = {"filters": {"organization_id": owner.organization}}
    refused(await other.http.post(QUERY, json=of_others), 403, "INSUFFICIENT_PERMISSIONS")
    within = {"filters": {"organization_id": {"in": [owner.organization]}}}
    assert (await other.http.post(QUERY, json=within)).json()["data"] == []
    assert (await costs(other))["data"]["total_requests"] == 0
    assert (await costs(other, group_by="project"))["data"]["breakdown"] == []
    everyone = (await api.master.get(PATH, params={"group_by": "organization"})).json()["data"]
    assert [item["value"] for item in everyone["breakdown"]] == [owner.organization]
    guest = await api.person("guest@example.com", "guest", owner.organization)
    refused(await guest.http.get(PATH), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await api.anyone.get(SUMMARY), 401, "MISSING_CREDENTIALS")


async def test_an_organization_by_its_slug(every_api: Api) -> None:
    api = every_api
    async with api.sidecar.works.begin(SYSTEM) as work:
        own = (await OrganizationService(work).create(NewOrganization(name="Acme Inc", slug="acme-inc"))).id
    member = await api.person("member@acme.example", "engineer", own)
    record = {"organization_id": "acme-inc", "provider": "openai", "model_id": "gpt-4", "input_tokens": 1,
              "output_tokens": 1, "total_tokens": 2}  # fmt: skip
    for http in (api.master, member.http):
        made = await http.post("/api/v1/usage", json=record)
        assert (made.status_code, made.json()["data"]["organization_id"]) == (201, own), made.text
    asked = {"organization_id": "acme-inc"}
    for http in (api.master, member.http):
        assert (await http.get("/api/v1/usage", params=asked)).json()["pagination"]["total_count"] == 2
        for path in (PATH, SUMMARY, PATH + "?group_by=model"):
            assert (await http.get(path, params=asked)).json()["data"]["total_requests"] == 2, path
        found = await http.post(BREAKDOWN, json=asked | {"dimensions": ["model"]})
        assert found.json()["data"]["totals"]["request_count"] == 2
        assert len((await http.post(QUERY, json={"filters": asked})).json()["data"]) == 2
        days = {"start_date": "2026-01-01", "end_date": "2027-01-01", "interval": "month"}
        over_time = await http.get("/api/v1/analytics", params=asked | days)
        assert over_time.json()["data"]["time_series"], over_time.text
    other = await api.person("other@example.com", "owner")
    refused(await other.http.get(PATH, params=asked), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await other.http.post("/api/v1/usage", json=record), 403, "INSUFFICIENT_PERMISSIONS")
    nobody = await api.master.get(PATH, params={"organization_id": "nobody"})
    assert nobody.json()["data"]["total_requests"] == 0


async def test_what_is_refused(api: Api) -> None:
    owner = await api.person(role="viewer")
    http = owner.http
    dates = {"start_date": "2025-12-01", "end_date": "2025-11-01"}
    refused(await http.get(PATH, params=dates), 422, "INVALID_DATE_RANGE", "start_date")
    refused(await http.post(BREAKDOWN, json=dates | {"dimensions": ["model"]}), 422, "INVALID_DATE_RANGE", "start_date")
    refused(await http.get(PATH, params={"group_by": "colour"}), 422, "VALIDATION_ERROR", "group_by")
    refused(await http.get(SUMMARY, params={"period": "ever"}), 422, "VALIDATION_ERROR", "period")
    refused(await http.post(BREAKDOWN, json={}), 422, "MISSING_REQUIRED_FIELD", "dimensions")
    refused(await http.post(BREAKDOWN, json={"dimensions": ["colour"]}), 422, "VALIDATION_ERROR", "dimensions")
    asked = {"dimensions": ["model"], "metrics": ["joy"]}
    refused(await http.post(BREAKDOWN, json=asked), 422, "VALIDATION_ERROR", "metrics")
    for filters, field in (
        ({"colour": "red"}, "filters.colour"),
        ({"cost": {"near": 1}}, "filters.cost.near"),
        ({"cost": {"gte": "1"}}, "filters.cost.gte"),
        ({"cost": {"gte": 1e300}}, "filters.cost.gte"),
        ({"provider": {"gte": "a"}}, "filters.provider.gte"),
        ({"provider": {"in": "openai"}}, "filters.provider.in"),
        ({"provider": {"in": []}}, "filters.provider.in"),
        ({"provider": 7}, "filters.provider"),
        ({"timestamp": {"gte": "soon"}}, "filters.timestamp.gte"),
        ({"total_tokens": {"gte": -1}}, "filters.total_tokens.gte"),
        ({"tags": {"gte": "a"}}, "filters.tags.gte"),
    ):
        refused(await http.post(QUERY, json={"filters": filters}), 422, "VALIDATION_ERROR", field)
