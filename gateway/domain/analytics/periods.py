"""Times as callers say them: named periods, intervals, and the seconds that stored times are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.domain.fields import invalid

Period = Literal["today", "yesterday", "last-7-days", "last-30-days", "this-month", "last-month"]
Interval = Literal["hour", "day", "week", "month"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Range(Struct, frozen=True):
    """From a time on, until another, which is not within; None is no bound."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def from_ns(self) -> int | None:
        """The beginning in Unix nanoseconds."""
        return None if self.start is None else to_ns(self.start)

    @property
    def until_ns(self) -> int | None:
        """The end in Unix nanoseconds."""
        return None if self.end is None else to_ns(self.end)


def to_ns(at: datetime) -> int:
    """Unix nanoseconds of an aware time."""
    return (at - _EPOCH) // _MICROSECOND * 1_000


def of_ns(at: int) -> datetime:
    """The time of Unix nanoseconds, to the microsecond."""
    return _EPOCH + timedelta(microseconds=at // 1_000)


def of_seconds(at: int) -> datetime:
    """The time of Unix seconds."""
    return _EPOCH + timedelta(seconds=at)


def between(start: datetime | None, end: datetime | None) -> Range:
    """A range as callers give it: the last moment is within, and a whole second means all of that second.

    Raises INVALID ``invalid_date_range`` where it ends before it begins.
    """
    if start is not None and end is not None and start > end:
        raise invalid("start_date must not be after end_date.", "start_date", "invalid_date_range")
    if end is None or end > datetime.max.replace(tzinfo=UTC) - timedelta(seconds=1):
        return Range(start, None)
    return Range(start, end + (_MICROSECOND if end.microsecond else timedelta(seconds=1)))


def named(period: Period, now: datetime) -> Range:
    """A named period in UTC, in whole days. The last seven and thirty days end with today, this month with it too."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow, month = today + timedelta(days=1), today.replace(day=1)
    if period == "today":
        return Range(today, tomorrow)
    if period == "yesterday":
        return Range(today - timedelta(days=1), today)
    if period == "this-month":
        return Range(month, tomorrow)
    if period == "last-month":
        return Range((month - timedelta(days=1)).replace(day=1), month)
    return Range(tomorrow - timedelta(days=7 if period == "last-7-days" else 30), tomorrow)


def beginning(at: int, interval: Interval) -> int:
    """The beginning of the interval that Unix second ``at`` is in. Weeks begin on Monday; all in UTC."""
    if interval in ("hour", "day"):
        return at - at % (3_600 if interval == "hour" else 86_400)
    day = of_seconds(at - at % 86_400)
    first = day.replace(day=1) if interval == "month" else day - timedelta(days=day.weekday())
    return (first - _EPOCH) // timedelta(seconds=1)


def days(within: Range) -> list[int]:
    """The beginnings, in Unix seconds, of the days of a range that has both bounds."""
    assert within.start is not None
    assert within.end is not None
    first = beginning((within.start - _EPOCH) // timedelta(seconds=1), "day")
    last = (within.end - _EPOCH - _MICROSECOND) // timedelta(seconds=1)
    return list(range(first, last + 1, 86_400))
