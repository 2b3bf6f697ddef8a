"""What must become of each fault: alone, and where another target can answer."""

from __future__ import annotations

from typing import NamedTuple

from gateway.settings.model import Timeouts
from tests.faults.resilience.stage import IMPATIENT, PATIENT

WHOLE = ""


class Row(NamedTuple):
    """Of one fault, asked for whole or as a stream.

    ``alone`` is the code of the error a client gets, empty for the whole answer; ``status`` the status, ``calls`` how
    often the target is then called. ``spared`` and ``spared_calls`` are the same with another target behind it, calls
    of both. ``words``: how many a broken stream has given before. ``left``: the gateway must give the call up.
    """

    fault: str
    stream: bool
    alone: str
    status: int
    calls: int
    spared_calls: tuple[int, int]
    spared: str = WHOLE
    words: int = 0
    left: bool = False
    timeouts: Timeouts = PATIENT


def _both(fault: str, alone: str, status: int, calls: int, both: tuple[int, int], **more: object) -> list[Row]:
    return [Row(fault, stream, alone, status, calls, both, **more) for stream in (False, True)]  # type: ignore[arg-type]


def _streamed(fault: str, alone: str, words: int, **more: object) -> Row:
    """A stream that breaks after some words: its target is called once, and another one goes on with it."""
    return Row(fault, True, alone, 200, 1, (1, 1), words=words, **more)  # type: ignore[arg-type]


def _whole(fault: str, alone: str, status: int, calls: int, both: tuple[int, int], **more: object) -> Row:
    return Row(fault, False, alone, status, calls, both, **more)  # type: ignore[arg-type]


ROWS = [
    *_both("healthy", WHOLE, 200, 1, (1, 0)),
    *_both("steady", WHOLE, 200, 1, (1, 0)),
    # connections
    *_both("reset-before-headers", "upstream_reset", 502, 2, (2, 1)),
    *_both("closed-before-headers", "upstream_reset", 502, 2, (2, 1)),
    *_both("reset-after-headers", "upstream_reset", 502, 2, (2, 1)),
    *_both("reset-once", WHOLE, 200, 2, (2, 0)),
    *_both("stale-keep-alive", WHOLE, 200, 1, (1, 0)),
    # silence
    *_both("silence", "first_token_timeout", 504, 1, (1, 1), left=True, timeouts=IMPATIENT),
    *_both("slow-headers", "first_token_timeout", 504, 1, (1, 1), left=True, timeouts=IMPATIENT),
    *_both("slow-first-token", "first_token_timeout", 504, 1, (1, 1), left=True, timeouts=IMPATIENT),
    *_both("headers-then-silence", "first_token_timeout", 504, 1, (1, 1), left=True, timeouts=IMPATIENT),
    # busy
    *_both("429-once", WHOLE, 200, 2, (1, 1)),
    *_both("429-once-seconds", WHOLE, 200, 2, (1, 1)),
    *_both("429-once-milliseconds", WHOLE, 200, 2, (1, 1)),
    *_both("429-once-date", WHOLE, 200, 2, (1, 1)),
    *_both("429-once-reset", WHOLE, 200, 2, (1, 1)),
    *_both("429", "rate_limit_exceeded", 429, 2, (1, 1)),
    *_both("429-seconds", "rate_limit_exceeded", 429, 2, (1, 1)),
    *_both("429-milliseconds", "rate_limit_exceeded", 429, 2, (1, 1)),
    *_both("429-date", "rate_limit_exceeded", 429, 2, (1, 1)),
    *_both("429-reset", "rate_limit_exceeded", 429, 2, (1, 1)),
    *_both("429-long", "rate_limit_exceeded", 429, 1, (1, 1)),
    # failing
    *_both("500-once", WHOLE, 200, 2, (2, 0)),
    *_both("503", "overloaded", 503, 2, (2, 1)),
    *_both("503-retry-after", WHOLE, 200, 2, (1, 1)),
    *_both("500-no-retry", "server_error", 500, 1, (1, 1)),
    *_both("524", "upstream_error", 524, 2, (2, 1)),
    # streams
    _whole("stream-cut", "upstream_reset", 502, 2, (2, 1)),
    _streamed("stream-cut", "upstream_reset", 4),
    _whole("stream-reset", "upstream_reset", 502, 2, (2, 1)),
    _streamed("stream-reset", "upstream_reset", 4),
    _whole("stream-stall", "stall_timeout", 504, 1, (1, 1), left=True, timeouts=IMPATIENT),
    _streamed("stream-stall", "stall_timeout", 4, left=True, timeouts=IMPATIENT),
    _whole("malformed-chunk", "upstream_protocol", 502, 2, (2, 1)),
    _streamed("malformed-chunk", "upstream_protocol", 4, left=True),
    _whole("missing-terminator", "upstream_protocol", 502, 2, (2, 1)),
    _streamed("missing-terminator", "upstream_reset", 4),
    *_both("missing-done", WHOLE, 200, 1, (1, 0)),
    *_both("error-event-first", "engine", 502, 2, (2, 1)),
    _whole("error-event", "engine", 502, 2, (2, 1)),
    _streamed("error-event", "engine", 4, left=True),
    *_both("huge-event", WHOLE, 200, 1, (1, 0)),
    _whole("endless-event", "upstream_protocol", 502, 2, (2, 1), left=True),
    _streamed("endless-event", "upstream_protocol", 4, left=True),
    # bodies
    *_both("html-200", "upstream_protocol", 502, 2, (2, 1)),
    *_both("html-as-json", "upstream_protocol", 502, 2, (2, 1)),
    *_both("error-200", "503", 503, 2, (2, 1)),
    *_both("empty-200", "upstream_protocol", 502, 2, (2, 1)),
    _whole("length-too-long", "upstream_reset", 502, 2, (2, 1)),
    Row("length-too-long", True, WHOLE, 200, 1, (1, 0)),
    _whole("length-too-short", "upstream_protocol", 502, 2, (2, 1), left=True),
    Row("length-too-short", True, "upstream_reset", 200, 1, (1, 0), spared="upstream_reset", words=11, left=True),
    _whole("wrong-chunk-size", "upstream_protocol", 502, 2, (2, 1), left=True),
    _streamed("wrong-chunk-size", "upstream_protocol", 4, left=True),
    *_both("gzip", WHOLE, 200, 1, (1, 0)),
    _whole("invalid-utf8", "upstream_protocol", 502, 2, (2, 1)),
    _streamed("invalid-utf8", "upstream_protocol", 4, left=True),
    # refusals
    *_both("context-length", "context_length_exceeded", 400, 1, (1, 1)),
    *_both("content-filter", "content_filter", 400, 1, (1, 0), spared="content_filter"),
    *_both("invalid-request", "invalid_value", 400, 1, (1, 0), spared="invalid_value"),
    *_both("no-prefill", WHOLE, 200, 1, (1, 0)),
]
SPECIAL = frozenset(("flapping",))
"""Faults that show over many requests only; they have tests of their own."""
