"""What tiers allow, and the gate before what they don't."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from gateway.domain.apps.features import features_of, require_feature
from gateway.domain.plans.service import PlanService
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.shipped import shipped
from gateway.settings.model import Plan
from tests.support.accounts import MASTER, Accounts, with_key

ALL = ("ml_routing", "analytics", "caching", "custom_models", "batch_routing")


@pytest.fixture
async def plans(accounts: Accounts) -> None:
    """The plans that ship with the gateway, and an organisation."""
    accounts.clock.now = datetime.now(UTC)
    await accounts.organization("acme")
    async with accounts.begin(MASTER) as work:
        shipped_plans = msgspec.yaml.decode(shipped("plans.yaml").read_bytes(), type=tuple[Plan, ...])
        await PlanService(work).synchronise(shipped_plans)


@pytest.mark.parametrize(
    ("plan", "allowed"),
    [
        (None, ()),
        ("community", ()),
        ("app_developer", ALL[:3]),
        ("app_professional", ALL),
        ("app_enterprise", ALL),
    ],
)
async def test_tiers_differ_in_features(
    accounts: Accounts, plans: None, plan: str | None, allowed: tuple[str, ...]
) -> None:
    actor = with_key("key_1", "acme", ("api:read",))
    async with accounts.read(actor) as work:
        found = features_of(await PlanService(work).find(plan))
        assert tuple(name for name in ALL if found.get(name)) == allowed
        assert found.keys() >= set(ALL[:3])
        for name in allowed:
            await require_feature(work, plan, name)
        for name in set(ALL) - set(allowed):
            with pytest.raises(GatewayError) as caught:
                await require_feature(work, plan, name)
            assert (caught.value.kind, caught.value.code) == (Kind.FORBIDDEN, "feature_not_available")


async def test_a_refusal_names_the_tiers_that_have_it(accounts: Accounts, plans: None) -> None:
    async with accounts.read(with_key("key_1", "acme", ())) as work:
        with pytest.raises(GatewayError, match=r"DEVELOPER tier.*PROFESSIONAL, ENTERPRISE"):
            await require_feature(work, "app_developer", "batch_routing")
        with pytest.raises(GatewayError, match="without a tier"):
            await require_feature(work, None, "batch_routing")


async def test_the_platform_may_use_everything(accounts: Accounts, plans: None) -> None:
    async with accounts.read(MASTER) as work:
        await require_feature(work, None, "ml_routing")
