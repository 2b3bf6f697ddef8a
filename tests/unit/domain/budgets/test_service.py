"""Budgets: set, replaced, removed; by whom, and who hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.domain.actor import Actor
from gateway.domain.budgets.model import Budget
from gateway.domain.budgets.service import BudgetService, policy_of
from gateway.domain.users.model import User
from gateway.kernel.errors import GatewayError, Kind
from tests.support.accounts import MASTER, Accounts, signed_in

TEN_DOLLARS = 10_000_000_000


async def put(
    accounts: Accounts,
    actor: Actor = MASTER,
    scope: str = "organization",
    id: str = "acme",
    nanos: int = TEN_DOLLARS,
    period: str = "month",
    name: str = "Cap",
) -> Budget:
    async with accounts.begin(actor) as work:
        return await BudgetService(work).set(scope, id, nanos, period, name=name)


@pytest.fixture
async def user(accounts: Accounts) -> User:
    """A user of the organisation acme."""
    await accounts.organization("acme")
    return await accounts.user("ada@example.com", "acme")


async def test_a_scope_has_one_budget_for_each_period(accounts: Accounts, user: User) -> None:
    first = await put(accounts)
    again = await put(accounts, nanos=5, name="Smaller")
    assert (again.id, again.amount_nanos, again.name) == (first.id, 5, "Smaller")
    before = await accounts.last_seq()
    await put(accounts, nanos=5, name="Smaller")
    assert await accounts.last_seq() == before
    await put(accounts, period="day")
    assert await accounts.changes(before) == [("organization", "acme", None)]
    async with accounts.read(MASTER) as work:
        rows = await BudgetService(work).list_for("organization", "acme")
        assert [row.period for row in rows] == ["month", "day"]
    (updated,) = await accounts.records("budget.updated")
    assert updated.before is not None
    assert updated.after is not None
    assert (updated.before["amount_nanos"], updated.after["amount_nanos"]) == (TEN_DOLLARS, 5)


async def test_a_budget_is_a_limit_on_money(accounts: Accounts, user: User) -> None:
    policy = policy_of(await put(accounts, scope="user", id=user.id, period="total"))
    assert (policy.scope, policy.scope_id, policy.metric, policy.window) == ("user", user.id, "cost", "total")
    assert (policy.limit, policy.source, policy.name) == (TEN_DOLLARS, "budget", "Cap")


async def test_an_organization_sets_its_own_but_lifts_nothing_of_the_platform(accounts: Accounts, user: User) -> None:
    admin = signed_in(user, "owner")
    own = await put(accounts, admin, period="day")
    assert own.set_by == "organization"
    await put(accounts)
    with pytest.raises(GatewayError) as caught:
        await put(accounts, admin, nanos=10**15)
    assert caught.value.kind is Kind.FORBIDDEN
    async with accounts.begin(admin) as work:
        await BudgetService(work).remove(own.id)
    with pytest.raises(GatewayError) as caught:
        await put(accounts, signed_in(user, "viewer"))
    assert caught.value.kind is Kind.FORBIDDEN
    await accounts.organization("rivals")
    with pytest.raises(GatewayError) as caught:
        await put(accounts, signed_in(user, "owner"), id="rivals")
    assert caught.value.kind is Kind.NOT_FOUND


async def test_a_budget_set_twice_at_once_is_one(accounts: Accounts, user: User) -> None:
    made = await asyncio.gather(*(put(accounts, nanos=nanos) for nanos in range(1, 6)))
    assert len({row.id for row in made}) == 1


async def test_bad_budgets_name_their_field(accounts: Accounts, user: User) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"scope": "model"}, "scope"),
        ({"period": "fortnight"}, "period"),
        ({"nanos": -1}, "amount"),
        ({"name": "x" * 201}, "name"),
    ]
    for asked, field in bad:
        with pytest.raises(GatewayError) as caught:
            await put(accounts, **asked)
        assert (caught.value.kind, caught.value.field) == (Kind.INVALID, field), asked
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(MASTER) as work:
            await BudgetService(work).remove("budget_nothing")
    assert caught.value.code == "budget_not_found"
