"""The room where requests wait: who is let in, who is told at once, who makes way, who leaves."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.waiting import LEAST, Room, Waiter

HOUR = 3_600.0


class Waiting:
    """A room, and the tasks that wait in it by organisation."""

    def __init__(self, places: int = 100, *, timed: bool = False) -> None:
        self.loop = asyncio.get_running_loop()
        self.given_back: list[Waiter[int]] = []
        self.room: Room[int] = Room(places, self.given_back.append, timed=timed)
        self.tasks: list[tuple[str, asyncio.Task[Waiter[int]]]] = []

    async def come(self, who: str, count: int = 1, within: float = HOUR, weight: float = 1.0) -> None:
        """Requests that begin to wait."""
        for _ in range(count):
            waits = self.room.wait(who, weight, self.loop.time() + within)
            self.tasks.append((who, self.loop.create_task(waits)))
        await settled()

    async def paced(self, seconds: float) -> None:
        """Let the room measure that one is served every so many seconds; nobody is left in it."""
        await self.come("pace", LEAST + 1)
        now = self.room._at  # when the first of them began to wait
        for turn in range(1, LEAST + 2):
            assert self.room.serve(0, now + turn * seconds)
        await settled()
        self.tasks.clear()
        self.room._at = now

    def told(self, who: str = "") -> list[str]:
        """What those that are over were told: a reason, or ``served``."""
        found: list[str] = []
        for name, task in self.tasks:
            if task.done() and not task.cancelled() and who in (name, ""):
                error = task.exception()
                found.append(error.reason if isinstance(error, UpstreamError) else "served")
        return found

    async def close(self) -> None:
        for _, task in self.tasks:
            task.cancel()
        await asyncio.gather(*(task for _, task in self.tasks), return_exceptions=True)
        assert len(self.room) == 0
        assert not self.room._queue._flows or self.room._queue._timed


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def refused(room: Waiting, who: str, within: float = HOUR, weight: float = 1.0) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await room.room.wait(who, weight, room.loop.time() + within)
    return caught.value


async def test_a_full_room_of_one_organisation_is_the_targets_matter() -> None:
    room = Waiting(3)
    await room.come("acme", 3)
    error = await refused(room, "acme")
    assert (error.reason, error.retry_after) == ("queue_full", 1.0)
    assert room.room.refused["queue_full"] == 1
    assert len(room.room) == 3
    await room.close()


async def test_no_places_at_all() -> None:
    room = Waiting(0)
    assert (await refused(room, "acme")).reason == "queue_full"


async def test_who_floods_makes_way_for_another() -> None:
    room = Waiting(10)
    await room.come("flood", 10)
    await room.come("small")
    assert room.told("flood") == ["queue_share"]
    assert room.tasks[9][1].done(), "the newest goes"
    assert room.told("small") == []
    error = await refused(room, "flood")
    assert error.reason == "queue_share"
    await room.come("small", 4)
    assert len(room.room) == 10
    assert Counter(room.told()) == {"queue_share": 5}
    assert (await refused(room, "small")).reason == "queue_share", "five of ten are its share"
    await room.close()


async def test_places_go_by_weight() -> None:
    room = Waiting(12)
    await room.come("light", 12)
    await room.come("heavy", 12, weight=3.0)
    waiting = {flow.name: len(flow.entries) for flow in room.room._queue.waiting}
    assert waiting == {"light": 3, "heavy": 9}
    await room.close()


async def test_more_organisations_than_places() -> None:
    room = Waiting(4)
    for number in range(4):
        await room.come(f"org-{number}")
    assert (await refused(room, "another")).reason == "queue_full", "it has no share to use up"
    assert (await refused(room, "org-1")).reason == "queue_share"
    await room.close()


async def test_who_would_wait_too_long_is_told_at_once() -> None:
    room = Waiting()
    await room.paced(20.0)
    await room.come("acme", 9)
    error = await refused(room, "acme", within=150.0)
    assert error.reason == "queue_share", "without its own nine it would be served in time"
    assert error.retry_after == pytest.approx(50.0, abs=0.5), "it would wait for 200 seconds, and has 150"
    await room.come("acme", within=300.0)
    assert room.told() == []
    await room.close()


async def test_who_can_not_be_served_in_time_for_others_is_told_so() -> None:
    room = Waiting()
    await room.paced(20.0)
    for number in range(9):
        await room.come(f"org-{number}")
    error = await refused(room, "another", within=150.0)
    assert error.reason == "queue_late"
    assert error.retry_after == pytest.approx(50.0, abs=0.5)
    await room.come("another", within=300.0)
    assert room.told() == []
    await room.close()


async def test_a_flood_of_another_is_no_reason_to_refuse() -> None:
    room = Waiting(2_000)
    await room.paced(1.0)
    await room.come("flood", 1_000)
    await room.come("small", within=60.0)
    assert room.told() == []
    assert (await refused(room, "flood", within=60.0)).reason == "queue_share"
    await room.close()


async def test_nothing_is_refused_by_a_pace_that_is_not_known() -> None:
    room = Waiting()
    now = room.loop.time()
    await room.come("acme", LEAST + 20)
    for turn in range(LEAST - 1):
        room.room.serve(0, now + 1_000 * turn)
    await room.come("acme", within=5.0)
    assert "queue_late" not in room.told()
    await room.close()


async def test_a_standstill_slows_the_pace() -> None:
    room = Waiting()
    await room.paced(0.1)
    now = room.loop.time()
    assert room.room.pace(now + 100) == pytest.approx(0.1), "nobody waits, nobody is kept waiting"
    await room.come("acme")
    assert room.room.pace(now + 100) == pytest.approx(100, abs=1)
    assert (await refused_at(room, now + 100)).reason == "queue_late"
    await room.close()


async def refused_at(room: Waiting, now: float) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        room.room.check("bolt", 1.0, now, now + 60)
    return caught.value


async def test_who_is_not_served_in_time_goes() -> None:
    room = Waiting()
    await room.come("acme", within=0.01)
    await room.come("acme", within=HOUR)
    (error,) = await asyncio.gather(room.tasks[0][1], return_exceptions=True)
    assert isinstance(error, UpstreamError)
    assert error.reason == "queue_timeout"
    assert len(room.room) == 1
    assert room.room.serve(7, room.loop.time())
    assert (await room.tasks[1][1]).item.result() == 7
    await room.close()


async def test_who_leaves_is_not_served() -> None:
    room = Waiting()
    await room.come("acme", 3)
    room.tasks[0][1].cancel()
    assert room.room.serve(1, room.loop.time()), "before the task has noticed"
    await settled()
    assert room.tasks[0][1].cancelled()
    assert (await room.tasks[1][1]).item.result() == 1
    assert len(room.room) == 1
    assert not room.given_back
    await room.close()


async def test_who_leaves_in_the_moment_of_being_served_gives_it_back() -> None:
    room = Waiting()
    await room.come("acme")
    assert room.room.serve(5, 0.0)
    room.tasks[0][1].cancel()
    await settled()
    assert [entry.item.result() for entry in room.given_back] == [5]
    await room.close()


async def test_one_may_wait_in_two_rooms() -> None:
    """Who is served in one leaves the other, and those behind it there have one less before them."""
    one, other = Waiting(), Waiting()
    loop = one.loop
    item: asyncio.Future[int] = loop.create_future()
    now = loop.time()
    entries = [room.room.enter("acme", 1.0, now, now + 60, item) for room in (one, other)]
    assert one.room.serve(1, now + 2.0)
    assert not other.room.serve(2, now + 2.0)
    assert [len(room.room) for room in (one, other)] == [0, 0]
    assert item.result() == 1
    for room, entry in zip((one, other), entries, strict=True):
        room.room.leave(entry, now + 2.0)
    assert (one.room.served, other.room.served) == (1, 0)
    for turn in range(3, 3 + LEAST):
        again: asyncio.Future[int] = loop.create_future()
        entries = [room.room.enter("acme", 1.0, now + turn - 1, now + 60, again) for room in (one, other)]
        assert one.room.serve(1, now + turn)
        other.room.leave(entries[1], now + turn)
    assert other.room.pace(now + 100) == pytest.approx(1.0, abs=0.3), "its line moves as fast"


async def test_an_empty_room_takes_nothing() -> None:
    room = Waiting()
    assert not room.room.serve(1, 0.0)


async def test_it_counts() -> None:
    room = Waiting()
    now = room.loop.time()
    await room.come("acme", 2)
    room.room.serve(1, now + 5.0)
    await settled()
    assert room.room.served == 1
    assert room.room.seconds == pytest.approx(5.0, abs=0.5)
    await room.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("come", "come", "come", "serve", "serve", "leave", "leave and serve", "serve and leave", "done")
        ),
        st.sampled_from(("acme", "bolt", "cove")),
        st.integers(0, 1_000),
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 6), st.booleans())
def test_whatever_happens_it_stays_bounded_and_nobody_is_lost(
    steps: list[tuple[str, str, int]], places: int, timed: bool
) -> None:
    asyncio.run(_act(steps, places, timed))


async def _act(steps: list[tuple[str, str, int]], places: int, timed: bool) -> None:
    room = Waiting(places, timed=timed)
    given = 0
    running: list[Waiter[int]] = []
    for what, who, which in steps:
        pending = [task for _, task in room.tasks if not task.done()]
        if what == "come":
            await room.come(who)
        elif what == "leave" and pending:
            pending[which % len(pending)].cancel()
            await settled()
        elif what == "leave and serve" and pending:
            pending[which % len(pending)].cancel()
            given += room.room.serve(1, room.loop.time())
            await settled()
        elif what == "serve and leave" and pending:
            given += room.room.serve(1, room.loop.time())
            for task in pending:
                task.cancel()
            await settled()
        elif what == "serve":
            served = room.room.serve(1, room.loop.time())
            assert served is bool(pending), "it is kept while somebody waits"
            given += served
            await settled()
        elif what == "done" and timed and running:
            room.room.done(running.pop(), room.loop.time() + which)
        assert len(room.room) <= places
        assert len(room.room) == sum(not task.done() for _, task in room.tasks)
        running += _over(room)
    assert given == room.room.served
    for entry in (*running, *room.given_back) if timed else ():
        room.room.done(entry, room.loop.time())
    await room.close()
    assert not room.room._queue._flows, "nothing is kept of who is gone"


def _over(room: Waiting) -> list[Waiter[int]]:
    """Those that were served since last; they are not in ``room.tasks`` any more."""
    served = [task for _, task in room.tasks if task.done() and not task.cancelled() and task.exception() is None]
    room.tasks = [(who, task) for who, task in room.tasks if task not in served]
    return [task.result() for task in served]
