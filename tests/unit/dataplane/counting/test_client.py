"""The worker's side of counting: real processes, the one that ships and ones that fail."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.dataplane.counting import client
from gateway.dataplane.counting.client import COMMAND, Counter
from gateway.dataplane.counting.wire import Ask, Counted, Produced

WAIT = 60.0
SCRIPT = """
import sys
from gateway.dataplane.counting.wire import Ask, Counted
import msgspec
while head := sys.stdin.buffer.read(4):
    ask = msgspec.msgpack.decode(sys.stdin.buffer.read(int.from_bytes(head)), type=Ask)
    body = msgspec.msgpack.encode(Counted(ask.number, len(ask.request), 0, 0))
    sys.stdout.buffer.write(len(body).to_bytes(4) + body)
    sys.stdout.buffer.flush()
"""
LENGTHS = (sys.executable, "-c", SCRIPT)
"""A process that counts bytes, without half a second of work before its first answer."""


def ask(text: str = "hello world") -> Ask:
    """A prompt to count."""
    return Ask(0, "o200k_base", "completions", orjson.dumps({"prompt": text}))


async def counted(counter: Counter, asked: Ask) -> Counted | None:
    """What a counter says."""
    future: asyncio.Future[Counted | None] = asyncio.get_running_loop().create_future()
    counter.count(asked, future.set_result)
    async with asyncio.timeout(WAIT):
        return await future


@asynccontextmanager
async def counting(command: tuple[str, ...]) -> AsyncIterator[Counter]:
    """A counter for the duration of the block."""
    counter = Counter(asyncio.get_running_loop(), command)
    try:
        yield counter
    finally:
        await counter.close(0)


async def test_the_process_that_ships_counts() -> None:
    async with counting(COMMAND) as counter:
        produced = Produced(b'data: {"choices":[{"delta":{"content":"Hi there"}}]}\n\n')
        asked = Ask(0, "o200k_base", "chat.completions", b'{"messages":[{"role":"user","content":"hello"}]}', produced)
        assert await counted(counter, asked) == Counted(1, 8, 2, 0)
        assert await counted(counter, Ask(0, "cl100k_base", "completions", b'{"prompt":"hello world"}')) == Counted(
            2, 2, 0, 0
        )


async def test_many_at_once_are_each_answered() -> None:
    async with counting(LENGTHS) as counter:
        found = await asyncio.gather(*(counted(counter, ask("x" * size)) for size in range(50)))
    assert [each.prompt for each in found if each is not None] == [size + 13 for size in range(50)]


async def test_more_than_a_bound_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_WAITING", 2)
    async with counting(LENGTHS) as counter:
        found = await asyncio.gather(*(counted(counter, ask()) for _ in range(5)))
        assert [each is None for each in found] == [False, False, True, True, True]
        monkeypatch.setattr(client, "MOST_BYTES", 100)
        assert await counted(counter, ask("x" * 100)) is None
        assert await counted(counter, ask("x" * 50)) is not None


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-c", "raise SystemExit(1)"),
        (sys.executable, "-c", "import sys; sys.stdin.buffer.read(4); sys.stdout.buffer.write(b'\\0\\0\\0\\1\\xc1')"),
        ("/nonexistent/program",),
    ],
    ids=["ends", "answers nonsense", "is missing"],
)
async def test_what_fails_leaves_nobody_waiting(command: tuple[str, ...]) -> None:
    async with counting(command) as counter:
        found = await asyncio.gather(*(counted(counter, ask()) for _ in range(3)))
        assert found == [None, None, None]
        assert await counted(counter, ask()) is None  # at once: it is not tried again for a while


async def test_a_process_without_work_is_let_go_and_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "IDLE", 0.01)
    async with counting(LENGTHS) as counter:
        for number in (1, 2):
            assert await counted(counter, ask()) == Counted(number, 24, 0, 0)
            async with asyncio.timeout(WAIT):
                while counter._task is not None:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)


async def test_closing_gives_what_waits_a_moment_and_then_up() -> None:
    stuck = Counter(asyncio.get_running_loop(), (sys.executable, "-c", "import sys; sys.stdin.buffer.read()"))
    waiting = asyncio.ensure_future(counted(stuck, ask()))
    await asyncio.sleep(0)
    await stuck.close(0.01)
    assert await waiting is None
    assert await counted(stuck, ask()) is None
    done = Counter(asyncio.get_running_loop(), LENGTHS)
    waiting = asyncio.ensure_future(counted(done, ask()))
    await asyncio.sleep(0)
    await done.close(WAIT)
    assert await waiting is not None
