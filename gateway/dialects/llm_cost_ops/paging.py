"""Cursors of this reference ("Pagination"): opaque, and good for the order they were given in.

A cursor names the last item that was seen, so that what is added or removed meanwhile moves no page.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Literal, TypeAlias

from pydantic import Field

from gateway.dialects.common.models import Answer, Parameters
from gateway.kernel.errors import GatewayError, Kind

Order: TypeAlias = Literal["asc", "desc"]
_LARGEST = 2**63 - 1


class CursorPaging(Parameters):
    """Which page."""

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200)
    order: Order = "desc"

    @property
    def after(self) -> int | None:
        """The number of the last item that was seen; None for the first page. Raises INVALID ``invalid_cursor``."""
        return None if self.cursor is None else _number(self.cursor, self.order)


class Page(Answer):
    """Whether more follows, and what to ask it with."""

    has_more: bool
    next_cursor: str | None


class CountedPage(Page):
    """With the number of items on all pages, and the largest on one."""

    total_count: int
    limit: int


def cursor_of(number: int | None, order: Order) -> str | None:
    """The cursor behind an item's number; None for None."""
    if number is None:
        return None
    text = json.dumps({"id": str(number), "order": order}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _number(cursor: str, order: Order) -> int:
    try:
        text = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = json.loads(text)
        # Of text alone: what JSON has for infinity is a number that no int is.
        number = int(str(found["id"]))
        if cursor_of(number, found["order"]) != cursor.rstrip("=") or not 0 <= number <= _LARGEST:
            raise ValueError
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        message = "cursor must be the next_cursor of an answer."
        raise GatewayError(Kind.INVALID, "invalid_cursor", message, "cursor") from None
    if found["order"] != order:
        message = f"cursor was given for order={found['order']}, so it cannot go on in order={order}."
        raise GatewayError(Kind.INVALID, "invalid_cursor", message, "cursor")
    return number
