"""How long the attempts of a request have taken, as usage and headers tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.contract.usage import Attempt as AttemptRecord

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange


def seconds_of(attempts: list[AttemptRecord]) -> float:
    """How long attempts have taken together."""
    return sum(attempt.duration_ns for attempt in attempts) / 1e9


def timings(exchange: Exchange, count: int) -> bytes:
    """Server-Timing entries (W3C "Server Timing") of the first attempts, of the time in queues and between attempts."""
    entries = [
        f'attempt-{number};dur={attempt.duration_ns / 1e6:.2f};desc="{_quoted(attempt)}", '
        for number, attempt in enumerate(exchange.attempts[:count], 1)
    ]
    if exchange.queued:
        entries.append(f"queue;dur={exchange.queued * 1000:.2f}, ")
    if exchange.waited > exchange.queued:
        entries.append(f"wait;dur={(exchange.waited - exchange.queued) * 1000:.2f}, ")
    return "".join(entries).encode()


def _quoted(attempt: AttemptRecord) -> str:
    target = quote(f"{attempt.provider}/{attempt.model}", safe="/:@+,._-~!$'()*")
    return f"{target} {attempt.reason}"
