"""Prices at the paths of LLM Cost Ops: the documented examples, who may do what, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs

from tests.dialects.conftest import Api, running
from tests.dialects.shape import example, same_shape

PATH = "/api/v1/pricing"
NEW: dict[str, Any] = example("llm_cost_ops", "POST", PATH).request
ONE = PATH + "/{pricing_id}"
PAGING = {"pagination"}
STRUCTURE = {"data.pricing_structure"}


def refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    if field is not None:
        assert [fault["field"] for fault in error["details"]] == [field]


async def made(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json=NEW | more)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_the_documented_examples(every_api: Api) -> None:
    http = every_api.master
    answer = await http.post(PATH, json=NEW)
    assert answer.status_code == 201, answer.text
    same_shape(example("llm_cost_ops", "POST", PATH).response, answer.json())
    price = answer.json()["data"]
    assert {name: price[name] for name in NEW} == NEW
    assert price["id"].startswith("price_")

    shown = await http.get(f"{PATH}/{price['id']}")
    assert shown.status_code == 200
    same_shape(example("llm_cost_ops", "GET", ONE).response, shown.json(), more=STRUCTURE)
    assert shown.json()["data"]["pricing_structure"] == {"type": "per_token", "tiers": None, "source": "api"}

    query: dict[str, str] = {"provider": "openai", "model_id": "gpt-4-turbo", "active_only": "true", "limit": "5"}
    listed = await http.get(PATH, params=query)
    assert listed.status_code == 200, listed.text
    same_shape(example("llm_cost_ops", "GET", PATH).response, listed.json(), more=PAGING)
    # The price by API and the default one.
    assert [item["id"] for item in listed.json()["data"]][-1] == price["id"]
    assert listed.json()["pagination"] == {"has_more": False, "next_cursor": None, "total_count": 2, "limit": 5}

    change = example("llm_cost_ops", "PUT", ONE).request | {"effective_date": "2026-01-01T00:00:00Z"}
    updated = await http.put(f"{PATH}/{price['id']}", json=change)
    assert updated.status_code == 200, updated.text
    same_shape(example("llm_cost_ops", "GET", ONE).response, updated.json(), more=STRUCTURE)
    version = updated.json()["data"]
    assert version["id"] != price["id"]
    assert {name: version[name] for name in change} == change
    former = (await http.get(f"{PATH}/{price['id']}")).json()["data"]
    assert former["end_date"] == "2026-01-01T00:00:00Z"
    assert former["input_price_per_1k"] == 0.01

    ended = await http.delete(f"{PATH}/{version['id']}", params={"end_date": "2026-02-01"})
    assert (ended.status_code, ended.content) == (204, b"")
    assert (await http.get(f"{PATH}/{version['id']}")).json()["data"]["end_date"] == "2026-02-01T00:00:00Z"
    kept = (await http.get(PATH, params=query | {"active_only": "false", "source": "api"})).json()["data"]
    assert [item["id"] for item in kept] == [version["id"], price["id"]]


async def test_what_is_done_is_in_the_audit_log(api: Api) -> None:
    owner = await api.person(role="owner")
    price = await made(owner.http)
    version = (await owner.http.put(f"{PATH}/{price['id']}", json={"output_price_per_1k": 0.02})).json()["data"]
    assert (await owner.http.delete(f"{PATH}/{version['id']}")).status_code == 204
    found = (await owner.http.get("/api/v1/audit", params={"resource_type": "pricing"})).json()["data"]
    assert [(item["event_type"], item["resource_id"]) for item in found] == [
        ("pricing.deleted", version["id"]),
        ("pricing.updated", version["id"]),
        ("pricing.created", price["id"]),
    ]


async def test_the_default_list_is_listed_and_can_be_overridden(api: Api) -> None:
    query = {"provider": "openai", "model_id": "gpt-4o", "source": "default"}
    (default,) = (await api.master.get(PATH, params=query)).json()["data"]
    assert (default["input_price_per_1k"], default["output_price_per_1k"]) == (0.0025, 0.01)
    refused(await api.master.delete(f"{PATH}/{default['id']}"), 409, "CONFLICT", "pricing_id")
    answer = await api.master.put(f"{PATH}/{default['id']}", json={"input_price_per_1k": 0.002})
    structure = answer.json()["data"]["pricing_structure"]
    assert structure == {"type": "per_token", "tiers": None, "source": "api", "cached_input_price_per_1k": 0.00125}
    assert answer.json()["data"]["output_price_per_1k"] == 0.01


async def test_what_a_model_is_paid_by_is_read_as_it_was_written(api: Api) -> None:
    structure = {
        "type": "tiered",
        "cached_input_price_per_1k": 0.000_125,
        "cache_write_price_per_1k": 0.001_562_5,
        "reasoning_price_per_1k": 0.01,
        "price_per_request": 0.012,
        "price_per_image": 0.04,
        "price_per_audio_second": 0.0001,
        "tiers": [{"above_prompt_tokens": 200_000, "input_price_per_1k": 0.0025, "output_price_per_1k": 0.015}],
    }
    price = await made(api.master, pricing_structure=structure, currency="EUR", end_date="2027-01-01")
    data = (await api.master.get(f"{PATH}/{price['id']}")).json()["data"]
    shown = data["pricing_structure"]
    (tier,) = shown.pop("tiers")
    assert shown.pop("source") == "api"
    assert shown == {name: value for name, value in structure.items() if name != "tiers"}
    assert tier["input_price_per_1k"] == 0.0025
    assert tier["cached_input_price_per_1k"] == 0.000_125
    assert (data["currency"], data["end_date"]) == ("EUR", "2027-01-01T00:00:00Z")
    change = {"pricing_structure": {"reasoning_price_per_1k": None, "tiers": None}, "effective_date": "2026-01-01"}
    changed = (await api.master.put(f"{PATH}/{price['id']}", json=change)).json()["data"]
    assert changed["pricing_structure"]["type"] == "per_token"
    assert "reasoning_price_per_1k" not in changed["pricing_structure"]
    assert changed["pricing_structure"]["price_per_request"] == 0.012


async def test_an_organisation_sees_its_own_prices_and_those_of_everybody(every_api: Api) -> None:
    ann, bob = await every_api.person("ann@example.com", "owner"), await every_api.person("bob@example.com", "owner")
    own = await made(ann.http)
    everybody = await made(every_api.master, effective_date="2025-01-01")
    query = {"model_id": "gpt-4-turbo", "source": "api"}

    async def seen(client: httpx.AsyncClient) -> set[str]:
        return {item["id"] for item in (await client.get(PATH, params=query)).json()["data"]}

    assert await seen(ann.http) == {own["id"], everybody["id"]}
    assert await seen(bob.http) == {everybody["id"]}
    assert await seen(every_api.master) == {own["id"], everybody["id"]}
    path = f"{PATH}/{own['id']}"
    refused(await bob.http.get(path), 404, "NOT_FOUND", "pricing_id")
    refused(await bob.http.put(path, json={"input_price_per_1k": 0}), 404, "NOT_FOUND", "pricing_id")
    refused(await bob.http.delete(path), 404, "NOT_FOUND", "pricing_id")
    refused(await ann.http.delete(f"{PATH}/{everybody['id']}"), 403, "INSUFFICIENT_PERMISSIONS")
    body = NEW | {"organization_id": ann.organization}
    refused(await bob.http.post(PATH, json=body), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await bob.http.get(PATH, params={"organization_id": ann.organization}), 403, "INSUFFICIENT_PERMISSIONS")
    version = await ann.http.put(f"{PATH}/{everybody['id']}", json={"input_price_per_1k": 0.5})
    assert version.status_code == 200, version.text
    assert await seen(ann.http) == {version.json()["data"]["id"], everybody["id"]}
    assert (await every_api.master.get(f"{PATH}/{everybody['id']}")).json()["data"]["input_price_per_1k"] == 0.01


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [("viewer", 200, 403), ("analyst", 200, 403), ("engineer", 200, 403), ("billing_admin", 200, 201),
     ("admin", 200, 201), ("guest", 403, 403)],
)  # fmt: skip
async def test_what_roles_may(api: Api, role: str, reads: int, writes: int) -> None:
    person = await api.person(role=role)
    assert (await person.http.get(PATH, params={"source": "api"})).status_code == reads
    assert (await person.http.post(PATH, json=NEW)).status_code == writes


async def test_a_key_does_what_its_scopes_say(api: Api) -> None:
    reader = await api.person("a@example.com", "owner", scopes=["pricing:read"])
    writer = await api.person("b@example.com", "owner", scopes=["pricing:write"])
    assert (await reader.http.get(PATH, params={"source": "api"})).status_code == 200
    refused(await reader.http.post(PATH, json=NEW), 403, "INSUFFICIENT_PERMISSIONS")
    price = await made(writer.http)
    refused(await writer.http.get(f"{PATH}/{price['id']}"), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await reader.http.put(f"{PATH}/{price['id']}", json={"currency": "EUR"}), 404, "NOT_FOUND")
    refused(await api.anyone.get(PATH), 401, "MISSING_CREDENTIALS")


async def test_pages(api: Api) -> None:
    for index in range(5):
        await made(api.master, model_id=f"m{index}")
    query: dict[str, Any] = {"provider": "openai", "source": "api", "limit": 2}
    seen: list[str] = []
    while True:
        body = (await api.master.get(PATH, params=query)).json()
        seen += [item["model_id"] for item in body["data"]]
        assert body["pagination"]["total_count"] == 5
        if not body["pagination"]["has_more"]:
            break
        query["cursor"] = body["pagination"]["next_cursor"]
    assert seen == [f"m{index}" for index in reversed(range(5))]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"provider": "opnai"}, "INVALID_PROVIDER", "provider"),
        ({"provider": ""}, "VALIDATION_ERROR", "provider"),
        ({"model_id": " "}, "VALIDATION_ERROR", "model_id"),
        ({"input_price_per_1k": -0.01}, "VALIDATION_ERROR", "input_price_per_1k"),
        ({"input_price_per_1k": "0.01"}, "VALIDATION_ERROR", "input_price_per_1k"),
        ({"currency": "CHF"}, "VALIDATION_ERROR", "currency"),
        ({"effective_date": "soon"}, "VALIDATION_ERROR", "effective_date"),
        ({"end_date": "2025-01-01"}, "INVALID_DATE_RANGE", "end_date"),
        ({"price": 1}, "VALIDATION_ERROR", "price"),
        ({"pricing_structure": {"tiers": [{}]}}, "MISSING_REQUIRED_FIELD",
         "pricing_structure.tiers[0].above_prompt_tokens"),
        ({"pricing_structure": {"tiers": [{"above_prompt_tokens": 0}]}}, "VALIDATION_ERROR",
         "pricing_structure.tiers[0].above_prompt_tokens"),
    ],
)  # fmt: skip
async def test_faulty_prices(api: Api, fields: dict[str, Any], code: str, field: str) -> None:
    refused(await api.master.post(PATH, json=NEW | fields), 422, code, field)
    assert await api.audited("pricing.created") == []


@pytest.mark.parametrize("field", ["provider", "model_id", "input_price_per_1k", "output_price_per_1k"])
async def test_missing_fields(api: Api, field: str) -> None:
    body = {name: value for name, value in NEW.items() if name != field}
    refused(await api.master.post(PATH, json=body), 422, "MISSING_REQUIRED_FIELD", field)


async def test_conflicts(api: Api) -> None:
    price = await made(api.master)
    refused(await api.master.post(PATH, json=NEW), 409, "ALREADY_EXISTS", "effective_date")
    path = f"{PATH}/{price['id']}"
    refused(await api.master.put(path, json={}), 422, "VALIDATION_ERROR", "input_price_per_1k")
    refused(await api.master.delete(path, params={"end_date": "2025-11-30"}), 422, "INVALID_DATE_RANGE", "end_date")
    assert (await api.master.delete(path)).status_code == 204
    refused(await api.master.delete(path), 409, "CONFLICT", "pricing_id")
    refused(await api.master.put(path, json={"input_price_per_1k": 1}), 409, "CONFLICT", "pricing_id")
    refused(await api.master.get(f"{PATH}/price_unknown"), 404, "NOT_FOUND", "pricing_id")
    refused(await api.master.get(PATH, params={"limit": 101}), 422, "VALIDATION_ERROR", "limit")


async def test_prices_of_the_configuration_are_there_from_the_start(tmp_path: Path) -> None:
    prices = [{"provider": "up", "model": "gpt-4", "input_per_1k": 0.01, "output_per_1k": 0.03}]
    async with running(tmp_path / "data", pricing=prices) as api:
        (price,) = (await api.master.get(PATH, params={"source": "config"})).json()["data"]
        assert (price["provider"], price["model_id"], price["input_price_per_1k"]) == ("up", "gpt-4", 0.01)
        assert (price["effective_date"], price["end_date"]) == ("1970-01-01T00:00:00Z", None)
        configured = api.sidecar.settings
        await api.sidecar.configure(structs.replace(configured, pricing=()))
        assert (await api.master.get(PATH, params={"source": "config"})).json()["data"] == []
