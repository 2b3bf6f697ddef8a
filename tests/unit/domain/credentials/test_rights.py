"""That nobody gets through a key what they do not have: by its secret, by another key, by a lifted restriction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.actor import PLATFORM_ADMIN, Actor
from gateway.domain.apps.service import AppService
from gateway.domain.credentials.model import Credential
from gateway.domain.credentials.requests import CredentialUpdate, NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.domain.plans.service import PlanService
from gateway.domain.users.model import User
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Plan
from tests.support.accounts import MASTER, START, Accounts, signed_in, with_key

REFUSED = (Kind.FORBIDDEN, "insufficient_permissions")


async def make(accounts: Accounts, actor: Actor = MASTER, **asked: Any) -> Credential:
    async with accounts.begin(actor) as work:
        new = NewCredential(**({"name": "k", "organization": "acme"} | asked))
        return (await CredentialService(work).create(new))[0]


async def rotate(accounts: Accounts, actor: Actor, row: Credential) -> None:
    async with accounts.begin(actor) as work:
        await CredentialService(work).rotate(row.id)


@pytest.fixture
async def engineer(accounts: Accounts) -> User:
    """An engineer of acme: they manage its keys."""
    await accounts.organization("acme")
    return await accounts.user("eng@example.com", "acme", "engineer")


@pytest.mark.parametrize("scopes", [["admin:*"], ["*"], ["users:write"], ["*:write"], ["credits:write"]])
async def test_no_secret_of_a_key_that_may_more(accounts: Accounts, engineer: User, scopes: list[str]) -> None:
    row = await make(accounts, scopes=scopes, user=None)
    before = row.digest
    with pytest.raises(GatewayError) as caught:
        await rotate(accounts, signed_in(engineer, "engineer"), row)
    assert (caught.value.kind, caught.value.code) == REFUSED
    async with accounts.read(MASTER) as work:
        assert (await CredentialService(work).get(row.id)).digest == before


async def test_a_secret_of_a_key_that_may_no_more(accounts: Accounts, engineer: User) -> None:
    row = await make(accounts, scopes=["usage:read", "inference"], user=None)
    await rotate(accounts, signed_in(engineer, "engineer"), row)
    assert len(await accounts.records("auth.api_key.rotated")) == 1


async def test_no_secret_of_a_key_of_the_platforms_administrator(accounts: Accounts, engineer: User) -> None:
    root = await accounts.user("root@example.com", "acme", PLATFORM_ADMIN)
    row = await make(accounts, scopes=["*"], user=root.id)
    owner = await accounts.user("owner@example.com", "acme", "owner")
    with pytest.raises(GatewayError) as caught:
        await rotate(accounts, signed_in(owner, "owner"), row)
    assert (caught.value.kind, caught.value.code) == REFUSED
    await rotate(accounts, signed_in(root, PLATFORM_ADMIN), row)


async def test_no_key_in_the_name_of_the_platforms_administrator(accounts: Accounts, engineer: User) -> None:
    root = await accounts.user("root@example.com", "acme", PLATFORM_ADMIN)
    narrow = await make(accounts, scopes=["keys:read", "usage:read"], user=root.id)
    owner = signed_in(await accounts.user("owner@example.com", "acme", "owner"), "owner")
    with pytest.raises(GatewayError) as caught:
        await make(accounts, owner, scopes=["admin:*"], user=root.id)
    assert (caught.value.kind, caught.value.code) == REFUSED
    async with accounts.begin(owner) as work:
        await CredentialService(work).update(narrow.id, CredentialUpdate(scopes=["usage:read"]))
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(owner) as work:
            await CredentialService(work).update(narrow.id, CredentialUpdate(scopes=["admin:*"]))
    assert (caught.value.kind, caught.value.code) == REFUSED
    async with accounts.begin(signed_in(root, PLATFORM_ADMIN)) as work:
        await CredentialService(work).update(narrow.id, CredentialUpdate(scopes=["admin:*"]))


async def test_a_small_key_gets_no_secret_of_its_users_great_one(accounts: Accounts, engineer: User) -> None:
    great = await make(accounts, scopes=["keys:write", "usage:write"], user=engineer.id)
    small = await make(accounts, user=engineer.id)
    with pytest.raises(GatewayError) as caught:
        await rotate(accounts, with_key(small.id, "acme", tuple(small.scopes), engineer.id), great)
    assert (caught.value.kind, caught.value.code) == REFUSED
    await rotate(accounts, with_key(small.id, "acme", tuple(small.scopes), engineer.id), small)
    await rotate(accounts, signed_in(engineer, "engineer"), great)


SOON = START + timedelta(days=1)
LATER = START + timedelta(days=2)
MORE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"models": ["a", "b"]}, {}, "models"),
    ({"models": ["a", "b"]}, {"models": ["a", "c"]}, "models"),
    ({"cidrs": ["10.0.0.0/8"]}, {}, "cidrs"),
    ({"cidrs": ["10.0.0.0/8"]}, {"cidrs": ["10.1.0.0/16", "11.0.0.1"]}, "cidrs"),
    ({"cidrs": ["10.0.0.0/8"]}, {"cidrs": ["::/0"]}, "cidrs"),
    ({"expires_at": SOON}, {}, "expires_at"),
    ({"expires_at": SOON}, {"expires_at": LATER}, "expires_at"),
    ({"environment": "test"}, {}, "environment"),
    ({"environment": "test"}, {"environment": "staging"}, "environment"),
]


@pytest.mark.parametrize(("held", "asked", "field"), MORE)
async def test_a_restricted_key_makes_none_that_is_less(
    accounts: Accounts, engineer: User, held: dict[str, Any], asked: dict[str, Any], field: str
) -> None:
    maker = await make(accounts, user=engineer.id, **held)
    actor = with_key(maker.id, "acme", tuple(maker.scopes), engineer.id)
    with pytest.raises(GatewayError) as caught:
        await make(accounts, actor, **asked)
    assert (caught.value.kind, caught.value.code, caught.value.field) == (*REFUSED, field)
    free = await make(accounts, user=engineer.id)
    with pytest.raises(GatewayError) as caught:
        await rotate(accounts, actor, free)
    assert (caught.value.kind, caught.value.field) == (Kind.FORBIDDEN, field)


async def test_a_restricted_key_makes_one_that_is_as_much(accounts: Accounts, engineer: User) -> None:
    held: dict[str, Any] = {"models": ["a", "b"], "cidrs": ["10.0.0.0/8", "::1"], "expires_at": LATER}
    maker = await make(accounts, user=engineer.id, environment="test", **held)
    actor = with_key(maker.id, "acme", tuple(maker.scopes), engineer.id)
    asked: dict[str, Any] = {"models": ["b"], "cidrs": ["10.2.0.0/16"], "expires_at": SOON, "environment": "test"}
    made = await make(accounts, actor, **asked)
    assert (made.models, made.cidrs, made.expires_at) == (["b"], ["10.2.0.0/16"], SOON)


@pytest.mark.parametrize(
    "update", [{"models": []}, {"models": ["z"]}, {"cidrs": []}, {"expires_at": None}, {"expires_at": LATER}]
)
async def test_a_restricted_key_lifts_nothing(accounts: Accounts, engineer: User, update: dict[str, Any]) -> None:
    row = await make(accounts, user=engineer.id, models=["a"], cidrs=["10.0.0.0/8"], expires_at=SOON)
    actor = with_key(row.id, "acme", tuple(row.scopes), engineer.id)
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(actor) as work:
            await CredentialService(work).update(row.id, CredentialUpdate(**update))
    assert (caught.value.kind, caught.value.field) == (Kind.FORBIDDEN, next(iter(update)))
    async with accounts.begin(actor) as work:
        await CredentialService(work).update(row.id, CredentialUpdate(name="renamed"))
    async with accounts.begin(signed_in(engineer, "engineer")) as work:
        await CredentialService(work).update(row.id, CredentialUpdate(**update))


async def test_a_restricted_key_registers_no_app(accounts: Accounts, engineer: User) -> None:
    async with accounts.begin(MASTER) as work:
        await PlanService(work).synchronise([Plan(name="community", catalogs=("ai_marketplace",))])
    maker = await make(accounts, user=engineer.id, models=["a"], scopes=["apps:write"])
    actor = with_key(maker.id, "acme", ("apps:write",), engineer.id)
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(actor) as work:
            await AppService(work).register("app")
    assert (caught.value.kind, caught.value.field) == (Kind.FORBIDDEN, "models")
    async with accounts.begin(signed_in(engineer, "engineer")) as work:
        await AppService(work).register("app")
