from __future__ import annotations

import pytest

from benchmarks import wrk

GOOD = (
    'Running 5s test\nWRK {"requests": 1000, "duration_us": 2000000, "bytes": 5, "p50_us": 300, "p99_us": 900, '
    '"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}\n'
)


def test_the_count_of_a_run_is_read() -> None:
    run = wrk.parse(GOOD)
    assert (run.requests, run.rate, run.p99_us, run.failed) == (1000, 500.0, 900, 0)


@pytest.mark.parametrize("kind", ["connect", "read", "write", "status", "timeout"])
def test_a_run_with_a_failed_request_has_no_figures(kind: str) -> None:
    with pytest.raises(wrk.LoadError, match="3 failed"):
        wrk.parse(GOOD.replace(f'"{kind}": 0', f'"{kind}": 3'))


def test_a_run_without_requests_has_no_figures() -> None:
    with pytest.raises(wrk.LoadError, match="0 requests"):
        wrk.parse(GOOD.replace("1000", "0"))


def test_what_wrk_complained_of_is_told() -> None:
    with pytest.raises(wrk.LoadError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused\n")
