"""What all references share: who calls, from where, and how faults and failures are told."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from gateway.contract.internal import FORWARDED, HEADER, forwarded_token, internal_token
from gateway.domain.audit import chain
from gateway.domain.credentials.requests import CredentialFilter
from gateway.domain.credentials.service import CredentialService
from tests.dialects.conftest import ADDRESS, MASTER, Api
from tests.dialects.shape import same_shape

GATEWAYZ = {"detail": "Error message", "status_code": 400, "timestamp": "2024-01-01T00:00:00Z"}
COST_OPS = {"error": {"code": "ERROR_CODE", "message": "Text"}, "request_id": "req_abc123"}
FAULTS = {
    "error": {
        "code": "VALIDATION_ERROR",
        "message": "Request validation failed",
        "details": [{"field": "organization_id", "message": "must not be empty", "code": "LENGTH_MIN"}],
    },
    "request_id": "req_xyz789",
}
KEYS = {"gatewayz": "/user/api-keys", "llm_cost_ops": "/api/v1/auth/api-keys"}


def refused(answer: httpx.Response, status: int, envelope: dict[str, Any] = GATEWAYZ, **more: Any) -> Any:
    """The body of a refusal, in its envelope."""
    assert answer.status_code == status, answer.text
    same_shape(envelope, answer.json(), **more)
    assert answer.headers["x-request-id"]
    return answer.json()


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
async def test_credentials_are_taken_from_three_headers(api: Api, header: str) -> None:
    value = f"Bearer {MASTER}" if header == "authorization" else MASTER
    answer = await api.anyone.get("/plans", headers={header: value})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "MISSING_CREDENTIALS"),
        ({"authorization": "Basic abc"}, "INVALID_API_KEY"),
        ({"authorization": "Bearer sk_live_unknown"}, "INVALID_API_KEY"),
        ({"authorization": "Bearer "}, "MISSING_CREDENTIALS"),
        ({"x-api-key": "sk_live_unknown"}, "INVALID_API_KEY"),
        ({"authorization": "Bearer eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.e30."}, "INVALID_TOKEN"),
    ],
)
async def test_without_a_valid_credential_nothing_is_told(api: Api, headers: dict[str, str], code: str) -> None:
    answer = await api.anyone.get(KEYS["llm_cost_ops"], headers=headers)
    assert refused(answer, 401, COST_OPS)["error"]["code"] == code
    assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = await api.anyone.get(KEYS["gatewayz"], headers=headers)
    assert refused(answer, 401)["status_code"] == 401


async def test_every_fault_is_told_with_its_field(api: Api) -> None:
    faulty = {"nam": "x", "scopes": ["usage:read", 7], "environment": "moon", "expires_at": "soon"}
    answer = await api.master.post(KEYS["llm_cost_ops"], json=faulty)
    body = refused(answer, 422, FAULTS)
    told = {fault["field"]: (fault["code"], fault["message"]) for fault in body["error"]["details"]}
    assert told == {
        "name": ("REQUIRED", "is required"),
        "nam": ("UNKNOWN_FIELD", "is not known; did you mean name?"),
        "scopes[1]": ("TYPE", "must be a valid string"),
        "environment": ("NOT_ALLOWED", "must be 'live' or 'test'"),
        "expires_at": ("FORMAT", "must be a time in ISO 8601, such as 2024-01-01T00:00:00Z"),
    }
    answer = await api.master.post(KEYS["gatewayz"], json={"key_nam": "x"})
    assert "key_nam: is not known; did you mean key_name?" in refused(answer, 400)["detail"]


async def test_a_missing_field_has_its_own_code(api: Api) -> None:
    answer = await api.master.post(KEYS["llm_cost_ops"], json={})
    assert refused(answer, 422, FAULTS)["error"]["code"] == "MISSING_REQUIRED_FIELD"


@pytest.mark.parametrize("value", [1, True, None, ["a"], {"a": 1}, 1.5])
async def test_types_are_not_bent(api: Api, value: object) -> None:
    refused(await api.master.post(KEYS["gatewayz"], json={"key_name": value}), 400)


async def test_unknown_parameters_are_refused(api: Api) -> None:
    answer = await api.master.get("/admin/audit-logs?user=1")
    assert "user: is not known; did you mean user_id?" in refused(answer, 400)["detail"]
    answer = await api.master.get("/roles?limit=many")
    assert "limit: must be a valid integer" in refused(answer, 400)["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"key_name": "a"',
        b"[" * 100_000,
        b'{"key_name": NaN}',
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"",
        b"[]",
        b'"a"',
        b"null",
    ],
)
async def test_bodies_that_are_no_json_objects(api: Api, body: bytes) -> None:
    answer = await api.master.post(KEYS["gatewayz"], content=body, headers={"content-type": "application/json"})
    refused(answer, 400)


async def test_a_body_must_be_declared_as_json(api: Api) -> None:
    for headers in ({"content-type": "application/x-www-form-urlencoded"}, {"content-type": "text/plain"}, {}):
        answer = await api.master.post(KEYS["gatewayz"], content=b'{"key_name": "a"}', headers=headers)
        assert "application/json" in refused(answer, 415)["detail"]


async def test_a_large_body_is_refused(api: Api) -> None:
    content = b'{"key_name": "' + b"a" * 1_100_000 + b'"}'
    headers = {"content-type": "application/json"}
    refused(await api.master.post(KEYS["gatewayz"], content=content, headers=headers), 413)

    async def pieces() -> Any:
        for _ in range(12):
            yield b"a" * 100_000

    refused(await api.master.post(KEYS["gatewayz"], content=pieces(), headers=headers), 413)


@pytest.mark.parametrize("unfit", ["\\u0000", "\\ud800"])
async def test_text_that_no_database_takes(every_api: Api, unfit: str) -> None:
    headers = {"content-type": "application/json"}
    bodies = {
        "/user/api-keys": ['{"key_name": "a%s"}', '{"key_name": "a", "scopes": ["%s"]}', '{"key_name": "a", "%s": 1}'],
        "/admin/create": ['{"email": "a%s@example.com"}', '{"email": "a@example.com", "plan": "%s"}'],
        "/admin/add_credits": ['{"user_id": "%s", "credits": 1}'],
        "/admin/rate-limits": ['{"user_id": "%s", "requests_per_day": 1}'],
    }
    for path, contents in bodies.items():
        for content in contents:
            refused(await every_api.master.post(path, content=(content % unfit).encode(), headers=headers), 400)
    login = b'{"email": "%s", "password": "%s"}' % (unfit.encode(), unfit.encode())
    refused(await every_api.anyone.post("/api/v1/auth/login", content=login, headers=headers), 422, FAULTS)


async def test_names_that_nothing_has(every_api: Api) -> None:
    http = every_api.master
    for name in ("a%00b", "%ED%A0%80", "9" * 40, "-1", "0", "%27%20OR%201=1", "x" * 3000):
        refused(await http.delete(f"/user/api-keys/{name}"), 404)
        refused(await http.get(f"/roles/{name}"), 404)
        refused(await http.get(f"/plans/{name}"), 404)
        refused(await http.get(f"/admin/rate-limits/{name}"), 404)
    answer = await http.get("/admin/audit-logs?user_id=a%00b")
    assert "user_id: must not hold NUL" in refused(answer, 400)["detail"]


@pytest.mark.parametrize("text", [" ", "", "a\tb\x07", "a" * 201])
async def test_names_must_be_texts_a_terminal_can_show(api: Api, text: str) -> None:
    answer = await api.master.post(KEYS["gatewayz"], json={"key_name": text})
    assert refused(answer, 400)["detail"].startswith("key_name must ")


@pytest.mark.parametrize(
    ("path", "envelope"),
    [
        ("/user/nothing", GATEWAYZ),
        ("/user/api-keys/", GATEWAYZ),
        ("/api/v1/nothing", COST_OPS),
        ("/api/v1/auth/api-keys/", COST_OPS),
    ],
)
async def test_unknown_paths_are_told_by_their_owner(api: Api, path: str, envelope: dict[str, Any]) -> None:
    refused(await api.master.get(path), 404, envelope)


async def test_other_methods_are_told_what_is_allowed(api: Api) -> None:
    answer = await api.master.patch(KEYS["gatewayz"])
    refused(answer, 405)
    assert answer.headers["allow"] == "GET, POST"
    answer = await api.master.put(KEYS["llm_cost_ops"])
    refused(answer, 405, COST_OPS)
    answer = await api.master.post("/user/api-keys/1")
    assert answer.headers["allow"] == "DELETE, PUT"


async def test_a_failure_is_told_without_its_cause(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(CredentialService, "list", fail)
    answer = await api.master.get(KEYS["llm_cost_ops"])
    body = refused(answer, 500, COST_OPS)
    assert body["error"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "secret" not in answer.text
    assert body["request_id"] == answer.headers["x-request-id"]


async def test_a_database_that_is_away_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OperationalError("SELECT secret", {}, OSError("gone"))

    monkeypatch.setattr(CredentialService, "list", fail)
    answer = await api.master.get(KEYS["gatewayz"])
    refused(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert refused(await api.master.get(KEYS["llm_cost_ops"]), 500, COST_OPS)["error"]["code"] == "DATABASE_ERROR"
    assert "secret" not in answer.text


async def _made_from(api: Api, client: httpx.AsyncClient, **headers: str) -> tuple[str | None, str | None]:
    answer = await client.post(KEYS["gatewayz"], json={"key_name": "a"}, headers=headers)
    assert answer.status_code == 200, answer.text
    record = (await api.audited("auth.api_key.created"))[-1]
    assert answer.headers["x-request-id"] == record.request_id
    return record.address, record.request_id


async def test_a_stranger_cannot_say_where_they_come_from(api: Api) -> None:
    claims = {"x-forwarded-for": "10.0.0.1", "x-request-id": "mine", HEADER: "0" * 64, FORWARDED: "0" * 64}
    address, request_id = await _made_from(api, api.master, **claims)
    assert address == ADDRESS
    assert request_id is not None
    assert re.match(r"req_\w{26}\Z", request_id)
    # What opens the internal API is not what vouches for an address.
    other = {"x-forwarded-for": "10.0.0.1", FORWARDED: internal_token(MASTER)}
    assert (await _made_from(api, api.master, **other))[0] == ADDRESS


async def test_the_data_plane_says_where_a_request_comes_from(api: Api) -> None:
    sent = {"x-forwarded-for": "10.0.0.1, 198.51.100.7", "x-request-id": "req_of_the_data_plane"}
    told = {**sent, FORWARDED: forwarded_token(MASTER)}
    assert await _made_from(api, api.master, **told) == ("198.51.100.7", "req_of_the_data_plane")
    told = {**sent, FORWARDED: forwarded_token(MASTER), "x-request-id": "with space"}
    assert (await _made_from(api, api.master, **told))[1] != "with space"


async def test_a_key_is_bound_to_its_network(api: Api) -> None:
    user = await api.person(role="owner")
    made = await user.http.post(KEYS["gatewayz"], json={"key_name": "a", "cidrs": ["198.51.100.0/24"]})
    key = made.json()["api_key"]
    within, without = await api.client(key, "198.51.100.7"), await api.client(key, "203.0.113.1")
    assert (await within.get("/user/balance")).status_code == 200
    refused(await without.get("/user/balance"), 403)
    refused(await without.get("/user/balance", headers={"x-forwarded-for": "198.51.100.7"}), 403)


async def test_a_refused_request_leaves_nothing(api: Api) -> None:
    body = {"key_name": "a", "scope_permissions": {"write": ["nonsense"]}}
    refused(await api.master.post(KEYS["gatewayz"], json=body), 400)
    async with api.sidecar.works.read((await api.sidecar.authenticator.resolve(MASTER)).actor) as work:
        assert (await CredentialService(work).list(CredentialFilter())).total == 0
    assert await api.audited("auth.api_key.created") == []


async def test_what_cannot_be_committed_is_not_answered_as_done(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await api.person()

    def fail(*_: object) -> None:
        raise OperationalError("INSERT", {}, OSError("disk full"))

    with monkeypatch.context() as broken:
        broken.setattr(chain, "append", fail)
        refused(await person.http.post(KEYS["gatewayz"], json={"key_name": "lost"}), 503)
    names = [item["key_name"] for item in (await person.http.get(KEYS["gatewayz"])).json()["data"]]
    assert names == ["of the test"]


async def test_a_change_is_told_to_the_data_plane(api: Api) -> None:
    person = await api.person()
    before = api.sidecar.feed.seq
    async with api.sidecar.feed.grown:
        made = await person.http.post(KEYS["gatewayz"], json={"key_name": "a"})
        assert made.status_code == 200
        await api.sidecar.feed.grown.wait_for(lambda: api.sidecar.feed.seq > before)
