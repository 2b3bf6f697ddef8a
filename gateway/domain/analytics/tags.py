"""Sums by project or tag, which only single entries know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.analytics.conditions import column_of, spelt, tags_of
from gateway.domain.ledger import repo
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Dimension, Filter, Sums

Grouping = Literal["organization", "provider", "model", "credential", "user", "outcome", "project", "tag"]
OF_ENTRIES: frozenset[str] = frozenset({"project", "tag"})
NUMBERS = (
    "requests", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
    "cost_nanos", "saved_nanos", "unpriced",
)  # fmt: skip
_SECOND = 1_000_000_000


def known_of_sums(by: Sequence[Grouping]) -> tuple[Dimension, ...] | None:
    """The same dimensions where sums know them all, else None."""
    kept = tuple(name for name in by if name != "project" and name != "tag")
    return kept if len(kept) == len(by) else None


async def sums(
    session: AsyncSession, wanted: Filter, by: Sequence[Grouping], size: int | None, *, is_sqlite: bool
) -> list[Sums]:
    """As :func:`gateway.domain.ledger.totals.sums`, over :data:`NUMBERS`, with ``project`` and ``tag`` among ``by``.

    ``size`` is the bucket's in seconds. An entry with several tags counts for each of them; what has none is "".
    """
    entry: Any = LedgerEntry
    tag = tags_of(is_sqlite=is_sqlite)
    special = {"project": column_of("project"), "tag": spelt(tag)}
    columns = [func.coalesce(special[name] if name in special else getattr(entry, name), "") for name in by]
    seconds = entry.started_ns // _SECOND
    start: ColumnElement[int] = literal(0) if size is None else seconds - seconds % size
    computed = {"unpriced": case((entry.cost_nanos.is_(None), entry.requests), else_=0)}
    query = select(*columns, start, *(func.sum(computed.get(name, getattr(entry, name, None))) for name in NUMBERS))
    source = entry.__table__.outerjoin(tag, true()) if "tag" in by else entry.__table__
    query = query.select_from(source).where(*repo.conditions(wanted))
    rows = await session.execute(query.group_by(*columns, *(() if size is None else (start,))))
    width = len(by)
    return [
        Sums(
            group=tuple(row[:width]),
            start=None if size is None else int(row[width]),
            **{name: int(value or 0) for name, value in zip(NUMBERS, row[width + 1 :], strict=True)},
        )
        for row in rows
    ]
