"""The audit log: filters, pages, whose it is, and how events are told."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.dialects.llm_cost_ops.audit import verb_of
from tests.dialects.conftest import Api, Person
from tests.dialects.llm_cost_ops.test_keys import KEYS, refused

AUDIT = "/api/v1/audit"


async def make_keys(person: Person, count: int) -> None:
    """As many keys, and as many records."""
    for index in range(count):
        await person.http.post(KEYS, json={"name": f"key {index}", "scopes": ["usage:read"]})


async def found(person: Person, **query: Any) -> list[dict[str, Any]]:
    """The events of one page."""
    answer = await person.http.get(AUDIT, params=query)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


@pytest.mark.parametrize("order", ["desc", "asc"])
async def test_pages_hold_each_event_once(every_api: Api, order: str) -> None:
    owner = await every_api.person(role="owner")
    await make_keys(owner, 7)
    seen: list[str] = []
    query: dict[str, Any] = {"event_type": "auth.api_key.created", "limit": 3, "order": order}
    for _ in range(3):
        body = (await owner.http.get(AUDIT, params=query)).json()
        seen += [item["changes"]["after"]["name"] for item in body["data"]]
        query["cursor"] = body["pagination"]["next_cursor"]
        if order == "desc":
            await make_keys(owner, 1)  # what comes meanwhile is newer than all that is still to be told
    expected = ["of the test", *(f"key {index}" for index in range(7))]
    assert seen == (expected if order == "asc" else expected[::-1])
    assert body["pagination"] == {"has_more": False, "next_cursor": None}


async def test_a_cursor_gives_no_more_than_the_caller_may_see(api: Api) -> None:
    ann, bob = await api.person("ann@example.com", "owner"), await api.person("bob@example.com", "owner")
    await make_keys(ann, 1)
    await make_keys(bob, 1)
    cursor = base64.urlsafe_b64encode(json.dumps({"id": "9999", "order": "desc"}, separators=(",", ":")).encode())
    events = await found(bob, cursor=cursor.decode().rstrip("="), limit=100)
    assert {item["organization_id"] for item in events} == {bob.organization}


async def test_filters(every_api: Api) -> None:
    owner = await every_api.person(role="owner")
    await make_keys(owner, 1)
    key = (await owner.http.get(KEYS)).json()["data"][0]["id"]
    await owner.http.delete(f"{KEYS}/{key}")
    (revoked,) = await found(owner, event_type="auth.api_key.revoked")
    assert (revoked["action"], revoked["resource_type"], revoked["resource_id"]) == ("revoke", "api_key", key)
    assert revoked["changes"] == {"before": {"status": "active"}, "after": {"status": "revoked"}}
    assert len(await found(owner, resource_type="api_key", user_id=owner.id)) == 2
    assert len(await found(owner, user_id=f"user_{owner.number}", severity="info")) == 2
    assert await found(owner, severity="critical") == []
    assert await found(owner, organization_id=owner.organization) != []
    today, tomorrow = datetime.now(UTC).date(), datetime.now(UTC).date() + timedelta(days=1)
    assert await found(owner, start_date=tomorrow.isoformat()) == []
    assert await found(owner, end_date=(today - timedelta(days=2)).isoformat()) == []
    assert await found(owner, start_date=today.isoformat(), end_date=tomorrow.isoformat()) != []


async def test_what_is_refused(api: Api) -> None:
    owner, other = await api.person(role="owner"), await api.organization()
    dates = {"start_date": "2025-12-01", "end_date": "2025-11-01"}
    refused(await owner.http.get(AUDIT, params=dates), 422, "INVALID_DATE_RANGE", "start_date")
    refused(await owner.http.get(AUDIT, params={"start_date": "soon"}), 422, "VALIDATION_ERROR", "start_date")
    refused(await owner.http.get(AUDIT, params={"limit": 101}), 422, "VALIDATION_ERROR", "limit")
    refused(await owner.http.get(AUDIT, params={"severity": "loud"}), 422, "VALIDATION_ERROR", "severity")
    assert "event_type" in refused(await owner.http.get(AUDIT, params={"event": "a"}), 422, "VALIDATION_ERROR", "event")
    refused(await owner.http.get(AUDIT, params={"organization_id": other}), 403, "INSUFFICIENT_PERMISSIONS")
    viewer = await api.person("viewer@example.com", "viewer", other)
    refused(await viewer.http.get(AUDIT), 403, "INSUFFICIENT_PERMISSIONS")


@pytest.mark.parametrize(
    ("event", "verb"),
    [("pricing.created", "create"), ("pricing.deleted", "delete"), ("auth.login", "login"), ("auth.logout", "logout"),
     ("auth.api_key.revoked", "revoke"), ("user.role_changed", "change"), ("limit.removed", "delete"),
     ("usage.submitted", "submit"), ("report.generated", "generate")],
)  # fmt: skip
def test_an_action_is_a_verb(event: str, verb: str) -> None:
    assert verb_of(event) == verb
