"""Apps as AI Marketplace documents them: registered, looked at, given another secret."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from gateway.bus.policy import Query
from gateway.contract.usage import Tokens
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import digest_of
from tests.dialects.entered import called, stopped
from tests.dialects.served import MASTER_KEY, Served
from tests.dialects.shape import example, same_shape

REGISTER = "/v1/apps/register"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


async def register(served: Served, secret: str = MASTER_KEY, **asked: Any) -> dict[str, Any]:
    """Register an app; gives the answer's body."""
    body = {"name": "My AI Application", **asked}
    if secret == MASTER_KEY:
        body.setdefault("organizationId", "acme")
    answer = await served.ask("POST", REGISTER, secret, json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def bearer_of(answer: dict[str, Any]) -> str:
    """What the app of an answer sends."""
    credentials = answer["credentials"]
    return f"{credentials['appId']}:{credentials['secretKey']}"


async def status_of(served: Served, bearer: str) -> str:
    """What the data plane is told of a credential."""
    found = await served.sidecar.resolve(Query(digest=digest_of(bearer.encode()).hex()))
    policy = msgspec.json.decode(msgspec.json.encode(found))["policy"]
    return str(policy.get("status", "active"))


async def test_registering_as_documented(every_served: Served) -> None:
    served = every_served
    documented = example("ai_marketplace", "POST", REGISTER)
    owner = await served.signed_in("acme", "owner")
    answer = await served.ask("POST", REGISTER, owner, json=documented.request)
    made = answer.json()
    same_shape(documented.response, made)
    assert made["app"]["features"] == documented.response["app"]["features"]
    assert made["app"]["limits"] == documented.response["app"]["limits"]
    assert (made["app"]["name"], made["app"]["tier"], made["app"]["status"]) == (
        "My AI Application", "DEVELOPER", "ACTIVE",
    )  # fmt: skip
    app_id, secret = made["credentials"]["appId"], made["credentials"]["secretKey"]
    assert re.fullmatch(f"app_{UUID}", app_id)
    assert app_id == made["app"]["appId"] != made["app"]["id"]
    assert re.fullmatch(r"sk_[0-9A-Za-z]{43,}", secret)
    assert made["credentials"]["authFormat"] == f"Bearer {app_id[:7]}...:{secret[:7]}..."
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"].startswith("req_")


async def test_details_as_documented(every_served: Served) -> None:
    served = every_served
    made = await register(served, tier="DEVELOPER", description="A tool")
    documented = example("ai_marketplace", "GET", "/v1/apps/{appId}").response
    answer = await served.ask("GET", f"/v1/apps/{made['app']['appId']}", bearer_of(made))
    same_shape(documented, answer.json(), more={"app", "app.features"})
    assert answer.json()["app"]["description"] == "A tool"
    assert made["credentials"]["secretKey"] not in answer.text
    by_short_id = await served.ask("GET", f"/v1/apps/{made['app']['id']}", bearer_of(made))
    assert by_short_id.json() == answer.json()


async def test_rotating_as_documented(every_served: Served) -> None:
    served = every_served
    made = await register(served)
    documented = example("ai_marketplace", "POST", "/v1/apps/{appId}/keys").response
    answer = await served.ask("POST", f"/v1/apps/{made['app']['appId']}/keys", MASTER_KEY)
    same_shape(documented, answer.json())
    assert answer.json()["message"] == documented["message"]
    assert answer.json()["warning"] == documented["warning"]
    assert answer.json()["credentials"]["appId"] == made["app"]["appId"]
    assert answer.headers["cache-control"] == "no-store"


async def test_a_rotated_secret_is_dead_at_once_and_the_new_one_lives(every_served: Served) -> None:
    served = every_served
    made = await register(served)
    path, old = f"/v1/apps/{made['app']['appId']}", bearer_of(made)
    assert (await served.ask("GET", path, old)).status_code == 200
    # An app may rotate its own secret: it has proven that it knows it.
    rotated = await served.ask("POST", f"{path}/keys", old)
    new = bearer_of(rotated.json())
    with pytest.raises(GatewayError) as caught:
        await served.resolve(old)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert (await served.resolve(new)).policy.app == made["app"]["appId"]
    assert (await status_of(served, old), await status_of(served, new)) == ("revoked", "active")
    refused = await served.ask("POST", f"{path}/keys", old)
    assert (refused.status_code, refused.json()["code"]) == (401, "AUTHENTICATION_FAILED")
    assert (await served.ask("GET", path, new)).status_code == 200


async def test_half_a_credential_is_none(served: Served) -> None:
    made, other = await register(served), await register(served)
    secret = made["credentials"]["secretKey"]
    halves = {
        secret: "AUTHENTICATION_FAILED",
        made["app"]["appId"]: "AUTHENTICATION_FAILED",
        f"{other['app']['appId']}:{secret}": "AUTHENTICATION_FAILED",
        f"{made['app']['id']}:{secret}": "APP_NOT_FOUND",
    }
    for bearer, code in halves.items():
        answer = await served.ask("GET", f"/v1/apps/{made['app']['appId']}", bearer)
        assert (answer.status_code, answer.json()["code"]) == (401, code)


@pytest.mark.parametrize(
    ("tier", "month", "minute", "features"),
    [
        ("COMMUNITY", 1_000, 10, set()),
        ("DEVELOPER", 50_000, 100, {"mlRouting", "analytics", "caching"}),
        ("professional", 500_000, 500, {"mlRouting", "analytics", "caching", "customModels", "batchRouting"}),
        ("ENTERPRISE", 999_999_999, 1_000, {"mlRouting", "analytics", "caching", "customModels", "batchRouting"}),
    ],
)
async def test_the_tiers(served: Served, tier: str, month: int, minute: int, features: set[str]) -> None:
    made = await register(served, tier=tier)
    app = made["app"]
    assert app["tier"] == tier.upper()
    assert app["limits"] == {"requestsPerMonth": month, "requestsPerMinute": minute}
    gated = {"mlRouting", "analytics", "caching", "customModels", "batchRouting"}
    assert {name for name in gated if app["features"].get(name)} == features
    assert {"mlRouting", "analytics", "caching"} <= app["features"].keys()
    policy = (await served.resolve(bearer_of(made))).policy
    held = {(each.metric, each.window): each.limit for each in policy.limits if each.source == "plan"}
    assert held == {("requests", "month"): month, ("requests", "minute"): minute}


async def test_without_a_tier_it_is_the_free_one(served: Served) -> None:
    assert (await register(served))["app"]["tier"] == "COMMUNITY"


async def test_usage_is_what_the_ledger_has_of_this_app_in_this_month(
    every_served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, store = every_served, every_served.sidecar.store
    now = stopped(served.sidecar.works, monkeypatch)
    made, other = await register(served, tier="ENTERPRISE"), await register(served)
    before, credential = bearer_of(made), (await served.resolve(bearer_of(made))).policy.id
    await called(store, now, credential, 1)
    await called(store, now, credential, 2, outcome="cached", cost_nanos=0)
    rotated = (await served.ask("POST", f"/v1/apps/{made['app']['appId']}/keys", before)).json()
    of_new_secret = (await served.resolve(bearer_of(rotated))).policy.id
    for number, outcome in enumerate(("error", "cancelled", "cut", "refused"), 3):
        await called(store, now, of_new_secret, number, outcome=outcome, tokens=Tokens(), cost_nanos=None)
    await called(store, now, of_new_secret, 7, milliseconds=1_000)
    await called(store, now, credential, 8, days=32)
    await called(store, now, "key_of_no_app", 9)
    app = (await served.ask("GET", f"/v1/apps/{made['app']['appId']}", MASTER_KEY)).json()["app"]
    month = {"requestsCount": 7, "mlRoutingCount": 0, "totalCost": 0.5}
    assert app["usage"] == {"requestsThisPeriod": 7, "currentMonthUsage": month}
    assert app["analytics"] == {
        "totalRequests": 7, "successfulRequests": 3, "failedRequests": 4, "avgResponseTime": 400,
    }  # fmt: skip
    app = (await served.ask("GET", f"/v1/apps/{other['app']['appId']}", MASTER_KEY)).json()["app"]
    nothing = {"requestsCount": 0, "mlRoutingCount": 0, "totalCost": 0}
    assert app["usage"] == {"requestsThisPeriod": 0, "currentMonthUsage": nothing}
    assert set(app["analytics"].values()) == {0}


async def test_what_is_done_is_in_the_audit_log_without_secrets(served: Served) -> None:
    owner = await served.signed_in("acme", "owner")
    made = await register(served, owner)
    rotated = await served.ask("POST", f"/v1/apps/{made['app']['appId']}/keys", owner)
    (created,) = await served.records("app.created")
    (changed,) = await served.records("auth.api_key.rotated")
    for record, request_id in ((created, None), (changed, rotated.headers["x-request-id"])):
        assert (record.organization, record.actor_email) == ("acme", "owner@acme.example")
        assert record.address is not None
        assert request_id in (None, record.request_id)
    assert created.resource_id == made["app"]["appId"]
    for record in (created, changed, *await served.records("auth.api_key.created")):
        for answer in (made, rotated.json()):
            assert answer["credentials"]["secretKey"] not in f"{record.before} {record.after} {record.details}"
