"""Signing in, staying signed in, signing out; and the keys that tokens are verified with."""

from __future__ import annotations

import asyncio

import jwt
import pytest
from jwt import PyJWKSet

from gateway.domain.actor import SYSTEM
from gateway.domain.users.requests import UserUpdate
from gateway.domain.users.service import UserService
from tests.dialects.conftest import Api
from tests.dialects.llm_cost_ops.test_keys import refused

LOGIN, REFRESH, LOGOUT = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/logout"
EMAIL, PASSWORD = "user@example.com", "secure-password"
TOKENS = dict[str, str]


async def signed_in(api: Api) -> TOKENS:
    """The tokens of a new user."""
    await api.person(EMAIL, password=PASSWORD)
    answer = await api.anyone.post(LOGIN, json={"email": EMAIL.upper(), "password": PASSWORD, "provider": "local"})
    assert answer.status_code == 200, answer.text
    data: TOKENS = answer.json()["data"]
    return data


async def test_a_wrong_password_and_an_unknown_user_are_told_alike(api: Api) -> None:
    await api.person(EMAIL, password=PASSWORD)
    wrong = await api.anyone.post(LOGIN, json={"email": EMAIL, "password": "another password"})
    unknown = await api.anyone.post(LOGIN, json={"email": "nobody@example.com", "password": PASSWORD})
    without = await api.person("key@example.com")
    none = await api.anyone.post(LOGIN, json={"email": without.email, "password": PASSWORD})
    told = {refused(answer, 401, "INVALID_CREDENTIALS") for answer in (wrong, unknown, none)}
    assert len(told) == 1
    failures = [item for item in await api.audited("auth.login") if item.status == "failure"]
    assert len(failures) == 3
    assert {item.address for item in failures} == {"203.0.113.9"}


async def test_passwords_cannot_be_guessed_at_leisure(api: Api) -> None:
    await api.person(EMAIL, password=PASSWORD)
    body = {"email": EMAIL, "password": "a wrong password"}
    answers = [await api.anyone.post(LOGIN, json=body) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    refused(answers[-1], 429, "TOO_MANY_REQUESTS")
    assert int(answers[-1].headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"email": EMAIL}, "MISSING_REQUIRED_FIELD", "password"),
        ({"email": EMAIL, "password": 1}, "VALIDATION_ERROR", "password"),
        ({"email": EMAIL, "password": PASSWORD, "provider": "google"}, "VALIDATION_ERROR", "provider"),
        ({"email": EMAIL, "password": PASSWORD, "otp": "1"}, "VALIDATION_ERROR", "otp"),
        ({"email": "a" * 321, "password": PASSWORD}, "VALIDATION_ERROR", "email"),
    ],
)
async def test_faulty_sign_ins(api: Api, body: dict[str, object], code: str, field: str) -> None:
    refused(await api.anyone.post(LOGIN, json=body), 422, code, field)


async def test_a_used_refresh_token_ends_the_sign_in(every_api: Api) -> None:
    first = await signed_in(every_api)
    used = {"refresh_token": first["refresh_token"]}
    second = (await every_api.anyone.post(REFRESH, json=used)).json()["data"]
    client = await every_api.client(second["access_token"])
    assert (await client.get("/user/balance")).status_code == 200
    refused(await every_api.anyone.post(REFRESH, json=used), 401, "INVALID_TOKEN")
    refused(await every_api.anyone.post(REFRESH, json={"refresh_token": second["refresh_token"]}), 401, "INVALID_TOKEN")
    refused(await client.get("/api/v1/audit"), 401, "INVALID_TOKEN")
    assert len(await every_api.audited("auth.refresh_token.reused")) == 1


async def test_of_two_who_show_a_refresh_token_at_once_one_is_served(every_api: Api) -> None:
    body = {"refresh_token": (await signed_in(every_api))["refresh_token"]}
    answers = await asyncio.gather(*(every_api.anyone.post(REFRESH, json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


async def test_tokens_are_for_one_use(api: Api) -> None:
    tokens = await signed_in(api)
    refused(await api.anyone.post(REFRESH, json={"refresh_token": tokens["access_token"]}), 401, "INVALID_TOKEN")
    client = await api.client(tokens["refresh_token"])
    refused(await client.get("/api/v1/audit"), 401, "INVALID_TOKEN")
    changed = tokens["access_token"][:-6] + ("A" * 6)
    refused(await (await api.client(changed)).get("/api/v1/audit"), 401, "INVALID_TOKEN")


async def test_signing_out_ends_the_sign_in(api: Api) -> None:
    tokens = await signed_in(api)
    client = await api.client(tokens["access_token"])
    assert (await client.post(LOGOUT)).status_code == 204
    refused(await client.get("/api/v1/audit"), 401, "INVALID_TOKEN")
    refused(await api.anyone.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}), 401, "INVALID_TOKEN")
    refused(await api.anyone.post(LOGOUT), 401, "MISSING_CREDENTIALS")
    assert len(await api.audited("auth.logout")) == 1


async def test_who_is_disabled_is_out(api: Api) -> None:
    tokens = await signed_in(api)
    async with api.sidecar.works.begin(SYSTEM) as work:
        await UserService(work).update(EMAIL, UserUpdate(status="disabled"))
    client = await api.client(tokens["access_token"])
    assert (await client.get("/api/v1/audit")).status_code == 401
    refused(await api.anyone.post(LOGIN, json={"email": EMAIL, "password": PASSWORD}), 403, "INSUFFICIENT_PERMISSIONS")


async def test_tokens_are_verified_with_published_keys(api: Api) -> None:
    token = (await signed_in(api))["access_token"]
    answer = await api.anyone.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["cache-control"]
    for key in answer.json()["keys"]:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    known = PyJWKSet.from_dict(answer.json())
    key = known[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key.key, algorithms=["ES256"], audience="llm-gateway", issuer="llm-gateway")
    assert claims["use"] == "access"
