"""From what is kept of decisions to what a learner takes: what the ledger has seen, and what clients told.

=================================  ==========  ===========================================================
what came of a decision            quality     counts
=================================  ==========  ===========================================================
the client told of its quality     as told     1
the client told of success alone   1           .2
the client told of failure         0           1
a call failed                      0           .1, of the target that failed; also where another answered
the client went away               0           .05
an answer                          not known   its times and its length
=================================  ==========  ===========================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.contract.learned_routes import Estimate
from gateway.domain.learning.keeping import estimates_of
from gateway.routing.online import Observation

FAILED: Final = 0.1
LEFT: Final = 0.05
SUCCEEDED: Final = 0.2
_SECOND: Final = 1e9
_FAILURES: Final = frozenset(
    {
        "dns", "connect", "connect_timeout", "tls", "proxy", "reset", "protocol", "first_token_timeout",
        "stall_timeout", "total_timeout", "stream_error", "status_429",
    }
)  # fmt: skip
"""Reasons of attempts that are the target's; as are those that begin with ``status_5``."""


def of_entry(row: Mapping[str, Any]) -> Iterator[Observation]:
    """What the ledger's entry of a decision says. ``row`` has the decision's columns, and of its entry ``ended_ns``,
    ``first_token_ms``, ``outcome``, ``provider``, ``model``, ``completion_tokens``, ``attempts`` and ``stream``."""
    estimates = estimates_of(row["estimates"])
    common = {"at": row["ended_ns"] / _SECOND, "task": row["task"], "goal": row["goal"], "estimates": estimates}
    attempts = row["attempts"] or []
    for attempt in attempts:
        reason = str(attempt.get("reason"))
        failed = target_of(attempt.get("provider"), attempt.get("model"))
        if failed is not None and (reason in _FAILURES or reason.startswith("status_5")):
            yield Observation(**common, target=failed, reward=0.0, weight=FAILED)
    target = target_of(row["provider"], row["model"])
    if target is None:
        return
    if row["outcome"] == "cancelled":
        yield Observation(**common, target=target, reward=0.0, weight=LEFT)
    elif row["outcome"] == "ok":
        first, seconds = _times(row, attempts)
        yield Observation(
            **common, target=target, first_token=first, seconds=seconds, tokens=row["completion_tokens"] or 0
        )


def of_feedback(row: Mapping[str, Any]) -> Observation:
    """What a client told. ``row`` has the decision's columns, and of the feedback ``at_ns``, ``target``, ``quality``,
    ``weight`` and ``latency_ms``."""
    estimates = estimates_of(row["estimates"])
    latency = row["latency_ms"]
    return Observation(
        at=row["at_ns"] / _SECOND,
        target=row["target"],
        task=row["task"],
        goal=row["goal"],
        estimates=estimates,
        propensity=propensity_of(row, row["target"], estimates),
        reward=row["quality"],
        weight=row["weight"],
        # Of what went through the gateway the ledger knows the times better.
        seconds=latency / 1_000 if row["advised"] and latency else None,
    )


def propensity_of(row: Mapping[str, Any], target: str, estimates: Sequence[Estimate]) -> float:
    """The probability with which a target was chosen. 1 for one that was not drawn: in shadow, by a fallback, or by a
    client that took another than it was advised to."""
    if row["shadow"] or target != row["chosen"]:
        return 1.0
    found = next((each.propensity for each in estimates if each.target == target), 1.0)
    return found or 1.0


def target_of(provider: str | None, model: str | None) -> str | None:
    """A target's name; None where none answered."""
    return f"{provider}/{model}" if provider and model else None


def _times(row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]]) -> tuple[float | None, float]:
    """Seconds until the first token, where it was streamed and nothing went before it, and until the end."""
    if len(attempts) > 1:
        return None, float(attempts[-1].get("duration_ns") or 0) / _SECOND
    first = row["first_token_ms"]
    streamed = row["stream"] and first is not None
    return first / 1_000 if streamed else None, (row["ended_ns"] - row["started_ns"]) / _SECOND
