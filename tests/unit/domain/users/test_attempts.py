"""How often signing in may be tried."""

from __future__ import annotations

import pytest

from gateway.domain.users.attempts import WINDOW, Attempts
from gateway.kernel.errors import GatewayError, Kind


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def tries(attempts: Attempts, account: str, address: str | None, count: int) -> int:
    """How many of ``count`` tries are allowed."""
    allowed = 0
    for _ in range(count):
        try:
            attempts.take(account, address)
        except GatewayError:
            continue
        allowed += 1
    return allowed


def test_five_from_one_address_then_none_until_the_window_ends() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    assert tries(attempts, "a", "192.0.2.1", 20) == 5
    clock.now += 100
    with pytest.raises(GatewayError) as caught:
        attempts.take("a", "192.0.2.1")
    assert (caught.value.kind, caught.value.code) == (Kind.RATE_LIMITED, "too_many_attempts")
    assert caught.value.retry_after == WINDOW - 100
    clock.now += WINDOW - 100
    assert tries(attempts, "a", "192.0.2.1", 20) == 5


def test_the_owner_elsewhere_is_not_locked_out() -> None:
    attempts = Attempts(Clock())
    tries(attempts, "a", "192.0.2.1", 20)
    assert tries(attempts, "a", "192.0.2.2", 1) == 1


def test_many_addresses_together_try_one_account_fifty_times() -> None:
    attempts = Attempts(Clock())
    assert sum(tries(attempts, "a", f"192.0.2.{number}", 1) for number in range(90)) == 50


def test_one_address_tries_a_hundred_accounts() -> None:
    attempts = Attempts(Clock())
    assert sum(tries(attempts, f"a{number}", "192.0.2.1", 1) for number in range(200)) == 100


def test_a_success_sets_back_only_the_account_at_that_address() -> None:
    attempts = Attempts(Clock())
    total = 0
    for _ in range(60):
        total += tries(attempts, "mine", "192.0.2.1", 1)
        attempts.succeeded("mine", "192.0.2.1")
    assert total == 50


def test_memory_has_an_end() -> None:
    attempts = Attempts(Clock())
    for number in range(25_000):
        tries(attempts, f"a{number}", f"address {number}", 1)
    assert len(attempts._pairs._seen) <= 10_000
    assert len(attempts._accounts._seen) <= 10_000
