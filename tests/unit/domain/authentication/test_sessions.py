"""Signing in and out, staying signed in, and guessing passwords."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from gateway.domain.actor import SYSTEM
from gateway.domain.authentication.principal import Origin
from gateway.domain.authentication.start import ensure_accounts, ensure_admin
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users import passwords
from gateway.domain.users.model import User
from gateway.domain.users.requests import NewUser, UserUpdate
from gateway.domain.users.service import UserService
from gateway.kernel.errors import GatewayError, Kind
from tests.support.accounts import MASTER
from tests.unit.domain.authentication.conftest import Gateway

PASSWORD = "correct horse battery"
HOME = Origin("192.0.2.1", "agent", "req_1")


async def member(gateway: Gateway, email: str = "a@example.com", **more: Any) -> User:
    async with gateway.accounts.begin(MASTER) as work:
        return await UserService(work).create(NewUser(email=email, organization="acme", password=PASSWORD, **more))


async def refusal(gateway: Gateway, email: str, password: str, origin: Origin = HOME) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await gateway.sessions.sign_in(email, password, origin)
    return caught.value


async def test_one_signs_in_with_any_spelling_of_the_email(gateway: Gateway) -> None:
    user = await member(gateway, role="analyst")
    session = await gateway.sessions.sign_in(" A@Example.COM", PASSWORD, HOME)
    assert (session.user.id, session.organization.id, session.role) == (user.id, "acme", "analyst")
    assert session.user.last_login_at == gateway.accounts.clock.now
    (record,) = await gateway.accounts.records("auth.login")
    assert (record.status, record.actor_user, record.organization) == ("success", user.id, "acme")
    assert (record.address, record.user_agent, record.request_id) == ("192.0.2.1", "agent", "req_1")


async def test_who_is_unknown_is_told_the_same_and_costs_the_same(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await member(gateway)
    async with gateway.accounts.begin(MASTER) as work:
        await UserService(work).create(NewUser(email="b@example.com", organization="acme"))
    verified: list[str] = []
    verify = passwords._verify

    def counting(stored: str, password: str) -> bool:
        verified.append(stored.split("$p=")[0].rsplit("$", 2)[0])
        return verify(stored, password)

    monkeypatch.setattr(passwords, "_verify", counting)
    answers = [await refusal(gateway, email, "wrong password") for email in ("a@example.com", "b@example.com", "x@y")]
    assert {(error.kind, error.code, error.message) for error in answers} == {
        (Kind.UNAUTHENTICATED, "invalid_credentials", "The email or the password is wrong.")
    }
    assert len(verified) == 3
    assert len(set(verified)) == 1  # the same algorithm with the same parameters
    failures = await gateway.accounts.records("auth.login")
    assert [(row.status, row.severity, row.actor_kind) for row in failures] == [("failure", "warning", "anonymous")] * 3
    assert [row.actor_email for row in failures] == ["a@example.com", "b@example.com", "x@y"]


async def test_passwords_are_not_guessed(gateway: Gateway) -> None:
    await member(gateway)
    found = [await refusal(gateway, "a@example.com", f"guess {number}") for number in range(6)]
    assert [error.code for error in found] == ["invalid_credentials"] * 5 + ["too_many_attempts"]
    assert found[-1].retry_after is not None
    assert (await refusal(gateway, "a@example.com", PASSWORD)).code == "too_many_attempts"
    await gateway.sessions.sign_in("a@example.com", PASSWORD, Origin("192.0.2.2"))


async def test_guesses_at_once_are_counted_before_they_are_looked_at(gateway: Gateway) -> None:
    await member(gateway)
    found = await asyncio.gather(*(refusal(gateway, "a@example.com", "guess") for _ in range(12)))
    assert sorted(error.code for error in found) == ["invalid_credentials"] * 5 + ["too_many_attempts"] * 7


@pytest.mark.parametrize("password", ["", "x" * 100_000, "\ud800\ud800\ud800\ud800", "\0"])
async def test_odd_passwords_are_wrong_ones(gateway: Gateway, password: str) -> None:
    await member(gateway)
    assert (await refusal(gateway, "a@example.com", password)).code == "invalid_credentials"
    assert (await refusal(gateway, password, password, Origin("192.0.2.9"))).code == "invalid_credentials"


async def test_who_may_not_use_the_gateway_is_told_so_only_with_the_right_password(gateway: Gateway) -> None:
    user = await member(gateway)
    async with gateway.accounts.begin(MASTER) as work:
        await UserService(work).update(user.id, UserUpdate(status="suspended"))
    assert (await refusal(gateway, "a@example.com", "wrong password")).code == "invalid_credentials"
    error = await refusal(gateway, "a@example.com", PASSWORD)
    assert (error.kind, error.code) == (Kind.FORBIDDEN, "account_disabled")
    await member(gateway, "b@example.com")
    async with gateway.accounts.begin(MASTER) as work:
        await OrganizationService(work).suspend("acme", "Payment overdue.")
    error = await refusal(gateway, "b@example.com", PASSWORD)
    assert (error.kind, error.code) == (Kind.SUSPENDED, "tenant_suspended")


async def test_an_outdated_hash_is_renewed_at_sign_in(gateway: Gateway) -> None:
    user = await member(gateway)
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    async with gateway.accounts.begin(MASTER) as work:
        (await work.session.get_one(User, user.number)).password_hash = old
    session = await gateway.sessions.sign_in("a@example.com", PASSWORD, HOME)
    assert session.user.password_hash is not None
    assert session.user.password_hash != old
    assert not passwords.is_outdated(session.user.password_hash)


async def test_sessions_are_renewed_and_a_stolen_token_ends_them(gateway: Gateway) -> None:
    await member(gateway)
    first = await gateway.sessions.sign_in("a@example.com", PASSWORD, HOME)
    second = await gateway.sessions.renew(first.tokens.refresh_token, HOME)
    assert (second.user.id, second.organization.id, second.role) == (first.user.id, "acme", "user")
    for token in (first.tokens.refresh_token, second.tokens.refresh_token, first.tokens.access_token, "nonsense"):
        with pytest.raises(GatewayError) as caught:
            await gateway.sessions.renew(token, HOME)
        assert (caught.value.kind, caught.value.code) == (Kind.UNAUTHENTICATED, "invalid_token")
    assert len(await gateway.accounts.records("auth.refresh_token.reused")) == 1


async def test_a_suspended_user_is_not_renewed_and_may_be_later(gateway: Gateway) -> None:
    await member(gateway)
    session = await gateway.sessions.sign_in("a@example.com", PASSWORD, HOME)
    async with gateway.accounts.begin(MASTER) as work:
        await OrganizationService(work).suspend("acme", "x")
    with pytest.raises(GatewayError) as caught:
        await gateway.sessions.renew(session.tokens.refresh_token, HOME)
    assert caught.value.code == "tenant_suspended"
    async with gateway.accounts.begin(MASTER) as work:
        await OrganizationService(work).reactivate("acme")
    await gateway.sessions.renew(session.tokens.refresh_token, HOME)


async def test_the_configured_administrator_is_made_and_kept(gateway: Gateway) -> None:
    session = await gateway.sessions.sign_in("admin@example.com", "the first password")
    assert (session.role, session.organization.id) == ("platform_admin", "default")
    before = await gateway.accounts.actions()
    async with gateway.accounts.begin(SYSTEM) as work:
        await ensure_accounts(work, gateway.settings)
    assert await gateway.accounts.actions() == before
    async with gateway.accounts.begin(MASTER) as work:
        await UserService(work).set_role("admin@example.com", "viewer")
    async with gateway.accounts.begin(MASTER) as work:
        await UserService(work).update("admin@example.com", UserUpdate(status="disabled"))
    async with gateway.accounts.begin(SYSTEM) as work:
        await ensure_admin(work, "ADMIN@example.com", "the second password")
    session = await gateway.sessions.sign_in("admin@example.com", "the second password")
    assert session.role == "platform_admin"
    assert (await refusal(gateway, "admin@example.com", "the first password")).code == "invalid_credentials"
    async with gateway.accounts.read(MASTER) as work:
        assert len((await work.session.scalars(select(User))).all()) == 1


async def test_the_organizations_of_static_keys_are_made(gateway: Gateway) -> None:
    async with gateway.accounts.read(MASTER) as work:
        found = await OrganizationService(work).list()
    assert {(row.id, row.slug) for row in found.items} == {("default", "default"), ("acme", "acme")}
