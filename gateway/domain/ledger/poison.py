"""Lines that were set aside: listed, and tried again."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import DBAPIError

from gateway.domain.ledger.ingest import Batch, Line, add_new, parse
from gateway.domain.ledger.model import PoisonEntry
from gateway.domain.ledger.rating import Rater
from gateway.domain.ledger.refusals import is_about_lines
from gateway.domain.work import Work

MOST = 500


class Replayed(Struct, frozen=True):
    """What became of lines that were tried again; ``after`` is the last one's number, None where there were none."""

    entered: int
    known: int
    failed: int
    after: int | None


async def count(work: Work) -> int:
    """How many lines are set aside."""
    return await work.session.scalar(select(func.count()).select_from(PoisonEntry)) or 0


async def listed(work: Work, *, after: int = 0, limit: int = MOST) -> Sequence[PoisonEntry]:
    """Lines that are set aside, the oldest first, behind the one with the number ``after``."""
    query = select(PoisonEntry).where(PoisonEntry.number > after).order_by(PoisonEntry.number).limit(limit)
    return list(await work.session.scalars(query))


async def replay(work: Work, rater: Rater, *, after: int = 0) -> Replayed:
    """Try up to 500 lines again. What can be entered now goes from the list; the others stay, with the reason of now.

    A line of which only the beginning was kept fails again.
    """
    entered = known = failed = 0
    rows = await listed(work, after=after)
    now = time.time_ns()
    for row in rows:
        batch = Batch(row.source, 0, 0, [Line(row.position, row.line.encode())])
        parsed, faults = parse(batch, rater, now)
        if faults:
            failed += 1
            reason = faults[0]["reason"]
            await work.session.execute(
                update(PoisonEntry).where(PoisonEntry.number == row.number).values(reason=reason)
            )
            continue
        try:
            async with work.session.begin_nested():
                fresh = await add_new(work.session, parsed)
        except (DBAPIError, OverflowError) as error:
            if not is_about_lines(error):
                raise  # about the database, not about the line
            failed += 1
            continue
        entered += fresh
        known += len(parsed) - fresh
        await work.session.execute(delete(PoisonEntry).where(PoisonEntry.number == row.number))
    await rater.keep(work.session)
    if entered:
        await work.audit("usage.replayed", "usage", None, after={"entered": entered})
    return Replayed(entered, known, failed, rows[-1].number if rows else None)
