"""Usage records: reported, listed, read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.dialects.conftest import Api, Person
from tests.dialects.llm_cost_ops.test_keys import refused
from tests.dialects.shape import example, same_shape

USAGE, BATCH, HISTORY = "/api/v1/usage", "/api/v1/usage/batch", "/api/v1/usage/history"


def record(person: Person, **more: Any) -> dict[str, Any]:
    """A record that is right, but for what is given."""
    return {
        "organization_id": person.organization, "provider": "openai", "model_id": "gpt-4-turbo",
        "input_tokens": 1500, "output_tokens": 800, "total_tokens": 2300,
    } | more  # fmt: skip


async def reported(person: Person, *records: dict[str, Any]) -> list[str]:
    """Report records at once; gives their ids."""
    answer = await person.http.post(BATCH, json={"records": [record(person, **item) for item in records]})
    assert answer.status_code == 201, answer.text
    return [item["usage_id"] for item in answer.json()["data"]["results"]]


async def listed(person: Person, path: str = HISTORY, **query: Any) -> dict[str, Any]:
    """One page of records."""
    answer = await person.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_documented_examples(every_api: Api) -> None:
    owner = await every_api.person(role="engineer")
    request, response = example("llm_cost_ops", "POST", USAGE)
    answer = await owner.http.post(USAGE, json=request | {"organization_id": owner.organization})
    assert answer.status_code == 201, answer.text
    same_shape(response, answer.json())
    made = answer.json()["data"]
    # 1,000 plain, 500 cached at the plain price (no other is told), 800 out: at 10 and 30 dollars a million.
    assert made["estimated_cost"] == pytest.approx(0.039)
    assert made["organization_id"] == owner.organization

    body = await listed(owner)
    same_shape(example("llm_cost_ops", "GET", HISTORY).response, body, free={"pagination.next_cursor"},
               nullable={"pagination.next_cursor"}, more={"data[]", "data[].metadata"})  # fmt: skip
    assert body["pagination"] == {"has_more": False, "next_cursor": None, "total_count": 1, "limit": 20}
    (row,) = body["data"]
    assert {name: row[name] for name in request if name != "organization_id"} == {
        name: value for name, value in request.items() if name != "organization_id"
    }
    one = await owner.http.get(f"{USAGE}/{made['usage_id']}")
    same_shape(example("llm_cost_ops", "GET", USAGE + "/{usage_id}").response, one.json(), more={"data"})
    assert one.json()["data"] == row
    assert [item.resource_id for item in await every_api.audited("usage.submitted")] == [made["usage_id"]]


async def test_a_documented_batch(every_api: Api) -> None:
    owner = await every_api.person(role="engineer")
    request, response = example("llm_cost_ops", "POST", BATCH)
    asked = {"records": [item | {"organization_id": owner.organization} for item in request["records"]]}
    answer = await owner.http.post(BATCH, json=asked)
    assert answer.status_code == 201, answer.text
    same_shape(response, answer.json())
    assert answer.json()["data"]["submitted"] == 2
    assert {row["provider"] for row in (await listed(owner))["data"]} == {"openai", "anthropic"}


async def test_each_record_of_a_batch_has_its_own_result(every_api: Api) -> None:
    owner = await every_api.person(role="engineer")
    other = await every_api.organization("Other")
    records: list[Any] = [
        record(owner),
        record(owner, total_tokens=1),
        record(owner, provider="nobody"),
        record(owner, organization_id=other),
        "no record",
        {"organization_id": owner.organization},
        record(owner, model_id="no such model"),
        record(owner),
    ]
    body = (await owner.http.post(BATCH, json={"records": records})).json()["data"]
    assert (body["submitted"], body["failed"]) == (2, 6)
    assert [item["status"] for item in body["results"]] == ["success", *["failed"] * 6, "success"]
    assert [item["error"]["code"] for item in body["results"][1:-1]] == [
        "VALIDATION_ERROR", "INVALID_PROVIDER", "INSUFFICIENT_PERMISSIONS", "VALIDATION_ERROR",
        "MISSING_REQUIRED_FIELD", "INVALID_MODEL",
    ]  # fmt: skip
    assert body["results"][1]["error"]["details"][0]["field"] == "total_tokens"
    assert (await listed(owner))["pagination"]["total_count"] == 2
    answer = await owner.http.post(BATCH, json={"records": records[1:2]})
    assert (answer.status_code, answer.json()["data"]["failed"]) == (200, 1)


async def test_a_key_enters_a_record_once(every_api: Api) -> None:
    owner = await every_api.person(role="engineer")
    key = {"idempotency-key": "once"}
    first, second = [(await owner.http.post(USAGE, json=record(owner), headers=key)).json()["data"] for _ in range(2)]
    assert first["usage_id"] == second["usage_id"]
    refused(await owner.http.post(USAGE, json=record(owner, model_id="gpt-4o"), headers=key), 409, "CONFLICT")
    batch = {"records": [record(owner, model_id="gpt-4o"), record(owner)]}
    results = [(await owner.http.post(BATCH, json=batch, headers=key)).json()["data"]["results"] for _ in range(2)]
    assert results[0] == results[1]
    assert (await listed(owner))["pagination"]["total_count"] == 3
    own = {"records": [record(owner, idempotency_key="own"), record(owner, idempotency_key="own", input_tokens=1,
                                                                    total_tokens=801)]}  # fmt: skip
    told = (await owner.http.post(BATCH, json=own)).json()["data"]["results"]
    assert [item["status"] for item in told] == ["success", "failed"]
    assert told[1]["error"]["code"] == "CONFLICT"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"input_tokens": -1}, "VALIDATION_ERROR", "input_tokens"),
        ({"input_tokens": "1"}, "VALIDATION_ERROR", "input_tokens"),
        ({"organization_id": ""}, "VALIDATION_ERROR", "organization_id"),
        ({"cached_tokens": 1501}, "VALIDATION_ERROR", "cached_tokens"),
        ({"reasoning_tokens": 801}, "VALIDATION_ERROR", "reasoning_tokens"),
        ({"timestamp": "soon"}, "VALIDATION_ERROR", "timestamp"),
        ({"timestamp": "2999-01-01"}, "VALIDATION_ERROR", "timestamp"),
        ({"timestamp": "1969-01-01"}, "VALIDATION_ERROR", "timestamp"),
        ({"metadata": {"a": "x" * 20_000}}, "VALIDATION_ERROR", "metadata"),
        ({"tags": [""]}, "VALIDATION_ERROR", "tags[0]"),
        ({"provider": "nobody"}, "INVALID_PROVIDER", "provider"),
        ({"model_id": "two words"}, "INVALID_MODEL", "model_id"),
        ({"model": "gpt-4"}, "VALIDATION_ERROR", "model"),
    ],
)  # fmt: skip
async def test_what_is_refused(api: Api, change: dict[str, Any], code: str, field: str) -> None:
    owner = await api.person(role="engineer")
    refused(await owner.http.post(USAGE, json=record(owner) | change), 422, code, field)


async def test_errors_of_the_tables(api: Api) -> None:
    owner = await api.person(role="engineer")
    other = await api.person("other@example.com", "engineer")
    viewer = await api.person("viewer@example.com", "viewer", owner.organization)
    missing = record(owner)
    del missing["output_tokens"]
    refused(await owner.http.post(USAGE, json=missing), 422, "MISSING_REQUIRED_FIELD", "output_tokens")
    refused(await api.anyone.post(USAGE, json=missing), 401, "MISSING_CREDENTIALS")
    refused(await viewer.http.post(USAGE, json=record(viewer)), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await owner.http.post(USAGE, json=record(other)), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await api.master.post(USAGE, json=record(owner, organization_id="org_no")), 404, "NOT_FOUND")
    refused(
        await owner.http.get(USAGE, params={"organization_id": other.organization}), 403, "INSUFFICIENT_PERMISSIONS"
    )
    refused(await owner.http.get(f"{USAGE}/usage_no"), 404, "NOT_FOUND")
    (id,) = await reported(owner, {})
    refused(await other.http.get(f"{USAGE}/{id}"), 404, "NOT_FOUND")
    assert (await api.master.get(f"{USAGE}/{id}")).status_code == 200
    writer = await api.person("writer@example.com", "engineer", owner.organization, scopes=["usage:write"])
    refused(await writer.http.get(USAGE), 403, "INSUFFICIENT_PERMISSIONS")
    refused(
        await owner.http.post(USAGE, content=b"{", headers={"content-type": "application/json"}), 400, "BAD_REQUEST"
    )
    too_many = {"records": [record(owner)] * 1_001}
    refused(await owner.http.post(BATCH, json=too_many), 422, "VALIDATION_ERROR", "records")
    large = b'{"records": ["' + b"x" * 10_485_760 + b'"]}'
    content = {"content-type": "application/json"}
    refused(await owner.http.post(BATCH, content=large, headers=content), 413, "PAYLOAD_TOO_LARGE")
    refused(await owner.http.post(USAGE, content=large[:2_000_000], headers=content), 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("count", "message"), [(0, "must have at least 1 item"), (1001, "must have at most 1000 items")]
)
async def test_how_many_records_a_batch_has(api: Api, count: int, message: str) -> None:
    owner = await api.person(role="engineer")
    answer = await owner.http.post(BATCH, json={"records": [record(owner)] * count})
    assert answer.status_code == 422
    assert answer.json()["error"]["details"][0]["message"] == message


async def test_a_thousand_records_of_more_than_a_megabyte(api: Api) -> None:
    owner = await api.person(role="engineer")
    records = [record(owner, metadata={"note": "x" * 2_000}) for _ in range(1_000)]
    answer = await owner.http.post(BATCH, json={"records": records})
    assert (answer.status_code, answer.json()["data"]["submitted"]) == (201, 1_000)


async def test_an_unknown_price_is_not_zero(api: Api) -> None:
    owner = await api.person(role="engineer")
    answer = await owner.http.post(USAGE, json=record(owner, model_id="nobodys-model"))
    assert answer.json()["data"]["estimated_cost"] is None
    assert (await listed(owner))["data"][0]["estimated_cost"] is None


AT = datetime(2025, 11, 10, 10, tzinfo=UTC)


def spread(count: int) -> list[dict[str, Any]]:
    """Records an hour apart, of models in turn, the latest first, two of each time."""
    return [
        {
            "timestamp": (AT - timedelta(hours=index // 2)).isoformat(),
            "provider": ("openai", "anthropic")[index % 2],
            "model_id": f"model-{index % 3}",
            "input_tokens": index,
            "total_tokens": 800 + index,
        }
        for index in range(count)
    ]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort_by", ["timestamp", "total_tokens", "model_id,timestamp", "total_cost", "created_at"])
async def test_pages_hold_each_record_once(every_api: Api, sort_by: str, order: str) -> None:
    owner = await every_api.person(role="engineer")
    ids = await reported(owner, *spread(9))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(5):
        body = await listed(owner, limit=2, sort_by=sort_by, order=order, **cursor)
        seen += [row["id"] for row in body["data"]]
        cursor = {"cursor": body["pagination"]["next_cursor"]}
    assert body["pagination"] == {"has_more": False, "next_cursor": None, "total_count": 9, "limit": 2}
    assert sorted(seen) == sorted(ids)
    by_number = [await listed(owner, USAGE, page=page, per_page=4, sort_by=sort_by, order=order) for page in (1, 2, 3)]
    assert [row["id"] for body in by_number for row in body["data"]] == seen
    assert by_number[1]["pagination"] == {
        "page": 2, "per_page": 4, "total_pages": 3, "total_count": 9, "has_previous": True, "has_next": True,
    }  # fmt: skip


async def test_several_fields_in_different_directions(every_api: Api) -> None:
    owner = await every_api.person(role="engineer")
    await reported(owner, *spread(8))
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        body = await listed(owner, sort_by="provider,timestamp", order="asc,desc", limit=3, **cursor)
        rows += body["data"]
        cursor = {"cursor": body["pagination"]["next_cursor"]}
    found = [(row["provider"], row["timestamp"]) for row in rows]
    assert len(found) == 8
    assert [name for name, _ in found] == ["anthropic"] * 4 + ["openai"] * 4
    for name in ("anthropic", "openai"):
        times = [at for provider, at in found if provider == name]
        assert times == sorted(times, reverse=True)


async def test_filters(every_api: Api) -> None:
    owner = await every_api.person(role="engineer")
    await reported(owner, *spread(8), {"metadata": {"user_id": "somebody"}, "timestamp": "2025-11-01T00:00:00Z"})

    async def count(**query: Any) -> int:
        body = await listed(owner, USAGE, **query)
        assert len(body["data"]) == body["pagination"]["total_count"]
        return len(body["data"])

    assert await count(provider="anthropic") == 4
    assert await count(provider="anthropic", model_id="model-1") == 2
    assert await count(user_id="somebody") == 1
    assert await count(start_date="2025-11-10") == 8
    assert await count(end_date="2025-11-01") == 1
    assert await count(start_date="2025-11-10T09:00:00Z", end_date="2025-11-10T10:00:00Z") == 4
    assert await count(start_date="2025-11-10T08:30:00Z", end_date="2025-11-10T09:30:00Z") == 2
    assert await count(organization_id=owner.organization) == 9
    assert (await every_api.master.get(USAGE)).json()["pagination"]["total_count"] == 9
    assert await count(provider="nobody") == 0


async def test_a_time_zone_in_a_query_as_people_write_it(api: Api) -> None:
    owner = await api.person(role="engineer")
    (id,) = await reported(owner, {"timestamp": "2025-11-05T08:30:00Z"})
    # By hand: the client would encode the plus.
    found = await owner.http.get(f"{HISTORY}?start_date=2025-11-05T10:30:00+02:00&end_date=2025-11-05T10:30:00+02:00")
    assert [item["id"] for item in found.json()["data"]] == [id], found.text


async def test_lists_that_are_refused(api: Api) -> None:
    owner = await api.person(role="engineer")
    await reported(owner, *spread(3))
    cursor = (await listed(owner, limit=1))["pagination"]["next_cursor"]
    for query, code, field in (
        ({"start_date": "2025-12-01", "end_date": "2025-11-01"}, "INVALID_DATE_RANGE", "start_date"),
        ({"limit": 101}, "VALIDATION_ERROR", "limit"),
        ({"page": 0}, "VALIDATION_ERROR", "page"),
        ({"per_page": 101}, "VALIDATION_ERROR", "per_page"),
        ({"sort_by": "colour"}, "VALIDATION_ERROR", "sort_by"),
        ({"sort_by": "provider,provider"}, "VALIDATION_ERROR", "sort_by"),
        ({"order": "up"}, "VALIDATION_ERROR", "order"),
        ({"order": "asc,desc"}, "VALIDATION_ERROR", "order"),
        ({"cursor": "nonsense"}, "VALIDATION_ERROR", "cursor"),
        ({"cursor": cursor, "order": "asc"}, "VALIDATION_ERROR", "cursor"),
        ({"cursor": cursor, "sort_by": "total_cost"}, "VALIDATION_ERROR", "cursor"),
        ({"cursor": cursor, "page": 1}, "VALIDATION_ERROR", "cursor"),
        ({"modelid": "a"}, "VALIDATION_ERROR", "modelid"),
    ):
        refused(await owner.http.get(HISTORY, params=query), 422, code, field)
