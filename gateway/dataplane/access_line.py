"""A line of the access log. ``docs/observability.md`` explains its fields."""

from __future__ import annotations

from msgspec import Struct


class Line(Struct, omit_defaults=True):
    """What is logged of a request, after the fields every log line has. Times are milliseconds, cost nano-dollars."""

    ts: float
    request_id: str
    endpoint: str
    status: int
    outcome: str
    duration_ms: float
    credential: str | None = None
    organization: str | None = None
    model: str | None = None
    target: str | None = None
    provider: str | None = None
    attempts: int = 0
    first_token_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanos: int | None = None
    stream: bool = False
    error: str | None = None
