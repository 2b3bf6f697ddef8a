"""Apps: registered, put on tiers, suspended, given other secrets."""

from __future__ import annotations

import re

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.apps.service import AppService, Registered
from gateway.domain.credentials import repo
from gateway.domain.plans.service import PlanService
from gateway.domain.users.model import User
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import digest_of
from gateway.settings.model import Limit, Plan
from tests.support.accounts import MASTER, Accounts, signed_in, with_key

PLANS = (
    Plan(name="community", catalogs=("ai_marketplace",), limits=(Limit(metric="requests", window="minute", limit=10),)),
    Plan(name="app_developer", tier="DEVELOPER", price=49, catalogs=("ai_marketplace",)),
    Plan(name="developer", catalogs=("leanvibe",)),
)


@pytest.fixture
async def user(accounts: Accounts) -> User:
    """A developer of the organisation acme; the tiers are known."""
    async with accounts.begin(SYSTEM) as work:
        await PlanService(work).synchronise(PLANS)
    await accounts.organization("acme")
    return await accounts.user("ada@example.com", "acme", "developer")


async def register(accounts: Accounts, user: User, name: str = "My AI Application") -> Registered:
    async with accounts.begin(signed_in(user, "developer")) as work:
        return await AppService(work).register(name, description="An AI-powered tool", tier="developer")


async def test_an_app_gets_a_tier_and_a_credential(accounts: Accounts, user: User) -> None:
    made = await register(accounts, user)
    assert re.fullmatch(r"app_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made.app.app_id)
    assert re.fullmatch(r"sk_[0-9A-Za-z]{51}", made.secret_key)
    assert made.bearer == f"{made.app.app_id}:{made.secret_key}"
    assert (made.app.plan, made.app.status, made.app.organization_id) == ("app_developer", "active", "acme")
    async with accounts.read(MASTER) as work:
        found = await repo.by_digest(work.session, digest_of(made.bearer.encode()))
        assert found is not None
        assert (found.kind, found.app_id, found.user_id) == ("app", made.app.app_id, None)
        assert found.masked == f"sk_…{made.secret_key[-4:]}"
        assert "inference" in found.scopes
        assert "keys:write" not in found.scopes
        assert await repo.by_digest(work.session, digest_of(made.secret_key.encode())) is None
    assert (await accounts.actions())[-2:] == ["app.created", "auth.api_key.created"]


async def test_an_app_has_two_names_and_its_own_look(accounts: Accounts, user: User) -> None:
    made = await register(accounts, user)
    itself = with_key(made.credential.id, "acme", ("api:read",))
    for actor in (MASTER, signed_in(user, "developer"), itself):
        async with accounts.read(actor) as work:
            assert (await AppService(work).get(made.app.id)).app_id == made.app.app_id
            assert (await AppService(work).get(made.app.app_id)).id == made.app.id
    await accounts.organization("rivals")
    for actor in (with_key("key_x", "acme", ("api:read",)), signed_in(user, "owner", "rivals")):
        async with accounts.read(actor) as work:
            with pytest.raises(GatewayError) as caught:
                await AppService(work).get(made.app.id)
            assert (caught.value.kind, caught.value.code) == (Kind.NOT_FOUND, "app_not_found")


async def test_an_app_rotates_its_own_secret(accounts: Accounts, user: User) -> None:
    made = await register(accounts, user)
    other = await register(accounts, user, "other")
    async with accounts.begin(with_key(made.credential.id, "acme", ("api:read",))) as work:
        app, bearer = await AppService(work).rotate(made.app.app_id)
        with pytest.raises(GatewayError):
            await AppService(work).rotate(other.app.app_id)
    assert bearer.startswith(f"{app.app_id}:sk_")
    assert bearer != made.bearer
    async with accounts.read(MASTER) as work:
        new = await repo.by_digest(work.session, digest_of(bearer.encode()))
        assert new is not None
        assert new.id == made.credential.id


async def test_another_tier_and_a_suspension_reach_the_credential(accounts: Accounts, user: User) -> None:
    made = await register(accounts, user)
    digest = digest_of(made.bearer.encode()).hex()
    told = [("app", made.app.app_id, None), ("credential", made.credential.id, digest)]
    async with accounts.begin(signed_in(user, "developer")) as work:
        assert (await AppService(work).set_tier(made.app.id, "COMMUNITY")).plan == "community"
        with pytest.raises(GatewayError) as caught:
            await AppService(work).suspend(made.app.id, "abuse")
        assert caught.value.kind is Kind.FORBIDDEN
    assert (await accounts.changes())[-2:] == told
    before = await accounts.last_seq()
    async with accounts.begin(MASTER) as work:
        suspended = await AppService(work).suspend(made.app.id, "abuse")
        assert (suspended.status, suspended.status_reason) == ("suspended", "abuse")
    assert await accounts.changes(before) == told
    async with accounts.begin(MASTER) as work:
        assert (await AppService(work).reactivate(made.app.id)).status_reason is None
    verbs = [action for action in await accounts.actions() if action.startswith("app.")]
    assert verbs == ["app.created", "app.tier_changed", "app.suspended", "app.reactivated"]


async def test_an_app_does_not_raise_itself(accounts: Accounts, user: User) -> None:
    made = await register(accounts, user)
    async with accounts.begin(with_key(made.credential.id, "acme", tuple(made.credential.scopes))) as work:
        with pytest.raises(GatewayError) as caught:
            await AppService(work).set_tier(made.app.id, "COMMUNITY")
    assert caught.value.kind is Kind.FORBIDDEN


async def test_apps_are_listed_for_their_organization(accounts: Accounts, user: User) -> None:
    made = [await register(accounts, user, name) for name in ("a", "b", "c")]
    await accounts.organization("rivals")
    async with accounts.read(signed_in(user, "developer")) as work:
        page = await AppService(work).list(limit=2, offset=1)
        assert ([app.app_id for app in page.items], page.total) == ([one.app.app_id for one in made[1:]], 3)
        with pytest.raises(GatewayError):
            await AppService(work).list(organization="rivals")
    async with accounts.read(MASTER) as work:
        assert (await AppService(work).list(organization="rivals")).total == 0
        assert (await AppService(work).list()).total == 3


async def test_bad_registrations_are_refused(accounts: Accounts, user: User) -> None:
    asked: list[tuple[dict[str, str], str]] = [
        ({"name": ""}, "name"),
        ({"name": "x", "tier": "GOLD"}, "tier"),
        ({"name": "x", "tier": "ENTERPRISE"}, "tier"),
        ({"name": "x", "description": "d" * 2_001}, "description"),
    ]
    for arguments, field in asked:
        with pytest.raises(GatewayError) as caught:
            async with accounts.begin(MASTER) as work:
                await AppService(work).register(organization="acme", **arguments)
        assert (caught.value.kind, caught.value.field) == (Kind.INVALID, field)
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(signed_in(user, "viewer")) as work:
            await AppService(work).register("x")
    assert caught.value.kind is Kind.FORBIDDEN


async def test_a_plan_of_an_organization_reaches_its_apps_too(accounts: Accounts, user: User) -> None:
    made = await register(accounts, user)
    await accounts.organization("builders", plan="developer")
    async with accounts.begin(MASTER) as work:
        theirs = await AppService(work).register("theirs", organization="builders")
    before = await accounts.last_seq()
    async with accounts.begin(SYSTEM) as work:
        await PlanService(work).synchronise((*PLANS[:2], Plan(name="developer", price=1)))
    assert await accounts.changes(before) == [("plan", "developer", None), ("app", theirs.app.app_id, None)]
    assert made.app.plan == "app_developer"
