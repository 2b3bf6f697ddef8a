"""Reading the audit log: filters, pages, and who may read what."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.domain.actor import Actor
from gateway.domain.audit.service import AuditFilter, AuditPage, AuditService
from gateway.kernel.errors import GatewayError, Kind
from tests.support.accounts import MASTER, START, Accounts, signed_in


async def record(accounts: Accounts, action: str, organization: str | None = None, actor: Actor = MASTER) -> None:
    async with accounts.begin(actor) as work:
        await work.audit(action, action.split(".")[0], "1", organization=organization)


async def found(accounts: Accounts, actor: Actor = MASTER, **chosen: object) -> AuditPage:
    async with accounts.read(actor) as work:
        return await AuditService(work).list(AuditFilter(**chosen))  # type: ignore[arg-type]


def actions(page: AuditPage) -> list[str]:
    return [row.action for row in page.items]


async def test_the_newest_come_first_and_pages_join(accounts: Accounts) -> None:
    for number in range(5):
        await record(accounts, f"thing.{number}")
    async with accounts.read(MASTER) as work:
        service = AuditService(work)
        first = await service.list(AuditFilter(), limit=2)
        second = await service.list(AuditFilter(), limit=2, before=first.before)
        third = await service.list(AuditFilter(), limit=2, offset=4)
    assert [actions(page) for page in (first, second, third)] == [
        ["thing.4", "thing.3"],
        ["thing.2", "thing.1"],
        ["thing.0"],
    ]
    assert (first.total, third.before) == (5, None)


async def test_filters(accounts: Accounts) -> None:
    await record(accounts, "auth.login", "acme")
    accounts.clock.advance(60)
    await record(accounts, "auth.logout", "acme")
    await record(accounts, "limit.set", "other")
    assert actions(await found(accounts, action="auth.login")) == ["auth.login"]
    assert actions(await found(accounts, action="auth.")) == ["auth.logout", "auth.login"]
    assert actions(await found(accounts, action="auth")) == []
    assert actions(await found(accounts, organization="other")) == ["limit.set"]
    assert actions(await found(accounts, resource_type="limit")) == ["limit.set"]
    assert actions(await found(accounts, start=START + timedelta(seconds=60))) == ["limit.set", "auth.logout"]
    assert actions(await found(accounts, end=START + timedelta(seconds=60))) == ["auth.login"]
    assert actions(await found(accounts, severity="critical")) == []


async def test_by_user_in_every_spelling(accounts: Accounts) -> None:
    await accounts.organization("acme")
    user = await accounts.user("a@example.com", "acme")
    await record(accounts, "thing.made", actor=signed_in(user))
    for reference in (user.id, str(user.number), f"user_{user.number}"):
        assert actions(await found(accounts, user=reference)) == ["thing.made"]
    assert actions(await found(accounts, user="user_999")) == []


async def test_an_organization_reads_its_own(accounts: Accounts) -> None:
    await record(accounts, "thing.made", "acme")
    await record(accounts, "thing.made", "other")
    auditor = Actor(kind="user", id="user_1", organization="acme", permissions=frozenset({"audit:read"}))
    page = await found(accounts, auditor)
    assert [row.organization for row in page.items] == ["acme"]
    assert page.total == 1
    for actor, organization in ((auditor, "other"), (Actor(kind="user", id="user_2", organization="acme"), None)):
        with pytest.raises(GatewayError) as caught:
            await found(accounts, actor, organization=organization)
        assert caught.value.kind is Kind.FORBIDDEN
    nobody = Actor(kind="credential", id="key_1", permissions=frozenset({"audit:read"}))
    with pytest.raises(GatewayError):
        await found(accounts, nobody)
