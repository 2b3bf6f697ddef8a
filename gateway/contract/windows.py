"""The windows that limits are counted over, as both planes compute them: aligned to UTC, months by the calendar.

A window is a count and a unit, such as ``10s``, ``5m``, ``minute``, ``hour``, ``day``, ``week``, ``month``, ``3month``,
``year``; or ``total``, which never ends. A week begins on Monday.
"""

from __future__ import annotations

import calendar
import time

_UNITS = {"s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}
_DAY = 86_400
_EPOCH_WEEKDAY = 3  # 1 January 1970 was a Thursday
_MONTHS = {"month": 1, "year": 12}
_LONGEST_COUNT = 6  # digits, as the settings allow


def is_window(text: str) -> bool:
    """Whether this is a window as described above; weeks are counted singly."""
    if text in ("total", "week"):
        return True
    count, unit = _parts(text)
    known = unit in _UNITS or unit in _MONTHS
    return known and (not count or (count[0] != "0" and len(count) <= _LONGEST_COUNT))


def window_bounds(window: str, now: float) -> tuple[float, float]:
    """Start and end (Unix seconds) of the fixed window that holds ``now``; ``total`` is from 0 to infinity.

    Raises :class:`ValueError` for what is no window.
    """
    if window == "total":
        return 0.0, float("inf")
    if window == "week":
        start = now - (now - (7 - _EPOCH_WEEKDAY) * _DAY) % (7 * _DAY)
        return start, start + 7 * _DAY
    if not is_window(window):
        raise ValueError(f"{window!r} is not a window such as 10s, minute, hour, day, week, month, year or total")
    digits, unit = _parts(window)
    count = int(digits or 1)
    if unit in _MONTHS:
        months = count * _MONTHS[unit]
        at = time.gmtime(now)
        first = (at.tm_year * 12 + at.tm_mon - 1) // months * months
        return _month_start(first), _month_start(first + months)
    span = count * _UNITS[unit]
    start = now - now % span
    return start, start + span


def slid(used: int, previous: int, bounds: tuple[float, float], now: float) -> int:
    """Use in a sliding window: ``used`` in the fixed window of ``bounds``, and of ``previous``, the use of the one
    before it, the share that the last span of that length still covers; rounded up.
    """
    start, end = bounds
    if previous <= 0 or now >= end:
        return used
    # Whole microseconds, so that both planes round alike whatever the size of the numbers.
    left, span = round((end - max(now, start)) * 1e6), round((end - start) * 1e6)
    return used + -(-previous * left // span)


def _parts(window: str) -> tuple[str, str]:
    unit = window.lstrip("0123456789")
    return window[: len(window) - len(unit)], unit


def _month_start(number: int) -> float:
    # A window of many years can begin before the first or end after the last that the calendar knows.
    year = min(max(number // 12, 1), 9999)
    return float(calendar.timegm((year, number % 12 + 1, 1, 0, 0, 0)))
