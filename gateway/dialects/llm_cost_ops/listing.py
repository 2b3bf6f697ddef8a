"""Lists of this reference: pages by cursor or by number ("Pagination"), and sorting by several fields ("Sorting")."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, TypeAlias

from pydantic import Field

from gateway.dialects.common.models import Answer, Parameters
from gateway.dialects.llm_cost_ops.paging import CountedPage
from gateway.domain.analytics.conditions import Condition
from gateway.domain.analytics.service import Reader, Shown
from gateway.domain.fields import invalid
from gateway.domain.ledger.query import Filter, Sort, Sortable

SORTABLE: dict[str, Sortable] = {
    "timestamp": "started_ns",
    "total_cost": "cost_nanos",
    "total_tokens": "total_tokens",
    "provider": "provider",
    "model_id": "model",
    "created_at": "recorded_ns",
}
_ORDERS = ("asc", "desc")
_LONGEST_CURSOR = 2_000


class Listing(Parameters):
    """Which page, in which order.

    ``cursor`` and ``limit`` go by cursor, ``page`` and ``per_page`` by number. ``sort_by`` and ``order`` are lists with
    commas; one order holds for all fields.
    """

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=_LONGEST_CURSOR)
    page: int | None = Field(default=None, ge=1, le=1_000_000_000)
    per_page: int | None = Field(default=None, ge=1, le=100)
    sort_by: str = Field(default="timestamp", max_length=200)
    order: str = Field(default="desc", max_length=200)


class NumberedPage(Answer):
    """Where a page by number is."""

    page: int
    per_page: int
    total_pages: int
    total_count: int
    has_previous: bool
    has_next: bool


Paging: TypeAlias = CountedPage | NumberedPage


def numbered(asked: Listing) -> bool:
    """Whether pages go by number. Raises INVALID where both ways are asked for at once."""
    by_number = asked.page is not None or asked.per_page is not None
    if by_number and asked.cursor is not None:
        raise invalid("cursor cannot be used together with page and per_page.", "cursor")
    return by_number


def bounds(asked: Listing) -> tuple[int, int]:
    """How many to show, and how many before them."""
    if not numbered(asked):
        return asked.limit, 0
    size = asked.per_page or 20
    return size, ((asked.page or 1) - 1) * size


def order_of(asked: Listing) -> list[tuple[str, bool]]:
    """The fields to sort by as the reference calls them, each with whether it descends. Raises INVALID."""
    fields = [name.strip() for name in asked.sort_by.split(",")]
    orders = [name.strip() for name in asked.order.split(",")]
    for name in fields:
        if name not in SORTABLE:
            raise invalid(f"sort_by must be one or more of: {', '.join(SORTABLE)}.", "sort_by")
    if len(set(fields)) != len(fields):
        raise invalid("sort_by must name each field once.", "sort_by")
    if not set(orders) <= set(_ORDERS):
        raise invalid("order must be asc or desc for each field of sort_by.", "order")
    if len(orders) not in (1, len(fields)):
        raise invalid("order must have one entry, or as many as sort_by.", "order")
    if len(orders) == 1:
        orders *= len(fields)
    return [(name, order == "desc") for name, order in zip(fields, orders, strict=True)]


def sorts_of(asked: Listing) -> tuple[Sort, ...]:
    """The same as the ledger has it."""
    return tuple(Sort(SORTABLE[name], descending=descending) for name, descending in order_of(asked))


def after_of(asked: Listing) -> list[Any] | None:
    """Where the cursor leads; None for the first page. Raises INVALID ``invalid_cursor``."""
    if asked.cursor is None:
        return None
    spelt = _spelt(asked)
    try:
        text = base64.b64decode(asked.cursor.encode() + b"=" * (-len(asked.cursor) % 4), altchars=b"-_", validate=True)
        found = json.loads(text)
        values, order = found["after"], found["order"]
        if not isinstance(values, list) or any(type(value) not in (int, str) for value in values):
            raise ValueError
        if any(isinstance(value, int) and abs(value) >= 2**63 for value in values):
            raise ValueError
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise invalid("cursor must be the next_cursor of an answer.", "cursor", "invalid_cursor") from None
    kinds = [str if name in ("provider", "model_id") else int for name, _ in order_of(asked)]
    if order != spelt or [type(value) for value in values] != [*kinds, int]:
        message = "cursor was given for another order, so it cannot go on in this one."
        raise invalid(message, "cursor", "invalid_cursor")
    return values


def cursor_page(asked: Listing, total: int, after: tuple[Any, ...] | None) -> CountedPage:
    """Where a page by cursor is."""
    cursor = None
    if after is not None:
        text = json.dumps({"after": after, "order": _spelt(asked)}, separators=(",", ":"))
        cursor = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    return CountedPage(has_more=after is not None, next_cursor=cursor, total_count=total, limit=asked.limit)


def numbered_page(asked: Listing, total: int) -> NumberedPage:
    """Where a page by number is."""
    page, size = asked.page or 1, asked.per_page or 20
    pages = -(-total // size)
    return NumberedPage(
        page=page,
        per_page=size,
        total_pages=pages,
        total_count=total,
        has_previous=page > 1 and total > 0,
        has_next=page < pages,
    )


async def listed(
    reader: Reader, asked: Listing, wanted: Filter, more: Sequence[Condition] = (), *, by_number: bool = False
) -> tuple[tuple[Shown, ...], Paging]:
    """A page of entries, and where it is. ``by_number`` is for who asks for neither way."""
    limit, offset = bounds(asked)
    found = await reader.page(
        wanted, more=more, order=sorts_of(asked), limit=limit, after=after_of(asked), offset=offset
    )
    if by_number or numbered(asked):
        return found.items, numbered_page(asked, found.total)
    return found.items, cursor_page(asked, found.total, found.after)


def _spelt(asked: Listing) -> str:
    return ",".join(("-" if descending else "") + name for name, descending in order_of(asked))
