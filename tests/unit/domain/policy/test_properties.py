"""Whatever is set, for whom, in which order: a key is told exactly what concerns it, and the books balance."""

from __future__ import annotations

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contract.policy import LimitPolicy
from gateway.domain.actor import SYSTEM
from gateway.domain.budgets.model import PERIODS
from gateway.domain.budgets.service import BudgetService
from gateway.domain.credentials.requests import NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.domain.credits.service import CreditService
from gateway.domain.limits.service import LimitService, LimitSpec
from gateway.domain.policy.lookup import look
from gateway.domain.policy.service import PolicyService
from gateway.kernel.errors import GatewayError
from tests.support.accounts import MASTER, Accounts

MINE, THEIRS = "mine", "theirs"
_names = count()

SCOPES = st.tuples(st.sampled_from(["key", "user", "organization"]), st.sampled_from([MINE, THEIRS]))
LIMITS = st.lists(
    st.tuples(
        SCOPES,
        st.sampled_from(["requests", "tokens", "cost", "ai_requests"]),
        st.sampled_from(["10s", "minute", "month", "total"]),
        st.booleans(),
        st.sampled_from([None, "m"]),
        st.integers(0, 2**53 - 1),
    ),
    max_size=8,
)
BUDGETS = st.lists(st.tuples(SCOPES, st.sampled_from(PERIODS), st.integers(0, 2**53 - 1)), max_size=4)
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([MINE, THEIRS]),
        st.sampled_from(["grant", "purchase", "adjustment"]),
        st.integers(-(10**12), 10**12),
        st.sampled_from([None, "a", "b", "c"]),
    ),
    max_size=8,
)


class Party:
    """An organisation with one user and one key."""

    def __init__(self, ids: dict[str, str], digest: bytes) -> None:
        self.ids = ids
        self.digest = digest

    @classmethod
    async def make(cls, accounts: Accounts) -> Party:
        """A new one."""
        organization = await accounts.organization(f"o{next(_names)}")
        user = await accounts.user(f"{organization}@example.com", organization)
        async with accounts.begin(MASTER) as work:
            row, _ = await CredentialService(work).create(
                NewCredential(name="k", organization=organization, user=user.id)
            )
        return cls({"key": row.id, "user": user.id, "organization": organization}, row.digest)

    async def limits(self, accounts: Accounts) -> tuple[LimitPolicy, ...]:
        """What its key is told."""
        async with accounts.read(SYSTEM) as work:
            row = await CredentialService(work).get(self.ids["key"])
            return (await PolicyService(work).credential_policy(row)).limits


@given(limits=LIMITS, budgets=BUDGETS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_a_key_is_told_what_concerns_it_and_nothing_else(
    accounts: Accounts,
    limits: list[tuple[tuple[str, str], str, str, bool, str | None, int]],
    budgets: list[tuple[tuple[str, str], str, int]],
) -> None:
    parties = {MINE: await Party.make(accounts), THEIRS: await Party.make(accounts)}
    expected: dict[str, dict[str, int]] = {MINE: {}, THEIRS: {}}
    async with accounts.begin(MASTER) as work:
        for (scope, whose), metric, window, slides, model, limit in limits:
            sliding = slides and window != "total"
            spec = LimitSpec(
                scope=scope, scope_id=parties[whose].ids[scope], metric=metric, limit=limit, window=window,
                sliding=sliding, model=model,
            )  # fmt: skip
            expected[whose][(await LimitService(work).set(spec)).key] = limit
        for (scope, whose), period, nanos in budgets:
            id = parties[whose].ids[scope]
            await BudgetService(work).set(scope, id, nanos, period)
            fields = LimitPolicy("key", id, "cost", nanos, period, source="budget")
            expected[whose][fields.key.replace("key|", f"{scope}|", 1)] = nanos
    for whose, party in parties.items():
        told = await party.limits(accounts)
        assert {limit.key: limit.limit for limit in told} == expected[whose]
        assert len(told) == len(expected[whose])
    # Those of both, read together, are what each is told alone.
    digests = [party.digest for party in parties.values()]
    _, looked = await accounts.works.look(lambda connection, now: look(connection, digests, now))
    assert [looked[party.digest].limits for party in parties.values()] == [
        await party.limits(accounts) for party in parties.values()
    ]


@given(entries=ENTRIES)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_the_credit_that_is_told_is_the_sum_of_what_was_booked(
    accounts: Accounts, entries: list[tuple[str, str, int, str | None]]
) -> None:
    parties = {MINE: await Party.make(accounts), THEIRS: await Party.make(accounts)}
    booked: dict[str, list[int]] = {MINE: [], THEIRS: []}
    seen: dict[str, tuple[str, str, int]] = {}
    example = next(_names)
    for whose, kind, nanos, key in entries:
        organization = parties[whose].ids["organization"]
        known = seen.get(key) if key is not None else None
        fits = nanos != 0 and (nanos > 0 or kind == "adjustment")
        allowed = fits and known in (None, (whose, kind, nanos))
        told = None if key is None else f"{key} {example}"
        try:
            async with accounts.begin(MASTER) as work:
                await CreditService(work).add(organization, nanos, kind, "", idempotency_key=told)
            done = True
        except GatewayError:
            done = False
        assert done == allowed
        if done and known is None:
            booked[whose].append(nanos)
            if key is not None:
                seen[key] = (whose, kind, nanos)
    for whose, party in parties.items():
        granted = sum(booked[whose])
        credit = LimitPolicy(
            "organization", party.ids["organization"], "cost", max(0, granted), "total", source="credit"
        )
        assert await party.limits(accounts) == ((credit,) if booked[whose] else ())
