"""What the client gets: a whole answer, the end of a relayed one, a plugin's, an upstream's error, or ours."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from gateway.contract.usage import Tokens
from gateway.dataplane.attempt import PASSING, Attempt
from gateway.dataplane.decoding import is_text
from gateway.dataplane.envelope import body_of, event_of, reworded, status_of, told, upstream_failure
from gateway.dataplane.pricing import cost_of
from gateway.dataplane.refusal import is_too_long, status_told
from gateway.dataplane.retries import asked_pause
from gateway.dataplane.timing import seconds_of, timings
from gateway.dataplane.upstream.errors import QUEUED, UpstreamError
from gateway.dataplane.usage import read_answer
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.money import NANOS_PER_DOLLAR
from gateway.plugin.api import Answer, Response

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.target import Target

logger = logging.getLogger("gateway.upstream")

_BUSY: Final = frozenset((429, 503, 504, 524, 529))
"""What upstreams, and proxies before them, answer with where too much is asked of them at once."""
_LATE: Final = 0.1  # seconds by which the clock of a deadline may be ahead
_JSON: Final = b"content-type: application/json\r\n"


class Verdict(Enum):
    """The client has its answer or error; or a whole answer is here; or nothing has gone out; or a part of a chat's
    stream has, and another target may go on with it.
    """

    DONE = "done"
    WHOLE = "whole"
    FAILED = "failed"
    BROKEN = "broken"


def conclude(exchange: Exchange, attempt: Attempt) -> Verdict:
    """Judge a finished attempt. After ``FAILED`` another may be made. Raises what a plugin refused with."""
    if exchange.interpreter is not None:
        exchange.interpreter.native = attempt.native
    if attempt.cancelled:
        exchange.attempts.append(attempt.record("cancelled"))
        if exchange.refusal is not None:
            raise exchange.refusal  # not the client left: it has to be told, in mid-answer too
        exchange.outcome = "cancelled"
        return Verdict.DONE
    if attempt.relayed or attempt.tail:
        if attempt.error is not None and exchange.transcript is not None:
            return Verdict.BROKEN
        _end_relayed(exchange, attempt)
        return Verdict.DONE
    if exchange.refusal is not None:
        exchange.attempts.append(attempt.record("refused"))
        raise exchange.refusal
    status = attempt.status
    if attempt.error is not None and attempt.error.reason == "first_token_timeout" and not exchange.complete:
        exchange.attempts.append(attempt.record("request_timeout"))
        message = "The rest of the request's body did not arrive in time."
        raise GatewayError(Kind.INVALID, "request_timeout", message)
    if attempt.error is not None or status is None:
        _failed(exchange, attempt, attempt.error.reason if attempt.error is not None else "no_status")
        return Verdict.FAILED
    if status >= 300:
        return _refused(exchange, attempt, status, f"status_{status}")
    if attempt.events is not None:
        _end_relayed(exchange, attempt)  # plugins left nothing of the stream
        return Verdict.DONE
    if exchange.spec.json_answer or attempt.apart is not None or not is_text(attempt.content_type):
        body = attempt.body() if attempt.apart is None else attempt.apart
        try:
            if not body.isascii():
                body.decode()
            exchange.tokens, has_choices = read_answer(body, attempt.target.vendor, exchange.endpoint)
        except (msgspec.DecodeError, UnicodeDecodeError):
            attempt.error = UpstreamError("protocol", "The upstream's answer is not JSON.")
            _failed(exchange, attempt, "protocol")
            return Verdict.FAILED
        # A Response that failed comes with 200 too, and may tell what it took.
        failed = exchange.spec.stateful and b'"failed"' in body
        if status == 200 and (failed or (exchange.tokens is None and not has_choices)):
            told = status_told(body)
            if told is not None:
                exchange.tokens = None
                return _refused(exchange, attempt, told, "error_body")
        if exchange.tokens is None and exchange.spec.free:
            exchange.tokens = Tokens()
        elif exchange.tokens is None:
            exchange.uncounted = body
    target = attempt.target
    target.breaker.succeeded()
    if target.limit is not None:
        target.limit.began(attempt)
    exchange.attempts.append(attempt.record("ok"))
    return Verdict.WHOLE


def _refused(exchange: Exchange, attempt: Attempt, status: int, reason: str) -> Verdict:
    """An error instead of an answer. ``status`` is what it means, which need not be the one it came with."""
    target = attempt.target
    if 500 <= status < 600 or status in PASSING:
        _failed(exchange, attempt, reason, status)
        attempt.status = status
        return Verdict.FAILED
    exchange.attempts.append(attempt.record(reason))
    attempt.status = status
    target.breaker.succeeded()
    if is_too_long(status, attempt.body()) and exchange.upload is None:
        attempt.too_long = True
        return Verdict.FAILED
    _give_upstream_error(exchange, attempt, status)
    return Verdict.DONE


def may_follow(exchange: Exchange, attempt: Attempt, target: Target) -> bool:
    """Whether another target may be asked after an attempt that failed."""
    if not exchange.repeatable or exchange.wire.loop.time() >= exchange.deadline:
        return False
    if not attempt.too_long:
        return True
    before, after = attempt.target.offers.context_length, target.offers.context_length
    if before is None or after is None:
        return target.model != attempt.target.model  # one model is as long everywhere
    return after > before


def at_rest(target: Target, now: float) -> GatewayError:
    """What a client is told when no target but resting ones is left."""
    message = "The provider has failed repeatedly and is not asked for a while."
    seconds = max(1.0, target.breaker.open_until - now)
    return GatewayError(Kind.UNAVAILABLE, "circuit_open", message, retry_after=seconds)


def note_failure(exchange: Exchange, attempt: Attempt, tokens: Tokens | None = None) -> None:
    """Record an attempt that another makes good; ``tokens`` are those of the part that the client has of it."""
    status = attempt.status
    if attempt.error is not None:
        _failed(exchange, attempt, attempt.error.reason, None, tokens)
    elif status is not None and (status >= 500 or status in PASSING):
        _failed(exchange, attempt, f"status_{status}", status, tokens)
    else:
        exchange.attempts.append(attempt.record("protocol" if status == 200 else f"status_{status}", tokens))


def _failed(
    exchange: Exchange, attempt: Attempt, reason: str, status: int | None = None, tokens: Tokens | None = None
) -> None:
    """Record a failed attempt, for the breaker too; the log has a line a target at most once a second."""
    exchange.attempts.append(attempt.record(reason, tokens))
    now = exchange.wire.loop.time()
    target = attempt.target
    asked = asked_pause(attempt.status, attempt.refused)
    if asked is not None or status == 429:
        target.breaker.limited(now, asked if asked is not None else target.provider.retry.backoff)
    if (status is None or status >= 500 or status == 408) and _is_to_blame(exchange, attempt):
        target.breaker.failed(now)
    if target.limit is not None and _is_overload(exchange, attempt, status):
        target.limit.overloaded(now - attempt.seconds, now)
    if target.log_is_due(now):
        detail = attempt.error.message if attempt.error is not None else f"status {attempt.status}"
        logger.warning(
            "upstream failed",
            extra={"request_id": exchange.id, "target": attempt.target.name, "reason": reason, "detail": detail},
        )


def _is_overload(exchange: Exchange, attempt: Attempt, status: int | None) -> bool:
    """Whether an attempt failed because too much was asked of its target at once."""
    error = attempt.error
    if error is None:
        return status in _BUSY
    return error.is_timeout and error.reason != "total_timeout" and _is_to_blame(exchange, attempt)


def _is_to_blame(exchange: Exchange, attempt: Attempt) -> bool:
    """Whether a failure counts for the breaker. Not one by a deadline that is shorter than the provider's own: clients
    in a hurry could take the target from all others.
    """
    error, wanted = attempt.error, exchange.wanted
    if error is None:
        return True
    reason, limits = error.reason, attempt.target.provider.timeouts
    if reason in QUEUED:
        return False  # it was not asked
    if reason == "total_timeout":
        return attempt.seconds + _LATE >= limits.total
    if wanted is None or not error.is_timeout:
        return True
    if reason == "stall_timeout":
        return wanted.stall >= limits.stall
    if reason == "connect_timeout":
        return wanted.connect >= limits.connect
    return wanted.first_token >= limits.first_token


def _end_relayed(exchange: Exchange, attempt: Attempt) -> None:
    """The answer went out in pieces: make its end ready."""
    events = attempt.events
    error = attempt.error
    if not exchange.response_started:
        exchange.first_at = time.perf_counter()
        exchange.start(attempt.status or 200, attempt.head_lines(), None, b"")
    if error is not None:
        _failed(exchange, attempt, error.reason)
        exchange.outcome = "cut"
        if events is not None:
            told = attempt.told if attempt.native and attempt.told else event_of(upstream_failure(error))
            exchange.hold_end(told, intact=exchange.chunked)
        else:
            exchange.hold_end(b"", intact=False)
        return
    attempt.target.breaker.succeeded()
    exchange.attempts.append(attempt.record("ok"))
    failed = exchange.refusal is not None or (events is not None and events.failed)
    exchange.outcome = "error" if failed else "ok"
    exchange.hold_end(attempt.tail)


async def give_whole(exchange: Exchange, attempt: Attempt) -> None:
    """Return a whole answer through the plugins; sound, which they could make nothing of, past them."""
    if attempt.apart is not None and not is_text(attempt.content_type):
        hold_whole(exchange, attempt)
        return
    response = Response(attempt.status or 200, attempt.content_type.decode("latin-1"), attempt.body())
    await exchange.runtime.chain.response(exchange, response)
    hold_whole(exchange, attempt, response)


def hold_whole(exchange: Exchange, attempt: Attempt, response: Response | None = None) -> None:
    """Return a whole answer; ``response`` is what plugins made of it."""
    exchange.first_at = attempt.head_at
    exchange.outcome = "ok"
    lines = attempt.head_lines()
    rate = attempt.target.rate
    if rate is not None and exchange.tokens is not None:
        nanos = cost_of(rate, exchange.tokens)
        if nanos is not None:
            decimals = (b"%d" % (NANOS_PER_DOLLAR + nanos % NANOS_PER_DOLLAR))[1:]
            lines += b"x-gateway-cost: %d.%b\r\n" % (nanos // NANOS_PER_DOLLAR, decimals)
    status, body = (attempt.status or 200, attempt.body()) if response is None else (response.status, response.body)
    exchange.hold(status, lines, begun(exchange.spec.begin, body) if exchange.spec.begin else body)


def begun(fields: bytes, body: bytes) -> bytes:
    """A JSON object with fields before its own; anything else as it is."""
    own = body.strip()
    if own[:1] != b"{":
        return body
    rest = own[1:].lstrip()
    return b"{" + fields + (b"" if rest[:1] == b"}" else b",") + rest


def _give_upstream_error(exchange: Exchange, attempt: Attempt, status: int) -> None:
    """An upstream's refusal: its status, body, ``Retry-After`` and rate headers, in OpenAI's envelope."""
    body = attempt.body()
    exchange.outcome = "error"
    if not _is_envelope(body):
        text = body[:500].decode("utf-8", "replace").strip() or "no body"
        message = f"The upstream answered with status {status}: {text}"
        body = body_of(GatewayError(Kind.UPSTREAM, "upstream_error", message))
        attempt.content_type = b"application/json"
    if exchange.spec.reference == "gatewayz":
        body = reworded(body, status)
        attempt.content_type = b"application/json"
    exchange.hold(status if 400 <= status <= 599 else 502, attempt.head_lines(), body)


def _is_envelope(body: bytes) -> bool:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and "error" in document


def give_up(exchange: Exchange, attempt: Attempt) -> None:
    """No target is left: the client gets the last one's answer, or why there was none. Raises :class:`GatewayError`."""
    if attempt.error is not None:
        raise upstream_failure(attempt.error)
    _give_upstream_error(exchange, attempt, attempt.status or 502)


