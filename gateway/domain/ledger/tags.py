"""Tags as sums know them: ``name:value``, or the name alone where there is no value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, func, literal

from gateway.domain.ledger.model import LedgerEntry

LONGEST = 400
"""Characters of a tag that sums tell apart."""


def spelt(tags: Mapping[str, str] | None) -> list[str]:
    """The tags of an entry; the empty one where there is none."""
    return [(f"{name}:{value}" if value else name)[:LONGEST] for name, value in tags.items()] if tags else [""]


def rows_of(*, is_sqlite: bool) -> FromClause:
    """An entry's tags as rows of ``key`` and ``value``, in SQL."""
    if is_sqlite:
        return func.json_each(LedgerEntry.tags).table_valued("key", "value", name="tag")
    return func.json_each_text(LedgerEntry.tags).table_valued("key", "value", name="tag").lateral()


def spelt_in(tag: FromClause) -> ColumnElement[Any]:
    """The same as :func:`spelt` of a row of :func:`rows_of`, null for none."""
    whole = tag.c.key + func.coalesce(func.nullif(literal(":") + tag.c.value, ":"), "")
    written: ColumnElement[Any] = func.substr(whole, 1, LONGEST)
    return written
