"""Sums by project or tag: from sums by tag where these tell all that is asked for, else from single entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Select, func, or_, true
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.analytics.conditions import column_of
from gateway.domain.ledger import totals
from gateway.domain.ledger.levels import Level, level_for
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Bucket, Dimension, Filter, Sums
from gateway.domain.ledger.tags import LONGEST, rows_of, spelt_in

Grouping = Literal["organization", "provider", "model", "credential", "user", "outcome", "project", "tag"]
OF_ENTRIES: frozenset[str] = frozenset({"project", "tag"})
NUMBERS = (
    "requests", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
    "cost_nanos", "saved_nanos", "unpriced",
)  # fmt: skip
PROJECT = "project"
"""The tag that names a project."""


def known_of_sums(by: Sequence[Grouping]) -> tuple[Dimension, ...] | None:
    """The same dimensions where sums know them all, else None."""
    kept = tuple(name for name in by if name != "project" and name != "tag")
    return kept if len(kept) == len(by) else None


async def sums(
    session: AsyncSession, wanted: Filter, by: Sequence[Grouping], bucket: Bucket | None, *, is_sqlite: bool
) -> list[Sums]:
    """As :func:`gateway.domain.ledger.totals.sums`, over :data:`NUMBERS`, with ``project`` and ``tag`` among ``by``.

    An entry with several tags counts for each of them; what has none is "".
    """
    found: totals.Found = {}
    level = _level_for(wanted, by)
    every: list[totals.Piece] = [("entry", wanted.from_ns, wanted.until_ns)]
    for piece in every if level is None else totals.pieces(wanted, bucket):
        rows: Sequence[Any]
        if level is None or piece[0] in totals.OF_ENTRIES:
            within = wanted.between(piece[1], piece[2])
            rows = (
                await session.execute(_of_entries(within, by, bucket, is_sqlite=is_sqlite, less=piece[0] == "less"))
            ).all()
        elif "tag" in by:
            query = totals.of_sums(level, piece, wanted, by, bucket, NUMBERS)
            rows = (await session.execute(query)).all()
        else:
            rows = await _projects(session, level, piece, wanted, by, bucket)
        totals.add(found, rows, len(by), bucket)
    return totals.told(found, len(by), bucket, NUMBERS)


def _level_for(wanted: Filter, by: Sequence[Grouping]) -> Level | None:
    if len(OF_ENTRIES & set(by)) != 1:
        return None
    names = {"tag" if name == "project" else name for name in by} | {name for name, _ in totals.named(wanted)}
    return level_for(names, wanted.organization)


async def _projects(
    session: AsyncSession,
    level: Level,
    piece: totals.Piece,
    wanted: Filter,
    by: Sequence[Grouping],
    bucket: Bucket | None,
) -> Sequence[Any]:
    """What the tags of projects hold, and as "" what is left of the whole: no entry has two projects."""
    others, at = tuple(name for name in by if name != "project"), by.index("project")
    query = totals.of_sums(level, piece, wanted, ("tag", *others), bucket, NUMBERS)
    tag = level.table(totals.SIZES[piece[0]]).c.tag
    # Not LIKE, for which "Project" is the same on SQLite.
    is_project = or_(tag == PROJECT, func.substr(tag, 1, len(PROJECT) + 1) == f"{PROJECT}:")
    named = (await session.execute(query.where(is_project))).all()
    coarse = level_for((*others, *(name for name, _ in totals.named(wanted))), wanted.organization)
    assert coarse is not None, "sums know every other dimension"
    whole = totals.of_sums(coarse, piece, wanted, others, bucket, NUMBERS)
    width = len(others) + 1
    left = {tuple(row[:width]): [int(value or 0) for value in row[width:]] for row in await session.execute(whole)}
    rows = []
    for tag_, *rest in named:
        rows.append((*rest[:at], tag_[len(PROJECT) + 1 :], *rest[at:]))
        numbers = left[tuple(rest[:width])]
        left[tuple(rest[:width])] = [a - int(b) for a, b in zip(numbers, rest[width:], strict=True)]
    return [*rows, *((*key[:at], "", *key[at:], *numbers) for key, numbers in left.items())]


def _of_entries(
    wanted: Filter, by: Sequence[Grouping], bucket: Bucket | None, *, is_sqlite: bool, less: bool
) -> Select[Any]:
    entry: Any = LedgerEntry
    tag = rows_of(is_sqlite=is_sqlite)
    special = {"project": func.substr(column_of("project"), 1, LONGEST - len(PROJECT) - 1), "tag": spelt_in(tag)}
    columns = [special[name] if name in special else getattr(entry, name) for name in by]
    query = totals.of_entries(wanted, columns, bucket, NUMBERS, less=less)
    return query.select_from(entry.__table__.outerjoin(tag, true()) if "tag" in by else entry.__table__)
