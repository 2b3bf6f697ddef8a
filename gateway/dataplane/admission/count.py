"""The numbers of one limit that every request reads and changes.

Apart from the limit they belong to because a class that is referred to weakly can't be compiled.
"""

from __future__ import annotations


class Count:
    """``used`` is settled, ``reserved`` is held by requests that are not over; ``limit`` is how much of both this
    process may have now. Money is in nano-dollars.

    ``free``: of a leased limit what nobody held when it was last heard of. ``dirty``: its settled use has changed since
    it was last kept. ``head`` and ``tail`` are the rate headers up to the number of requests left, and behind it.
    """

    __slots__ = ("dirty", "free", "head", "leased", "limit", "reserved", "tail", "used")

    def __init__(self, leased: bool) -> None:
        self.leased = leased
        self.used = 0
        self.reserved = 0
        self.limit = 0
        self.free = 0
        self.dirty = False
        self.head = b""
        self.tail = b""

    @property
    def taken(self) -> int:
        """What is used or reserved."""
        return self.used + self.reserved

    @property
    def left(self) -> int:
        """What may still be used; below 0 where a limit was lowered."""
        left = self.limit - self.used - self.reserved
        return left + self.free if self.leased else left
