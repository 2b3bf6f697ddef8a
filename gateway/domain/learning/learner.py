"""Learning what organizations' decisions and feedback teach, and telling it.

What waits is learned from in a transaction that takes the organization's turn, marks it and keeps the state: of any
number of sidecars one learns from it, once. Workers are told by a change of kind ``routing``, no more than one in
:data:`TELLING` seconds for an organization; they then ask for :func:`routes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Select, select, union, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.learned_routes import LearnedRoutes
from gateway.domain.actor import SYSTEM
from gateway.domain.analytics.periods import to_ns
from gateway.domain.changes import repo as changes
from gateway.domain.learning.model import RoutingDecision, RoutingFeedback, RoutingState
from gateway.domain.learning.observing import of_entry, of_feedback
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.turns import take_turn
from gateway.domain.work import Work, Works
from gateway.routing.online import VERSION, Learned, Observation, State, differs, learned, observe

TELLING: Final = 5.0
"""Seconds between two changes that are told of one organization, at least."""
AT_ONCE: Final = 300
"""Decisions, and reports, learned from in one transaction."""
ORGANIZATIONS: Final = 10_000

_NOTHING: Final = Learned((), (), None)
_state = msgspec.json.Decoder(State)
_learned = msgspec.json.Decoder(Learned)
_encode = msgspec.json.Encoder().encode

_OF_DECISION: Final[tuple[Any, ...]] = (
    RoutingDecision.number, RoutingDecision.chosen, RoutingDecision.task, RoutingDecision.goal,
    RoutingDecision.estimates, RoutingDecision.shadow, RoutingDecision.advised, RoutingDecision.started_ns,
)  # fmt: skip
_OF_ENTRY: Final[tuple[Any, ...]] = (
    LedgerEntry.ended_ns, LedgerEntry.first_token_ms, LedgerEntry.outcome, LedgerEntry.provider, LedgerEntry.model,
    LedgerEntry.completion_tokens, LedgerEntry.attempts, LedgerEntry.stream,
)  # fmt: skip
_OF_FEEDBACK: Final[tuple[Any, ...]] = (
    RoutingFeedback.number.label("feedback"), RoutingFeedback.at_ns, RoutingFeedback.target, RoutingFeedback.quality,
    RoutingFeedback.weight, RoutingFeedback.latency_ms,
)  # fmt: skip


def _never() -> bool:
    return False


async def catch_up(works: Works, *, telling: float = TELLING, stopping: Callable[[], bool] = _never) -> int:
    """Learn from all that waits now, organization by organization; gives how many observations there were.

    Between two transactions it ends where ``stopping`` says so.
    """
    async with works.read(SYSTEM) as work:
        waiting = list(await work.session.scalars(_waiting()))
    total = 0
    for organization in waiting:
        while not stopping():
            async with works.begin(SYSTEM) as work:
                count, is_more = await learn(work, organization, telling=telling)
            total += count
            if not is_more:
                break
    return total


async def learn(work: Work, organization: str, *, telling: float = TELLING) -> tuple[int, bool]:
    """Learn from what waits of one organization; gives the number of observations, and whether more may wait."""
    session = work.session
    await take_turn(session, f"routing {organization}")
    entries = (await session.execute(_entries(organization))).mappings().all()
    reports = (await session.execute(_reports(organization))).mappings().all()
    row = await session.get(RoutingState, organization)
    if row is None:
        row = _made(organization)
        session.add(row)
    elif not entries and not reports and not row.stale:
        return 0, False
    state = decoded(row.state)
    before = state.guard.fixed
    seen = _observations(entries, reports)
    for each in seen:
        observe(state, each)
    await _mark(session, RoutingDecision, [each["number"] for each in entries])
    await _mark(session, RoutingFeedback, [each["feedback"] for each in reports])
    found = learned(state)
    row.state = _encode(state).decode()
    row.updated_ns = to_ns(work.now)
    await _tell(work, row, found, telling)
    if state.guard.fixed != before:
        await _audit_guard(work, organization, before, state.guard.fixed)
    return len(seen), max(len(entries), len(reports)) == AT_ONCE


async def routes(work: Work, organization: str) -> LearnedRoutes:
    """What was learnt for an organization until now; nothing is what was learnt for an unknown one."""
    seq = await changes.current(work.session)
    row = await work.session.get(RoutingState, organization)
    found = _NOTHING if row is None else learned(decoded(row.state))
    return LearnedRoutes(seq, organization, found.shifts, found.timings, found.fixed, found.doubt, found.common)


def decoded(text: str) -> State:
    """The state that was kept; an empty one in place of one that another version made."""
    state = _state.decode(text)
    return state if state.version == VERSION else State()


async def _tell(work: Work, row: RoutingState, found: Learned, telling: float) -> None:
    now = to_ns(work.now)
    if not differs(found, _learned.decode(row.told)):
        row.stale = False
    elif now - row.told_ns < telling * 1e9:
        row.stale = True  # the next look tells it
    else:
        row.told, row.told_ns, row.stale = _encode(found).decode(), now, False
        work.changed("routing", row.organization)


async def _audit_guard(work: Work, organization: str, before: str | None, after: str | None) -> None:
    await work.audit(
        "routing.guard_changed",
        "routing",
        organization,
        before={"fixed": before},
        after={"fixed": after},
        organization=organization,
    )


def _made(organization: str) -> RoutingState:
    return RoutingState(
        organization=organization,
        state=_encode(State()).decode(),
        told=_encode(_NOTHING).decode(),
        told_ns=0,
        stale=False,
        updated_ns=0,
    )


def _waiting() -> Select[Any]:
    known = union(
        select(RoutingDecision.organization).where(RoutingDecision.waiting),
        select(RoutingFeedback.organization).where(RoutingFeedback.waiting),
        select(RoutingState.organization).where(RoutingState.stale),
    ).subquery()
    return select(known.c.organization).order_by(known.c.organization).limit(ORGANIZATIONS)


def _entries(organization: str) -> Select[Any]:
    query: Select[Any] = select(*_OF_DECISION, *_OF_ENTRY).join(LedgerEntry, LedgerEntry.id == RoutingDecision.id)
    query = query.where(RoutingDecision.waiting, RoutingDecision.organization == organization)
    return query.order_by(RoutingDecision.number).limit(AT_ONCE)


def _reports(organization: str) -> Select[Any]:
    query: Select[Any] = select(*_OF_DECISION, *_OF_FEEDBACK).join(
        RoutingFeedback, RoutingFeedback.id == RoutingDecision.id
    )
    query = query.where(RoutingFeedback.waiting, RoutingFeedback.organization == organization)
    return query.order_by(RoutingFeedback.number).limit(AT_ONCE)


def _observations(entries: Iterable[Mapping[str, Any]], reports: Iterable[Mapping[str, Any]]) -> list[Observation]:
    seen = [each for row in entries for each in of_entry(row)]
    seen += [of_feedback(row) for row in reports]
    return sorted(seen, key=lambda each: each.at)


async def _mark(session: AsyncSession, table: type[RoutingDecision | RoutingFeedback], numbers: list[int]) -> None:
    if numbers:
        await session.execute(update(table).where(table.number.in_(numbers)).values(waiting=False))
