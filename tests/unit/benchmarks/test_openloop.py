from __future__ import annotations

import os

from benchmarks import openloop


def test_a_client_runs_ahead_only_within_and_only_where_it_may() -> None:
    before = os.sched_getscheduler(0)
    with openloop.ahead() as allowed:
        assert os.sched_getscheduler(0) == (os.SCHED_FIFO if allowed else before)
    assert os.sched_getscheduler(0) == before


def holds_awake() -> bool:
    """Whether this process has the file open."""
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return openloop.IDLE_STATES in opened


def test_processors_are_kept_awake_only_within_and_only_where_they_may_be() -> None:
    with openloop.awake() as allowed:
        assert holds_awake() == allowed
    assert not holds_awake()
