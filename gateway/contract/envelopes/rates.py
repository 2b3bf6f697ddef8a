"""The rate-limit headers of all references together, on every answer that a limit holds for.

=============================  =====================================================
``X-RateLimit-Limit``          all; a count, or dollars for a limit of money
``X-RateLimit-Remaining``      all
``X-RateLimit-Reset``          all; Unix seconds
``X-RateLimit-Period``         AI Marketplace: ``minute``, ``hour``, ``day``, ``month`` …
``X-RateLimit-Window``         LLM Cost Ops: seconds
``X-RateLimit-Retry-After``    LeanVibe: seconds, on refusals
``Retry-After``                LLM Cost Ops, RFC 9110 §10.2.3: seconds, on refusals
=============================  =====================================================
"""

from __future__ import annotations

import math
from functools import lru_cache

from gateway.contract.windows import window_bounds
from gateway.kernel.money import to_dollars

Headers = list[tuple[bytes, bytes]]


def rate_headers(
    limit: int,
    remaining: int,
    resets_at: float | None,
    window: str | None,
    *,
    metric: str = "requests",
    retry_after: float | None = None,
) -> Headers:
    """The headers for one limit, names in lower case.

    ``limit`` and ``remaining`` are in the metric's unit, ``resets_at`` is Unix seconds, ``window`` as in a limit
    policy. What a limit does not have is left out: the times of one that never begins anew, the window of concurrency.
    ``retry_after`` (seconds) is for refusals. Raises :class:`ValueError` for what is no window.
    """
    left = max(0, remaining)
    headers = [
        (b"x-ratelimit-limit", _number(limit, metric)),
        (b"x-ratelimit-remaining", _number(left, metric)),
    ]
    resets = None if resets_at is None or not math.isfinite(resets_at) else math.ceil(resets_at)
    if resets is not None:
        headers.append((b"x-ratelimit-reset", b"%d" % resets))
    if window is not None:
        headers.append((b"x-ratelimit-period", window.encode()))
        length = _length(window, resets)
        if length is not None:
            headers.append((b"x-ratelimit-window", b"%d" % length))
    if retry_after is not None:
        wait = b"%d" % max(1, math.ceil(retry_after))
        headers.append((b"x-ratelimit-retry-after", wait))
        headers.append((b"retry-after", wait))
    return headers


def _number(value: int, metric: str) -> bytes:
    if metric != "cost":
        return b"%d" % value
    return f"{to_dollars(value):.9f}".rstrip("0").rstrip(".").encode()


@lru_cache(maxsize=256)
def _length(window: str, resets: int | None) -> int | None:
    """Seconds from the start of the window that ends at ``resets`` to its end; a month is as long as it is."""
    start, end = window_bounds(window, resets - 1 if resets is not None else 0)
    return round(end - start) if math.isfinite(end) else None
