"""Credits: added, never changed; booked once; what is left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.credits.model import CreditEntry
from gateway.domain.credits.service import Balance, CreditService, policy_of
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.model import User
from gateway.kernel.errors import GatewayError, Kind
from tests.support.accounts import MASTER, Accounts, signed_in

DOLLAR = 1_000_000_000


class Used:
    """Counters that say the same of every limit."""

    def __init__(self, used: int) -> None:
        self._used = used
        self.asked: list[str] = []

    async def used(self, keys: Sequence[str], now: float) -> dict[str, int]:
        self.asked.extend(keys)
        return dict.fromkeys(keys, self._used)

    async def close(self) -> None:
        pass


async def add(
    accounts: Accounts,
    nanos: int = 50 * DOLLAR,
    kind: str = "grant",
    key: str | None = None,
    organization: str = "acme",
) -> CreditEntry:
    async with accounts.begin(MASTER) as work:
        return await CreditService(work).add(organization, nanos, kind, "Support credit", idempotency_key=key)


@pytest.fixture
async def user(accounts: Accounts) -> User:
    """A user of the organisation acme."""
    await accounts.organization("acme")
    return await accounts.user("ada@example.com", "acme")


async def test_the_first_credit_makes_an_organization_prepaid(accounts: Accounts, user: User) -> None:
    async with accounts.read(MASTER) as work:
        assert not (await OrganizationService(work).get("acme")).prepaid
        assert await CreditService(work).balance("acme", Used(7)) == Balance(0, 7, prepaid=False)
    before = await accounts.last_seq()
    await add(accounts)
    await add(accounts, 10 * DOLLAR)
    assert await accounts.changes(before) == [("organization", "acme", None)] * 2
    counters = Used(15 * DOLLAR)
    async with accounts.read(signed_in(user)) as work:
        service = CreditService(work)
        assert (await OrganizationService(work).get("acme")).prepaid
        balance = await service.balance("acme", counters)
        assert (balance, balance.remaining) == (Balance(60 * DOLLAR, 15 * DOLLAR, prepaid=True), 45 * DOLLAR)
        assert counters.asked == [policy_of("acme", 0).key]
        assert [entry.amount_nanos for entry in await service.entries("acme")] == [10 * DOLLAR, 50 * DOLLAR]
        assert len(await service.entries("acme", limit=1, offset=1)) == 1
    added = await accounts.records("credits.added")
    assert [(record.before, record.organization) for record in added] == [
        ({"granted_nanos": 0}, "acme"),
        ({"granted_nanos": 50 * DOLLAR}, "acme"),
    ]


async def test_a_payment_told_twice_is_booked_once(accounts: Accounts, user: User) -> None:
    first = await add(accounts, kind="purchase", key="evt_1")
    before = await accounts.last_seq()
    again = await add(accounts, kind="purchase", key="evt_1")
    assert again.id == first.id
    assert await accounts.last_seq() == before
    await accounts.organization("rivals")
    for other in ({"nanos": 1}, {"kind": "grant"}, {"organization": "rivals"}):
        with pytest.raises(GatewayError) as caught:
            await add(accounts, **({"kind": "purchase", "key": "evt_1"} | other))
        assert (caught.value.kind, caught.value.code) == (Kind.CONFLICT, "idempotency_key_reused")
    async with accounts.read(MASTER) as work:
        assert await CreditService(work).granted("acme") == 50 * DOLLAR


async def test_many_at_once_are_all_booked_and_repeats_once(accounts: Accounts, user: User) -> None:
    payments = [(nanos, f"evt_{nanos}") for nanos in range(1, 9)] * 3
    random.Random(4).shuffle(payments)
    await asyncio.gather(*(add(accounts, nanos, "purchase", key) for nanos, key in payments))
    await asyncio.gather(*(add(accounts, 100) for _ in range(5)))
    async with accounts.read(MASTER) as work:
        assert await CreditService(work).granted("acme") == sum(range(1, 9)) + 500


async def test_money_is_taken_back_by_entries_too(accounts: Accounts, user: User) -> None:
    await add(accounts, 5 * DOLLAR)
    await add(accounts, -7 * DOLLAR, "adjustment")
    async with accounts.read(MASTER) as work:
        balance = await CreditService(work).balance("acme", Used(0))
    assert (balance.granted, balance.remaining) == (-2 * DOLLAR, 0)
    assert policy_of("acme", balance.granted).limit == 0


async def test_bad_entries_are_refused(accounts: Accounts, user: User) -> None:
    bad: list[tuple[int, str, str]] = [
        (0, "grant", "credits"),
        (-1, "grant", "credits"),
        (-1, "purchase", "credits"),
        (2**53, "grant", "credits"),
        (1, "gift", "kind"),
    ]
    for nanos, kind, field in bad:
        with pytest.raises(GatewayError) as caught:
            await add(accounts, nanos, kind)
        assert (caught.value.kind, caught.value.field) == (Kind.INVALID, field)
    with pytest.raises(GatewayError) as caught:
        await add(accounts, organization="nowhere")
    assert caught.value.code == "organization_not_found"
    await add(accounts, 2**53 - 1)
    with pytest.raises(GatewayError):
        await add(accounts, 1)


async def test_only_the_platform_gives_credit(accounts: Accounts, user: User) -> None:
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(signed_in(user, "owner")) as work:
            await CreditService(work).add("acme", DOLLAR, "grant", "to myself")
    assert caught.value.kind is Kind.FORBIDDEN
    await accounts.organization("rivals")
    async with accounts.read(signed_in(user, "owner")) as work:
        for call in (CreditService(work).granted, CreditService(work).entries):
            with pytest.raises(GatewayError):
                await call("rivals")


@given(granted=st.integers(-(2**53), 2**60), used=st.integers(0, 2**53))
def test_what_is_left_is_never_negative_nor_more_than_was_given(granted: int, used: int) -> None:
    balance = Balance(granted, used, prepaid=True)
    assert 0 <= balance.remaining <= max(granted, 0)
    policy = policy_of("acme", granted)
    assert 0 <= policy.limit <= 2**53 - 1
    assert policy.limit == max(granted, 0) or granted >= 2**53
