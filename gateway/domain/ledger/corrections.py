"""Late corrections of prices: what was rated by a wrong price is taken back and entered again, never edited."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import or_, select, tuple_
from sqlalchemy.orm import aliased

from gateway.contract.usage import Tokens
from gateway.domain.ledger import entering
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.rating import BILLED, Rater, Rating
from gateway.domain.turns import take_turn
from gateway.domain.work import Work
from gateway.kernel.ids import new_id

MOST = 1_000

_NEGATED = (
    "requests", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
    "saved_nanos",
)  # fmt: skip


class Meant(Struct, frozen=True, kw_only=True):
    """Which entries are to be rated anew: those of a provider's model that started within a span (Unix nanoseconds,
    without an end where ``until_ns`` is None), only what stands under ``price_id`` where it is given. What is unpriced
    is meant too, unless there is a ``price_id``."""

    provider: str
    model: str
    from_ns: int = 0
    until_ns: int | None = None
    price_id: str | None = None


class Rerated(Struct, frozen=True):
    """How many entries were taken back and entered again, by how many nano-dollars the total grew, and whether more
    are left."""

    entries: int
    difference_nanos: int
    more: bool


async def rerate(work: Work, rater: Rater, meant: Meant, *, limit: int = MOST) -> Rerated:
    """Rate anew at most ``limit`` entries, those that come out differently by the prices of now.

    Each gets a reversal and an adjustment in one transaction; both name the entry they correct. An entry that was
    corrected before does not stand any more, its last adjustment does. Where it says ``more``, call it again in a work
    of its own; a call that finds nothing more changes nothing.
    """
    await take_turn(work.session, f"rerate {meant.provider} {meant.model}")
    rows: list[dict[str, Any]] = []
    entries = difference = 0
    after = (meant.from_ns, 0)
    while entries < limit and (found := await _standing(work, meant, after, limit - entries)):
        after = (found[-1].started_ns, found[-1].number)
        for entry in found:
            own = entry.organization if entry.source == "api" else None
            rating = rater(entry.provider, entry.model, _tokens(entry), entry.started_ns, own)
            if rating is None or (rating.price_id == entry.price_id and rating.cost_nanos == entry.cost_nanos):
                continue
            rows += _corrected(entry, rating, work.now)
            entries += 1
            difference += rating.cost_nanos - (entry.cost_nanos or 0)
    await rater.keep(work.session)
    await entering.enter(work.session, rows)
    if entries:
        state = {"model": meant.model, "entries": entries, "difference_nanos": difference}
        await work.audit("usage.rerated", "price", meant.price_id, after=state)
    return Rerated(entries, difference, entries >= limit)


async def _standing(work: Work, meant: Meant, after: tuple[int, int], limit: int) -> Sequence[LedgerEntry]:
    reversal = aliased(LedgerEntry)
    reversed_ = select(reversal.number).where(reversal.corrects == LedgerEntry.id, reversal.kind == "reversal")
    conditions = [
        LedgerEntry.provider == meant.provider,
        LedgerEntry.model == meant.model,
        LedgerEntry.kind != "reversal",
        # What failed or came from a cache costs nothing, and a cost without a price was told by whoever reported it.
        LedgerEntry.outcome.in_(BILLED),
        or_(LedgerEntry.price_id.is_not(None), LedgerEntry.cost_nanos.is_(None)),
        tuple_(LedgerEntry.started_ns, LedgerEntry.number) > tuple_(*after),
        ~reversed_.exists(),
    ]
    if meant.until_ns is not None:
        conditions.append(LedgerEntry.started_ns < meant.until_ns)
    if meant.price_id is not None:
        conditions.append(LedgerEntry.price_id == meant.price_id)
    query = select(LedgerEntry).where(*conditions).order_by(LedgerEntry.started_ns, LedgerEntry.number).limit(limit)
    return list(await work.session.scalars(query))


def _tokens(entry: LedgerEntry) -> Tokens:
    return Tokens(
        prompt=entry.prompt_tokens, cached=entry.cached_tokens, cache_write=entry.cache_write_tokens,
        completion=entry.completion_tokens, reasoning=entry.reasoning_tokens, **(entry.units or {}),
    )  # fmt: skip


def _corrected(entry: LedgerEntry, rating: Rating, now: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
    attributes = LedgerEntry.__mapper__.column_attrs
    copy = {item.columns[0].name: getattr(entry, item.key) for item in attributes if item.key != "number"}
    copy |= {
        "corrects": entry.id, "idempotency_key": None,
        "recorded_ns": (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000,
    }  # fmt: skip
    reversal = copy | {"id": new_id("rev"), "kind": "reversal"}
    for name in _NEGATED:
        reversal[name] = -copy[name]
    reversal["cost_nanos"] = None if entry.cost_nanos is None else -entry.cost_nanos
    for name in ("cost_parts", "units"):
        reversal[name] = None if copy[name] is None else {kind: -value for kind, value in copy[name].items()}
    adjustment = copy | {
        "id": new_id("adj"), "kind": "adjustment", "cost_nanos": rating.cost_nanos,
        "cost_parts": dict(rating.parts), "price_id": rating.price_id, "currency": rating.currency,
    }  # fmt: skip
    return reversal, adjustment
