"""Batches that come in any order and more than once: each event is entered once by its id, whoever else enters it.

Where :func:`gateway.domain.ledger.ingest.ingest` reads a source in order, here nothing is said about what comes before.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from operator import itemgetter

import msgspec
from sqlalchemy import select, text
from sqlalchemy.exc import StatementError

from gateway.domain.ledger.ingest import Batch, Ingested, Line, add_new, parse_in_turns
from gateway.domain.ledger.model import OutboxMark
from gateway.domain.ledger.rating import Rater
from gateway.domain.ledger.refusals import is_about_lines, is_passing
from gateway.store.engine import Store

TRIES = 4

_SET_ASIDE = text(
    "INSERT INTO poison_entries (source, position, line, reason, found_ns) "
    "VALUES (:source, :position, :line, :reason, :found_ns) ON CONFLICT (source, position) DO NOTHING"
)

_IDENTITY = "ledger"  # no source has this name: theirs have a node and a file
_MADE = text(
    "INSERT INTO outbox_marks (source, position, events, updated_ns) VALUES (:source, :position, 0, :now) "
    "ON CONFLICT (source) DO NOTHING"
)
_ADVANCE = text(
    "INSERT INTO outbox_marks (source, position, events, updated_ns) VALUES (:source, :position, 0, :now) "
    "ON CONFLICT (source) DO UPDATE SET position = excluded.position, updated_ns = excluded.updated_ns "
    "WHERE outbox_marks.position < excluded.position"
)


async def enter(store: Store, batches: Sequence[Batch], rater: Rater) -> Ingested:
    """Enter batches in one transaction. Lines that the database refuses are looked for by halves and set aside.

    Raises what the database raises where it can't be used now: GatewayError (UNAVAILABLE), and DBAPIError.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return await _enter(store, batches, rater)
        except (StatementError, OverflowError) as error:
            # Another sidecar may have been faster with an event: then it is known by the next look.
            if attempt < TRIES and is_passing(error):
                continue
            if not is_about_lines(error) or not any(batch.lines for batch in batches):
                raise
            reason = f"the database refuses it: {getattr(error, 'orig', None) or error}"
            break
    if sum(len(batch.lines) for batch in batches) == 1:
        batch = next(batch for batch in batches if batch.lines)
        line = batch.lines[0]
        spoilt = Line(line.position, line.text, line.fault or reason)
        return await _enter(store, [msgspec.structs.replace(batch, lines=[spoilt])], rater)
    done = Ingested()
    for half in _halves(batches):
        done = done.plus(await enter(store, half, rater))
    return done


async def _enter(store: Store, batches: Sequence[Batch], rater: Rater) -> Ingested:
    now = time.time_ns()
    parsed = [await parse_in_turns(batch, rater, now) for batch in batches]
    # In one order everywhere: of writers that meet in several events one waits for the other, and never both.
    rows = sorted((row for some, _ in parsed for row in some), key=itemgetter("id"))
    poison = [row for _, some in parsed for row in some]
    async with store.writing() as session:
        await rater.keep(session)
        fresh = await add_new(session, rows)
        if poison:
            await session.execute(_SET_ASIDE, poison)
    return Ingested(fresh, len(rows) - fresh, len(poison))


def _halves(batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    if len(batches) > 1:
        middle = len(batches) // 2
        return list(batches[:middle]), list(batches[middle:])
    (batch,) = batches
    middle = len(batch.lines) // 2
    first, second = batch.lines[:middle], batch.lines[middle:]
    return [msgspec.structs.replace(batch, lines=first)], [msgspec.structs.replace(batch, lines=second)]


async def identity(store: Store) -> str:
    """A name of this ledger's own, made when it is first asked for."""
    made = {"source": _IDENTITY, "position": secrets.randbelow(2**53), "now": time.time_ns()}
    async with store.writing() as session:
        await session.execute(_MADE, made)
        return f"{await session.scalar(select(OutboxMark.position).where(OutboxMark.source == _IDENTITY)):x}"


async def advance(store: Store, positions: Mapping[str, int]) -> None:
    """Note that sources are in the ledger as far as this; one that is further stays where it is."""
    now = time.time_ns()
    async with store.writing() as session:
        rows = [{"source": source, "position": at, "now": now} for source, at in sorted(positions.items())]
        await session.execute(_ADVANCE, rows)
