"""What workers have written goes to Redis, and from the disk when the ledger has it.

What is on its way is told by Redis (see :mod:`gateway.bus.usage`), how far the ledger is by ``entered.json`` beside the
files: nothing else is remembered. So one that is killed is followed by one that goes on, and what Redis has lost is
simply neither entered nor on its way, and is sent again. Ids make that harmless.

Import this module only where ``redis_url`` is set: it needs the ``redis`` extra and loads its library.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from gateway.bus import usage
from gateway.bus.usage import FORGET_GONE, NODES, STREAM, Behind, Flight, Piece, node_key
from gateway.bus.usage_files import Segment, keep_positions, node_of, pieces, positions_of, remove, segments

SETTLE = 1.0  # seconds between what is written to disk and told to others
KEEP = 300.0  # seconds: a worker that starts again reads what it wrote last
IN_FLIGHT = 16_777_216  # bytes of this node in Redis; one piece more at most
PIECE = 262_144  # bytes, but of a longer line by itself
SMALL = 8  # pieces of a file under way, beyond which what is only begun waits

logger = logging.getLogger("gateway.usage")


class File:
    """A segment, how far it is in the ledger, and what of it was sent, in the order of positions."""

    def __init__(self, segment: Segment, position: int, flights: Sequence[Flight]) -> None:
        self.segment = segment
        self.position = position
        self.flights = flights
        for flight in flights:
            if flight.entry is None and flight.begin <= self.position < flight.end:
                self.position = flight.end

    def gaps(self) -> Iterator[tuple[int, int]]:
        """What is neither in the ledger nor on its way."""
        at = self.position
        for flight in self.flights:
            if at < flight.begin:
                yield at, flight.begin
            at = max(at, flight.end)
        if at < self.segment.size:
            yield at, self.segment.size

    def ready(self) -> Iterator[Piece]:
        """What can be sent, about a megabyte. Of what a worker just writes small pieces are sent, but not many."""
        small = sum(flight.entry is not None for flight in self.flights) < SMALL
        for begin, end in self.gaps():
            is_last = end == self.segment.size
            try:
                found = pieces(self.segment, begin, None if is_last else end, PIECE)
            except FileNotFoundError:
                return
            yield from found if small or not is_last else found[:-1]


class Drain:
    """Sends the segments in ``folder``. Call :meth:`round` again and again, and :meth:`settle` at the end.

    There must be one alone of a folder. ``redis`` must give bytes.
    """

    def __init__(self, folder: Path, redis: Redis, *, keep: float = KEEP) -> None:
        self.folder = folder
        self.node = node_of(folder)
        self.positions = dict(positions_of(folder).files)
        """How far each file is in the ledger, without a gap."""
        self.unsent = 0
        """Bytes that were not in Redis after the last round."""
        self._redis: Any = redis  # redis-py types the answers of scripts as text
        self._keep = keep
        self._kept = self.positions
        self._files: list[File] = []
        self._flights: list[Flight] = []
        self._expects = True  # nothing comes to where nothing was sent
        self._settled = 0.0
        self._since_ms: int | None = None
        self._failing = False

    @property
    def is_over(self) -> bool:
        """Whether the ledger had all there was at the last round."""
        return all(file.position >= file.segment.size for file in self._files)

    def round(self) -> bool:
        """Hear what the ledger has, and send what can be sent; whether more can be at once.

        Raises :class:`redis.exceptions.RedisError`, and OSError where the files can't be read.
        """
        self._look()
        room = IN_FLIGHT - sum(each.end - each.begin for each in self._flights if each.entry is not None)
        unsent = sum(end - begin for file in self._files for begin, end in file.gaps())
        sent = self._send(room) if unsent and room > 0 else 0
        self.unsent = max(0, unsent - sent)  # a worker may have written more since it was looked at
        if time.monotonic() - self._settled >= SETTLE:
            self.settle()
        return 0 < sent < room and self.unsent >= PIECE

    def _look(self) -> None:
        found = segments(self.folder)
        if self._expects:
            self._flights = usage.flights(self._redis.hgetall(node_key(self.node)))
            self._expects = bool(self._flights)
        self._files = []
        for segment in found:
            ours = [each for each in self._flights if each.file == segment.name]
            position = self.positions.get(segment.name, 0)
            if segment.size < max([position, *(each.end for each in ours)]):
                # Another file of this name: its events are new, or known by their ids.
                logger.warning("a file of usage events was replaced", extra={"file": segment.name})
                self._drop(ours)
                self._flights = [each for each in self._flights if each.file != segment.name]
                position, ours = 0, []
            self._files.append(File(segment, position, ours))
        self.positions = {file.segment.name: file.position for file in self._files}

    def _send(self, room: int) -> int:
        sent = 0
        for file in self._files:
            ready: list[Piece] = []
            for piece in file.ready():
                if sent >= room:
                    break
                ready.append(piece)
                sent += piece.end - piece.begin
            if ready:
                self._expects = True
                pipe = self._redis.pipeline(transaction=False)
                for piece in ready:
                    usage.send(pipe, self.node, file.segment.name, piece)
                pipe.execute()
        return sent

    def settle(self) -> None:
        """Keep on disk how far the ledger is, remove what nobody needs, and tell how much is behind."""
        self._settled = time.monotonic()
        if self._keep_positions():
            # Only now: until the disk has it, Redis is the only one to know.
            self._drop([each for each in self._flights if each.entry is None and self._is_over(each)])
        under_way = [each for each in self._flights if each.entry is not None]
        self._forget_gone(sorted(under_way, key=lambda each: tuple(map(int, (each.entry or "0").split("-")))))
        self._tell(sum(each.end - each.begin for each in under_way))
        self._clean()

    def _keep_positions(self) -> bool:
        try:
            if self._kept != self.positions:
                keep_positions(self.folder, "stream", self.positions)
        except OSError as error:
            if not self._failing:
                logger.error("how far the ledger is can't be kept", extra={"reason": str(error)})
            self._failing = True
            return False
        self._failing = False
        self._kept = self.positions
        return True

    def _is_over(self, flight: Flight) -> bool:
        return flight.end <= self.positions.get(flight.file, flight.end)

    def _drop(self, flights: Sequence[Flight]) -> None:
        if flights:
            self._redis.hdel(node_key(self.node), *(each.field for each in flights))

    def _forget_gone(self, under_way: Sequence[Flight]) -> None:
        """Have what is not in the stream any more sent again: someone has removed it. The oldest would go first."""
        for some in (under_way[:1], under_way[1:]):
            arguments = [text for each in some for text in (each.field, each.entry)]
            if not some or not self._redis.eval(FORGET_GONE, 2, STREAM, node_key(self.node), *arguments):
                return

    def _tell(self, sent: int) -> None:
        now = time.time_ns() // 1_000_000
        if not self.unsent:
            self._since_ms = None
        elif self._since_ms is None:
            self._since_ms = now
        self._redis.hset(NODES, self.node, usage.told(Behind(self.unsent, sent, self._since_ms, now)))

    def _clean(self) -> None:
        old = time.time() - self._keep
        for file in self._files:
            segment = file.segment
            # The newest stays even when it is entered: the numbers of files never go back.
            if file.position == segment.size and not segment.newest and segment.changed < old:
                remove(segment)
