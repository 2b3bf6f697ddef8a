"""Notices: raised once however often they are noticed, and forgotten when nothing could raise them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import CursorResult, delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.alerts.model import FORECAST, Event, Notice, Watch
from gateway.domain.budgets.model import Budget
from gateway.kernel.ids import new_id
from gateway.store.base import fit
from gateway.store.engine import Store

CHUNK: Final = 500
_DAY_NS: Final = 86_400 * 1_000_000_000
_encode = msgspec.json.Encoder().encode

_RAISE = text(
    "INSERT INTO notices (id, key, organization, event, budget, at_ns, expires_ns, data) "
    "VALUES (:id, :key, :organization, :event, :budget, :at_ns, :expires_ns, :data) ON CONFLICT (key) DO NOTHING"
)
_TAKE = text(
    "INSERT INTO watches (name, holder, until_ns) VALUES (:name, :holder, :until) ON CONFLICT (name) "
    "DO UPDATE SET holder = excluded.holder, until_ns = excluded.until_ns "
    "WHERE watches.holder = excluded.holder OR watches.until_ns <= :now"
)


class New(Struct, frozen=True, kw_only=True):
    """A notice to be raised; the fields are those of :class:`.model.Notice`."""

    key: str
    organization: str
    event: Event
    data: Struct
    expires_ns: int | None
    budget: str | None = None


async def known(session: AsyncSession, keys: Sequence[str]) -> set[str]:
    """Those of the keys that were raised."""
    found: set[str] = set()
    for start in range(0, len(keys), CHUNK):
        found |= set(await session.scalars(select(Notice.key).where(Notice.key.in_(keys[start : start + CHUNK]))))
    return found


async def raise_once(session: AsyncSession, notices: Iterable[New], now_ns: int) -> list[New]:
    """Raise those that were not raised before, by whatever process; gives them."""
    raised: list[New] = []
    # In one order, whoever raises them: two transactions must not wait for each other.
    for notice in sorted(notices, key=lambda each: each.key):
        row = {
            "id": new_id("forecast" if notice.event == FORECAST else "alert"),
            "key": fit(notice.key),
            "organization": notice.organization,
            "event": notice.event,
            "budget": notice.budget,
            "at_ns": now_ns,
            "expires_ns": notice.expires_ns,
            "data": fit(_encode(notice.data).decode()),
        }
        if await _affected(session, _RAISE, row):
            raised.append(notice)
    return raised


async def forget(store: Store, now_ns: int) -> int:
    """Delete what has expired, in short transactions; gives how many went."""
    numbers = select(Notice.number)
    budgets = select(Budget.id)
    # Of a budget that is gone too, a day later: whoever noticed it may not have known.
    orphans = numbers.where(
        Notice.expires_ns.is_(None), Notice.at_ns < now_ns - _DAY_NS, Notice.budget.not_in(budgets)
    )  # fmt: skip
    total = 0
    for query in (numbers.where(Notice.expires_ns < now_ns), orphans):
        gone = CHUNK
        while gone == CHUNK:
            async with store.writing() as session:
                some = list(await session.scalars(query.order_by(Notice.number).limit(CHUNK)))
                await session.execute(delete(Notice).where(Notice.number.in_(some)))
            gone = len(some)
            total += gone
    return total


async def take(session: AsyncSession, name: str, holder: str, now_ns: int, until_ns: int) -> bool:
    """Whether a work is ``holder``'s to do until then: it was already, or nobody's any more."""
    return bool(await _affected(session, _TAKE, {"name": name, "holder": holder, "now": now_ns, "until": until_ns}))


async def release(session: AsyncSession, name: str, holder: str) -> None:
    """Let another have the work at once."""
    await session.execute(delete(Watch).where(Watch.name == name, Watch.holder == holder))


async def _affected(session: AsyncSession, statement: Any, values: dict[str, Any]) -> int:
    done: CursorResult[Any] = await session.execute(statement, values)  # type: ignore[assignment]
    return done.rowcount
