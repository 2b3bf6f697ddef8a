"""A count of one limit's use in its current window."""

from __future__ import annotations

import math

from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import slid, window_bounds
from gateway.dataplane.admission.count import Count
from gateway.kernel.errors import LimitDetails

FOREVER = math.inf


class Counter:
    """One limit, its current window and what is used of it (``count``).

    ``ceiling`` is the limit itself; the count's is how much of it this process may use now: less than the ceiling where
    a window slides, or where the limit is shared and a part of it is leased (``leased``). Money is in nano-dollars,
    times are Unix seconds.
    """

    __slots__ = (
        "__weakref__",
        "ceiling",
        "count",
        "dry_until",
        "key",
        "leased",
        "metric",
        "policy",
        "previous",
        "resets_at",
        "sliding",
        "starts_at",
        "window",
    )

    def __init__(self, policy: LimitPolicy, *, leased: bool = False) -> None:
        self.key = policy.key
        self.metric = policy.metric
        self.window = policy.window
        self.sliding = policy.sliding
        self.leased = leased
        self.count = Count(leased)
        self.previous = 0
        self.starts_at = 0.0
        self.resets_at = 0.0 if policy.window is not None else FOREVER
        self.dry_until = 0.0  # of a leased limit: until then there is no use in asking for more
        self.govern(policy)

    def govern(self, policy: LimitPolicy) -> None:
        """Count for this limit from now on; it has the same key."""
        self.policy = policy
        self.ceiling = policy.limit
        if not self.leased:
            self.count.limit = policy.limit
        self.dry_until = 0.0
        self._describe()

    def roll(self, now: float) -> None:
        """Start the window that holds ``now``."""
        assert self.window is not None
        before = self.resets_at
        self.starts_at, self.resets_at = window_bounds(self.window, now)
        count = self.count
        self.previous = count.taken if self.sliding and before == self.starts_at else 0
        count.used = count.reserved = 0
        self.dry_until = 0.0
        if self.leased:
            count.limit = count.free = 0
        self._describe()

    def restore(self, starts_at: float, used: int, previous: int) -> None:
        """Take up what was counted before a restart, as far as it reaches into the current window."""
        assert self.window is not None
        if starts_at == self.starts_at:
            self.count.used, self.previous = used, previous
        elif self.sliding and window_bounds(self.window, starts_at)[1] == self.starts_at:
            self.previous = used

    def slide(self, now: float) -> None:
        """Let the last window's use fade: it counts by the share of it that the last span still covers."""
        self.count.limit = self.ceiling - slid(0, self.previous, (self.starts_at, self.resets_at), now)

    def remaining(self) -> int:
        """What may still be used in this window."""
        return max(0, self.count.left)

    def _describe(self) -> None:
        if self.metric not in ("requests", "ai_requests"):
            return
        # Cut once a window: only the number between them changes with each request.
        self.count.head = b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: " % self.ceiling
        if self.window is None or self.resets_at == FOREVER:
            self.count.tail = b"\r\n"
            return
        self.count.tail = b"\r\nx-ratelimit-reset: %d\r\nx-ratelimit-period: %b\r\nx-ratelimit-window: %d\r\n" % (
            self.resets_at,
            self.window.encode(),
            self.resets_at - self.starts_at,
        )

    def details(self) -> LimitDetails:
        """What a refusal tells of this limit."""
        policy = self.policy
        limit, left = self.ceiling, self.remaining()
        return LimitDetails(
            metric=self.metric,
            scope=policy.scope,
            scope_id=policy.scope_id,
            limit=limit,
            used=max(0, limit - left),
            remaining=left,
            window=self.window,
            resets_at=None if self.resets_at == FOREVER else self.resets_at,
            plan=policy.name if policy.source == "plan" else None,
            source=policy.source,
        )
