"""Every documented example is answered with the documented fields and types."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.dialects.conftest import Api
from tests.dialects.shape import example, same_shape

EMAIL, PASSWORD = "user@example.com", "secure-password"
LEANVIBE = {"success", "access_token", "refresh_token", "expires_in", "user"}


async def test_a_key_is_made_listed_rotated_and_revoked(every_api: Api) -> None:
    owner = await every_api.person(role="owner")
    request, response = example("llm_cost_ops", "POST", "/api/v1/auth/api-keys")
    until = (datetime.now(UTC) + timedelta(days=90)).strftime("%Y-%m-%dT23:59:59Z")
    asked = request | {"organization_id": owner.organization, "expires_at": until}
    answer = await owner.http.post("/api/v1/auth/api-keys", json=asked)
    assert answer.status_code == 201
    assert answer.headers["x-api-version"] == "v1"
    same_shape(response, answer.json())
    made = answer.json()["data"]
    assert made["key"].startswith("sk_live_")
    assert {name: made[name] for name in ("name", "organization_id", "expires_at")} == {
        name: asked[name] for name in ("name", "organization_id", "expires_at")
    }
    assert sorted(made["scopes"]) == sorted(asked["scopes"])

    listed = (await owner.http.get("/api/v1/auth/api-keys")).json()
    assert listed["data"][0]["id"] == made["id"]
    assert made["key"] not in str(listed)
    assert listed["pagination"] == {"has_more": False, "next_cursor": None, "total_count": 2, "limit": 20}

    path = f"/api/v1/auth/api-keys/{made['id']}"
    changed = await owner.http.patch(path, json={"name": "Renamed", "is_active": False})
    assert (changed.json()["data"]["name"], changed.json()["data"]["status"]) == ("Renamed", "disabled")
    rotated = await owner.http.post(path + "/rotate", json={"grace_seconds": 60})
    same_shape(response, rotated.json())
    assert rotated.json()["data"]["id"] == made["id"]
    assert rotated.json()["data"]["key"] != made["key"]
    revoked = await owner.http.delete(path)
    assert (revoked.status_code, revoked.content) == (204, b"")
    assert (await owner.http.get(path)).json()["data"]["status"] == "revoked"


async def test_a_person_signs_in_and_stays_signed_in(every_api: Api) -> None:
    user = await every_api.person(EMAIL, "admin", await every_api.organization(), PASSWORD)
    request, response = example("llm_cost_ops", "POST", "/api/v1/auth/login")
    answer = await every_api.anyone.post("/api/v1/auth/login", json=request)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    same_shape(response, body, more={""})
    assert body.keys() == response.keys() | LEANVIBE
    assert body["data"]["user"] == {
        "id": user.id, "email": EMAIL, "organization_id": user.organization, "roles": ["admin"]
    }  # fmt: skip
    assert body["user"] == {"id": user.id, "email": EMAIL, "role": "admin", "tenant_id": user.organization}

    signed_in = await every_api.client(body["data"]["access_token"])
    assert (await signed_in.get("/api/v1/auth/api-keys")).status_code == 200
    again = await every_api.anyone.post("/api/v1/auth/refresh", json={"refresh_token": body["data"]["refresh_token"]})
    assert again.status_code == 200
    same_shape(response, again.json(), more={""})
    assert again.json()["data"]["refresh_token"] != body["data"]["refresh_token"]


async def test_the_audit_log(every_api: Api) -> None:
    owner = await every_api.person(role="owner")
    await owner.http.post("/api/v1/auth/api-keys", json={"name": "A", "scopes": ["usage:write"]})
    await owner.http.post("/api/v1/auth/api-keys", json={"name": "B", "scopes": ["usage:write"]})
    query: dict[str, str | int] = {"start_date": "2025-11-01", "event_type": "auth.api_key.created", "limit": 1}
    answer = await owner.http.get("/api/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    same_shape(
        example("llm_cost_ops", "GET", "/api/v1/audit").response,
        answer.json(),
        free={"data[].changes.after"},
    )
    (record,) = answer.json()["data"]
    assert record["event_type"] == "auth.api_key.created"
    assert record["action"] == "create"
    assert record["changes"]["before"] is None
    assert record["changes"]["after"]["name"] == "B"
    assert (record["user_id"], record["user_email"]) == (owner.id, owner.email)
