"""Checks of what callers send, shared by the nouns. Each raises :class:`GatewayError` (INVALID) naming the field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.kernel.errors import GatewayError, Kind

# What no database takes or no terminal should get: control characters and halves of surrogate pairs.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
LONGEST = 200
MOST = 1_000
# What every JSON reader gives back unchanged, and the counters of limits hold exactly.
LARGEST = 2**53 - 1


def invalid(message: str, field: str, code: str = "invalid_value") -> GatewayError:
    """The error for a value that is not what was expected."""
    return GatewayError(Kind.INVALID, code, message, field)


def text(value: str, field: str, *, longest: int = LONGEST, empty: bool = False) -> str:
    """The text without white space around it; no longer than ``longest`` and, unless ``empty``, not empty."""
    value = value.strip()
    if not value and not empty:
        raise invalid(f"{field} must not be empty.", field)
    if len(value) > longest:
        raise invalid(f"{field} must have at most {longest} characters.", field)
    if _UNFIT.search(value):
        raise invalid(f"{field} must not hold control characters.", field)
    return value


def texts(values: Sequence[str], field: str, *, most: int = MOST) -> list[str]:
    """The texts, each once, in their order."""
    if len(values) > most:
        raise invalid(f"{field} must have at most {most} entries.", field)
    return list(dict.fromkeys(text(value, f"{field}[{index}]") for index, value in enumerate(values)))


def amount(value: int, field: str, *, least: int = 0, most: int = LARGEST) -> int:
    """A whole number within bounds."""
    if not least <= value <= most:
        raise invalid(f"{field} must be between {least} and {most}.", field)
    return value


def future(value: datetime | None, now: datetime, field: str) -> datetime | None:
    """A time with a zone, after ``now``; None stays None."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise invalid(f"{field} must say its time zone, such as 2026-01-31T00:00:00Z.", field)
    if value <= now:
        raise invalid(f"{field} must be in the future.", field)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise invalid(f"{field} must be before the year 10000 in UTC.", field) from None


def page(limit: int, offset: int, *, most: int = MOST) -> tuple[int, int]:
    """The bounds of a page of a list."""
    return amount(limit, "limit", least=1, most=most), amount(offset, "offset")
