"""How often signing in may be tried: counted before the password is looked at, in memory that has an end."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from gateway.kernel.errors import GatewayError, Kind

WINDOW = 300.0  # seconds
_REMEMBERED = 10_000  # of each kind; the least recently tried are forgotten first


class _Counts:
    """Tries per name within a window that begins with the first of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, name: str, now: float) -> float:
        """Count a try; gives the seconds to wait, 0 where it is allowed."""
        began, count = self._seen.pop(name, (now, 0))
        if now - began >= WINDOW:
            began, count = now, 0
        self._seen[name] = (began, min(count + 1, self._most + 1))
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return WINDOW - (now - began) if count >= self._most else 0.0

    def forget(self, name: str) -> None:
        """Begin anew for a name."""
        self._seen.pop(name, None)


class Attempts:
    """Limits of one process: 5 tries in five minutes of one account from one address, 50 of one account, 100 from one
    address. A success sets only the first back, or whoever has one account could try others without end.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._pairs, self._accounts, self._addresses = _Counts(5), _Counts(50), _Counts(100)

    def take(self, account: str, address: str | None) -> None:
        """Count a try. Raises :class:`GatewayError` (RATE_LIMITED ``too_many_attempts``) with ``retry_after``."""
        now = self._clock()
        waits = [self._pairs.take(_pair(account, address), now), self._accounts.take(account, now)]
        if address is not None:
            waits.append(self._addresses.take(address, now))
        wait = max(waits)
        if wait > 0:
            raise GatewayError(
                Kind.RATE_LIMITED,
                "too_many_attempts",
                f"Too many attempts to sign in; try again in {math.ceil(wait)} seconds.",
                retry_after=float(math.ceil(wait)),
            )

    def succeeded(self, account: str, address: str | None) -> None:
        """The account's owner is at this address."""
        self._pairs.forget(_pair(account, address))


def _pair(account: str, address: str | None) -> str:
    return f"{address or ''} {account}"
