"""Who may not do what with apps, and what faulty requests are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.apps.service import AppService
from gateway.domain.organizations.service import OrganizationService
from tests.dialects.ai_marketplace.test_apps import REGISTER, bearer_of, register
from tests.dialects.served import MASTER_KEY, Served
from tests.dialects.shape import same_shape

ENVELOPE = {
    "error": "Error Type",
    "message": "Human-readable error description",
    "code": "ERROR_CODE",
    "details": {},
    "timestamp": "2024-01-01T12:00:00Z",
    "requestId": "req_error_123",
}


async def refused(
    served: Served, method: str, path: str, secret: str | None, status: int, code: str, **more: Any
) -> dict[str, Any]:
    """Ask and be refused so; gives the answer's body."""
    answer = await served.ask(method, path, secret, **more)
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    same_shape(ENVELOPE, body, more={"details"})
    assert body["requestId"] == answer.headers["x-request-id"]
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="gateway"'
    return body


@pytest.mark.parametrize("role", ["owner", "admin", "engineer", "developer"])
async def test_who_may_register(served: Served, role: str) -> None:
    secret = await served.signed_in("acme", role)
    made = await register(served, secret)
    assert (await served.resolve(bearer_of(made))).policy.organization == "acme"


@pytest.mark.parametrize("role", ["user", "member", "viewer", "analyst", "billing_admin", "guest"])
async def test_who_may_not_register_nor_see_nor_rotate(served: Served, role: str) -> None:
    made = await register(served)
    secret = await served.signed_in("acme", role)
    await refused(served, "POST", REGISTER, secret, 403, "FORBIDDEN", json={"name": "App"})
    path = f"/v1/apps/{made['app']['appId']}"
    await refused(served, "GET", path, secret, 404, "APP_NOT_FOUND")
    await refused(served, "POST", f"{path}/keys", secret, 404, "APP_NOT_FOUND")
    assert (await served.ask("GET", path, bearer_of(made))).status_code == 200


async def test_without_a_credential(served: Served) -> None:
    made = await register(served)
    path = f"/v1/apps/{made['app']['appId']}"
    wrong = f"{made['app']['appId']}:sk_wrong"
    unknown = "app_123e4567-e89b-12d3-a456-426614174000:sk_abcd1234"
    for secret in (None, "sk_live_nobody", "a.b.c", wrong, unknown, "app_:"):
        code = "APP_NOT_FOUND" if secret in (unknown, "app_:") else "AUTHENTICATION_FAILED"
        await refused(served, "POST", REGISTER, secret, 401, code, json={"name": "App"})
        await refused(served, "GET", path, secret, 401, code)
        await refused(served, "POST", f"{path}/keys", secret, 401, code)


async def test_no_organisation_reaches_into_another(every_served: Served) -> None:
    served = every_served
    await served.organization("evil")
    made, theirs = await register(served), await register(served, organizationId="evil")
    path = f"/v1/apps/{made['app']['appId']}"
    for secret in (await served.signed_in("evil", "owner"), bearer_of(theirs)):
        for known_as in (path, f"/v1/apps/{made['app']['id']}"):
            await refused(served, "GET", known_as, secret, 404, "APP_NOT_FOUND")
            await refused(served, "POST", f"{known_as}/keys", secret, 404, "APP_NOT_FOUND")
    evil = await served.signed_in("evil", "admin")
    asked = {"name": "App", "organizationId": "acme"}
    await refused(served, "POST", REGISTER, evil, 404, "NOT_FOUND", json=asked)
    # Nothing of it had an effect, and one that is not there reads the same.
    assert (await served.ask("GET", path, bearer_of(made))).status_code == 200
    hidden = await refused(served, "GET", path, evil, 404, "APP_NOT_FOUND")
    missing = await refused(served, "GET", "/v1/apps/app_nothing", evil, 404, "APP_NOT_FOUND")
    assert (hidden["message"], hidden["details"]) == (missing["message"], missing["details"])


