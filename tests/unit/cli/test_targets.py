"""What ``gateway models`` makes of a running gateway's metrics."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.targets import _parsed, described

METRICS = """\
# TYPE gateway_breaker_open gauge
gateway_breaker_open{provider="up",target="x"} 1
gateway_breaker_open{provider="up",target="y"} 0
# TYPE gateway_breaker_half_open gauge
gateway_breaker_half_open{provider="up",target="x"} 0
gateway_breaker_half_open{provider="up",target="y"} 0
# TYPE gateway_breaker_failures gauge
gateway_breaker_failures{provider="up",target="x"} 5
gateway_breaker_failures{provider="up",target="y"} 0
# TYPE gateway_breaker_waiting gauge
gateway_breaker_waiting{provider="up",target="x"} 2
gateway_breaker_waiting{provider="up",target="y"} 0
# TYPE gateway_concurrency_limit gauge
gateway_concurrency_limit{provider="up",target="y"} 24
# TYPE gateway_concurrency_in_flight gauge
gateway_concurrency_in_flight{provider="up",target="y"} 24
# TYPE gateway_concurrency_queued gauge
gateway_concurrency_queued{provider="up",target="y"} 7
"""


def test_what_the_metrics_tell_of_targets() -> None:
    assert _parsed(METRICS) == {
        ("up", "x"): {"breaker": {"state": "open", "open": 1, "failures": 5, "waiting": 2}},
        ("up", "y"): {
            "breaker": {"state": "closed", "open": 0, "failures": 0, "waiting": 0},
            "concurrency": {"limit": 24, "in_flight": 24, "queued": 7},
        },
    }


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, ""),
        ({"breaker": {"state": "closed", "failures": 0, "waiting": 0}}, ""),
        ({"breaker": {"state": "half_open", "failures": 1, "waiting": 0}}, "half-open, 1 failure in a row"),
        ({"concurrency": {"limit": 20, "in_flight": 3, "queued": 0}}, "3 of 20 calls"),
        (
            {
                "breaker": {"state": "open", "failures": 2, "waiting": 4},
                "concurrency": {"limit": 20, "in_flight": 20, "queued": 9},
            },
            "open, 2 failures in a row, 4 waiting, 20 of 20 calls, 9 queued",
        ),
    ],
)
def test_a_target_in_a_few_words(told: dict[str, dict[str, Any]], words: str) -> None:
    assert described(told) == words
