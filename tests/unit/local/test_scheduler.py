"""Who computes next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.native import Cancelled
from gateway.local.scheduler import FairQueue, Job, Scheduler

WAIT = 30.0


def job(lane: str) -> Job:
    return Job(lane, lambda _job: None, lambda _error: None)


def test_lanes_take_turns() -> None:
    queue = FairQueue(10)
    for lane in ("a", "a", "a", "b", "c", "b"):
        queue.push(job(lane))
    served = []
    while (next_one := queue.pop()) is not None:
        served.append(next_one.lane)
    assert served == ["a", "b", "c", "a", "b", "a"]


def test_one_lane_cannot_take_every_place() -> None:
    queue = FairQueue(4)
    for _ in range(3):
        queue.push(job("greedy"))
    with pytest.raises(GatewayError) as caught:
        queue.push(job("greedy"))
    assert (caught.value.kind, caught.value.code) == (Kind.RATE_LIMITED, "local_queue_share_full")
    queue.push(job("modest"))
    with pytest.raises(GatewayError) as caught:
        queue.push(job("modest"))
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "local_queue_full")
    assert caught.value.retry_after


def test_a_waiting_job_can_be_taken_out() -> None:
    queue = FairQueue(4)
    first, second = job("a"), job("a")
    queue.push(first)
    queue.push(second)
    assert queue.remove(first)
    assert not queue.remove(first)
    assert (queue.pop(), queue.pop(), len(queue)) == (second, None, 0)


class Stand:
    """A scheduler with what it did."""

    def __init__(self) -> None:
        self.aborted = threading.Event()
        self.scheduler = Scheduler(8, lambda: None, self.aborted.set, self.aborted.clear)
        self.scheduler.start()

    def submit(self, run: Callable[[Job], None]) -> tuple[Job, list[Exception], threading.Event]:
        failures: list[Exception] = []
        failed = threading.Event()

        def fail(error: Exception) -> None:
            failures.append(error)
            failed.set()

        submitted = Job("lane", run, fail)
        self.scheduler.submit(submitted)
        return submitted, failures, failed


@pytest.fixture
def stand() -> Iterator[Stand]:
    made = Stand()
    yield made
    made.scheduler.close(WAIT)


def test_a_failing_job_tells_and_the_next_one_runs(stand: Stand) -> None:
    def broken(_job: Job) -> None:
        raise GatewayError(Kind.INVALID, "no", "no")

    _, failures, failed = stand.submit(broken)
    ran = threading.Event()
    stand.submit(lambda _job: ran.set())
    assert failed.wait(WAIT)
    assert ran.wait(WAIT)
    assert [type(error) for error in failures] == [GatewayError]


def test_a_running_job_is_stopped(stand: Stand) -> None:
    started = threading.Event()

    def long(running: Job) -> None:
        started.set()
        assert stand.aborted.wait(WAIT)
        assert running.cancelled
        raise Cancelled

    submitted, failures, failed = stand.submit(long)
    assert started.wait(WAIT)
    stand.scheduler.cancel(submitted)
    assert failed.wait(WAIT)
    assert [type(error) for error in failures] == [Cancelled]


def test_a_waiting_job_that_is_cancelled_never_runs(stand: Stand) -> None:
    release = threading.Event()
    ran: list[str] = []

    def hold(_job: Job) -> None:
        assert release.wait(WAIT)

    stand.submit(hold)
    waiting, _, _ = stand.submit(lambda _job: ran.append("waiting"))
    stand.scheduler.cancel(waiting)
    last = threading.Event()
    stand.submit(lambda _job: last.set())
    release.set()
    assert last.wait(WAIT)
    assert ran == []
    assert not stand.aborted.is_set()


def test_closing_finishes_what_waits_and_takes_no_more(stand: Stand) -> None:
    ran = threading.Event()
    stand.submit(lambda _job: ran.set())
    stand.scheduler.close(WAIT)
    assert ran.is_set()
    with pytest.raises(GatewayError, match="shutting down"):
        stand.submit(lambda _job: None)


def test_closing_stops_what_does_not_end() -> None:
    stand = Stand()
    started = threading.Event()

    def endless(_job: Job) -> None:
        started.set()
        assert stand.aborted.wait(WAIT)
        raise Cancelled

    _, _, failed = stand.submit(endless)
    assert started.wait(WAIT)
    stand.scheduler.close(0.01)
    assert failed.is_set()
