"""Keys: who may do what with them, how they are paged, and what is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.dialects.conftest import Api
from tests.dialects.shape import same_shape

KEYS = "/api/v1/auth/api-keys"
ERROR = {"error": {"code": "ERROR_CODE", "message": "Text"}, "request_id": "req_abc123"}
FAULTS = {
    "error": {"code": "A", "message": "b", "details": [{"field": "c", "message": "d", "code": "E"}]},
    "request_id": "req_xyz789",
}


def refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> str:
    """The sentence of a refusal in the reference's envelope."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    same_shape(ERROR if field is None else FAULTS, body, more={"error"} if field is None else ())
    assert body["error"]["code"] == code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-api-version"] == "v1"
    if field is None:
        return str(body["error"]["message"])
    (fault,) = body["error"]["details"]
    assert fault["field"] == field
    return str(fault["message"])


async def test_prefixes_tell_what_a_key_is(api: Api) -> None:
    owner = await api.person(role="owner")
    asked: list[tuple[dict[str, Any], str]] = [
        ({"scopes": ["usage:read"]}, "sk_live_"),
        ({"scopes": ["usage:read"], "environment": "test"}, "sk_test_"),
        ({"scopes": ["admin:*"]}, "sk_admin_"),
    ]
    for fields, prefix in asked:
        made = await owner.http.post(KEYS, json={"name": "a", **fields})
        assert made.json()["data"]["key"].startswith(prefix)


async def test_a_key_does_what_its_scopes_say_and_no_more(api: Api) -> None:
    owner = await api.person(role="owner")
    made = await owner.http.post(KEYS, json={"name": "a", "scopes": ["audit:read"]})
    key = await api.client(made.json()["data"]["key"])
    assert (await key.get("/api/v1/audit")).status_code == 200
    refused(await key.post(KEYS, json={"name": "b"}), 403, "INSUFFICIENT_PERMISSIONS")
    without = await owner.http.post(KEYS, json={"name": "c", "scopes": ["usage:write"]})
    other = await api.client(without.json()["data"]["key"])
    refused(await other.get("/api/v1/audit"), 403, "INSUFFICIENT_PERMISSIONS")


async def test_nobody_sees_or_changes_keys_of_another_organization(every_api: Api) -> None:
    ann, bob = await every_api.person("ann@example.com", "owner"), await every_api.person("bob@example.com", "owner")
    path = f"{KEYS}/{(await ann.http.get(KEYS)).json()['data'][0]['id']}"
    for answer in (
        await bob.http.get(path),
        await bob.http.patch(path, json={"name": "b"}),
        await bob.http.post(path + "/rotate"),
        await bob.http.delete(path),
    ):
        refused(answer, 404, "NOT_FOUND", "key_id")
    body = {"name": "a", "scopes": ["usage:read"], "organization_id": ann.organization}
    refused(await bob.http.post(KEYS, json=body), 404, "NOT_FOUND", "organization_id")
    refused(await bob.http.get(KEYS, params={"organization_id": ann.organization}), 403, "INSUFFICIENT_PERMISSIONS")
    seen = (await every_api.master.get(KEYS, params={"organization_id": ann.organization})).json()
    assert {item["user_id"] for item in seen["data"]} == {ann.id}
    assert (await every_api.master.delete(path)).status_code == 204


async def test_a_viewer_neither_sees_nor_writes_keys_of_others(api: Api) -> None:
    organization = await api.organization()
    viewer = await api.person("viewer@example.com", "viewer", organization)
    engineer = await api.person("engineer@example.com", "engineer", organization)
    own = (await viewer.http.get(KEYS)).json()["data"]
    assert [item["user_id"] for item in own] == [viewer.id]
    refused(await viewer.http.post(KEYS, json={"name": "a", "scopes": ["usage:read"]}), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await viewer.http.patch(f"{KEYS}/{own[0]['id']}", json={"name": "b"}), 403, "INSUFFICIENT_PERMISSIONS")
    refused(await viewer.http.get(KEYS, params={"user_id": engineer.id}), 403, "INSUFFICIENT_PERMISSIONS")
    assert len((await engineer.http.get(KEYS)).json()["data"]) == 2


async def test_a_key_of_a_service_belongs_to_no_person(api: Api) -> None:
    organization = await api.organization()
    body = {"name": "service", "scopes": ["usage:write"], "organization_id": organization}
    made = (await api.master.post(KEYS, json=body)).json()["data"]
    shown = (await api.master.get(f"{KEYS}/{made['id']}")).json()["data"]
    assert (shown["organization_id"], shown["user_id"]) == (organization, None)


