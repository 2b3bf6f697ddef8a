"""Usage events for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.contract.usage import Attempt, Tokens, UsageEvent

START = 1_700_000_000_000_000_000
MS = 1_000_000

_EVENT = UsageEvent(
    id="req_1",
    endpoint="chat.completions",
    started_ns=START,
    first_token_ns=START + 20 * MS,
    ended_ns=START + 300 * MS,
    credential="demo",
    organization="acme",
    model="small",
    provider="fake",
    target="fake-chat",
    attempts=[],
    tokens=Tokens(),
    estimated=False,
    stream=False,
    outcome="ok",
    status=200,
    cost_nanos=None,
    tags={},
)


def attempt(reason: str = "ok", status: int | None = 200, **changes: Any) -> Attempt:
    """One call to ``fake/fake-chat``."""
    return msgspec.structs.replace(Attempt("fake", "fake-chat", START, 290 * MS, status, reason), **changes)


def usage_event(**changes: Any) -> UsageEvent:
    """The event of a request that took 300 ms, its first token 20 ms, with one attempt and the changes given."""
    given = {"attempts": [attempt()], "tokens": Tokens(prompt=100, completion=29), **changes}
    return msgspec.structs.replace(_EVENT, **given)