async def test_an_app_sees_itself_alone_and_registers_none(served: Served) -> None:
    made, sibling = await register(served), await register(served)
    await refused(served, "GET", f"/v1/apps/{sibling['app']['appId']}", bearer_of(made), 404, "APP_NOT_FOUND")
    await refused(served, "POST", f"/v1/apps/{sibling['app']['appId']}/keys", bearer_of(made), 404, "APP_NOT_FOUND")
    await refused(served, "POST", REGISTER, bearer_of(made), 403, "FORBIDDEN", json={"name": "App"})


async def test_a_suspended_app_and_an_app_of_a_suspended_organisation(served: Served) -> None:
    made = await register(served)
    path = f"/v1/apps/{made['app']['appId']}"
    async with served.sidecar.works.begin(SYSTEM) as work:
        await AppService(work).suspend(made["app"]["appId"], "Abuse")
    body = await refused(served, "GET", path, bearer_of(made), 403, "APP_SUSPENDED")
    assert "Abuse" in body["message"]
    await refused(served, "POST", f"{path}/keys", bearer_of(made), 403, "APP_SUSPENDED")
    assert (await served.ask("GET", path, MASTER_KEY)).json()["app"]["status"] == "SUSPENDED"
    async with served.sidecar.works.begin(SYSTEM) as work:
        await AppService(work).reactivate(made["app"]["appId"])
        await OrganizationService(work).suspend("acme", "Payment overdue")
    await refused(served, "GET", path, bearer_of(made), 403, "APP_SUSPENDED")


@pytest.mark.parametrize(
    ("asked", "field", "expected"),
    [
        ({}, "name", "is required"),
        ({"name": ""}, "name", "empty"),
        ({"name": "x" * 201}, "name", "200 characters"),
        ({"name": "a\u0000b"}, "name", "NUL"),
        ({"name": "a\u0007b"}, "name", "control"),
        ({"name": 7}, "name", "string"),
        ({"name": "App", "tier": "GOLD"}, "tier", "COMMUNITY, DEVELOPER, PROFESSIONAL, ENTERPRISE"),
        ({"name": "App", "tier": None}, "tier", "string"),
        ({"name": "App", "descripton": "x"}, "descripton", "did you mean description"),
        ({"name": "App", "organization_id": "acme"}, "organization_id", "organizationId"),
        ({"name": "App", "description": "x" * 2001}, "description", "2000 characters"),
        (["name"], "body", "object"),
    ],
)
async def test_faulty_registrations(served: Served, asked: Any, field: str, expected: str) -> None:
    owner = await served.signed_in("acme", "owner")
    body = await refused(served, "POST", REGISTER, owner, 400, "VALIDATION_ERROR", json=asked)
    (fault,) = body["details"]["errors"]
    assert fault["field"] == field
    assert expected in fault["message"]


async def test_bodies_that_are_none(served: Served) -> None:
    owner = await served.signed_in("acme", "owner")
    headers = {"authorization": f"Bearer {owner}"}
    for content, type, status in (
        (b'{"name": ', "application/json", 400),
        (b"", "application/json", 400),
        (b'{"name": "App"}', "text/plain", 415),
        (b'{"name": "' + b"x" * 2_000_000 + b'"}', "application/json", 413),
    ):
        answer = await served.client.post(REGISTER, content=content, headers=headers | {"content-type": type})
        assert (answer.status_code, answer.json()["code"]) == (status, "VALIDATION_ERROR"), answer.text

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65_536

    answer = await served.client.post(REGISTER, content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "VALIDATION_ERROR"), answer.text


async def test_other_methods_and_paths(served: Served) -> None:
    await refused(served, "DELETE", "/v1/apps/app_1", MASTER_KEY, 405, "METHOD_NOT_ALLOWED")
    answer = await served.ask("PUT", "/v1/apps/app_1/keys", MASTER_KEY)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    await refused(served, "GET", "/v1/apps/app_1/secrets", MASTER_KEY, 404, "NOT_FOUND")
    await refused(served, "GET", "/v1/apps/register", MASTER_KEY, 404, "APP_NOT_FOUND")
    asked = {"name": "A", "organizationId": "no"}
    body = await refused(served, "POST", REGISTER, MASTER_KEY, 404, "NOT_FOUND", json=asked)
    assert body["details"]["errors"][0]["field"] == "organizationId"