async def test_a_rotated_key_works_for_its_grace(every_api: Api) -> None:
    owner = await every_api.person(role="owner")
    made = (await owner.http.post(KEYS, json={"name": "a", "scopes": ["admin:*"]})).json()["data"]
    old = await every_api.client(made["key"])
    rotated = await old.post(f"{KEYS}/{made['id']}/rotate", json={"grace_seconds": 3600})
    assert rotated.status_code == 200, rotated.text
    new = await every_api.client(rotated.json()["data"]["key"])
    for client in (old, new):
        assert (await client.get(f"{KEYS}/{made['id']}")).status_code == 200
    third = await new.post(f"{KEYS}/{made['id']}/rotate")
    refused(await new.get(KEYS), 401, "INVALID_API_KEY")
    last = await every_api.client(third.json()["data"]["key"])
    assert (await last.delete(f"{KEYS}/{made['id']}")).status_code == 204
    for client in (old, new, last):
        refused(await client.get(KEYS), 401, "INVALID_API_KEY")
    assert [item.action for item in await every_api.audited("auth.api_key.rotated")] == ["auth.api_key.rotated"] * 2


async def test_of_two_who_revoke_a_key_one_has(every_api: Api) -> None:
    owner = await every_api.person(role="owner")
    made = (await owner.http.post(KEYS, json={"name": "a", "scopes": ["usage:read"]})).json()["data"]
    answers = await asyncio.gather(*(owner.http.delete(f"{KEYS}/{made['id']}") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 4
    assert len(await every_api.audited("auth.api_key.revoked")) == 1
    refused(await owner.http.patch(f"{KEYS}/{made['id']}", json={"name": "b"}), 409, "CONFLICT", "key_id")


async def test_pages_go_on_where_they_ended(every_api: Api) -> None:
    owner = await every_api.person(role="owner")
    for index in range(6):
        await owner.http.post(KEYS, json={"name": f"key {index}", "scopes": ["usage:read"]})

    async def walk(order: str) -> list[str]:
        names: list[str] = []
        query: dict[str, Any] = {"limit": 3, "order": order}
        while True:
            body = (await owner.http.get(KEYS, params=query)).json()
            names += [item["name"] for item in body["data"]]
            page = body["pagination"]
            assert page["total_count"] >= 7
            assert page["limit"] == 3
            if not page["has_more"]:
                assert page["next_cursor"] is None
                return names
            query["cursor"] = page["next_cursor"]
            # What is made meanwhile moves no page.
            await owner.http.post(KEYS, json={"name": "late", "scopes": ["usage:read"]})

    made = ["of the test", *(f"key {index}" for index in range(6))]
    assert await walk("desc") == made[::-1]
    assert (await walk("asc"))[:7] == made


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "eyJpZCI6IjEyMyJ9",
        "bnVsbA",
        "e30",
        "eyJpZCI6ImEiLCJvcmRlciI6ImRlc2MifQ",
        "A" * 200,
        "é",
        "=",
        "eyJpZCI6SW5maW5pdHksIm9yZGVyIjoiZGVzYyJ9",  # {"id":Infinity,"order":"desc"}
    ],
)
async def test_a_cursor_that_was_never_given(api: Api, cursor: str) -> None:
    for path in (KEYS, "/api/v1/audit"):
        answer = await api.master.get(path, params={"cursor": cursor})
        assert refused(answer, 422, "VALIDATION_ERROR", "cursor") == "cursor must be the next_cursor of an answer."


async def test_a_cursor_of_the_other_order(api: Api) -> None:
    owner = await api.person(role="owner")
    await owner.http.post(KEYS, json={"name": "a", "scopes": ["usage:read"]})
    cursor = (await owner.http.get(KEYS, params={"limit": 1})).json()["pagination"]["next_cursor"]
    answer = await owner.http.get(KEYS, params={"limit": 1, "cursor": cursor, "order": "asc"})
    assert "order=desc" in refused(answer, 422, "VALIDATION_ERROR", "cursor")


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"scopes": ["usage:fly"]}, 422, "VALIDATION_ERROR", "scopes"),
        ({"scopes": "usage:read"}, 422, "VALIDATION_ERROR", "scopes"),
        ({"organization_id": "nowhere"}, 404, "NOT_FOUND", "organization_id"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "VALIDATION_ERROR", "expires_at"),
        ({"expires_at": 1_700_000_000}, 422, "VALIDATION_ERROR", "expires_at"),
        ({"cidrs": ["10.0.0.0/33"]}, 422, "VALIDATION_ERROR", "cidrs[0]"),
        ({"environment": "staging"}, 422, "VALIDATION_ERROR", "environment"),
        ({"name": ""}, 422, "VALIDATION_ERROR", "name"),
    ],
)
async def test_faulty_keys(api: Api, fields: dict[str, Any], status: int, code: str, field: str) -> None:
    refused(await api.master.post(KEYS, json={"name": "a", **fields}), status, code, field)
    assert await api.audited("auth.api_key.created") == []


async def test_times_are_told_in_utc(api: Api) -> None:
    until = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    elsewhere = until.astimezone(datetime.now().astimezone().tzinfo).isoformat()
    made = (await api.master.post(KEYS, json={"name": "a", "expires_at": elsewhere})).json()["data"]
    assert made["expires_at"] == until.strftime("%Y-%m-%dT%H:%M:%SZ")
