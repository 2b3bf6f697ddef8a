"""Requests at a fixed rate whatever the answers do, timed from the moment each was meant to be sent.

A closed loop waits for a slow answer before it asks again and so hides the very delays that users meet.

The client stands for another machine, so it must not wait for a core behind the processes it measures: where the
system lets it, it is scheduled ahead of them (SCHED_FIFO of sched(7)), for every peer alike. Without, on two cores,
what a burst costs the upstream and the gateway after the first one is counted as time to the first one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from benchmarks import client, payloads, ticker
from benchmarks.peers.base import Peer

WARM_UP = 40
IDLE_STATES = "/dev/cpu_dma_latency"


class LatencyError(Exception):
    """A request of an open loop failed: the figures would mean nothing."""


class Timing:
    """One request's times, kept as milliseconds in the lists of its run."""

    __slots__ = ("_first", "_intended", "_samples")

    def __init__(self, samples: Samples, intended: int) -> None:
        self._samples = samples
        self._intended = intended
        self._first = 0

    def body(self, data: bytes, now: int) -> None:
        """Note the first event or the first byte of the body."""
        if not self._first:
            self._first = now

    def end(self, status: int, now: int) -> None:
        """Note the end."""
        samples = self._samples
        if status == 200:
            samples.first.append((self._first - self._intended) / 1e6)
            samples.whole.append((now - self._intended) / 1e6)
        else:
            samples.failed += 1
        samples.left -= 1
        if not samples.left:
            samples.done.set_result(None)


class Samples:
    """What one run measured: milliseconds from the intended sending to the first and to the last byte of the body."""

    def __init__(self, expected: int) -> None:
        self.first: list[float] = []
        self.whole: list[float] = []
        self.failed = 0
        self.left = expected
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


async def _run(peer: Peer, *, stream: bool, rate: float, seconds: float) -> Samples:
    url = peer.chat(stream=stream)
    request = client.post(url, peer.headers, payloads.chat(stream=stream))
    samples = Samples(WARM_UP)
    async with client.Client(url) as http:
        for count in (WARM_UP, round(rate * seconds)):
            samples = Samples(count)
            await ticker.tick(rate, count, lambda due: http.send(request, Timing(samples, due)))  # noqa: B023
            await asyncio.wait_for(samples.done, 30)
    if samples.failed:
        raise LatencyError(f"{samples.failed} of {round(rate * seconds)} requests to {peer.name} failed")
    return samples


def run(peer: Peer, *, stream: bool, rate: float, seconds: float) -> Samples:
    """Ask ``peer`` ``rate`` times a second for ``seconds``. Raises :class:`LatencyError`."""
    gc.collect()
    gc.disable()
    try:
        with ahead():
            return uvloop.run(_run(peer, stream=stream, rate=rate, seconds=seconds))
    finally:
        gc.enable()


@contextmanager
def ahead() -> Iterator[bool]:
    """Within it, this process runs before all ordinary ones, if that is allowed; tells whether it is."""
    policy, before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, policy, before)


@contextmanager
def awake() -> Iterator[bool]:
    """Within it, no processor is put to sleep between two requests, if that is allowed; tells whether it is.

    Holding 0 microseconds open as the longest wake-up to bear keeps idle processors polling (Linux, "PM Quality Of
    Service Interface"). A virtual machine's processor that sleeps is handed back to the host, and fetching it anew,
    cold, takes longer than what is measured.
    """
    try:
        held = os.open(IDLE_STATES, os.O_WRONLY)
    except OSError:
        yield False
        return
    try:
        os.write(held, struct.pack("=i", 0))
        yield True
    finally:
        os.close(held)
