"""What workers have written on this machine against what the ledger holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.bus.usage_files import Positions, Segment, node_of, segments
from gateway.bus.usage_journal import settle
from gateway.contract.usage import UsageEvent
from gateway.domain.ledger.ingest import marks_in
from gateway.domain.ledger.model import PoisonEntry
from gateway.domain.ledger.verification import Verified, verify_written

_BATCH = 500
_decoder = msgspec.json.Decoder(UsageEvent)


class Pending(Struct, frozen=True):
    """A file that is not in the ledger whole: its name, what of it is not, and when the first such request began.

    ``redis`` is how many of the bytes are in Redis, ``claimed`` how many of those a sidecar has taken.
    """

    name: str
    events: int
    bytes: int
    oldest_ns: int | None
    redis: int = 0
    claimed: int = 0


async def pending(session: AsyncSession, folder: Path) -> list[Pending]:
    """What has not reached the ledger, as of a session's moment. Reads the files, so that it is exact."""
    if not await asyncio.to_thread(folder.is_dir):
        return []
    await asyncio.to_thread(settle, folder)
    node = await asyncio.to_thread(node_of, folder)
    marks = await marks_in(session, f"{node}/")
    found = []
    for segment in await asyncio.to_thread(segments, folder):
        position = marks.get(f"{node}/{segment.name}", 0)
        if position < segment.size:
            found.append(await asyncio.to_thread(pending_of, segment, [(position, segment.size)]))
    return found


def pending_of(segment: Segment, parts: Sequence[tuple[int, int]], redis: int = 0, claimed: int = 0) -> Pending:
    """What is in these parts of a file, each from a byte until another."""
    events, oldest = 0, None
    for begin, end in parts:
        for _, text in _lines(segment.path, begin, end):
            events += 1
            if oldest is None:
                event = _decoded(text)
                oldest = None if event is None else event.started_ns
    return Pending(segment.name, events, sum(end - begin for begin, end in parts), oldest, redis, claimed)


async def verify_outbox(session: AsyncSession, found: Verified, folder: Path, told: Positions) -> None:
    """Look for every event that was read from this machine's files; lines that were set aside are not events.

    ``told`` is how far the files are in the ledger by what Redis has confirmed, read before the session's moment.
    """
    if not await asyncio.to_thread(folder.is_dir):
        return
    await asyncio.to_thread(settle, folder)
    node = await asyncio.to_thread(node_of, folder)
    positions = await marks_in(session, f"{node}/")
    if told.by == "stream":
        for name, position in told.files.items():
            source = f"{node}/{name}"
            positions[source] = max(position, positions.get(source, 0))
    for source, position in sorted(positions.items()):
        aside = set(await session.scalars(select(PoisonEntry.position).where(PoisonEntry.source == source)))
        ids: list[str] = []
        for at, text in _lines(folder / source.partition("/")[2], 0, position):
            event = None if at in aside else _decoded(text)
            # Of what began before the first entry only the sums may be kept.
            if event is not None and (found.from_ns is None or event.started_ns >= found.from_ns):
                ids.append(event.id)
            if len(ids) == _BATCH:
                await verify_written(session, found, ids)
                ids.clear()
        await verify_written(session, found, ids)


def _lines(path: Path, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            at = begin
            for line in file:
                if at >= end:
                    return
                if line.strip():
                    yield at, line
                at += len(line)
    except FileNotFoundError:
        return  # entered whole and removed meanwhile


def _decoded(text: bytes) -> UsageEvent | None:
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, ValueError):
        return None
