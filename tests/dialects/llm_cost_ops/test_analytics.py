"""Analytics: metrics over time, with breakdowns."""

from __future__ import annotations

from typing import Any

from tests.dialects.conftest import Api, Person
from tests.dialects.llm_cost_ops.ledger import filled
from tests.dialects.llm_cost_ops.test_keys import refused
from tests.dialects.shape import example, same_shape

PATH = "/api/v1/analytics"
EVERY = (
    "total_cost,total_tokens,total_requests,average_cost_per_request,average_tokens_per_request,input_tokens,"
    "output_tokens,cached_tokens"
)


async def analytics(person: Person, **query: Any) -> dict[str, Any]:
    """What is told of November and December."""
    dates = {"start_date": "2025-11-01", "end_date": "2025-12-31"}
    answer = await person.http.get(PATH, params=dates | query)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_the_documented_example(every_api: Api) -> None:
    analyst = await filled(every_api, "analyst")
    query = {"start_date": "2025-11-03", "end_date": "2025-11-03", "metrics": "total_cost,total_tokens",
             "group_by": "provider", "interval": "day"}  # fmt: skip
    answer = await analyst.http.get(PATH, params=query)
    documented = example("llm_cost_ops", "GET", PATH).response
    same_shape(documented, answer.json(), free={"data.time_series[].metrics.provider_breakdown"}, more={"data.summary"})
    assert answer.json()["data"] == {
        "time_series": [
            {
                "timestamp": "2025-11-03T00:00:00Z",
                "metrics": {"total_cost": 4.0, "total_tokens": 3_500, "provider_breakdown": {"openai": 4.0}},
            }
        ],
        "summary": {
            "total_cost": 4.0, "total_tokens": 3_500, "total_requests": 2, "unpriced_requests": 0,
            "average_cost_per_request": 2.0, "average_tokens_per_request": 1_750,
        },
    }  # fmt: skip


async def test_every_metric(api: Api) -> None:
    analyst = await filled(api, "analyst")
    data = await analytics(analyst, interval="month", metrics=EVERY)
    assert [point["timestamp"] for point in data["time_series"]] == ["2025-11-01T00:00:00Z", "2025-12-01T00:00:00Z"]
    assert data["time_series"][0]["metrics"] == {
        "total_cost": 11.5, "total_tokens": 9_500, "total_requests": 4, "average_cost_per_request": 2.875,
        "average_tokens_per_request": 2_375, "input_tokens": 7_500, "output_tokens": 2_000, "cached_tokens": 0,
    }  # fmt: skip
    assert data["summary"]["unpriced_requests"] == 1


async def test_intervals_and_breakdowns(every_api: Api) -> None:
    analyst = await filled(every_api, "analyst")
    weeks = await analytics(analyst, interval="week", group_by="provider,model,project,tag")
    assert len(weeks["time_series"]) == 10
    assert weeks["time_series"][0] == {
        "timestamp": "2025-10-27T00:00:00Z",
        "metrics": {"total_cost": 0.0, "total_tokens": 0, "total_requests": 0, "provider_breakdown": {},
                    "model_breakdown": {}, "project_breakdown": {}, "tag_breakdown": {}},
    }  # fmt: skip
    assert weeks["time_series"][1]["metrics"] == {
        "total_cost": 5.5, "total_tokens": 4_500, "total_requests": 3,
        "provider_breakdown": {"openai": 5.5},
        "model_breakdown": {"one": 4.0, "two": 1.5},
        "project_breakdown": {"shop": 4.0, "none": 1.5},
        "tag_breakdown": {"production": 3.5, "team:search": 2.0, "project:shop": 4.0},
    }  # fmt: skip
    hours = await analytics(analyst, start_date="2025-11-03", end_date="2025-11-03", interval="hour",
                            metrics="total_requests", group_by="tag")  # fmt: skip
    assert len(hours["time_series"]) == 24
    assert hours["time_series"][0]["metrics"] == {
        "total_requests": 1, "tag_breakdown": {"production": 1, "team:search": 1, "project:shop": 1}
    }  # fmt: skip
    assert hours["time_series"][23]["metrics"]["total_requests"] == 1
    days = await analytics(analyst, provider="anthropic")
    assert (len(days["time_series"]), days["summary"]["total_requests"]) == (61, 2)


async def test_what_is_refused(api: Api) -> None:
    analyst = await api.person(role="analyst")
    dates = {"start_date": "2025-11-01", "end_date": "2025-12-31"}
    get = analyst.http.get
    refused(await get(PATH, params={"start_date": "2025-11-01"}), 422, "MISSING_REQUIRED_FIELD", "end_date")
    back = {"start_date": "2025-12-31", "end_date": "2025-11-01"}
    refused(await get(PATH, params=back), 422, "INVALID_DATE_RANGE", "start_date")
    refused(await get(PATH, params=dates | {"interval": "minute"}), 422, "VALIDATION_ERROR", "interval")
    refused(await get(PATH, params=dates | {"metrics": "joy"}), 422, "VALIDATION_ERROR", "metrics")
    refused(await get(PATH, params=dates | {"metrics": ","}), 422, "VALIDATION_ERROR", "metrics")
    refused(await get(PATH, params=dates | {"group_by": "colour"}), 422, "VALIDATION_ERROR", "group_by")
    long = {"start_date": "2020-01-01", "end_date": "2025-01-01", "interval": "hour"}
    refused(await get(PATH, params=long), 422, "VALIDATION_ERROR", "interval")
    refused(await get(PATH, params=long | {"end_date": "9999-12-31T23:59:59.5Z"}), 422, "VALIDATION_ERROR", "end_date")
    viewer = await api.person("viewer@example.com", "viewer")
    refused(await viewer.http.get(PATH, params=dates), 403, "INSUFFICIENT_PERMISSIONS")
    other = dates | {"organization_id": viewer.organization}
    refused(await get(PATH, params=other), 403, "INSUFFICIENT_PERMISSIONS")
