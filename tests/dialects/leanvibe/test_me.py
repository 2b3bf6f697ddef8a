"""The caller's own tenant, its usage and quotas, as LeanVibe documents them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.contract.policy import LimitPolicy
from tests.dialects.entered import called, stopped
from tests.dialects.leanvibe.refusing import refused
from tests.dialects.served import MASTER_KEY, Served
from tests.dialects.shape import example, same_shape
from tests.support.counted import count

INFO, USAGE, CHECK = "/v1/tenants/me/info", "/v1/tenants/me/usage", "/v1/tenants/me/quota-check/"


def calls(served: Served, used: int, of: str = "acme") -> None:
    """Have a tenant make calls this month."""
    count(served.data_dir, LimitPolicy("organization", of, "requests", 10**9, window="month", source="plan"), used)


async def test_the_tenant_as_documented(every_served: Served) -> None:
    served = every_served
    await served.organization("corp", "enterprise")
    secret = await served.signed_in("corp", "owner")
    documented = example("leanvibe", "GET", INFO).response
    body = (await served.ask("GET", INFO, secret)).json()
    same_shape(documented, body, nullable={"data_residency"}, more={""})
    assert body["quotas"] == documented["quotas"]
    assert body["current_usage"] == {
        "users_count": 1,
        "projects_count": 0,
        "api_calls_this_month": 0,
        "storage_used_mb": 0,
        "ai_requests_today": 0,
        "concurrent_sessions": 1,
    }


async def test_updating_as_documented(every_served: Served) -> None:
    served = every_served
    owner = await served.signed_in("acme", "owner")
    asked = example("leanvibe", "PUT", INFO).request
    answer = await served.ask("PUT", INFO, owner, json=asked)
    same_shape(
        example("leanvibe", "GET", INFO).response, answer.json(), nullable={"data_residency"}, more={""}
    )  # fmt: skip
    for body in (answer.json(), (await served.ask("GET", INFO, owner)).json()):
        assert (body["organization_name"], body["configuration"]) == (asked["display_name"], asked["configuration"])
        assert (body["id"], body["slug"], body["plan"]) == ("acme", "acme", "team")
    (record,) = await served.records("organization.updated")
    assert (record.organization, record.actor_email) == ("acme", "owner@acme.example")
    assert ((record.before or {})["name"], (record.after or {})["name"]) == ("acme", asked["display_name"])


async def test_what_is_not_given_stays(served: Served) -> None:
    admin = await served.signed_in("acme", "admin")
    await served.ask("PUT", INFO, admin, json={"display_name": "Acme", "configuration": {"a": 1}})
    await served.ask("PUT", INFO, admin, json={"configuration": {"b": 2}})
    body = (await served.ask("PUT", INFO, admin, json={})).json()
    assert (body["organization_name"], body["configuration"]) == ("Acme", {"b": 2})
    assert len(await served.records("organization.updated")) == 2


@pytest.mark.parametrize("role", ["developer", "viewer", "user", "guest"])
async def test_everyone_of_a_tenant_sees_it_and_its_administrators_change_it(served: Served, role: str) -> None:
    secret = await served.signed_in("acme", role)
    for path in (INFO, USAGE, f"{CHECK}users"):
        assert (await served.ask("GET", path, secret)).status_code == 200
    await refused(served, "PUT", INFO, secret, 403, "forbidden", json={"display_name": "Mine"})
    assert (await served.ask("GET", INFO, secret)).json()["organization_name"] == "acme"


async def test_each_sees_and_changes_its_own(every_served: Served) -> None:
    served = every_served
    await served.organization("other", "developer")
    ours, theirs = await served.signed_in("acme", "owner"), await served.signed_in("other", "owner")
    calls(served, 5)
    calls(served, 70, of="other")
    await served.ask("PUT", INFO, theirs, json={"display_name": "Theirs"})
    told = [(await served.ask("GET", INFO, secret)).json() for secret in (ours, theirs)]
    assert [(body["id"], body["organization_name"], body["plan"]) for body in told] == [
        ("acme", "acme", "team"),
        ("other", "Theirs", "developer"),
    ]
    assert [body["current_usage"]["api_calls_this_month"] for body in told] == [5, 70]
    used = [(await served.ask("GET", USAGE, secret)).json() for secret in (ours, theirs)]
    assert [(body["tenant_id"], body["current_usage"]["api_calls_this_month"]) for body in used] == [
        ("acme", 5), ("other", 70),
    ]  # fmt: skip


async def test_usage(served: Served) -> None:
    owner = await served.signed_in("acme", "owner")
    calls(served, 25_000)
    body = (await served.ask("GET", USAGE, owner)).json()
    shape = {
        "tenant_id": "tenant-uuid",
        "plan": "team",
        "period": {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"},
        "current_usage": example("leanvibe", "GET", INFO).response["current_usage"],
        "quotas": example("leanvibe", "GET", INFO).response["quotas"],
        "utilization": dict.fromkeys(
            ("api_calls", "ai_requests", "users", "projects", "storage", "concurrent_sessions"), 1.5
        ),
        "calculated_at": "2024-01-01T00:00:00Z",
    }
    same_shape(shape, body)
    assert body["current_usage"]["api_calls_this_month"] == 25_000
    assert (body["utilization"]["api_calls"], body["utilization"]["users"]) == (25.0, 10.0)
    assert body["period"]["start"] <= body["calculated_at"] < body["period"]["end"]


async def test_requests_that_no_limit_counts_are_told_by_the_ledger(
    every_served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, store = every_served, every_served.sidecar.store
    now = stopped(served.sidecar.works, monkeypatch)
    owner = await served.signed_in("acme", "owner")
    for number, days in enumerate((0, 0, 0, 32)):
        await called(store, now, "key_1", number, days=days)
    await called(store, now, "key_2", 4, organization="other")
    used = (await served.ask("GET", USAGE, owner)).json()["current_usage"]
    assert (used["api_calls_this_month"], used["ai_requests_today"]) == (3, 3)
    body = (await served.ask("GET", f"{CHECK}api_calls", owner)).json()
    assert body["current_usage"] == 3
    # The data plane counts what is no call of a model as well.
    calls(served, 5)
    assert (await served.ask("GET", USAGE, owner)).json()["current_usage"]["api_calls_this_month"] == 5


async def test_a_quota_as_documented(every_served: Served) -> None:
    served = every_served
    await served.organization("corp", "enterprise")
    secret = await served.signed_in("corp", "owner")
    documented = example("leanvibe", "GET", f"{CHECK}{{quota_type}}").response
    calls(served, documented["current_usage"], of="corp")
    body = (await served.ask("GET", f"{CHECK}api_calls?amount=100", secret)).json()
    same_shape(documented, body)
    limit, used = documented["quota_limit"], documented["current_usage"]
    assert body == documented | {"remaining": limit - used}


@pytest.mark.parametrize(
    ("asked", "available", "remaining"),
    [
        ("api_calls?amount=10", True, 10),
        ("api_calls?amount=11", False, 10),
        ("api_calls", True, 10),
        ("users?amount=9", True, 9),
        ("users?amount=10", False, 9),
        ("projects?amount=51", False, 50),
        ("storage?amount=10240", True, 10_240),
        ("ai_requests?amount=1000", True, 1_000),
        ("concurrent_sessions?amount=0", True, 9),
    ],
)
async def test_what_would_fit(served: Served, asked: str, available: bool, remaining: int) -> None:
    owner = await served.signed_in("acme", "owner")
    calls(served, 99_990)
    body = (await served.ask("GET", f"{CHECK}{asked}", owner)).json()
    assert (body["available"], body["remaining"]) == (available, remaining)


@pytest.mark.parametrize(
    ("asked", "field", "expected"),
    [
        ("seats", "quota_type", "api_calls, ai_requests, users, projects, storage, concurrent_sessions"),
        ("users?amount=-1", "amount", "0"),
        ("users?amount=many", "amount", "integer"),
        ("users?amount=1.5", "amount", "integer"),
        ("users?amuont=1", "amuont", "did you mean amount"),
        (f"users?amount={10**30}", "amount", ""),
    ],
)
async def test_faulty_questions(served: Served, asked: str, field: str, expected: str) -> None:
    owner = await served.signed_in("acme", "owner")
    body = await refused(served, "GET", f"{CHECK}{asked}", owner, 400, "invalid_request")
    assert body["details"]["field"] == field
    assert expected in body["details"]["validation_errors"][0]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"display_name": ""}, "display_name"),
        ({"display_name": 5}, "display_name"),
        ({"configuration": []}, "configuration"),
        ({"display_name": None}, "display_name"),
        ({"configuration": None}, "configuration"),
        ({"configuration": {"x": "y" * 70_000}}, "configuration"),
        ({"plan": "enterprise"}, "plan"),
        ({"status": "active"}, "status"),
    ],
)
async def test_faulty_updates(served: Served, asked: dict[str, Any], field: str) -> None:
    owner = await served.signed_in("acme", "owner")
    body = await refused(served, "PUT", INFO, owner, 400, "invalid_request", json=asked)
    assert body["details"]["field"] == field
    assert (await served.ask("GET", INFO, owner)).json()["plan"] == "team"


async def test_without_a_credential(served: Served) -> None:
    for method, path in (("GET", INFO), ("PUT", INFO), ("GET", USAGE), ("GET", f"{CHECK}users")):
        body = {"display_name": "x"} if method == "PUT" else None
        await refused(served, method, path, None, 401, "unauthorized", json=body)
        await refused(served, method, path, "gw_live_nobody", 401, "unauthorized", json=body)


async def test_the_master_key_is_of_the_default_tenant(served: Served) -> None:
    assert (await served.ask("GET", INFO, MASTER_KEY)).json()["id"] == "default"


async def test_other_methods_and_paths(served: Served) -> None:
    await refused(served, "DELETE", INFO, MASTER_KEY, 405, "method_not_allowed")
    assert (await served.ask("DELETE", INFO, MASTER_KEY)).headers["allow"] == "GET, PUT"
    await refused(served, "GET", "/v1/tenants/me/nothing", MASTER_KEY, 404, "not_found")
