"""Ticks at a fixed rate, on time to a few microseconds.

asyncio's own timers are rounded to a millisecond, which is more than what is measured here, so the ticks come from a
``timerfd`` (see timerfd_create(2)).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
TFD_NONBLOCK = os.O_NONBLOCK
TFD_TIMER_ABSTIME = 1
SECOND = 1_000_000_000


async def tick(rate: float, count: int, due: Callable[[int], None]) -> None:
    """Call ``due`` ``count`` times, ``rate`` times a second, with the monotonic nanosecond the call was meant for.

    A late call is not skipped and its intended time is not moved, so what is measured from it includes the lateness.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    interval = round(SECOND / rate)
    first = time.monotonic_ns() + interval
    fd = _timer(first, interval)
    fired = 0

    def fire() -> None:
        nonlocal fired
        (expired,) = struct.unpack("Q", os.read(fd, 8))
        for _ in range(min(expired, count - fired)):
            due(first + fired * interval)
            fired += 1
        if fired >= count and not done.done():
            done.set_result(None)

    loop.add_reader(fd, fire)
    try:
        await done
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _timer(first: int, interval: int) -> int:
    fd = int(_libc.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK))
    spec = struct.pack("llll", *divmod(interval, SECOND), *divmod(first, SECOND))
    if fd < 0 or _libc.timerfd_settime(fd, TFD_TIMER_ABSTIME, spec, None):
        raise OSError(ctypes.get_errno(), "timerfd cannot be set up")
    return fd
