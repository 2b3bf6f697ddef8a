"""Errors of the upstream's own."""

from __future__ import annotations

import time

from tests.faults.upstream.call import Call
from tests.faults.upstream.registry import fault

PERIOD = 0.2
"""Seconds that a flapping upstream is down, and then up: a scaled minute."""


@fault("500-once", "answers 500 once")
async def error_500_once(call: Call) -> None:
    if call.number == 1:
        await call.refuse(b"500 Internal Server Error", code="server_error")
    else:
        await call.reply()


@fault("503", "answers 503 always")
async def error_503(call: Call) -> None:
    await call.refuse(b"503 Service Unavailable", code="overloaded")


@fault("503-retry-after", "answers 503 once, with Retry-After")
async def error_503_retry_after(call: Call) -> None:
    if call.number == 1:
        await call.refuse(b"503 Service Unavailable", b"retry-after: 0.4", code="overloaded")
    else:
        await call.reply()


@fault("500-no-retry", "answers 500 and says that trying again is useless")
async def error_500_no_retry(call: Call) -> None:
    await call.refuse(b"500 Internal Server Error", b"x-should-retry: false", code="server_error")


@fault("524", "is behind a proxy that answers 524 with a page")
async def error_524(call: Call) -> None:
    page = b"<html>A timeout occurred</html>"
    head = b"HTTP/1.1 524 Timeout\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(page)
    await call.send(head + page)


@fault("flapping", "is down and up by turns")
async def flapping(call: Call) -> None:
    if int(time.monotonic() / PERIOD) % 2:
        await call.reply()
    else:
        await call.refuse(b"503 Service Unavailable", code="overloaded")
