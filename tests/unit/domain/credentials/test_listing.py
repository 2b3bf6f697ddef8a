"""Lists of keys: in pages, from an index, however many there are."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import Select, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.credentials import repo
from gateway.domain.credentials.model import Credential
from gateway.domain.credentials.requests import CredentialFilter
from gateway.domain.credentials.service import CredentialService
from gateway.kernel.errors import GatewayError
from tests.support.accounts import MASTER, START, Accounts

MANY = 20_000


def row(number: int, organization: str) -> dict[str, object]:
    return {
        "id": f"key_{organization}_{number:06}",
        "digest": hashlib.sha256(f"{organization} {number}".encode()).digest(),
        "kind": "api_key",
        "prefix": "gw_live_",
        "last4": "abcd",
        "name": f"key {number}",
        "organization_id": organization,
        "scopes": [],
        "models": [],
        "cidrs": [],
        "environment": "live",
        "status": "active" if number % 2 else "revoked",
        "created_at": START,
        "updated_at": START,
    }


async def fill(accounts: Accounts, count: int) -> None:
    for organization in ("acme", "rivals"):
        await accounts.organization(organization)
    async with accounts.begin(MASTER) as work:
        rows = [row(number, organization) for number in range(count) for organization in ("acme", "rivals")]
        await work.session.execute(insert(Credential), rows)


async def test_pages_follow_one_another(accounts: Accounts) -> None:
    await fill(accounts, 25)
    chosen = CredentialFilter(organization="acme")
    async with accounts.read(MASTER) as work:
        service = CredentialService(work)
        by_offset = [await service.list(chosen, limit=10, offset=offset) for offset in (0, 10, 20, 30)]
        names = [[item.name for item in page.items] for page in by_offset]
        assert [len(page) for page in names] == [10, 10, 5, 0]
        assert [name for page in names for name in page] == [f"key {number}" for number in range(25)]
        assert {page.total for page in by_offset} == {25}
        second = await service.list(chosen, limit=10, after=by_offset[0].items[-1].number)
        assert second == by_offset[1]
        active = await service.list(CredentialFilter(organization="acme", statuses=("active",)), limit=100)
        assert (active.total, len(active.items)) == (12, 12)
        everyone = await service.list(limit=1)
        assert everyone.total == 50
        for limit, offset in ((0, 0), (1_001, 0), (50, -1)):
            with pytest.raises(GatewayError):
                await service.list(chosen, limit=limit, offset=offset)


async def plan_of(session: AsyncSession, query: Select[Any]) -> str:
    """How the database reads this query."""
    bound = str(query.compile(session.get_bind(), compile_kwargs={"literal_binds": True}))
    if session.get_bind().dialect.name == "postgresql":
        return "\n".join((await session.scalars(text(f"EXPLAIN {bound}"))).all())
    return "\n".join(found[3] for found in await session.execute(text(f"EXPLAIN QUERY PLAN {bound}")))


async def test_a_page_of_many_keys_comes_from_an_index(accounts: Accounts) -> None:
    count = MANY if accounts.store.is_sqlite else 5_000
    await fill(accounts, count // 2)
    async with accounts.begin(MASTER) as work:
        await work.session.execute(text("ANALYZE"))
    chosen = CredentialFilter(organization="acme")
    query = repo.filtered(select(Credential), chosen).where(Credential.number > count // 4)
    async with accounts.read(MASTER) as work:
        found = await plan_of(work.session, query.order_by(Credential.number).limit(50))
        # Neither read whole nor sorted: the rows of a page come one after the other.
        for costly in ("SCAN credentials", "Seq Scan", "TEMP B-TREE", "Sort"):
            assert costly not in found
        page = await CredentialService(work).list(chosen, limit=50, after=count // 4)
        assert len(page.items) == 50
        assert page.total == count // 2
