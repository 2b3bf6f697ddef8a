"""Plans follow the configuration, and tell what the references document of them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import yaml

from gateway.domain.actor import SYSTEM
from gateway.domain.plans.conversion import UNLIMITED, limits_for, quotas_of
from gateway.domain.plans.model import Plan
from gateway.domain.plans.service import PlanService, Synchronised
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.shipped import shipped
from gateway.settings import model as settings
from tests.support.accounts import MASTER, Accounts, signed_in

SHIPPED = msgspec.convert(yaml.safe_load(shipped("plans.yaml").read_text("utf-8")), tuple[settings.Plan, ...])


async def synchronise(accounts: Accounts, *plans: settings.Plan) -> Synchronised:
    async with accounts.begin(SYSTEM) as work:
        return await PlanService(work).synchronise(plans)


async def test_the_shipped_plans_are_what_the_references_document(accounts: Accounts) -> None:
    done = await synchronise(accounts, *SHIPPED)
    assert done.added == tuple(plan.name for plan in SHIPPED)
    async with accounts.read(MASTER) as work:
        service = PlanService(work)
        free, pro = await service.get(1), await service.get("2")
        # Gatewayz, "Get All Plans" and "Get Plan Details"
        assert (free.name, free.title, free.price_nanos, free.is_free) == ("free", "Free", 0, True)
        assert (free.limit_of("requests", "day"), free.limit_of("requests", "month")) == (100, 1_000)
        assert free.benefits == ["Basic chat", "Limited models"]
        assert (pro.title, pro.price_nanos, pro.is_free) == ("Pro", 29_990_000_000, False)
        assert (pro.limit_of("requests", "day"), pro.limit_of("requests", "month")) == (10_000, 100_000)
        # LLM Cost Ops, "Rate Limit Tiers" and "Burst Rate Limiting"
        tiers = {"free": (100, 5), "developer": (1_000, 10), "professional": (10_000, 50), "enterprise": (100_000, 200)}
        for name, (hour, slots) in tiers.items():
            plan = await service.get(name)
            assert (plan.limit_of("requests", "hour"), plan.limit_of("concurrency", None)) == (hour, slots), name
            assert "llm_cost_ops" in plan.catalogs
        assert (await service.get("unlimited")).limit_of("concurrency", None) == 500
        bursts = {name: (await service.get(name)).limit_of("requests", "10s") for name in tiers}
        assert bursts == {"free": 10, "developer": None, "professional": 50, "enterprise": 200}
        # AI Marketplace, "Tier System"
        apps = {plan.tier: plan for plan in await service.list("ai_marketplace")}
        assert list(apps) == ["COMMUNITY", "DEVELOPER", "PROFESSIONAL", "ENTERPRISE"]
        assert [plan.limit_of("requests", "month") for plan in apps.values()] == [1_000, 50_000, 500_000, 999_999_999]
        assert [plan.limit_of("requests", "minute") for plan in apps.values()] == [10, 100, 500, 1_000]
        assert [plan.price_nanos for plan in apps.values()] == [0, 49_000_000_000, 199_000_000_000, None]
        assert apps["DEVELOPER"].features == ["ml_routing", "analytics", "caching"]
        # Ops-Center, "Rate Limiting"
        ops = await service.list("ops_center")
        assert {plan.name: plan.limit_of("requests", "month") for plan in ops} == {
            "enterprise": 999_999_999, "professional": 10_000, "trial": 700, "starter": 1_000
        }  # fmt: skip


async def test_the_quotas_of_tenants_are_documented(accounts: Accounts) -> None:
    await synchronise(accounts, *SHIPPED)
    async with accounts.read(MASTER) as work:
        service = PlanService(work)
        listed = await service.list("leanvibe")
        # LeanVibe, "List Available Plans" and "Subscription Tier Limits"
        assert sorted((plan.name, plan.price_nanos, plan.trial_days) for plan in listed) == [
            ("developer", 50_000_000_000, 14), ("enterprise", 800_000_000_000, 30), ("team", 200_000_000_000, 14)
        ]  # fmt: skip
        enterprise = quotas_of(await service.get("enterprise"))
        # LeanVibe, "Get Current Tenant Information"
        assert enterprise == {
            "max_users": 999_999,
            "max_projects": 999_999,
            "max_api_calls_per_month": 999_999_999,
            "max_storage_mb": 1_048_576,
            "max_ai_requests_per_day": 10_000,
            "max_concurrent_sessions": 100,
            "storage_gb": 1_000,
        }
        developer = quotas_of(await service.get("developer"))
        assert (developer["max_users"], developer["max_projects"], developer["storage_gb"]) == (1, 5, 1)
        assert (developer["max_api_calls_per_month"], developer["max_ai_requests_per_day"]) == (10_000, 100)
    assert quotas_of(None) == UNLIMITED


async def test_a_second_start_changes_nothing(accounts: Accounts) -> None:
    await synchronise(accounts, *SHIPPED)
    before, actions = await accounts.last_seq(), await accounts.actions()
    assert await synchronise(accounts, *SHIPPED) == Synchronised()
    assert await accounts.last_seq() == before
    assert await accounts.actions() == actions


async def test_what_changes_is_told_and_audited(accounts: Accounts) -> None:
    first = settings.Plan(name="a", price=1.5)
    await synchronise(accounts, first, settings.Plan(name="b"))
    before = await accounts.last_seq()
    tighter = settings.Plan(name="a", price=1.5, limits=(settings.Limit(metric="cost", limit=0.25, window="day"),))
    assert await synchronise(accounts, tighter, settings.Plan(name="c")) == Synchronised(("c",), ("a",), ("b",))
    assert [change[:2] for change in await accounts.changes(before)] == [("plan", "a"), ("plan", "c"), ("plan", "b")]
    updated = (await accounts.records("plan.updated"))[0]
    assert (updated.before, updated.actor_kind) == ({"limits": []}, "system")
    async with accounts.read(MASTER) as work:
        service = PlanService(work)
        assert [plan.name for plan in await service.list()] == ["a", "c"]
        retired, changed = await service.get("b"), await service.get("a")
        assert (retired.status, retired.number) == ("retired", 2)
        (limit,) = limits_for(changed, "organization", "acme")
        assert (limit.limit, limit.source, limit.name, limit.scope_id) == (250_000_000, "plan", "a", "acme")
    # What comes back is the same plan again.
    assert await synchronise(accounts, tighter, settings.Plan(name="b")) == Synchronised((), ("b",), ("c",))


async def test_two_sidecars_that_start_together_make_each_plan_once(accounts: Accounts) -> None:
    done = await asyncio.gather(*(synchronise(accounts, *SHIPPED) for _ in range(3)))
    assert sorted(len(one.added) for one in done) == [0, 0, len(SHIPPED)]
    async with accounts.read(MASTER) as work:
        numbers = [plan.number for plan in await PlanService(work).list()]
    assert numbers == list(range(1, len(SHIPPED) + 1))


async def test_plans_are_found_by_name_id_and_number(accounts: Accounts) -> None:
    await synchronise(accounts, *SHIPPED)
    async with accounts.read(MASTER) as work:
        service = PlanService(work)
        team = await service.get("team")
        assert await service.get(team.id) is team
        assert await service.get(team.number) is team
        assert await service.find(None) is None
        assert await service.find("nothing") is None
        assert (await service.of_tier("ai_marketplace", "developer")).name == "app_developer"
        missing: tuple[str | int, ...] = ("nothing", 0, 99, "9" * 30, "9" * 5_000)
        for reference in missing:
            with pytest.raises(GatewayError) as caught:
                await service.get(reference)
            assert (caught.value.kind, caught.value.code) == (Kind.NOT_FOUND, "plan_not_found"), reference
        with pytest.raises(GatewayError, match="COMMUNITY, DEVELOPER, PROFESSIONAL, ENTERPRISE"):
            await service.of_tier("ai_marketplace", "GOLD")


async def test_upgrades_cost_more(accounts: Accounts) -> None:
    await synchronise(accounts, *SHIPPED)
    async with accounts.read(MASTER) as work:
        service = PlanService(work)
        assert [plan.name for plan in await service.upgrades("developer", "leanvibe")] == ["team", "enterprise"]
        assert await service.upgrades("enterprise", "leanvibe") == []
        assert [plan.tier for plan in await service.upgrades("app_professional", "ai_marketplace")] == ["ENTERPRISE"]
        assert [plan.name for plan in await service.upgrades(None, "gatewayz")] == ["free", "pro", "enterprise"]


async def test_only_the_platform_changes_plans(accounts: Accounts) -> None:
    await accounts.organization("acme")
    user = await accounts.user("ada@example.com", "acme")
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(signed_in(user, "owner")) as work:
            await PlanService(work).synchronise(SHIPPED)
    assert caught.value.kind is Kind.FORBIDDEN


def test_a_limit_of_one_model_is_not_the_plans_limit() -> None:
    item = {"metric": "requests", "window": "day", "sliding": False, "provider": None}
    plan = Plan(limits=[item | {"limit": 5, "model": "m"}, item | {"limit": 9, "model": None}])
    assert plan.limit_of("requests", "day") == 9
    assert plan.limit_of("tokens", "day") is None
