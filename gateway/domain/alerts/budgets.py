"""Budgets held against what the ledger has of their present period, by the sums of days and weeks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.windows import window_bounds
from gateway.domain.alerts.model import THRESHOLD
from gateway.domain.alerts.repo import New
from gateway.domain.budgets.model import Budget
from gateway.domain.credentials.model import Credential
from gateway.domain.ledger import totals
from gateway.domain.ledger.query import Dimension, Filter
from gateway.domain.users.model import User
from gateway.kernel.money import to_nanos
from gateway.settings.model import Settings

THRESHOLDS: Final = (50, 75, 90, 100)
"""Percent of a budget: those of the LLM Cost Ops reference ("Budget Forecast"), and all of it."""
KEPT: Final = 90
"""Days after the end of its period that a notice is kept."""
_SECOND: Final = 1_000_000_000
_DAY: Final = 86_400
_IDS: Final = 500  # of one statement
_COLUMN: Final[dict[str, Dimension]] = {"key": "credential", "user": "user"}

Spent: TypeAlias = Mapping[tuple[str, str, str], int]
"""Nano-dollars by scope, its id, and period."""


class Watched(Struct, frozen=True):
    """A budget: at most ``nanos`` in each ``period`` for a key, user or organisation of ``organization``.

    ``configured`` is that of a key of ``gateway.yaml``; ``set_at`` is when it was last changed, in Unix seconds.
    """

    id: str
    organization: str
    scope: str
    scope_id: str
    period: str
    nanos: int
    name: str = ""
    configured: bool = False
    set_at: float = 0.0


class Crossed(Struct, frozen=True):
    """A budget of which ``threshold`` percent are spent. The period's bounds are Unix seconds; a total has no end."""

    budget: Watched
    start: int
    end: int | None
    spent: int
    threshold: int


def of_settings(settings: Settings) -> tuple[Watched, ...]:
    """The budgets of the keys of ``gateway.yaml``."""
    found: list[Watched] = []
    for key in settings.keys:
        if key.budget is not None:
            nanos, period = to_nanos(key.budget.amount), key.budget.period
            found.append(Watched(f"key:{key.name}", key.organization, "key", key.name, period, nanos, configured=True))
    return tuple(found)


async def version(session: AsyncSession) -> tuple[Any, ...]:
    """What is another whenever a budget was set, changed or removed; begins with how many there are."""
    query = select(func.count(), func.max(Budget.updated_at)).select_from(Budget)
    return tuple((await session.execute(query)).one())


async def stored(session: AsyncSession) -> list[Watched]:
    """All budgets that were set, with the organisation of each."""
    owner = func.coalesce(Credential.organization_id, User.organization_id, Budget.scope_id)
    query = select(
        Budget.id,
        owner,
        Budget.scope,
        Budget.scope_id,
        Budget.period,
        Budget.amount_nanos,
        Budget.name,
        Budget.updated_at,
    )
    query = query.outerjoin(Credential, and_(Budget.scope == "key", Credential.id == Budget.scope_id))
    query = query.outerjoin(User, and_(Budget.scope == "user", User.id == Budget.scope_id))
    rows = await session.execute(query.order_by(Budget.number))
    return [Watched(*row[:-1], set_at=row.updated_at.timestamp()) for row in rows]


def over_since(budgets: Iterable[Watched], before: float, now: float) -> list[Watched]:
    """Those whose period ended between two times, in Unix seconds, and that were the same in it."""
    return [each for each in budgets if each.set_at < window_bounds(each.period, before)[1] <= now]


async def spent(session: AsyncSession, budgets: Sequence[Watched], now: float) -> Spent:
    """What the ledger has of the periods of budgets of one organisation that ``now``, in Unix seconds, is in."""
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for budget in budgets:
        groups[budget.scope, budget.period].add(budget.scope_id)
    found: dict[tuple[str, str, str], int] = {}
    for (scope, period), ids in groups.items():
        begin, end = window_bounds(period, now)
        whole = Filter(
            organization=budgets[0].organization,
            from_ns=int(begin) * _SECOND if begin else None,
            until_ns=None if period == "total" else int(end) * _SECOND,
        )
        for id, nanos in await _sums(session, whole, scope, sorted(ids)):
            found[scope, id, period] = nanos
    return found


async def _sums(session: AsyncSession, whole: Filter, scope: str, ids: Sequence[str]) -> list[tuple[str, int]]:
    if scope not in _COLUMN:
        rows = await totals.sums(session, whole, (), None, ("cost_nanos",))
        return [(ids[0], rows[0].cost_nanos)]
    found: list[tuple[str, int]] = []
    for start in range(0, len(ids), _IDS):
        some = tuple(ids[start : start + _IDS])
        named = replace(whole, credentials=some) if scope == "key" else replace(whole, users=some)
        rows = await totals.sums(session, named, (_COLUMN[scope],), None, ("cost_nanos",))
        found += [(row.group[0], row.cost_nanos) for row in rows]
    return found


def crossed(budgets: Iterable[Watched], used: Spent, now: float) -> Iterator[New]:
    """A notice for each threshold of each budget that is reached, whether or not it was raised before."""
    for budget in budgets:
        nanos = used.get((budget.scope, budget.scope_id, budget.period), 0)
        if nanos <= 0:
            continue
        begin, until = window_bounds(budget.period, now)
        end = None if budget.period == "total" else int(until)
        expires = None if end is None else (end + KEPT * _DAY) * _SECOND
        for threshold in THRESHOLDS if budget.nanos else THRESHOLDS[-1:]:
            if nanos * 100 >= budget.nanos * threshold:
                # A budget of another amount is another one: of a larger one there is more to be told.
                yield New(
                    key=f"budget|{budget.id}|{budget.period}|{int(begin)}|{budget.nanos}|{threshold:03}",
                    organization=budget.organization,
                    event=THRESHOLD,
                    budget=None if budget.configured else budget.id,
                    expires_ns=expires,
                    data=Crossed(budget, int(begin), end, nanos, threshold),
                )
