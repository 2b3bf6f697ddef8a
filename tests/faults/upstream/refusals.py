"""Requests that the upstream refuses for what they are."""

from __future__ import annotations

from tests.faults.upstream.call import Call
from tests.faults.upstream.registry import fault

_TOO_LONG = "This model's maximum context length is 128 tokens. However, your messages resulted in 9000 tokens."
_FILTERED = "The response was filtered due to the prompt triggering our content management policy."


@fault("context-length", "refuses a request that is too long for it")
async def context_length(call: Call) -> None:
    await call.refuse(b"400 Bad Request", code="context_length_exceeded", message=_TOO_LONG)


@fault("content-filter", "refuses a request for its content")
async def content_filter(call: Call) -> None:
    await call.refuse(b"400 Bad Request", code="content_filter", message=_FILTERED)


@fault("invalid-request", "refuses a request that makes no sense to it")
async def invalid_request(call: Call) -> None:
    await call.refuse(b"400 Bad Request", code="invalid_value", message="Invalid value for 'temperature'.")


@fault("no-prefill", "refuses to go on from the beginning of an answer")
async def no_prefill(call: Call) -> None:
    if call.prefill:
        await call.refuse(b"400 Bad Request", code="invalid_request", message="Prefill is not supported.")
    else:
        await call.reply()
