"""An organisation and its owner, made at once."""

from __future__ import annotations

import pytest

from gateway.domain.actor import Actor
from gateway.domain.organizations import repo
from gateway.domain.organizations.onboarding import Onboarded, onboard
from gateway.domain.organizations.requests import NewOrganization
from gateway.domain.users import passwords
from gateway.domain.users.service import UserService
from gateway.kernel.errors import GatewayError, Kind
from tests.support.accounts import MASTER, Accounts, signed_in


async def begin(accounts: Accounts, slug: str, email: str, actor: Actor = MASTER) -> Onboarded:
    return await onboard(accounts.works, actor, NewOrganization(name="Corp", slug=slug), email)


async def test_the_owner_signs_in_with_the_password_that_was_made(accounts: Accounts) -> None:
    made = await begin(accounts, "corp", "Admin@Corp.example")
    assert (made.owner.email, made.owner.organization_id) == ("admin@corp.example", made.organization.id)
    assert await passwords.matches(made.owner.password_hash, made.initial_password)
    async with accounts.read(MASTER) as work:
        assert (await UserService(work).role_of(made.owner.id)).role == "owner"
    assert made.initial_password not in str(await accounts.records("user.created"))
    again = await begin(accounts, "corp2", "other@corp.example")
    assert again.initial_password != made.initial_password


async def test_both_are_made_or_neither(accounts: Accounts) -> None:
    await begin(accounts, "corp", "admin@corp.example")
    with pytest.raises(GatewayError) as caught:
        await begin(accounts, "corp2", "ADMIN@corp.example")
    assert (caught.value.kind, caught.value.code) == (Kind.CONFLICT, "email_taken")
    async with accounts.read(MASTER) as work:
        assert await repo.by_reference(work.session, "corp2") is None


async def test_only_the_platform_may(accounts: Accounts) -> None:
    await accounts.organization("acme")
    owner = await accounts.user("owner@example.com", "acme", role="owner")
    with pytest.raises(GatewayError) as caught:
        await begin(accounts, "corp", "admin@corp.example", signed_in(owner, "owner"))
    assert caught.value.kind is Kind.FORBIDDEN
