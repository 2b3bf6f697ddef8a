"""What follows from each answer of a line."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dataplane.batching.asking import Asked
from gateway.dataplane.batching.judging import TRIES, Judged, Verdict, judge, judge_credential
from gateway.kernel.errors import GatewayError, Kind, LimitDetails

MONTH = LimitDetails("cost", "key", "k", 10, 10, 0, window="month", resets_at=1.0, source="budget")
CREDIT = LimitDetails("cost", "key", "k", 10, 10, 0, window="total", source="credit")
ANSWERED = Judged(Verdict.ANSWERED)
STOP = Judged(Verdict.STOP)


def asked(status: int, refusal: GatewayError | None = None, **more: Any) -> Asked:
    """An answer of that status; one that the limits refused where there is a ``refusal``."""
    body, admitted = more.pop("body", b"{}"), more.pop("was_admitted", refusal is None)
    return Asked(status, "req_1", body, refusal, admitted, more.pop("retry_after", None))


def error(kind: Kind, retry_after: float | None = None, details: LimitDetails | None = None) -> GatewayError:
    """An error of the gateway's own."""
    return GatewayError(kind, "code", "message", retry_after=retry_after, details=details)


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 413, 422, 501])
def test_what_asking_again_would_not_change_is_written_down(status: int) -> None:
    assert judge(asked(status), 1, 0, alone=True) == ANSWERED


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_a_provider_that_fails_is_asked_a_few_times(status: int) -> None:
    pauses = [judge(asked(status), tries, 0, alone=True) for tries in range(1, TRIES + 1)]
    assert [judged.verdict for judged in pauses] == [Verdict.AGAIN] * (TRIES - 1) + [Verdict.ANSWERED]
    assert [judged.pause for judged in pauses[:-1]] == [2.0, 4.0, 8.0, 16.0]
    assert judge(asked(status, retry_after=30.0), 1, 0, alone=True) == Judged(Verdict.AGAIN, 30.0)


def test_a_provider_with_a_rate_limit_is_waited_for_however_long_it_takes() -> None:
    assert judge(asked(429, retry_after=7.0), 500, 0, alone=True) == Judged(Verdict.AGAIN, 7.0)
    assert judge(asked(429), 500, 0, alone=True) == Judged(Verdict.AGAIN, 60.0)
    spent = asked(429, body=b'{"error": {"code": "insufficient_quota"}}')
    assert judge(spent, 1, 0, alone=True) == ANSWERED


def test_a_rate_limit_of_the_credential_is_waited_for() -> None:
    refusal = error(Kind.RATE_LIMITED, 12.0)
    assert judge(asked(429, refusal), 1, 0, alone=True) == Judged(Verdict.WAIT, 12.0)
    never = error(Kind.RATE_LIMITED)
    assert judge(asked(429, never), 1, 0, alone=True) == ANSWERED


def test_a_budget_ends_the_batch_once_nothing_that_is_reserved_can_be_in_the_way() -> None:
    for details, pause in ((MONTH, 3_600.0), (CREDIT, None)):
        refusal = error(Kind.QUOTA_EXCEEDED, pause, details)
        assert judge(asked(429, refusal), 1, 0, alone=True) == Judged(Verdict.WAIT, 1.0)
        assert judge(asked(429, refusal), 9, 9, alone=False) == Judged(Verdict.WAIT, 1.0)
        assert judge(asked(429, refusal), 1, 3, alone=True) == STOP
    assert judge(asked(402, error(Kind.PAYMENT_REQUIRED, None, CREDIT)), 1, 3, alone=True) == STOP


def test_a_request_beyond_the_whole_budget_fails_alone() -> None:
    assert judge(asked(429, error(Kind.QUOTA_EXCEEDED, None, MONTH)), 1, 3, alone=True) == ANSWERED


def test_what_passes_is_waited_for() -> None:
    assert judge(asked(503, error(Kind.UNAVAILABLE)), 1, 0, alone=True) == Judged(Verdict.WAIT, 1.0)
    ending = GatewayError(Kind.UNAVAILABLE, "shutting_down", "message")
    assert judge(asked(503, ending, was_admitted=True), TRIES, 0, alone=True) == Judged(Verdict.AGAIN, 1.0)
    assert judge(asked(0), TRIES, 0, alone=True).verdict is Verdict.AGAIN


def test_what_the_gateway_refuses_for_good_is_written_down() -> None:
    for kind in (Kind.NOT_FOUND, Kind.FORBIDDEN, Kind.INVALID):
        assert judge(asked(400, error(kind)), 1, 0, alone=True) == ANSWERED


@pytest.mark.parametrize("kind", [Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.SUSPENDED])
def test_a_credential_that_is_gone_ends_the_batch(kind: Kind) -> None:
    assert judge_credential(error(kind)) == STOP


def test_a_credential_that_cannot_be_checked_is_waited_for() -> None:
    assert judge_credential(error(Kind.UNAVAILABLE, 3.0)) == Judged(Verdict.WAIT, 3.0)
