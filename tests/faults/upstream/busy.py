"""Rate limits: once or always, with each way to say when to come back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.faults.upstream.call import Call
from tests.faults.upstream.registry import Serve, fault

SECONDS = 0.4
"""What the headers ask for, but dates, which know whole seconds: those ask for one."""


def _seconds() -> list[bytes]:
    return [b"retry-after: %g" % SECONDS]


def _milliseconds() -> list[bytes]:
    return [b"retry-after-ms: %d" % (SECONDS * 1000), b"retry-after: 3"]


def _date() -> list[bytes]:
    now = datetime.now(UTC).replace(microsecond=0)
    later = format_datetime(now + timedelta(seconds=1), usegmt=True)
    return [f"date: {format_datetime(now, usegmt=True)}".encode(), f"retry-after: {later}".encode()]


def _reset() -> list[bytes]:
    return [
        b"x-ratelimit-remaining-requests: 7",
        b"x-ratelimit-reset-requests: 1h2m",
        b"x-ratelimit-remaining-tokens: 0",
        b"x-ratelimit-reset-tokens: %dms" % (SECONDS * 1000),
    ]


def _nothing() -> list[bytes]:
    return []


def _serve(headers: Callable[[], list[bytes]], *, once: bool) -> Serve:
    async def serve(call: Call) -> None:
        if once and call.number > 1:
            await call.reply()
        else:
            await call.refuse(b"429 Too Many Requests", *headers(), code="rate_limit_exceeded")

    serve.__module__ = __name__
    return serve


for _name, _about, _headers in (
    ("", "naming no time", _nothing),
    ("-seconds", "with Retry-After in seconds", _seconds),
    ("-milliseconds", "with retry-after-ms beside a longer Retry-After", _milliseconds),
    ("-date", "with Retry-After as a date", _date),
    ("-reset", "with rate-limit reset headers", _reset),
):
    fault(f"429-once{_name}", f"answers 429 once, {_about}")(_serve(_headers, once=True))
    fault(f"429{_name}", f"answers 429 always, {_about}")(_serve(_headers, once=False))


@fault("429-long", "answers 429 and wants to be left alone for an hour")
async def for_an_hour(call: Call) -> None:
    await call.refuse(b"429 Too Many Requests", b"retry-after: 3600", code="rate_limit_exceeded")
