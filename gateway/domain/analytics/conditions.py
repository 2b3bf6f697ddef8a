"""What may be asked of single entries beyond :class:`~gateway.domain.ledger.query.Filter`: ranges, exclusions, tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, literal, or_, select

from gateway.domain.ledger import tags
from gateway.domain.ledger.model import LedgerEntry

Operator = Literal["eq", "ne", "in", "nin", "gt", "gte", "lt", "lte", "contains"]
Field = Literal[
    "id", "organization", "provider", "model", "user", "credential", "endpoint", "outcome", "cost_nanos", "started_ns",
    "recorded_ns", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "total_tokens", "project",
    "tags",
]  # fmt: skip

_COMPARED: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": lambda column, value: column == value,
    "ne": lambda column, value: column.is_distinct_from(value),
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "in": lambda column, value: column.in_(value),
    "nin": lambda column, value: or_(column.is_(None), column.not_in(value)),
}


class Condition(Struct, frozen=True):
    """One field compared with one value, or with several for ``in``, ``nin`` and ``contains`` (all of them).

    Money is nano-dollars, times are Unix nanoseconds. A tag is ``name``, or ``name:value`` where it has a value.
    """

    field: Field
    operator: Operator
    value: str | int | tuple[str | int, ...]


def as_sql(conditions: Sequence[Condition], *, is_sqlite: bool) -> list[ColumnElement[bool]]:
    """The conditions over entries."""
    found = []
    for condition in conditions:
        values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
        if condition.field == "tags":
            tagged = [_tagged(str(value), is_sqlite=is_sqlite) for value in values]
            one = and_(*tagged) if condition.operator in ("contains", "eq") else or_(*tagged)
            found.append(~one if condition.operator in ("ne", "nin") else one)
            continue
        value = values if condition.operator in ("in", "nin") else values[0]
        found.append(_COMPARED[condition.operator](column_of(condition.field), value))
    return found


def column_of(field: Field) -> ColumnElement[Any]:
    """What a field is in SQL."""
    if field == "total_tokens":
        return LedgerEntry.prompt_tokens + LedgerEntry.completion_tokens
    if field == "project":
        project: ColumnElement[Any] = LedgerEntry.tags["project"].as_string()
        return project
    column: ColumnElement[Any] = getattr(LedgerEntry, field)
    return column


def _tagged(value: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    tag = tags.rows_of(is_sqlite=is_sqlite)
    # By name alone as well: "team" finds "team:search".
    found = (
        select(literal(1)).select_from(tag).where(or_(tag.c.key == value, tags.spelt_in(tag) == value[: tags.LONGEST]))
    )
    return found.correlate(LedgerEntry).exists()
