"""What the ledger's tests share: events, batches and raters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.usage import Tokens, UsageEvent
from gateway.domain.ledger.entering import insert, values_of
from gateway.domain.ledger.ingest import Batch, Ingested, Line, ingest
from gateway.domain.ledger.levels import SUMS
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.rating import NoPrices, Rating
from gateway.store.engine import Store
from tests.support.usage import usage_event

SOURCE = "node_1/usage-0-00000001.jsonl"


class PerToken(NoPrices):
    """One nano-dollar for each prompt token, two for each completion token, of every model but ``free``."""

    def __init__(self, factor: int = 1, price_id: str = "price_1") -> None:
        self.factor = factor
        self.price_id = price_id

    def __call__(
        self, provider: str | None, model: str, tokens: Tokens, at_ns: int, organization: str | None = None
    ) -> Rating | None:
        if model == "free":
            return None
        parts = {"input": tokens.prompt * self.factor, "output": 2 * tokens.completion * self.factor}
        return Rating(sum(parts.values()), parts, self.price_id, "USD")


def batch_of(events: Sequence[UsageEvent | bytes], begin: int = 0, source: str = SOURCE) -> Batch:
    """The events as lines of a file; bytes go in as they are."""
    lines: list[Line] = []
    at = begin
    for event in events:
        raw = event if isinstance(event, bytes) else msgspec.json.encode(event)
        lines.append(Line(at, raw))
        at += len(raw) + 1
    return Batch(source, begin, at, lines)


async def enter(store: Store, *events: UsageEvent | bytes, begin: int = 0) -> Ingested:
    """Enter events by the prices of :class:`PerToken`."""
    return await ingest(store, batch_of(events, begin), PerToken())


async def add(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Add entries without their sums: two transactions that are open at once don't wait for each other."""
    await insert(session, [values_of(row) for row in rows])


async def entries(store: Store) -> list[LedgerEntry]:
    """Everything in the ledger, in the order it came."""
    async with store.reading() as session:
        return list(await session.scalars(select(LedgerEntry).order_by(LedgerEntry.number)))


async def sums_of(store: Store, table: str) -> dict[str, int]:
    """All rows of a table of sums, added up."""
    columns = ", ".join(f"SUM({name})" for name in SUMS)
    async with store.reading() as session:
        row = (await session.execute(text(f"SELECT {columns} FROM {table}"))).one()
    return {name: int(value or 0) for name, value in zip(SUMS, row, strict=True)}


def event(number: int, **changes: Any) -> UsageEvent:
    """An event with an id of its own."""
    return usage_event(**{"id": f"req_{number}", **changes})
