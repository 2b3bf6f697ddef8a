"""What holds for a credential: standing, restrictions, and every limit that concerns it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.contract.policy import CredentialPolicy, LimitPolicy
from gateway.domain.actor import SYSTEM
from gateway.domain.apps.service import AppService
from gateway.domain.budgets.service import BudgetService
from gateway.domain.credentials import repo
from gateway.domain.credentials.model import Credential
from gateway.domain.credentials.requests import CredentialUpdate, NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.domain.credits.service import CreditService
from gateway.domain.limits.service import LimitService, LimitSpec
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.plans.service import PlanService
from gateway.domain.policy.lookup import look
from gateway.domain.policy.service import PolicyService
from gateway.domain.roles.catalog import catalog
from gateway.domain.users.model import User
from gateway.domain.users.requests import UserUpdate
from gateway.domain.users.service import UserService
from gateway.kernel.secrets import digest_of
from gateway.settings.model import Limit, Plan
from tests.support.accounts import MASTER, Accounts, signed_in

PLANS = (
    Plan(
        name="team", limits=(Limit(metric="requests", window="minute", limit=100), Limit(metric="concurrency", limit=5))
    ),
    Plan(
        name="app_developer",
        tier="DEVELOPER",
        catalogs=("ai_marketplace",),
        limits=(Limit(metric="requests", window="month", limit=50_000),),
    ),
)


@pytest.fixture
async def user(accounts: Accounts) -> User:
    """A user of acme, which is on the plan team."""
    async with accounts.begin(SYSTEM) as work:
        await PlanService(work).synchronise(PLANS)
    await accounts.organization("acme", plan="team")
    return await accounts.user("ada@example.com", "acme")


async def key_of(accounts: Accounts, user: User | None, **asked: object) -> tuple[Credential, str]:
    new = NewCredential(name="k", organization="acme", user=None if user is None else user.id, **asked)  # type: ignore[arg-type]
    async with accounts.begin(MASTER) as work:
        return await CredentialService(work).create(new)


async def policy(accounts: Accounts, secret: str) -> CredentialPolicy:
    """What the data plane is told of a secret."""
    async with accounts.read(SYSTEM) as work:
        row = await repo.by_digest(work.session, digest_of(secret.encode()))
        assert row is not None
        found = await PolicyService(work).credential_policy(row)
    # Read together with others it is the same.
    digest, unknown = digest_of(secret.encode()), b"\0" * 32
    looked = await accounts.works.look(lambda connection, now: look(connection, (unknown, digest, digest), now))
    assert looked == (await accounts.last_seq(), {digest: found})
    return found


async def test_a_policy_says_what_its_key_is(accounts: Accounts, user: User) -> None:
    until = accounts.clock.now + timedelta(days=1)
    row, secret = await key_of(accounts, user, environment="test", models=["m"], cidrs=["10.0.0.0/8"], expires_at=until)
    found = await policy(accounts, secret)
    assert found == CredentialPolicy(
        id=row.id,
        name="k",
        kind="api_key",
        organization="acme",
        user=user.id,
        role="user",
        plan="team",
        environment="test",
        expires_at=until.timestamp(),
        models=("m",),
        cidrs=("10.0.0.0/8",),
        limits=found.limits,
    )


async def test_every_limit_that_concerns_a_key_is_in_its_policy(accounts: Accounts, user: User) -> None:
    row, secret = await key_of(accounts, user)
    other, _ = await key_of(accounts, user)
    await accounts.organization("rivals", plan="team")
    scopes = [
        ("key", row.id),
        ("user", user.id),
        ("organization", "acme"),
        ("model", "m"),
        ("provider", "p"),
        ("global", ""),
        ("key", other.id),
        ("organization", "rivals"),
    ]
    async with accounts.begin(MASTER) as work:
        for limit, (scope, id) in enumerate(scopes, 1):
            spec = LimitSpec(scope=scope, scope_id=id, metric="tokens", window="day", limit=limit)
            await LimitService(work).set(spec)
        for scope, id in (scopes[0], scopes[1], scopes[2], scopes[6], scopes[7]):
            await BudgetService(work).set(scope, id, 7, "week", name="Cap")
        await CreditService(work).add("acme", 9, "grant", "")
    found = await policy(accounts, secret)
    assert found.limits == (
        LimitPolicy("key", row.id, "tokens", 1, "day"),
        LimitPolicy("user", user.id, "tokens", 2, "day"),
        LimitPolicy("organization", "acme", "tokens", 3, "day"),
        LimitPolicy("model", "m", "tokens", 4, "day", model="m"),
        LimitPolicy("provider", "p", "tokens", 5, "day", provider="p"),
        LimitPolicy("global", "", "tokens", 6, "day"),
        LimitPolicy("key", row.id, "cost", 7, "week", source="budget", name="Cap"),
        LimitPolicy("user", user.id, "cost", 7, "week", source="budget", name="Cap"),
        LimitPolicy("organization", "acme", "cost", 7, "week", source="budget", name="Cap"),
        LimitPolicy("organization", "acme", "requests", 100, "minute", source="plan", name="team"),
        LimitPolicy("organization", "acme", "concurrency", 5, source="plan", name="team"),
        LimitPolicy("organization", "acme", "cost", 9, "total", source="credit"),
    )
    assert len({limit.key for limit in found.limits}) == len(found.limits)


async def test_an_organization_without_plan_and_credit_is_not_limited(accounts: Accounts, user: User) -> None:
    _, secret = await key_of(accounts, user)
    async with accounts.begin(MASTER) as work:
        await OrganizationService(work).set_plan("acme", None)
    found = await policy(accounts, secret)
    assert (found.plan, found.limits) == (None, ())


async def test_a_plan_that_left_the_configuration_holds_on(accounts: Accounts, user: User) -> None:
    _, secret = await key_of(accounts, user)
    before = (await policy(accounts, secret)).limits
    async with accounts.begin(SYSTEM) as work:
        await PlanService(work).synchronise(PLANS[1:])
    assert (await policy(accounts, secret)).limits == before


async def test_standing_names_what_is_final_first(accounts: Accounts, user: User) -> None:
    row, secret = await key_of(accounts, user, expires_at=accounts.clock.now + timedelta(hours=1))

    async def standing() -> tuple[str, str | None]:
        found = await policy(accounts, secret)
        return found.status, found.status_reason

    assert await standing() == ("active", None)
    async with accounts.begin(MASTER) as work:
        await OrganizationService(work).suspend("acme", "Payment overdue")
    assert await standing() == ("suspended", "Payment overdue")
    async with accounts.begin(MASTER) as work:
        await UserService(work).update(user.id, UserUpdate(status="disabled"))
    assert (await standing())[0] == "disabled"
    async with accounts.begin(MASTER) as work:
        await UserService(work).update(user.id, UserUpdate(status="active"))
        await OrganizationService(work).delete("acme")
        await CredentialService(work).update(row.id, CredentialUpdate(is_active=False))
    assert await standing() == ("disabled", "This key is disabled.")
    accounts.clock.advance(3_600)
    assert (await standing())[0] == "expired"
    async with accounts.begin(MASTER) as work:
        await CredentialService(work).revoke(row.id)
    assert (await standing())[0] == "revoked"


async def test_a_deleted_organization_takes_its_keys_along(accounts: Accounts, user: User) -> None:
    _, secret = await key_of(accounts, None)
    async with accounts.begin(MASTER) as work:
        await OrganizationService(work).delete("acme")
    assert (await policy(accounts, secret)).status == "disabled"


async def test_a_former_secret_is_its_key_until_the_grace_ends(accounts: Accounts, user: User) -> None:
    row, first = await key_of(accounts, user)
    async with accounts.begin(MASTER) as work:
        _, second = await CredentialService(work).rotate(row.id, grace_seconds=60)
    old, new = await policy(accounts, first), await policy(accounts, second)
    assert (old.id, old.status, old.limits) == (new.id, "active", new.limits)
    assert new.expires_at is None
    assert old.expires_at == accounts.clock.now.timestamp() + 60
    accounts.clock.advance(60)
    assert (await policy(accounts, first)).status == "revoked"
    assert (await policy(accounts, second)).status == "active"


async def test_a_former_secret_dies_with_its_key(accounts: Accounts, user: User) -> None:
    row, first = await key_of(accounts, user, expires_at=accounts.clock.now + timedelta(seconds=30))
    async with accounts.begin(MASTER) as work:
        _, second = await CredentialService(work).rotate(row.id, grace_seconds=60)
    assert (await policy(accounts, first)).expires_at == accounts.clock.now.timestamp() + 30
    async with accounts.begin(MASTER) as work:
        await CredentialService(work).revoke(row.id)
    assert (await policy(accounts, first)).status == (await policy(accounts, second)).status == "revoked"


async def test_a_key_for_models_that_are_gone_allows_none_not_all(accounts: Accounts, user: User) -> None:
    row, secret = await key_of(accounts, user, models=["gone"])
    assert (await policy(accounts, secret)).models == ("gone",)
    async with accounts.begin(MASTER) as work:
        await CredentialService(work).update(row.id, CredentialUpdate(models=["also-gone"]))
    assert (await policy(accounts, secret)).models == ("also-gone",)


async def test_calling_models_takes_the_scope_and_a_user_who_may(accounts: Accounts, user: User) -> None:
    for scopes, allowed in ((["inference"], True), (["api:write"], True), (["usage:write"], False), (["*"], True)):
        _, secret = await key_of(accounts, user, scopes=scopes)
        assert (await policy(accounts, secret)).inference is allowed, scopes
    _, services = await key_of(accounts, None, scopes=["inference"])
    async with accounts.begin(MASTER) as work:
        await UserService(work).set_role(user.id, "viewer")
    assert not (await policy(accounts, secret)).inference
    assert (await policy(accounts, services)).inference


async def test_an_app_has_its_tiers_limits_and_its_organizations(accounts: Accounts, user: User) -> None:
    async with accounts.begin(MASTER) as work:
        made = await AppService(work).register("app", tier="DEVELOPER", organization="acme")
    found = await policy(accounts, made.bearer)
    assert (found.kind, found.app, found.plan, found.user) == ("app", made.app.app_id, "app_developer", None)
    assert found.environment is None
    assert found.inference
    assert [(limit.scope, limit.scope_id, limit.limit) for limit in found.limits] == [
        ("organization", "acme", 100),
        ("organization", "acme", 5),
        ("key", made.credential.id, 50_000),
    ]
    async with accounts.begin(MASTER) as work:
        await AppService(work).suspend(made.app.app_id, "abuse")
    found = await policy(accounts, made.bearer)
    assert (found.status, found.status_reason) == ("suspended", "abuse")


async def test_a_user_who_signed_in_has_their_organizations_limits(accounts: Accounts, user: User) -> None:
    until = accounts.clock.now + timedelta(hours=1)
    async with accounts.read(SYSTEM) as work:
        found = await PolicyService(work).user_policy(
            user, id="session_1", kind="jwt", organization="acme", role="user", permissions=catalog().of("user"),
            expires_at=until,
        )  # fmt: skip
        narrow = await PolicyService(work).user_policy(
            user, id="s", kind="oidc", organization="acme", role="viewer", permissions=catalog().of("viewer")
        )
        limits = await PolicyService(work).limits_of("acme", user=user.id)
    assert (found.id, found.kind, found.name, found.user) == ("session_1", "jwt", user.id, user.id)
    assert (found.inference, narrow.inference) == (True, False)
    assert (found.expires_at, narrow.expires_at) == (until.timestamp(), None)
    assert found.limits == narrow.limits == limits
    assert {limit.source for limit in limits} == {"plan"}
    async with accounts.begin(MASTER) as work:
        await UserService(work).update(user.id, UserUpdate(status="suspended"))
        stale = signed_in(user)
        assert stale.user == user.id
        suspended = await PolicyService(work).user_policy(
            await UserService(work).get(user.id), id="s", kind="jwt", organization="acme", role="user",
            permissions=frozenset(),
        )  # fmt: skip
    assert suspended.status == "disabled"
