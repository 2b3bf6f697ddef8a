"""Usage events become entries: one transaction has the entries, their sums and how far the source has been read.

So a batch is in the ledger whole or not at all, and is entered once however often it is read: by the position of the
source, and by the ids of its events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from sqlalchemy import delete, insert, select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.usage import Tokens, UsageEvent
from gateway.domain.learning import keeping
from gateway.domain.ledger import entering, repo
from gateway.domain.ledger.model import OutboxMark, PoisonEntry
from gateway.domain.ledger.rating import BILLED, UNITS, Rater, Rating
from gateway.domain.ledger.refusals import is_about_lines
from gateway.store.base import fit
from gateway.store.engine import Store

KEPT_TEXT = 65_536  # characters of a line that is set aside
_LARGEST = 2**53
_TURN = 200  # lines
_LATEST_NS = 2**62

_NUL = b"\\u0000"  # as JSON spells it; halves of surrogate pairs are no JSON
_decoder = msgspec.json.Decoder(UsageEvent)
_KINDS = Tokens.__struct_fields__


class Line(Struct, frozen=True):
    """One line of a source without its end, and where it begins. ``fault`` is why it can't be one, where it can't."""

    position: int
    text: bytes
    fault: str | None = None


class Batch(Struct, frozen=True):
    """What a source holds from ``begin`` until ``end``, in bytes."""

    source: str
    begin: int
    end: int
    lines: Sequence[Line]


class Ingested(Struct, frozen=True):
    """What became of a batch: entries made, events that were in the ledger, lines set aside."""

    entries: int = 0
    known: int = 0
    poison: int = 0

    def plus(self, other: Ingested) -> Ingested:
        """Both together."""
        return Ingested(self.entries + other.entries, self.known + other.known, self.poison + other.poison)


class Moved(Exception):
    """Someone else has read the source meanwhile; ``position`` is how far."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


_Parsed: TypeAlias = tuple[list[dict[str, Any]], list[dict[str, Any]]]

_MARK = text(
    "INSERT INTO outbox_marks (source, position, events, updated_ns) VALUES (:source, :position, :events, :now) "
    "ON CONFLICT (source) DO UPDATE SET position = excluded.position, "
    "events = outbox_marks.events + excluded.events, updated_ns = excluded.updated_ns"
)


async def ingest(store: Store, batch: Batch, rater: Rater) -> Ingested:
    """Enter a batch. A line that the database refuses is looked for by halves and set aside; the others are entered.

    Raises :class:`Moved`, and GatewayError (UNAVAILABLE) where the database can't be used now.
    """
    try:
        return await _enter(store, batch, rater)
    except (StatementError, OverflowError) as error:
        if not is_about_lines(error):
            raise
        # Another sidecar may also have been faster with an event that is in two sources: then it is known by now.
        reason = f"the database refuses it: {getattr(error, 'orig', None) or error}"
    if len(batch.lines) == 1:
        line = batch.lines[0]
        spoilt = Line(line.position, line.text, line.fault or reason)
        return await _enter(store, msgspec.structs.replace(batch, lines=[spoilt]), rater)
    middle = len(batch.lines) // 2
    cut = batch.lines[middle].position
    first = await ingest(store, Batch(batch.source, batch.begin, cut, batch.lines[:middle]), rater)
    return first.plus(await ingest(store, Batch(batch.source, cut, batch.end, batch.lines[middle:]), rater))


async def _enter(store: Store, batch: Batch, rater: Rater) -> Ingested:
    now = time.time_ns()
    rows, poison = await parse_in_turns(batch, rater, now)
    async with store.writing() as session:
        position = await _position(session, batch.source)
        if position != batch.begin:
            raise Moved(position)
        await rater.keep(session)
        fresh = await add_new(session, rows)
        if poison:
            await session.execute(insert(PoisonEntry), poison)
        mark = {"source": batch.source, "position": batch.end, "events": fresh, "now": now}
        await session.execute(_MARK, mark)
    return Ingested(fresh, len(rows) - fresh, len(poison))