def give(exchange: Exchange, answer: Answer) -> None:
    """A plugin's answer, whole or as a stream."""
    exchange.outcome = "ok"
    if answer.cached:
        exchange.outcome = "cached"
        _tell_saved(exchange, answer)
    lines = b"server-timing: gateway;dur=%.2f\r\n" % ((time.perf_counter() - exchange.started) * 1000)
    if exchange.stream and answer.events is not None:
        events = list(answer.events)
        exchange.start(answer.status, b"content-type: text/event-stream\r\n" + lines, None, b"".join(events[:-1]))
        exchange.hold_end(b"".join(events[-1:]))
        return
    content_type = answer.content_type.replace("\r", "").replace("\n", "").encode("latin-1", "replace")
    body = begun(exchange.spec.begin, answer.body) if exchange.spec.begin else answer.body
    exchange.hold(answer.status, b"content-type: %b\r\n%b" % (content_type, lines), body)


def _tell_saved(exchange: Exchange, answer: Answer) -> None:
    """What an answer from a cache would have used, at the first target of its model."""
    route = exchange.route
    exchange.target = route.targets[0] if route is not None and route.targets else None
    exchange.tokens = answer.tokens
    if answer.tokens is None and answer.body:
        with contextlib.suppress(msgspec.DecodeError):
            exchange.tokens = read_answer(answer.body, endpoint=exchange.endpoint)[0]


