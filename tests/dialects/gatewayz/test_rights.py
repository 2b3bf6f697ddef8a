"""Who may do what, and that nobody reaches into another organisation."""

from __future__ import annotations

import httpx
import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.organizations.service import OrganizationService
from tests.dialects.conftest import Api, Person
from tests.dialects.shape import same_shape

ERROR = {"detail": "Error message", "status_code": 400, "timestamp": "2024-01-01T00:00:00Z"}


def refused(answer: httpx.Response, status: int) -> str:
    """The text of a refusal in the reference's envelope."""
    assert answer.status_code == status, answer.text
    same_shape(ERROR, answer.json())
    assert answer.json()["status_code"] == status
    return str(answer.json()["detail"])


async def first_key(person: Person) -> int:
    """The number of a person's key."""
    rows = (await person.http.get("/user/api-keys")).json()["data"]
    return int(rows[0]["id"])


PLATFORM_ONLY = [
    ("POST", "/admin/create", {"email": "new@example.com"}),
    ("POST", "/admin/add_credits", {"user_id": 1, "credits": 1.0}),
    ("GET", "/admin/monitor", None),
]


@pytest.mark.parametrize(("method", "path", "body"), PLATFORM_ONLY)
@pytest.mark.parametrize("role", ["owner", "admin", "billing_admin", "user"])
async def test_the_platform_is_for_its_administrators(
    api: Api, role: str, method: str, path: str, body: dict[str, object] | None
) -> None:
    person = await api.person(role=role, organization=await api.organization())
    refused(await person.http.request(method, path, json=body), 403)
    assert await api.audited("credits.added") == []


async def test_an_administrator_of_the_platform_may_all_of_it(api: Api) -> None:
    admin = await api.person("root@example.com", "platform_admin", "default")
    made = await admin.http.post("/admin/create", json={"email": "new@example.com"})
    assert made.status_code == 200, made.text
    user = made.json()["user_id"]
    given = await admin.http.post("/admin/add_credits", json={"user_id": user, "credits": 1})
    assert given.json()["new_balance"] == 11.0
    assert (await admin.http.get("/admin/monitor")).status_code == 200
    assert (await admin.http.get(f"/roles/{user}")).json()["role"] == "owner"


async def test_a_key_of_an_administrator_with_narrow_scopes_is_no_administrator(api: Api) -> None:
    narrow = await api.person("root@example.com", "platform_admin", "default", scopes=["keys:read"])
    refused(await narrow.http.get("/admin/monitor"), 403)


async def test_keys_of_others_are_as_if_they_were_not(every_api: Api) -> None:
    ann, bob = await every_api.person("ann@example.com"), await every_api.person("bob@example.com")
    mine = await first_key(ann)
    assert mine != await first_key(bob)
    missing = refused(await bob.http.delete("/user/api-keys/999999"), 404)
    assert refused(await bob.http.delete(f"/user/api-keys/{mine}"), 404) == missing
    assert refused(await bob.http.put(f"/user/api-keys/{mine}", json={"is_active": False}), 404) == missing
    assert (await ann.http.get("/user/balance")).status_code == 200


async def test_users_of_one_organization_see_their_own_keys_alone(api: Api) -> None:
    organization = await api.organization()
    ann = await api.person("ann@example.com", "user", organization)
    bob = await api.person("bob@example.com", "user", organization)
    owner = await api.person("owner@example.com", "owner", organization)
    for person in (ann, bob, owner):
        assert (await person.http.get("/user/api-keys")).json()["count"] == 1
    refused(await bob.http.delete(f"/user/api-keys/{await first_key(ann)}"), 404)
    assert (await owner.http.delete(f"/user/api-keys/{await first_key(ann)}")).status_code == 200


async def test_a_viewer_writes_nothing(api: Api) -> None:
    organization = await api.organization()
    viewer = await api.person("viewer@example.com", "viewer", organization)
    other = await api.person("user@example.com", "user", organization)
    key = await first_key(viewer)
    refused(await viewer.http.post("/user/api-keys", json={"key_name": "a"}), 403)
    refused(await viewer.http.put(f"/user/api-keys/{key}", json={"key_name": "b"}), 403)
    refused(await viewer.http.put(f"/roles/{viewer.id}", json={"role": "owner"}), 403)
    refused(await viewer.http.put(f"/roles/{other.id}", json={"role": "owner"}), 404)
    refused(await viewer.http.post("/admin/rate-limits", json={"user_id": viewer.id, "requests_per_day": 9}), 403)
    refused(await viewer.http.get("/admin/audit-logs"), 403)
    refused(await viewer.http.get("/roles"), 403)
    assert (await viewer.http.get("/user/balance")).status_code == 200
    assert await api.audited("user.role_changed") == []
    assert await api.audited("limit.created") == []


