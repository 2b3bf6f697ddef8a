"""Signing in, staying signed in and signing out as LeanVibe documents it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.authentication.start import ensure_admin
from gateway.domain.users.requests import NewUser, UserUpdate
from gateway.domain.users.service import UserService
from tests.dialects.leanvibe.refusing import refused
from tests.dialects.served import MASTER_KEY, PASSWORD, Served
from tests.dialects.shape import example, same_shape

LOGIN, REFRESH, LOGOUT, INFO = "/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout", "/v1/tenants/me/info"
EMAIL = "owner@acme.example"


@pytest.fixture
async def owner(served: Served) -> None:
    """The owner of acme."""
    await served.signed_in("acme", "owner")


async def login(served: Served, email: str = EMAIL, password: str = PASSWORD) -> dict[str, Any]:
    """Sign in; gives the answer's body."""
    answer = await served.ask("POST", LOGIN, json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


async def test_signing_in_as_documented(every_served: Served) -> None:
    served = every_served
    documented = example("leanvibe", "POST", LOGIN)
    async with served.sidecar.works.begin(SYSTEM) as work:
        email, password = documented.request["email"], documented.request["password"]
        await UserService(work).create(NewUser(email=email, password=password, organization="acme", role="owner"))
    answer = await served.ask("POST", LOGIN, json=documented.request)
    same_shape(documented.response, answer.json())
    body = answer.json()
    assert body["expires_in"] == documented.response["expires_in"]
    assert body["user"] | {"id": ""} == {"id": "", "email": email, "role": "owner", "tenant_id": "acme"}
    assert (await served.ask("GET", INFO, body["access_token"])).json()["id"] == "acme"
    assert (await served.resolve(body["access_token"])).actor.user == body["user"]["id"]


async def test_the_configured_administrator_signs_in(served: Served) -> None:
    async with served.sidecar.works.begin(SYSTEM) as work:
        await ensure_admin(work, "root@example.com", PASSWORD)
    body = await login(served, "root@example.com")
    assert (body["user"]["role"], body["user"]["tenant_id"]) == ("platform_admin", "default")
    assert (await served.ask("GET", "/v1/tenants", body["access_token"])).status_code == 200


async def test_a_wrong_password_and_an_unknown_user_read_the_same(served: Served, owner: None) -> None:
    told = []
    for email, password in ((EMAIL, "wrong password"), ("nobody@acme.example", PASSWORD), (EMAIL, "")):
        asked = {"email": email, "password": password}
        body = await refused(served, "POST", LOGIN, None, 401, "unauthorized", json=asked)
        told.append((body["message"], body["details"]))
    assert len({message for message, _ in told}) == 1
    assert [record.status for record in await served.records("auth.login")].count("failure") == 3


async def test_guessing_ends_soon(served: Served, owner: None) -> None:
    wrong = {"email": EMAIL, "password": "wrong password"}
    for _ in range(5):
        await refused(served, "POST", LOGIN, None, 401, "unauthorized", json=wrong)
    right = {"email": EMAIL, "password": PASSWORD}
    await refused(served, "POST", LOGIN, None, 429, "quota_exceeded", json=right)
    answer = await served.ask("POST", LOGIN, json=right)
    assert 0 < int(answer.headers["retry-after"]) <= 300


@pytest.mark.parametrize(
    ("asked", "field", "expected"),
    [
        ({"email": EMAIL}, "password", "is required"),
        ({"email": 1, "password": "x"}, "email", "string"),
        ({"email": EMAIL, "password": PASSWORD, "provider": "google"}, "provider", "local"),
        ({"email": EMAIL, "password": PASSWORD, "tenant": "acme"}, "tenant", "not known"),
    ],
)
async def test_faulty_logins(served: Served, owner: None, asked: dict[str, Any], field: str, expected: str) -> None:
    body = await refused(served, "POST", LOGIN, None, 400, "invalid_request", json=asked)
    assert body["details"]["field"] == field
    assert expected in body["details"]["validation_errors"][0]
    assert PASSWORD not in str(body)


async def test_a_refresh_token_is_good_for_one_use(every_served: Served) -> None:
    served = every_served
    await served.signed_in("acme", "owner")
    first = await login(served)
    answer = await served.ask("POST", REFRESH, first["refresh_token"])
    same_shape(example("leanvibe", "POST", LOGIN).response, answer.json())
    assert answer.headers["cache-control"] == "no-store"
    second = answer.json()
    assert second["user"] == first["user"]
    assert second["refresh_token"] != first["refresh_token"]
    assert (await served.ask("GET", INFO, second["access_token"])).status_code == 200
    # Used a second time it was stolen: the whole sign-in is over.
    await refused(served, "POST", REFRESH, first["refresh_token"], 401, "unauthorized")
    await refused(served, "POST", REFRESH, second["refresh_token"], 401, "unauthorized")
    await refused(served, "GET", INFO, second["access_token"], 401, "unauthorized")
    (record,) = await served.records("auth.refresh_token.reused")
    assert record.severity == "critical"


async def test_what_is_no_refresh_token(served: Served, owner: None) -> None:
    body = await login(served)
    for token in (None, "x", "a.b.c", body["access_token"], MASTER_KEY):
        await refused(served, "POST", REFRESH, token, 401, "unauthorized")
    await refused(served, "GET", INFO, body["refresh_token"], 401, "unauthorized")
    assert (await served.ask("POST", REFRESH, body["refresh_token"])).status_code == 200


async def test_signing_out_ends_that_sign_in_alone(served: Served, owner: None) -> None:
    body, other = await login(served), await login(served)
    answer = await served.ask("POST", LOGOUT, body["access_token"])
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    await refused(served, "GET", INFO, body["access_token"], 401, "unauthorized")
    await refused(served, "POST", REFRESH, body["refresh_token"], 401, "unauthorized")
    assert (await served.ask("GET", INFO, other["access_token"])).status_code == 200
    for token in (None, "a.b.c", other["refresh_token"], MASTER_KEY):
        await refused(served, "POST", LOGOUT, token, 401, "unauthorized")
    assert len(await served.records("auth.logout")) == 1


async def test_who_may_no_longer(served: Served, owner: None) -> None:
    body = await login(served)
    async with served.sidecar.works.begin(SYSTEM) as work:
        await UserService(work).update(EMAIL, UserUpdate(status="disabled"))
    asked = {"email": EMAIL, "password": PASSWORD}
    await refused(served, "POST", LOGIN, None, 403, "forbidden", json=asked)
    await refused(served, "GET", INFO, body["access_token"], 401, "unauthorized")
    await refused(served, "POST", REFRESH, body["refresh_token"], 401, "unauthorized")
