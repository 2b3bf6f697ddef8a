"""What every answer of a worker shares."""

from __future__ import annotations

import re

from gateway.dataplane.clock import Clock


def test_request_ids_are_counted_up_and_differ_between_processes() -> None:
    clock, other = Clock(), Clock()
    ids = [clock.request_id() for _ in range(70_000)]
    assert all(re.fullmatch(r"req_[0-9a-f]{26}", one) for one in ids)
    assert [int(one[20:], 16) for one in ids] == list(range(70_000))
    assert len({one[:20] for one in ids}) == 1
    assert other.request_id()[:20] != ids[0][:20]


def test_the_date_is_a_whole_header_line() -> None:
    assert re.fullmatch(rb"date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", Clock().date_line)
