"""What waits is learned from once, told seldom, audited where it matters, forgotten when it is too old."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from gateway.contract.learned_routes import Decision, Estimate
from gateway.domain.actor import SYSTEM
from gateway.domain.analytics.periods import to_ns
from gateway.domain.audit.model import AuditRecord
from gateway.domain.changes.model import PolicyChange
from gateway.domain.learning import keeping
from gateway.domain.learning.feedback import Told, accuracy, quality_of, track
from gateway.domain.learning.learner import TELLING, catch_up, learn, routes
from gateway.domain.learning.logged import outcomes
from gateway.domain.learning.model import RoutingDecision, RoutingFeedback, RoutingState
from gateway.domain.learning.observing import of_entry
from gateway.domain.learning.service import LearningService
from gateway.domain.learning.sums import altogether, chosen
from gateway.domain.ledger.ingest import Batch, Line, ingest
from gateway.domain.ledger.rating import NoPrices
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.ids import new_id
from gateway.routing.online_guard import LEAST
from tests.support.accounts import START, Accounts
from tests.support.usage import attempt, usage_event

A, B = Estimate("p/a", 0.8, 1_000_000, 2.0, 0.98, tokens=100), Estimate("p/b", 0.5, 100_000, 1.0, 0.02, tokens=100)
DECISION = Decision("p/a", "code", "quality", 0.9, (A, B))
NS = 1_000_000_000


async def entered(accounts: Accounts, count: int, organization: str = "acme", **changes: Any) -> list[str]:
    """Enter requests that a learned route sent to ``p/a``; gives their ids."""
    began = to_ns(accounts.clock.now)
    given = {"decision": DECISION, "provider": "p", "target": "a", "started_ns": began, "first_token_ns": None}
    ids = [new_id("req") for _ in range(count)]
    events = [
        usage_event(**{**given, "organization": organization, "ended_ns": began + 2 * NS, "id": id, **changes})
        for id in ids
    ]
    lines = [Line(place, msgspec.json.encode(event)) for place, event in enumerate(events)]
    done = await ingest(accounts.store, Batch(f"s/{ids[0]}", 0, count, lines), NoPrices())
    assert (done.entries, done.poison) == (count, 0)
    return ids


async def told(accounts: Accounts, ids: list[str], **what: Any) -> None:
    """Report on decisions."""
    async with accounts.begin(SYSTEM) as work:
        for id in ids:
            await track(work, Told(id=id, **what))


async def changes(accounts: Accounts) -> list[str]:
    """The organizations of which changes of routes were told."""
    async with accounts.read(SYSTEM) as work:
        query = select(PolicyChange.id).where(PolicyChange.kind == "routing").order_by(PolicyChange.seq)
        return list(await work.session.scalars(query))


async def count(accounts: Accounts, table: Any) -> int:
    """Rows of a table."""
    async with accounts.read(SYSTEM) as work:
        return await work.session.scalar(select(func.count()).select_from(table)) or 0


async def test_what_is_learnt_is_told_once_in_a_while(accounts: Accounts) -> None:
    ids = await entered(accounts, 60)
    assert await catch_up(accounts.works) == 60
    assert await changes(accounts) == ["acme"]  # of the times that the ledger saw
    await told(accounts, ids[:30], quality=0.0)
    assert await catch_up(accounts.works) == 30
    assert await changes(accounts) == ["acme"]  # too soon
    assert await catch_up(accounts.works) == 0
    accounts.clock.advance(TELLING)
    assert await catch_up(accounts.works) == 0
    assert await changes(accounts) == ["acme", "acme"]
    accounts.clock.advance(TELLING)
    await catch_up(accounts.works)
    assert await changes(accounts) == ["acme", "acme"]  # nothing more to tell
    async with accounts.read(SYSTEM) as work:
        found = await routes(work, "acme")
        last = await work.session.scalar(select(func.max(PolicyChange.seq)))
    assert (found.seq, found.organization) == (last, "acme")
    assert {each.target for each in found.shifts} == {"p/a"}
    assert all(each.shift < 0 for each in found.shifts)
    assert found.timings[0].target == "p/a"


async def test_more_than_fits_at_once_is_learned_from_in_turns(accounts: Accounts) -> None:
    await entered(accounts, 700)
    async with accounts.begin(SYSTEM) as work:
        assert await learn(work, "acme") == (300, True)
    assert await catch_up(accounts.works) == 400
    assert await catch_up(accounts.works, stopping=lambda: True) == 0


async def test_a_transaction_that_fails_has_learned_nothing(accounts: Accounts) -> None:
    await entered(accounts, 5)

    async def learn_and_fail() -> None:
        async with accounts.begin(SYSTEM) as work:
            await learn(work, "acme")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await learn_and_fail()
    assert await count(accounts, RoutingState) == 0
    assert await catch_up(accounts.works) == 5


async def test_the_guard_is_audited(accounts: Accounts) -> None:
    # What was taken is worse than expected; the other is expected to be about as good.
    better = msgspec.structs.replace(B, quality=0.77)
    ids = await entered(accounts, int(LEAST) + 30, decision=msgspec.structs.replace(DECISION, estimates=(A, better)))
    async with accounts.begin(SYSTEM) as work:
        for id in ids:
            await track(work, Told(id=id, quality=0.45))
    await catch_up(accounts.works)
    async with accounts.read(SYSTEM) as work:
        fixed = (await routes(work, "acme")).fixed
        query = select(AuditRecord).where(AuditRecord.action == "routing.guard_changed")
        (record,) = await work.session.scalars(query)
    assert fixed is not None
    assert (record.organization, record.before, record.after) == ("acme", {"fixed": None}, {"fixed": fixed})


async def test_a_reset_begins_anew_and_is_audited(accounts: Accounts) -> None:
    ids = await entered(accounts, 60)
    theirs = await entered(accounts, 60, "other")
    await told(accounts, [*ids[:40], *theirs[:40]], quality=0.0)
    await catch_up(accounts.works)
    await told(accounts, ids[40:], quality=0.0)
    async with accounts.begin(SYSTEM) as work:
        assert await LearningService(work).organizations() == ["acme", "other"]
        exported = await LearningService(work).export("acme")
        await LearningService(work).reset("acme")
    assert exported["waiting"] == {"decisions": 0, "feedback": 20}
    assert exported["state"]["rewarded"] == 40
    assert msgspec.json.encode(exported)
    await catch_up(accounts.works)
    async with accounts.read(SYSTEM) as work:
        assert ((await routes(work, "acme")).shifts, (await routes(work, "acme")).timings) == ((), ())
        assert (await routes(work, "other")).shifts != ()
        (record,) = await work.session.scalars(select(AuditRecord).where(AuditRecord.action == "routing.reset"))
        assert (record.before or {})["rewarded"] == 40
        with pytest.raises(GatewayError) as caught:
            await LearningService(work).export("acme")
        assert (caught.value.kind, caught.value.code) == (Kind.NOT_FOUND, "nothing_learnt")
    assert (await changes(accounts))[-1] == "acme"


async def test_what_is_too_old_goes_and_its_sums_stay(accounts: Accounts) -> None:
    accounts.clock.now = START - timedelta(days=10)
    await told(accounts, await entered(accounts, 4), quality=1.0)
    accounts.clock.now = START
    await told(accounts, await entered(accounts, 3), quality=1.0)
    until = to_ns(START - timedelta(days=5))
    assert [await keeping.forget_before(accounts.store, until, chunk=3) for _ in range(3)] == [3, 1, 0]
    assert (await count(accounts, RoutingDecision), await count(accounts, RoutingFeedback)) == (3, 3)
    async with accounts.read(SYSTEM) as work:
        sums = await chosen(work.session, "acme", None, 0)
        of_another = await chosen(work.session, "acme", "key_of_another", 0)
        lately = await chosen(work.session, None, None, until)
    assert [each.target for each in sums] == ["p/a"]
    found = altogether(sums)
    assert (found.decisions, found.tracked, found.provider_matches) == (7, 7, 7)
    assert found.saved_nanos == 0  # the strongest was taken
    assert altogether(of_another).decisions == 0
    assert altogether(lately).decisions == 3


async def test_an_event_entered_twice_is_one_decision(accounts: Accounts) -> None:
    (id,) = await entered(accounts, 1)
    line = Line(0, msgspec.json.encode(usage_event(id=id, decision=DECISION)))
    done = await ingest(accounts.store, Batch("other", 0, 1, [line]), NoPrices())
    assert (done.entries, done.known) == (0, 1)
    assert await count(accounts, RoutingDecision) == 1


async def test_what_can_be_measured_of_decisions(accounts: Accounts) -> None:
    acted, silent = await entered(accounts, 2, cost_nanos=900_000)
    await entered(accounts, 1, outcome="error")
    (shadow,) = await entered(accounts, 1, decision=msgspec.structs.replace(DECISION, shadow=True), target="b")
    advised, _ = await entered(accounts, 2, endpoint=keeping.ADVICE, cost_nanos=0)
    await told(accounts, [acted], quality=0.5)
    await told(accounts, [shadow], model="b", quality=1.0)
    await told(accounts, [advised], cost_nanos=5, latency_ms=1_500, provider="P", model="B")
    async with accounts.read(SYSTEM) as work:
        found = await outcomes(work, "acme", 0)
        assert await outcomes(work, "nobody", 0) == []
    assert silent
    told_of = {(each.target, each.propensity, each.quality, each.cost_nanos, each.seconds) for each in found}
    assert told_of == {
        ("p/a", 0.98, 0.5, 900_000, 2.0),
        ("p/a", 0.98, None, 900_000, 2.0),
        ("p/b", 1.0, 1.0, None, 2.0),
        ("p/b", 1.0, 1.0, 5, 1.5),
    }


def row(**changes: Any) -> dict[str, Any]:
    """A decision with its entry, as it is read."""
    given: dict[str, Any] = {
        "task": "code", "goal": "cost", "estimates": msgspec.json.encode(DECISION.estimates).decode(),
        "started_ns": 10 * NS, "ended_ns": 14 * NS, "first_token_ms": 500, "outcome": "ok", "provider": "p",
        "model": "a", "completion_tokens": 70, "attempts": [], "stream": True,
    }  # fmt: skip
    return given | changes


def attempts(*reasons: str) -> list[dict[str, Any]]:
    """Calls of ``p/b``, and the last of ``p/a``."""
    made = [attempt(reason, provider="p", model="b") for reason in reasons[:-1]]
    made.append(attempt(reasons[-1], provider="p", model="a", duration_ns=3 * NS))
    return [msgspec.to_builtins(each) for each in made]


def test_an_answer_tells_its_times_and_a_failure_counts_weakly_against_its_target() -> None:
    (seen,) = of_entry(row())
    assert (seen.target, seen.reward, seen.first_token, seen.seconds, seen.tokens) == ("p/a", None, 0.5, 4.0, 70)
    (seen,) = of_entry(row(stream=False))
    assert (seen.first_token, seen.seconds) == (None, 4.0)
    failed, answered = of_entry(row(attempts=attempts("status_503", "ok")))
    assert (failed.target, failed.reward, failed.weight) == ("p/b", 0.0, 0.1)
    assert (answered.target, answered.first_token, answered.seconds) == ("p/a", None, 3.0)
    (left,) = of_entry(row(outcome="cancelled"))
    assert (left.target, left.reward, left.weight) == ("p/a", 0.0, 0.05)
    # What is the client's own fault, or a limit of ours, is no target's.
    assert list(of_entry(row(outcome="error", attempts=attempts("queue_full", "status_400")))) == []
    assert list(of_entry(row(outcome="error", provider=None, attempts=[]))) == []
    assert list(of_entry(row(outcome="cached"))) == []


@pytest.mark.parametrize(
    ("what", "quality", "weight"),
    [
        ({"quality": 0.9}, 0.9, 1.0),
        ({"satisfaction": 1}, 0.0, 1.0),
        ({"satisfaction": 5}, 1.0, 1.0),
        ({"quality": 0.5, "satisfaction": 5}, 0.75, 1.0),
        ({"success": False, "quality": 1.0, "satisfaction": 5}, 0.0, 1.0),
        ({}, 1.0, 0.2),
    ],
)
def test_what_reports_are_taken_for(what: dict[str, Any], quality: float, weight: float) -> None:
    assert quality_of(Told(id="req_1", **what)) == (quality, weight)


@pytest.mark.parametrize(
    ("expected", "actual", "percent"),
    [(0, 0, 100.0), (10, 10, 100.0), (10, 5, 50.0), (5, 10, 50.0), (0, 7, 0.0), (1.89, 1.923, 98.3)],
)
def test_accuracies(expected: float, actual: float, percent: float) -> None:
    assert accuracy(expected, actual) == percent