async def add_new(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> int:
    """Add those rows whose ids are not in the ledger, each id once, and their sums; gives how many were added.

    Each row that is added is emptied as soon as it is not needed any more: there may be thousands.
    """
    known = await repo.known_ids(session, [row["id"] for row in rows])
    fresh = [row for row in {row["id"]: row for row in rows}.values() if row["id"] not in known]
    apps = await repo.apps_of(session, sorted({row["credential"] for row in fresh}))
    for row in fresh if apps else ():
        row["app"] = apps.get(row["credential"])
    decided = [row.copy() for row in fresh if row.get("decision") is not None]
    await entering.enter(session, fresh, are_fit=True, done=dict.clear)
    await keeping.keep(session, decided)
    return len(fresh)


async def _position(session: AsyncSession, source: str) -> int:
    query = select(OutboxMark.position).where(OutboxMark.source == source).with_for_update()
    return await session.scalar(query) or 0


async def marks(store: Store, prefix: str) -> dict[str, int]:
    """How far each source whose name begins with ``prefix`` is in the ledger."""
    async with store.reading() as session:
        return await marks_in(session, prefix)


async def marks_in(session: AsyncSession, prefix: str) -> dict[str, int]:
    """As :func:`marks`, as of a session's moment."""
    query = select(OutboxMark.source, OutboxMark.position)
    found = await session.execute(query.where(OutboxMark.source.startswith(prefix, autoescape=True)))
    return {row.source: row.position for row in found}


async def forget(store: Store, sources: Sequence[str]) -> None:
    """Remove the marks of sources that are no more."""
    async with store.writing() as session:
        await session.execute(delete(OutboxMark).where(OutboxMark.source.in_(sources)))


async def parse_in_turns(batch: Batch, rater: Rater, now: int) -> _Parsed:
    """As :func:`parse`, letting whoever else waits for the event loop have a turn every few milliseconds."""
    rows: list[dict[str, Any]] = []
    poison: list[dict[str, Any]] = []
    for start in range(0, len(batch.lines), _TURN):
        found, faulty = parse(msgspec.structs.replace(batch, lines=batch.lines[start : start + _TURN]), rater, now)
        rows += found
        poison += faulty
        await asyncio.sleep(0)
    return rows, poison


def parse(batch: Batch, rater: Rater, now: int) -> _Parsed:
    """The rows of a batch's events, and those of its lines that are none."""
    rows: list[dict[str, Any]] = []
    poison: list[dict[str, Any]] = []
    for line in batch.lines:
        fault = line.fault
        if fault is None:
            try:
                row = row_of(_decoder.decode(line.text), rater, now)
                rows.append(_made_fit(row) if _NUL in line.text else row)
                continue
            except (msgspec.DecodeError, ValueError) as error:
                fault = str(error)
        shown = line.text[:KEPT_TEXT].decode("utf-8", "replace")
        poison.append(
            {"source": batch.source, "position": line.position, "line": shown, "reason": fault[:1_000], "found_ns": now}
        )
    return rows, poison


def _made_fit(row: dict[str, Any]) -> dict[str, Any]:
    tags = {fit(name): fit(value) for name, value in (row["tags"] or {}).items()}
    return {name: fit(value) if isinstance(value, str) else value for name, value in row.items()} | {"tags": tags}


def row_of(event: UsageEvent, rater: Rater, now: int) -> dict[str, Any]:
    """The ledger's row of an event. Raises ValueError for numbers that can't be."""
    tokens = event.tokens
    _check(event)
    rating, cost, saved = _rated(event, rater)
    first = event.first_token_ns
    return {
        "id": event.id,
        "kind": "usage",
        "source": "gateway",
        "organization": event.organization,
        "user": event.user,
        "credential": event.credential,
        "app": None,
        "provider": event.provider,
        "model": event.target or event.model,
        "requested_model": event.model,
        "endpoint": event.endpoint,
        "started_ns": event.started_ns,
        "ended_ns": event.ended_ns,
        "first_token_ms": None if first is None else max(0, first - event.started_ns) // 1_000_000,
        "status": event.status,
        "outcome": event.outcome,
        "requests": 0 if event.outcome == "shadow" else 1,  # nobody asked for it
        "prompt_tokens": tokens.prompt,
        "cached_tokens": tokens.cached,
        "cache_write_tokens": tokens.cache_write,
        "completion_tokens": tokens.completion,
        "reasoning_tokens": tokens.reasoning,
        "estimated": event.estimated,
        "stream": event.stream,
        "cost_nanos": cost,
        "saved_nanos": saved,
        "currency": None if cost is None else "USD" if rating is None else rating.currency,
        "price_id": None if rating is None else rating.price_id,
        "cost_parts": None if rating is None else dict(rating.parts),
        "units": _units(tokens),
        "tags": event.tags or None,
        "attempts": event.attempts or None,
        "metadata": None if event.fallback is None else {"fallback": msgspec.structs.asdict(event.fallback)},
        "corrects": None,
        "idempotency_key": None,
        "recorded_ns": now,
        "decision": event.decision,  # no column: it goes into a table of its own
    }


def _units(tokens: Tokens) -> dict[str, int] | None:
    if not any(counts := [getattr(tokens, name) for name in UNITS]):
        return None
    return {name: count for name, count in zip(UNITS, counts, strict=True) if count}


def _check(event: UsageEvent) -> None:
    counts = msgspec.structs.astuple(event.tokens)
    if min(counts) < 0 or max(counts) >= _LARGEST:
        name = next(name for name, count in zip(_KINDS, counts, strict=True) if not 0 <= count < _LARGEST)
        raise ValueError(f"tokens.{name} must be between 0 and {_LARGEST - 1}")
    if not 0 <= event.started_ns <= event.ended_ns < _LATEST_NS:
        raise ValueError("expected 0 <= started_ns <= ended_ns, in Unix nanoseconds")
    if not event.id:
        raise ValueError("id must not be empty")


def _rated(event: UsageEvent, rater: Rater) -> tuple[Rating | None, int | None, int]:
    """The rating, the cost and what was saved, in nano-dollars."""
    tokens = event.tokens
    produced = bool(tokens.prompt or tokens.completion or tokens.images or tokens.audio_seconds)
    if event.outcome not in BILLED and not (event.outcome == "cached" and produced):
        return None, 0, 0
    if event.outcome != "ok" and not produced:
        return None, 0, 0  # gave up before anything was produced
    rating = rater(event.provider, event.target or event.model, tokens, event.started_ns)
    if event.outcome == "cached":
        return None, 0, 0 if rating is None else rating.cost_nanos
    if rating is None:
        return None, event.cost_nanos, 0  # what the data plane knew from its configuration
    return rating, rating.cost_nanos, 0
