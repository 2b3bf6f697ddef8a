"""Thousands of slow streams open at once on one worker: does every event come, and on time?"""

from __future__ import annotations

import asyncio
import gc
import resource

import orjson
import uvloop

from benchmarks import client, payloads, procfs, ticker
from benchmarks.bench import Bench, say
from benchmarks.peers import gateway, mock
from benchmarks.peers.base import Peer
from benchmarks.plan import Plan
from benchmarks.results import Crowd
from benchmarks.stats import percentile

OPENED_PER_SECOND = 1_000
SLACK = 30
FILES_PER_STREAM = 2
SPARE_FILES = 100


class CrowdError(Exception):
    """So many streams cannot be opened on this machine."""


class Stream:
    """One stream: counts its events and how late each came, in milliseconds after the upstream sent it."""

    __slots__ = ("_buffer", "_crowd", "events", "finished")

    def __init__(self, crowd: Streams) -> None:
        self._crowd = crowd
        self._buffer = b""
        self.events = 0
        self.finished = False

    def body(self, data: bytes, now: int) -> None:
        """Take the events that are whole."""
        *whole, self._buffer = (self._buffer + data).split(b"\n\n")
        for event in whole:
            if event == b"data: [DONE]":
                self.finished = True
            elif (sent := orjson.loads(event.removeprefix(b"data: ")).get("sent_ns")) is not None:
                self.events += 1
                self._crowd.lateness.append((now - sent) / 1e6)

    def end(self, status: int, now: int) -> None:
        """The answer or the connection has ended."""
        self._crowd.ended(self, status)


class Streams:
    """All of them."""

    def __init__(self, plan: Plan) -> None:
        self.lateness: list[float] = []
        self.complete = 0
        self._events = plan.stream_events
        self._left = plan.streams
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended(self, stream: Stream, status: int) -> None:
        """Count a stream that has ended as complete only if nothing of it is missing."""
        self.complete += status == 200 and stream.finished and stream.events == self._events
        self._left -= 1
        if not self._left:
            self.done.set_result(None)


def allow_files(streams: int) -> None:
    """Raise the limit on open files for this process and its children. Raises :class:`CrowdError`."""
    wanted = streams * FILES_PER_STREAM + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (ValueError, PermissionError) as error:
        told = f"{streams} streams need {wanted} open files and the limit is {hard}: raise it with ulimit -Hn"
        raise CrowdError(told) from error


async def _open(peer: Peer, plan: Plan) -> tuple[Streams, float]:
    model = payloads.slow(plan.stream_events, plan.stream_interval_ms)
    request = client.post(peer.chat(), peer.headers, payloads.chat(model=model, stream=True))
    streams = Streams(plan)
    resident = 0.0
    async with client.Client(peer.url) as http:
        # Opened evenly over time, as users come: their events are then spread over each second as well.
        await ticker.tick(OPENED_PER_SECOND, plan.streams, lambda _: http.send(request, Stream(streams)))
        resident = procfs.rss(peer.pid) / 1e6
        limit = plan.stream_events * plan.stream_interval_ms / 1e3 + SLACK
        try:
            await asyncio.wait_for(streams.done, limit)
        except TimeoutError:
            say(f"not every stream ended within {limit:g} s")
    return streams, resident


def measure(bench: Bench) -> Crowd:
    """Open the streams, wait for all of them, and sum up."""
    plan = bench.plan
    allow_files(plan.streams)
    model = payloads.slow(plan.stream_events, plan.stream_interval_ms)
    with (
        bench.folder() as folder,
        mock.start(folder / "mock") as upstream,
        gateway.start(folder / "gateway", upstream.url, bench.gateway, [model]) as peer,
    ):
        gc.freeze()
        streams, resident = uvloop.run(_open(peer, plan))
        gc.unfreeze()
    late = streams.lateness or [float("inf")]
    found = Crowd(
        streams=plan.streams,
        events=plan.stream_events,
        complete=streams.complete,
        lateness_p50_ms=percentile(late, 0.5),
        lateness_p99_ms=percentile(late, 0.99),
        lateness_max_ms=max(late),
        resident_mb=resident,
    )
    say(f"crowd: {found.complete} of {found.streams} complete, latest event {found.lateness_max_ms:.1f} ms late")
    return found
