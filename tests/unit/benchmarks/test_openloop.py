from __future__ import annotations

import os

from benchmarks import openloop


def test_a_client_runs_ahead_only_within_and_only_where_it_may() -> None:
    before = os.sched_getscheduler(0)
    with openloop.ahead() as allowed:
        assert os.sched_getscheduler(0) == (os.SCHED_FIFO if allowed else before)
    assert os.sched_getscheduler(0) == before
