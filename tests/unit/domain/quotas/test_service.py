"""Quotas: what a plan allows, what is used, whether more would fit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from gateway.contract.policy import LimitPolicy, Metric, Source
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.plans.conversion import UNLIMITED
from gateway.domain.plans.service import PlanService
from gateway.domain.quotas.service import TYPES, QuotaCheck, Quotas, QuotaService
from gateway.domain.tokens.service import Tokens
from gateway.domain.usage.counters import FileCounters
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.shipped import shipped
from gateway.settings.model import Jwt, Plan
from tests.support.accounts import MASTER, Accounts
from tests.support.counted import count

HOUR = 3600.0


@pytest.fixture
async def plans(accounts: Accounts) -> None:
    """The plans that ship with the gateway; and the time that is, as the counters know it."""
    accounts.clock.now = datetime.now(UTC)
    async with accounts.begin(MASTER) as work:
        shipped_plans = msgspec.yaml.decode(shipped("plans.yaml").read_bytes(), type=tuple[Plan, ...])
        await PlanService(work).synchronise(shipped_plans)


async def quotas(accounts: Accounts, slug: str, folder: Path) -> Quotas:
    async with accounts.read(MASTER) as work:
        row = await OrganizationService(work).get(slug)
        return await QuotaService(work, FileCounters(folder), session_seconds=HOUR).of(row)


async def check(accounts: Accounts, type: str, requested: int, folder: Path) -> QuotaCheck:
    async with accounts.read(MASTER) as work:
        row = await OrganizationService(work).get("acme")
        return await QuotaService(work, FileCounters(folder), session_seconds=HOUR).check(row, type, requested)


def used(folder: Path, metric: Metric, window: str, amount: int, source: Source = "plan", of: str = "acme") -> None:
    count(folder, LimitPolicy("organization", of, metric, 10**9, window=window, source=source), amount)


async def test_the_quotas_are_the_plans(accounts: Accounts, plans: None, tmp_path: Path) -> None:
    await accounts.organization("acme", plan="enterprise")
    assert (await quotas(accounts, "acme", tmp_path)).limits == {
        "api_calls": 999_999_999,
        "ai_requests": 10_000,
        "users": 999_999,
        "projects": 999_999,
        "storage": 1_048_576,
        "concurrent_sessions": 100,
    }


async def test_without_a_plan_there_is_no_limit(accounts: Accounts, plans: None, tmp_path: Path) -> None:
    await accounts.organization("acme")
    found = await quotas(accounts, "acme", tmp_path)
    assert found.limits == {type: UNLIMITED[name] for type, name in TYPES.items()}
    assert found.used == dict.fromkeys(TYPES, 0)


async def test_requests_are_as_the_data_plane_counts_them(accounts: Accounts, plans: None, tmp_path: Path) -> None:
    for slug in ("acme", "other"):
        await accounts.organization(slug, plan="team")
    used(tmp_path, "requests", "month", 85)
    used(tmp_path, "ai_requests", "day", 7)
    found = await quotas(accounts, "acme", tmp_path)
    assert (found.used["api_calls"], found.used["ai_requests"]) == (85, 7)
    assert found.utilization == {**dict.fromkeys(TYPES, 0.0), "api_calls": 0.09, "ai_requests": 0.7}
    assert Quotas({"projects": 0}, {"projects": 0}).utilization == {"projects": 0.0}
    # A limit of its own has been counted longer than the plan's.
    used(tmp_path, "requests", "month", 90, source="limit")
    assert (await quotas(accounts, "acme", tmp_path)).used["api_calls"] == 90
    assert (await quotas(accounts, "other", tmp_path)).used["api_calls"] == 0


async def test_members_and_sign_ins_are_counted(accounts: Accounts, plans: None, tmp_path: Path) -> None:
    await accounts.organization("acme", plan="team")
    await accounts.organization("other", plan="team")
    ada, bob = [await accounts.user(f"{name}@example.com", "acme") for name in ("ada", "bob")]
    eve = await accounts.user("eve@example.com", "other")
    tokens = Tokens(Jwt(), "test-master-key")
    async with accounts.begin(MASTER) as work:
        for user in (ada, bob, eve):
            await tokens.issue(work, user.id, user.organization_id)
    found = await quotas(accounts, "acme", tmp_path)
    assert (found.used["users"], found.used["concurrent_sessions"]) == (2, 2)
    async with accounts.begin(MASTER) as work:
        claims = await tokens.verify(work, (await tokens.issue(work, ada.id, "acme")).access_token)
        await tokens.revoke(work, claims.session)
    assert (await quotas(accounts, "acme", tmp_path)).used["concurrent_sessions"] == 2
    accounts.clock.advance(HOUR)
    assert (await quotas(accounts, "acme", tmp_path)).used["concurrent_sessions"] == 0


@pytest.mark.parametrize(("requested", "available"), [(0, True), (15, True), (16, False)])
async def test_what_is_left_is_enough_or_not(
    accounts: Accounts, plans: None, tmp_path: Path, requested: int, available: bool
) -> None:
    await accounts.organization("acme", plan="developer")
    used(tmp_path, "requests", "month", 9_985)
    found = await check(accounts, "api_calls", requested, tmp_path)
    assert (found.used, found.limit, found.remaining, found.available) == (9_985, 10_000, 15, available)


async def test_more_used_than_allowed_leaves_nothing(accounts: Accounts, plans: None, tmp_path: Path) -> None:
    await accounts.organization("acme", plan="developer")
    for name in ("ada", "bob"):
        await accounts.user(f"{name}@example.com", "acme")
    found = await check(accounts, "users", 0, tmp_path)
    assert (found.used, found.limit, found.remaining, found.available) == (2, 1, 0, True)
    assert not (await check(accounts, "users", 1, tmp_path)).available


@pytest.mark.parametrize(("type", "requested", "field"), [("seats", 1, "quota_type"), ("users", -1, "amount")])
async def test_faulty_questions(
    accounts: Accounts, plans: None, tmp_path: Path, type: str, requested: int, field: str
) -> None:
    await accounts.organization("acme", plan="developer")
    with pytest.raises(GatewayError) as caught:
        await check(accounts, type, requested, tmp_path)
    assert (caught.value.kind, caught.value.field) == (Kind.INVALID, field)
    if field == "quota_type":
        assert all(name in caught.value.message for name in TYPES)
