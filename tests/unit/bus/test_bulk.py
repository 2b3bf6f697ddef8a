"""Look-ups that go together: in order, bounded, and each with an answer whatever becomes of the others."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from gateway.bus import bulk
from gateway.bus.bulk import MOST, Bulk
from gateway.bus.policy import PolicyUnavailable, Query
from gateway.contract.policy import Resolution

GONE = "the sidecar is away"


class Sidecar:
    """Answers each key with its own number, as many at a time as it cares to, once it is let."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.part = MOST
        self.failing = False

    async def ask(self, queries: Sequence[Query]) -> Sequence[Resolution]:
        numbers = [int(query.digest or "", 16) for query in queries]
        self.asked.append(numbers)
        await self.open.wait()
        if self.failing:
            raise PolicyUnavailable(GONE)
        return [Resolution(number) for number in numbers[: self.part]]


def asking(gathered: Bulk, numbers: range) -> list[asyncio.Task[Resolution]]:
    return [asyncio.create_task(gathered.resolve(Query(digest=f"{number:064x}"))) for number in numbers]


async def turns() -> None:
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar()


async def test_one_alone_is_asked_for_at_once(sidecar: Sidecar) -> None:
    gathered = Bulk(sidecar.ask)
    for number in range(3):
        assert await gathered.resolve(Query(digest=f"{number:x}")) == Resolution(number)
    assert sidecar.asked == [[0], [1], [2]]


async def test_those_that_come_meanwhile_go_with_the_next_questions(sidecar: Sidecar) -> None:
    gathered = Bulk(sidecar.ask)
    sidecar.open.clear()
    first = asking(gathered, range(1))
    await turns()
    second = asking(gathered, range(1, 4))
    await turns()
    rest = asking(gathered, range(4, 700))
    await turns()
    assert sidecar.asked == [[0], [1, 2, 3]]
    sidecar.open.set()
    assert await asyncio.gather(*first, *second, *rest) == [Resolution(number) for number in range(700)]
    assert sorted(map(len, sidecar.asked[2:])) == [700 - 4 - 2 * MOST, MOST, MOST]


@pytest.mark.parametrize("part", [1, 7, 100])
async def test_what_is_left_unanswered_is_asked_again(sidecar: Sidecar, part: int) -> None:
    sidecar.part = part
    told = await asyncio.gather(*asking(Bulk(sidecar.ask), range(300)))
    assert told == [Resolution(number) for number in range(300)]


async def test_a_sidecar_that_does_not_answer_fails_all_who_wait(sidecar: Sidecar) -> None:
    gathered = Bulk(sidecar.ask)
    sidecar.open.clear()
    sidecar.failing = True
    waiting = asking(gathered, range(1_000))
    await turns()
    sidecar.open.set()
    for told in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(told, PolicyUnavailable)
        assert str(told) == GONE
    assert len(sidecar.asked) == 2
    sidecar.failing = False
    assert await gathered.resolve(Query(digest="5")) == Resolution(5)


async def test_who_leaves_is_not_asked_for(sidecar: Sidecar) -> None:
    gathered = Bulk(sidecar.ask)
    sidecar.open.clear()
    waiting = asking(gathered, range(2 * MOST + 3))
    await turns()
    waiting[0].cancel()
    waiting[-1].cancel()
    await turns()
    sidecar.open.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert told[1:-1] == [Resolution(number) for number in range(1, 2 * MOST + 2)]
    assert sidecar.asked[2] == [2 * MOST, 2 * MOST + 1]


async def test_nobody_waits_for_ever(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = Bulk(sidecar.ask)
    now = 1_000.0
    monkeypatch.setattr(bulk, "monotonic", lambda: now)
    sidecar.open.clear()
    waiting = asking(gathered, range(2 * MOST + 1))
    await turns()
    now += bulk.PATIENCE
    late = asking(gathered, range(5, 6))
    sidecar.open.set()
    told = await asyncio.gather(*waiting, *late, return_exceptions=True)
    assert str(told[-2]) == "the sidecar had no time within 10 s"
    assert told[:-2] == [Resolution(number) for number in range(2 * MOST)]
    assert told[-1] == Resolution(5)


async def test_only_so_many_wait(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "WAITING_MOST", 3)
    gathered = Bulk(sidecar.ask)
    told = await asyncio.gather(*asking(gathered, range(5)), return_exceptions=True)
    assert told[:3] == [Resolution(number) for number in range(3)]
    assert [str(error) for error in told[3:]] == ["3 look-ups wait already"] * 2


async def test_who_waits_when_it_is_closed_is_told(sidecar: Sidecar) -> None:
    gathered = Bulk(sidecar.ask)
    sidecar.open.clear()
    waiting = asking(gathered, range(600))
    await turns()
    gathered.close()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in told} == {PolicyUnavailable}


async def test_a_bug_leaves_nobody_waiting() -> None:
    async def broken(_queries: Sequence[Query]) -> Sequence[Resolution]:
        raise ZeroDivisionError

    logged: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: logged.append(context.get("exception")))
    told = await asyncio.gather(*asking(Bulk(broken), range(600)), return_exceptions=True)
    assert {type(error) for error in told} == {PolicyUnavailable}
    del told  # the errors' tracebacks hold the task, and this turn of the loop what was waited for
    await turns()
    gc.collect()  # asyncio tells what went wrong in a task when that goes; not in the middle of another test
    assert [type(error) for error in logged] == [ZeroDivisionError]
