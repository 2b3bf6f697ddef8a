"""Tenants as the platform's administrators make, list, suspend and reactivate them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.bus.policy import Query
from gateway.domain.actor import SYSTEM
from gateway.domain.authentication.start import ensure_admin
from gateway.domain.credentials.requests import NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.kernel.secrets import digest_of
from tests.dialects.leanvibe.refusing import refused
from tests.dialects.served import MASTER_KEY, PASSWORD, Served
from tests.dialects.shape import example, same_shape

TENANTS, INFO = "/v1/tenants", "/v1/tenants/me/info"
TENANT = {
    "id": "tenant-uuid",
    "organization_name": "Enterprise Corp",
    "slug": "enterprise-corp",
    "status": "active",
    "status_reason": None,
    "plan": "enterprise",
    "data_residency": "us",
    "created_at": "2024-01-01T00:00:00Z",
    "trial_ends_at": None,
}


async def create(served: Served, **asked: Any) -> dict[str, Any]:
    """Make a tenant as documented, with other values where given."""
    documented = example("leanvibe", "POST", TENANTS).request
    answer = await served.ask("POST", TENANTS, MASTER_KEY, json=documented | asked)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made: dict[str, Any] = answer.json()
    return made


async def key_of(served: Served, organization: str) -> str:
    """A key of an organisation."""
    async with served.sidecar.works.begin(SYSTEM) as work:
        asked = NewCredential(name="key", organization=organization, user=None, scopes=["inference", "api:read"])
        return (await CredentialService(work).create(asked))[1]


async def resolved(served: Served, secret: str) -> dict[str, Any]:
    """What the data plane is told of a key."""
    found = await served.sidecar.resolve(Query(digest=digest_of(secret.encode()).hex()))
    policy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))["policy"]
    return policy


async def test_creating_as_documented(every_served: Served) -> None:
    served = every_served
    made = await create(served)
    admin = {"id": "user-uuid", "email": "admin@enterprise-corp.com", "role": "owner", "initial_password": "x"}
    same_shape(TENANT | {"admin": admin}, made)
    asked = example("leanvibe", "POST", TENANTS).request
    assert {name: made[name] for name in ("organization_name", "slug", "plan", "data_residency")} == {
        name: asked[name] for name in ("organization_name", "slug", "plan", "data_residency")
    }
    assert (made["admin"]["email"], made["status"]) == (asked["admin_email"], "active")
    record = (await served.records("organization.created"))[-1]
    assert (record.resource_id, record.actor_kind) == (made["id"], "master")
    users = await served.records("user.created")
    assert made["admin"]["initial_password"] not in str([user.after for user in users])


async def test_the_first_person_signs_in_and_owns_it(served: Served) -> None:
    made = await create(served)
    asked = {"email": made["admin"]["email"], "password": made["admin"]["initial_password"]}
    body = (await served.ask("POST", "/v1/auth/login", json=asked)).json()
    assert body["user"] == {
        "id": made["admin"]["id"],
        "email": asked["email"],
        "role": "owner",
        "tenant_id": made["id"],
    }
    info = (await served.ask("GET", INFO, body["access_token"])).json()
    assert (info["id"], info["plan"], info["current_usage"]["users_count"]) == (made["id"], "enterprise", 1)
    changed = await served.ask("PUT", INFO, body["access_token"], json={"display_name": "Ours"})
    assert changed.status_code == 200


async def test_a_slug_is_made_where_none_is_given(served: Served) -> None:
    documented = example("leanvibe", "POST", TENANTS).request
    asked = {name: documented[name] for name in ("organization_name", "admin_email", "plan")}
    answer = await served.ask("POST", TENANTS, MASTER_KEY, json=asked)
    assert (answer.json()["slug"], answer.json()["data_residency"]) == ("enterprise-corp", None)


@pytest.mark.parametrize(
    ("asked", "status", "code", "field"),
    [
        ({"slug": "acme"}, 409, "conflict", "slug"),
        ({"admin_email": "OWNER@acme.example"}, 409, "conflict", "admin_email"),
        ({"plan": "gold"}, 404, "not_found", "plan"),
        ({"slug": "Not A Slug"}, 400, "invalid_request", "slug"),
        ({"admin_email": "nobody"}, 400, "invalid_request", "admin_email"),
        ({"organization_name": " "}, 400, "invalid_request", "organization_name"),
        ({"organisation": "x"}, 400, "invalid_request", "organisation"),
        ({"plan": None}, 400, "invalid_request", "plan"),
    ],
)
async def test_faulty_tenants_leave_nothing_behind(
    served: Served, asked: dict[str, Any], status: int, code: str, field: str
) -> None:
    await served.signed_in("acme", "owner")
    documented = example("leanvibe", "POST", TENANTS).request
    body = await refused(served, "POST", TENANTS, MASTER_KEY, status, code, json=documented | asked)
    assert body["details"]["field"] == field
    page = (await served.ask("GET", TENANTS, MASTER_KEY)).json()
    assert {tenant["id"] for tenant in page["tenants"]} == {"default", "acme"}


async def test_listing_as_documented(every_served: Served) -> None:
    served = every_served
    made = await create(served)
    await create(served, slug="second", admin_email="second@example.com")
    answer = await served.ask("GET", f"{TENANTS}?status=active&plan=enterprise&limit=50", MASTER_KEY)
    same_shape({"tenants": [TENANT], "total": 1, "limit": 50, "offset": 0}, answer.json())
    assert [tenant["slug"] for tenant in answer.json()["tenants"]] == ["enterprise-corp", "second"]
    assert "initial_password" not in answer.text
    page = (await served.ask("GET", f"{TENANTS}?plan=enterprise&limit=1&offset=1", MASTER_KEY)).json()
    assert ([tenant["slug"] for tenant in page["tenants"]], page["total"]) == (["second"], 2)
    await served.ask("POST", f"{TENANTS}/{made['id']}/suspend", MASTER_KEY, json={"reason": "Payment overdue"})
    page = (await served.ask("GET", f"{TENANTS}?status=suspended", MASTER_KEY)).json()
    assert [(tenant["id"], tenant["status_reason"]) for tenant in page["tenants"]] == [(made["id"], "Payment overdue")]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=gone", "status"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("offset=-1", "offset"),
        ("page=2", "page"),
    ],
)
async def test_faulty_lists(served: Served, query: str, field: str) -> None:
    body = await refused(served, "GET", f"{TENANTS}?{query}", MASTER_KEY, 400, "invalid_request")
    assert body["details"]["field"] == field


async def test_a_suspended_tenant_is_refused_everywhere_and_comes_back(every_served: Served) -> None:
    served = every_served
    user, key = await served.signed_in("acme", "owner"), await key_of(served, "acme")
    documented = example("leanvibe", "POST", f"{TENANTS}/{{tenant_id}}/suspend").request
    suspended = await served.ask("POST", f"{TENANTS}/acme/suspend", MASTER_KEY, json=documented)
    same_shape(TENANT, suspended.json(), nullable={"data_residency"})
    assert (suspended.json()["status"], suspended.json()["status_reason"]) == ("suspended", "Payment overdue")
    for secret in (user, key):
        for path in (INFO, "/v1/tenants/me/usage", "/v1/tenants/me/quota-check/users"):
            body = await refused(served, "GET", path, secret, 451, "tenant_suspended")
            assert "Payment overdue" in body["message"]
    login = {"email": "owner@acme.example", "password": PASSWORD}
    await refused(served, "POST", "/v1/auth/login", None, 451, "tenant_suspended", json=login)
    assert (await resolved(served, key))["status"] == "suspended"
    back = await served.ask("POST", f"{TENANTS}/acme/reactivate", MASTER_KEY)
    assert (back.json()["status"], back.json()["status_reason"]) == ("active", None)
    for secret in (user, key):
        assert (await served.ask("GET", INFO, secret)).status_code == 200
    assert (await resolved(served, key)).get("status", "active") == "active"
    (record,) = await served.records("organization.suspended")
    assert (record.severity, record.resource_id, (record.after or {})["status_reason"]) == (
        "warning",
        "acme",
        "Payment overdue",
    )
    assert len(await served.records("organization.reactivated")) == 1


async def test_suspending_one_leaves_the_others(served: Served) -> None:
    await served.organization("other", "team")
    secret = await served.signed_in("other", "owner")
    await served.ask("POST", f"{TENANTS}/acme/suspend", MASTER_KEY, json={"reason": "x"})
    assert (await served.ask("GET", INFO, secret)).status_code == 200


@pytest.mark.parametrize("role", ["owner", "admin", "user"])
async def test_a_tenants_own_administrators_may_none_of_it(served: Served, role: str) -> None:
    await served.organization("other", "team")
    secret = await served.signed_in("acme", role)
    documented = example("leanvibe", "POST", TENANTS).request
    await refused(served, "POST", TENANTS, secret, 403, "forbidden", json=documented)
    await refused(served, "GET", TENANTS, secret, 403, "forbidden")
    for tenant in ("acme", "other"):
        await refused(served, "POST", f"{TENANTS}/{tenant}/suspend", secret, 403, "forbidden", json={"reason": "x"})
        await refused(served, "POST", f"{TENANTS}/{tenant}/reactivate", secret, 403, "forbidden")
    page = (await served.ask("GET", TENANTS, MASTER_KEY)).json()
    assert {(tenant["id"], tenant["status"]) for tenant in page["tenants"]} == {
        ("default", "active"), ("acme", "active"), ("other", "active"),
    }  # fmt: skip


async def test_the_configured_administrator_may_all_of_it(served: Served) -> None:
    async with served.sidecar.works.begin(SYSTEM) as work:
        await ensure_admin(work, "root@example.com", PASSWORD)
    asked = {"email": "root@example.com", "password": PASSWORD}
    admin = (await served.ask("POST", "/v1/auth/login", json=asked)).json()["access_token"]
    made = await served.ask("POST", TENANTS, admin, json=example("leanvibe", "POST", TENANTS).request)
    path = f"{TENANTS}/{made.json()['id']}"
    assert (await served.ask("POST", f"{path}/suspend", admin, json={"reason": "x"})).status_code == 200
    assert (await served.ask("POST", f"{path}/reactivate", admin)).status_code == 200
    assert (await served.ask("GET", TENANTS, admin)).json()["total"] == 3


async def test_faulty_suspensions(served: Served) -> None:
    path = f"{TENANTS}/acme/suspend"
    for asked in ({}, {"reason": ""}, {"reason": "x" * 501}, {"why": "x", "reason": "x"}):
        await refused(served, "POST", path, MASTER_KEY, 400, "invalid_request", json=asked)
    await refused(served, "POST", f"{TENANTS}/nobody/suspend", MASTER_KEY, 404, "not_found", json={"reason": "x"})
    await refused(served, "POST", f"{TENANTS}/nobody/reactivate", MASTER_KEY, 404, "not_found")
    for method, suffix in (("POST", ""), ("GET", ""), ("POST", "/acme/suspend"), ("POST", "/acme/reactivate")):
        body = {"reason": "x"} if suffix.endswith("suspend") else example("leanvibe", "POST", TENANTS).request
        await refused(served, method, TENANTS + suffix, None, 401, "unauthorized", json=body)
