"""Limits: set, replaced, removed; by whom, and who hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.contract.policy import LimitPolicy
from gateway.domain.actor import Actor
from gateway.domain.credentials.requests import NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.domain.limits.model import Limit
from gateway.domain.limits.service import LimitService, LimitSpec, policy_of
from gateway.domain.users.model import User
from gateway.kernel.errors import GatewayError, Kind
from tests.support.accounts import MASTER, Accounts, signed_in

SPEC: dict[str, Any] = {
    "scope": "organization",
    "scope_id": "acme",
    "metric": "requests",
    "window": "day",
    "limit": 100,
}


async def put(accounts: Accounts, actor: Actor = MASTER, **asked: Any) -> Limit:
    async with accounts.begin(actor) as work:
        return await LimitService(work).set(LimitSpec(**(SPEC | asked)))


async def refused(accounts: Accounts, actor: Actor = MASTER, **asked: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await put(accounts, actor, **asked)
    return caught.value


@pytest.fixture
async def user(accounts: Accounts) -> User:
    """A user of the organisation acme."""
    await accounts.organization("acme")
    return await accounts.user("ada@example.com", "acme")


@pytest.fixture
async def key(accounts: Accounts, user: User) -> str:
    """A key of the organisation acme."""
    async with accounts.begin(MASTER) as work:
        row, _ = await CredentialService(work).create(NewCredential(name="k", organization="acme", user=None))
        return row.id


async def test_a_limit_is_one_row_however_often_it_is_set(accounts: Accounts, user: User) -> None:
    first = await put(accounts)
    again = await put(accounts, limit=200, reason="Premium customer")
    assert (again.id, again.limit, again.reason) == (first.id, 200, "Premium customer")
    before = await accounts.last_seq()
    await put(accounts, limit=200, reason="Premium customer")
    assert await accounts.last_seq() == before
    assert [action for action in await accounts.actions() if action.startswith("limit.")] == [
        "limit.created",
        "limit.updated",
    ]
    (updated,) = await accounts.records("limit.updated")
    key = LimitPolicy("organization", "acme", "requests", 200, "day").key
    assert updated.before == {"key": key, "limit": 100, "reason": None}
    assert updated.after == {"key": key, "limit": 200, "reason": "Premium customer"}
    assert updated.organization == "acme"
    await put(accounts, window="hour")
    await put(accounts, sliding=True)
    await put(accounts, model="m")
    async with accounts.read(MASTER) as work:
        assert len(await LimitService(work).list_for("organization", "acme")) == 4


async def test_a_limit_set_twice_at_once_is_one(accounts: Accounts, user: User) -> None:
    made = await asyncio.gather(*(put(accounts, limit=limit) for limit in range(1, 6)))
    assert len({row.id for row in made}) == 1


async def test_those_it_concerns_hear_of_it(accounts: Accounts, user: User, key: str) -> None:
    told: list[tuple[dict[str, Any], tuple[str, str, None]]] = [
        ({}, ("organization", "acme", None)),
        ({"scope": "user", "scope_id": user.id}, ("user", user.id, None)),
        ({"scope": "key", "scope_id": key}, ("credential", key, None)),
        ({"scope": "model", "scope_id": "m"}, ("everything", "model", None)),
        ({"scope": "provider", "scope_id": "p"}, ("everything", "provider", None)),
        ({"scope": "global", "scope_id": ""}, ("everything", "global", None)),
    ]
    for asked, change in told:
        before = await accounts.last_seq()
        row = await put(accounts, **asked)
        assert await accounts.changes(before) == [change]
        async with accounts.begin(MASTER) as work:
            await LimitService(work).remove(row.id)
        assert await accounts.changes(before) == [change, change]


async def test_a_limit_of_a_model_counts_that_model_alone(accounts: Accounts, user: User) -> None:
    model = policy_of(await put(accounts, scope="model", scope_id="m"))
    assert (model.scope, model.scope_id, model.model, model.provider) == ("model", "m", "m", None)
    provider = policy_of(await put(accounts, scope="provider", scope_id="p", model="m"))
    assert (provider.scope_id, provider.provider, provider.model) == ("p", "p", "m")
    everyone = policy_of(await put(accounts, scope="global", scope_id="ignored"))
    assert everyone.key == LimitPolicy("global", "", "requests", 1, "day").key


async def test_an_organization_limits_its_own_but_lifts_nothing_of_the_platform(
    accounts: Accounts, user: User, key: str
) -> None:
    admin = signed_in(user, "owner")
    mine = await put(accounts, admin, scope="key", scope_id=key)
    assert mine.set_by == "organization"
    platforms = await put(accounts, scope="user", scope_id=user.id)
    assert platforms.set_by == "platform"
    for asked in (SPEC, {"scope": "global"}, {"scope": "model", "scope_id": "m"}):
        assert (await refused(accounts, admin, **asked)).kind is Kind.FORBIDDEN
    assert (await refused(accounts, admin, scope="user", scope_id=user.id, limit=10**9)).kind is Kind.FORBIDDEN
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(admin) as work:
            await LimitService(work).remove(platforms.key)
    assert caught.value.kind is Kind.FORBIDDEN
    async with accounts.begin(admin) as work:
        await LimitService(work).remove(mine.id)
    # Where the platform takes over a limit, it is the platform's from then on.
    again = await put(accounts, admin, scope="key", scope_id=key)
    await put(accounts, scope="key", scope_id=key, limit=5)
    assert (await refused(accounts, admin, scope="key", scope_id=key, limit=50)).kind is Kind.FORBIDDEN
    assert again.set_by == "organization"


async def test_others_are_out_of_reach(accounts: Accounts, user: User, key: str) -> None:
    await accounts.organization("rivals")
    rival = await accounts.user("eve@example.com", "rivals", "owner")
    for scope, id in (("key", key), ("user", user.id), ("organization", "acme")):
        error = await refused(accounts, signed_in(rival, "owner"), scope=scope, scope_id=id)
        assert (error.kind, error.code) == (Kind.NOT_FOUND, f"{scope}_not_found")
        async with accounts.read(signed_in(rival, "owner")) as work:
            with pytest.raises(GatewayError):
                await LimitService(work).list_for(scope, id)
    async with accounts.read(signed_in(user)) as work:
        assert await LimitService(work).list_for("user", user.id) == []
        with pytest.raises(GatewayError) as caught:
            await LimitService(work).list_for("organization", "acme")
        assert caught.value.kind is Kind.FORBIDDEN
    assert (await refused(accounts, signed_in(user), scope="user", scope_id=user.id)).kind is Kind.FORBIDDEN


BAD: list[tuple[dict[str, Any], str]] = [
    ({"scope": "galaxy"}, "scope"),
    ({"metric": "words"}, "metric"),
    ({"window": None}, "window"),
    ({"window": "fortnight"}, "window"),
    ({"metric": "concurrency", "window": "day"}, "window"),
    ({"metric": "concurrency", "window": None, "sliding": True}, "window"),
    ({"window": "total", "sliding": True}, "sliding"),
    ({"limit": -1}, "limit"),
    ({"limit": 2**53}, "limit"),
    ({"scope": "model", "scope_id": " "}, "scope_id"),
    ({"model": ""}, "model"),
]


async def test_bad_limits_name_their_field(accounts: Accounts, user: User) -> None:
    for asked, field in BAD:
        error = await refused(accounts, **asked)
        assert (error.kind, error.field) == (Kind.INVALID, field), asked
    for scope in ("key", "user", "organization"):
        error = await refused(accounts, scope=scope, scope_id="nothing")
        assert (error.kind, error.code) == (Kind.NOT_FOUND, f"{scope}_not_found")
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(MASTER) as work:
            await LimitService(work).remove("limit_nothing")
    assert caught.value.code == "limit_not_found"