def fail(exchange: Exchange, error: GatewayError) -> None:
    """An error of ours, in the envelope of OpenAI or of who owns the path; as a last event where a stream has begun."""
    if exchange.response_complete:
        return
    exchange.refusal = error.with_traceback(None)  # its frames refer back to the exchange
    exchange.outcome = "refused" if exchange.grant is None else "error"
    if exchange.response_started:
        exchange.outcome = "cut"
        if exchange.is_events:
            exchange.hold_end(event_of(error), intact=exchange.chunked)
        else:
            exchange.hold_end(b"", intact=False)
        return
    if exchange.spec.reference != "openai":
        answer = told(error, exchange.spec.reference, exchange.id)
        # Those of the limit that refused are among an error's own.
        exchange.rate_lines = b"" if error.details is not None else exchange.rate_lines
        exchange.hold(answer.status, b"".join([b"%b: %b\r\n" % line for line in answer.headers]), answer.body)
        return
    exchange.hold(status_of(error), error_lines(error, exchange), body_of(error))


def interrupted(exchange: Exchange) -> None:
    """The task was cancelled: the client left, the request was refused in mid-upload, or the worker has to end."""
    if exchange.refusal is not None:
        fail(exchange, exchange.refusal)
    elif not exchange.disconnected:
        exchange.keep_alive = False
        fail(exchange, GatewayError(Kind.UNAVAILABLE, "shutting_down", "The gateway is shutting down.", retry_after=1))
    exchange.outcome = "cancelled"


def error_lines(error: GatewayError, exchange: Exchange | None = None) -> bytes:
    """The header lines of an error of ours."""
    lines = _JSON
    if error.retry_after is not None:
        seconds = max(1, math.ceil(error.retry_after))
        lines += b"retry-after: %d\r\n" % seconds
        if error.details is not None:
            lines += b"x-ratelimit-retry-after: %d\r\n" % seconds
    if error.kind is Kind.UNAUTHENTICATED:
        lines += b'www-authenticate: Bearer realm="gateway"\r\n'
    if exchange is not None and exchange.attempts:
        last = exchange.attempts[-1]
        lines += b"x-gateway-attempts: %d\r\n" % len(exchange.attempts)
        target = f"{last.provider}/{last.model}".encode("ascii", "replace")
        lines += b"x-gateway-target: %b\r\n" % target
        own = time.perf_counter() - exchange.started - exchange.waited - seconds_of(exchange.attempts)
        told = timings(exchange, len(exchange.attempts)).removesuffix(b", ")
        lines += b"server-timing: gateway;dur=%.2f, %b\r\n" % (max(0.0, own) * 1000, told)
    return lines