async def test_nobody_gives_what_they_do_not_hold(api: Api) -> None:
    user = await api.person(role="user", organization=await api.organization())
    refused(await user.http.post("/user/api-keys", json={"key_name": "a", "scopes": ["admin:*"]}), 403)
    refused(
        await user.http.post("/user/api-keys", json={"key_name": "a", "scope_permissions": {"write": ["keys"]}}), 403
    )
    body = {"key_name": "a", "scope_permissions": {"read": ["*"], "write": ["*"]}}
    assert (await user.http.post("/user/api-keys", json=body)).status_code == 200
    record = (await api.audited("auth.api_key.created"))[-1]
    assert record.actor_user == user.id
    assert (record.after or {})["scopes"] == ["api:read", "api:write"]


async def test_roles_are_an_organizations_own_affair(api: Api) -> None:
    acme, other = await api.organization("Acme"), await api.organization("Other")
    owner = await api.person("owner@example.com", "owner", acme)
    user = await api.person("user@example.com", "user", acme)
    stranger = await api.person("stranger@example.com", "user", other)
    assert (await owner.http.put(f"/roles/{user.id}", json={"role": "viewer"})).status_code == 200
    refused(await owner.http.put(f"/roles/{stranger.id}", json={"role": "viewer"}), 404)
    refused(await owner.http.get(f"/roles/{stranger.id}"), 404)
    refused(await owner.http.put(f"/roles/{user.id}", json={"role": "platform_admin"}), 403)
    listed = (await owner.http.get("/roles")).json()
    assert {item["user_id"] for item in listed["data"]} == {owner.id, user.id}
    assert (await user.http.get(f"/roles/{user.id}")).json()["role"] == "viewer"


async def test_limits_of_an_organizations_users(api: Api) -> None:
    acme, other = await api.organization("Acme"), await api.organization("Other")
    owner = await api.person("owner@example.com", "owner", acme)
    user = await api.person("user@example.com", "user", acme)
    stranger = await api.person("stranger@example.com", "user", other)
    limit = {"user_id": user.id, "requests_per_day": 9}
    assert (await owner.http.post("/admin/rate-limits", json=limit)).status_code == 200
    refused(await owner.http.post("/admin/rate-limits", json=limit | {"user_id": stranger.id}), 404)
    assert (await user.http.get(f"/admin/rate-limits/{user.id}")).json()["rate_limits"]["requests_per_day"] == 9
    refused(await user.http.get(f"/admin/rate-limits/{owner.id}"), 404)
    assert (await api.master.post("/admin/rate-limits", json=limit | {"requests_per_day": 5})).status_code == 200
    refused(await owner.http.post("/admin/rate-limits", json=limit), 403)


async def test_the_audit_log_is_an_organizations_own(api: Api) -> None:
    ann, bob = await api.person("ann@example.com", "owner"), await api.person("bob@example.com", "owner")
    await ann.http.post("/user/api-keys", json={"key_name": "of Ann"})
    await bob.http.post("/user/api-keys", json={"key_name": "of Bob"})
    found = (await ann.http.get("/admin/audit-logs")).json()
    names = [item["details"].get("name") for item in found["data"]]
    assert "of Ann" in names
    assert "of Bob" not in names
    assert (await ann.http.get(f"/admin/audit-logs?user_id={bob.id}")).json()["total"] == 0
    both = (await api.master.get("/admin/audit-logs?action=api_key_created")).json()
    assert {"of Ann", "of Bob"} <= {item["details"]["name"] for item in both["data"]}


async def test_static_keys_read_what_is_their_organizations(api: Api) -> None:
    static = await api.client("gw_live_static")
    balance = await static.get("/user/balance")
    assert balance.json() == {"api_key": None, "credits": 0.0, "status": "active", "user_id": None}
    assert (await static.get("/user/plan")).json() == {"success": True, "plan": None}
    refused(await static.get("/user/api-keys"), 403)
    refused(await static.post("/user/api-keys", json={"key_name": "a"}), 403)


async def test_a_suspended_organization_is_told_so(api: Api) -> None:
    person = await api.person()
    async with api.sidecar.works.begin(SYSTEM) as work:
        await OrganizationService(work).suspend(person.organization, "Payment overdue")
    assert "Payment overdue" in refused(await person.http.get("/user/balance"), 403)
