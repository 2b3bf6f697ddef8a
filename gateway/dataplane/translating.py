"""Requests and answers of targets that speak another API than the request came in.

A provider's own translation (:mod:`gateway.providers`) knows neither sockets nor clients: here its calls become bytes
to send, and what comes back becomes what an upstream of OpenAI's API would have sent, before anything else reads it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from msgspec.structs import replace

from gateway.dataplane import body as bodies
from gateway.dataplane.form import fields_of
from gateway.dataplane.numbering import Numbers
from gateway.dataplane.places import who_waits
from gateway.dataplane.upload import whole_body
from gateway.providers.base import Call, Headed, Json, Media, Question, Translator, refuse_dropped
from gateway.providers.openai import plain
from gateway.providers.quirks import adapt
from gateway.settings.kinds import ProviderKind

if TYPE_CHECKING:
    from gateway.dataplane.attempt import Attempt
    from gateway.dataplane.body import Fields
    from gateway.dataplane.endpoints.inference import Endpoint
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.target import Target
    from gateway.dataplane.upstream.connection import Headers

NATIVE: Final = object()
"""The memo of a call that was relayed as it came, in the client's own protocol."""

_NOT_ASKED: Final = object()
_DONE: Final = b"data: [DONE]\n\n"
_UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What reading an answer raises that is not what the provider's API sends."""
_JSON_BODY: Final = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
_BODY: Final = b"content-type: %b\r\ncontent-length: %d\r\n\r\n"
_DROPPED: Final = "x-gateway-dropped"
_CLIENT_HEADERS: Final = {"anthropic": (b"anthropic-beta",)}
"""Headers of the client that mean something to a kind of provider alone."""


class Outgoing(NamedTuple):
    """A request ready to send. ``memo`` is None for a target of OpenAI's API, whose answer needs no translation.
    ``framing`` are the last lines of its head.
    """

    head: bytes
    body: bytes
    memo: Any
    dropped: tuple[str, ...]
    framing: bytes


def foreign_request(exchange: Exchange, target: Target) -> list[bytes | memoryview]:
    """What is sent to a target where the client or the target speaks another API than OpenAI's.

    Raises :class:`~gateway.providers.base.Unsupported` for what the target can't express.
    """
    interpreter = exchange.interpreter
    calls = exchange.foreign
    if calls is None:
        calls = exchange.foreign = {}
    if exchange.upload is not None:
        form = fields_of(exchange.content_type.decode("latin-1"), whole_body(exchange, exchange.upload))
        sent = _asked(form, target, exchange.spec, _allowed(exchange))
        note_dropped(exchange, sent.dropped)
        calls[target] = sent.memo
        return [sent.head + exchange.forwarded + sent.framing, sent.body]
    if interpreter is not None:
        if interpreter.is_native(exchange, target):
            calls[target] = NATIVE
            note_dropped(exchange, ())
            head = target.head_for(exchange.spec.path) + _native_lines(exchange, target)
            return framed(head + exchange.forwarded, interpreter.own_fields(exchange, target), len(exchange.raw))
        interpreter.to_chat(exchange)
    fields = exchange.fields
    assert fields is not None
    if exchange.seam is not None:
        fields = exchange.seam.fields_for(fields, target)
    if exchange.stream and exchange.spec.generates and not exchange.hide_usage and interpreter is None:
        exchange.hide_usage = bodies.ask_for_usage(fields)
    sent = outgoing(fields, target, exchange.spec, _allowed(exchange))
    note_dropped(exchange, sent.dropped)
    if sent.memo is not None:
        calls[target] = sent.memo
    else:
        calls.pop(target, None)
    head = sent.head + _client_headers(exchange, target) + exchange.forwarded
    if target.local and exchange.caller is not None:
        head += f"x-gateway-organization: {who_waits(exchange)}\r\n".encode("latin-1", "replace")
        head += b"x-gateway-usage: each\r\n"
    return [head + sent.framing + sent.body]


def _allowed(exchange: Exchange) -> tuple[str, ...]:
    return () if exchange.route is None else exchange.route.drop_params


def outgoing(fields: Fields, target: Target, spec: Endpoint, allowed: tuple[str, ...]) -> Outgoing:
    """A request of the internal form for a target. Raises :class:`~gateway.kernel.errors.GatewayError` (INVALID)."""
    asked: Json = orjson.loads(bodies.encode(fields))
    translator = target.translator
    if translator is None:
        asked["model"] = target.model
        chat, dropped = plain(asked, target.vendor.name)
        if target.adapts is not None:
            chat, more = adapt(chat, target.adapts)
            dropped = (*dropped, *(_as_asked(name, asked) for name in more))
        refuse_dropped(dropped, (*allowed, *target.provider.drop_params), target.name)
        body = orjson.dumps(chat)
        return Outgoing(target.head_for(spec.sent_path), body, None, dropped, _JSON_BODY % len(body))
    return _asked(asked, target, spec, allowed)


def _asked(asked: Json, target: Target, spec: Endpoint, allowed: tuple[str, ...]) -> Outgoing:
    """What a target of another API is asked."""
    translator = target.translator
    assert translator is not None
    endpoint = "chat.completions" if spec.protocol else spec.name
    upstream = target.upstream
    if target.tokens is not None:
        upstream = replace(upstream, api_key=target.tokens.value)
    call = translator.request(Question(asked, upstream, endpoint, time.time()))
    refuse_dropped(call.dropped, (*allowed, *target.provider.drop_params), target.name)
    head = target.head_for(call.path.encode()) + _lines(call, target)
    framing = _BODY % (call.content_type.encode(), len(call.body))
    return Outgoing(head, call.body, call.memo, call.dropped, framing)


def _as_asked(name: str, asked: Json) -> str:
    """A field's name in the internal form: a budget for thoughts has become an effort."""
    return "thinking" if name == "reasoning_effort" and asked.get(name) is None else name


def adapted(exchange: Exchange, target: Target, kind: ProviderKind, fields: Fields) -> Fields:
    """A request that is relayed, as a target takes it whose API differs from OpenAI's in its parameters alone.

    Raises :class:`~gateway.providers.base.Unsupported` for one that it does not take.
    """
    made, dropped = adapt(fields, kind)
    refuse_dropped(dropped, (*_allowed(exchange), *target.provider.drop_params), target.name)
    note_dropped(exchange, dropped)
    return made


def note_dropped(exchange: Exchange, dropped: tuple[str, ...]) -> None:
    """Have the answer tell what was left out of the request."""
    headers: Any = exchange.response_headers  # a plugin may have put anything here
    if not isinstance(headers, dict):
        return
    if dropped:
        headers[_DROPPED] = ", ".join(dropped)
    else:
        headers.pop(_DROPPED, None)


def framed(head: bytes, fields: Fields, size: int) -> list[bytes | memoryview]:
    """Head and body, in one piece where the body is small."""
    if size < bodies.JOINED:
        body = bodies.encode(fields)
        return [head + _JSON_BODY % len(body) + body]
    pieces = bodies.parts(fields)
    return [head + _JSON_BODY % sum(map(len, pieces)), *pieces]


def _lines(call: Call, target: Target) -> bytes:
    """A call's headers; those of the configuration go before."""
    own = target.provider.headers
    lines = [f"{name}: {value}\r\n" for name, value in call.headers if name not in own]
    return "".join(lines).encode("latin-1")


def _native_lines(exchange: Exchange, target: Target) -> bytes:
    """What a request of Anthropic's protocol has beside its body: the version, and our credential for the client's."""
    if exchange.spec.stateful:
        return b""  # of OpenAI's
    version = b"2023-06-01"
    for name, value in exchange.raw_headers:
        if name == b"anthropic-version":
            version = value
    key = target.provider.api_key
    lines = b"" if key is None else f"x-api-key: {key}\r\n".encode("latin-1")
    return lines + b"anthropic-version: %b\r\n" % version + _client_headers(exchange, target)


def _client_headers(exchange: Exchange, target: Target) -> bytes:
    wanted = _CLIENT_HEADERS.get(target.provider.kind)
    if wanted is None:
        return b""
    return b"".join([b"%b: %b\r\n" % (name, value) for name, value in exchange.raw_headers if name in wanted])


def begin_reading(attempt: Attempt, calls: dict[Target, Any], headers: Headers) -> None:
    """The head of an answer is here: have what follows translated, where that is to be."""
    target = attempt.target
    memo = calls.get(target, _NOT_ASKED)
    if type(memo) is Headed:
        memo = memo.heard(headers)
    if memo is NATIVE:
        attempt.native = True
    elif memo is not _NOT_ASKED and target.translator is not None:
        # A client that speaks another protocol gets its own lists, of these.
        numbers = Numbers() if attempt.exchange.interpreter is None else None
        attempt.inbound = Inbound(target.translator, memo, numbers)
        kind = attempt.content_type.partition(b";")[0].strip().lower()
        if (attempt.status or 0) < 300 and kind == target.translator.stream_type:
            attempt.content_type = b"text/event-stream; charset=utf-8"


class Inbound:
    """One answer of a provider, made into what OpenAI's API sends. ``media``: one that is no JSON, once it is read."""

    __slots__ = ("_ended", "_frames", "_memo", "_numbers", "_stream", "_translator", "media")

    def __init__(self, translator: Translator, memo: Any, numbers: Numbers | None = None) -> None:
        self._translator = translator
        self._numbers = numbers
        self._memo = memo
        self._frames = translator.frames()
        self._stream = translator.stream(memo)
        self._ended = False
        self.media: Media | None = None

    def feed(self, data: bytes) -> bytes:
        """Whole server-sent events out of the next bytes of a stream. Raises :class:`ValueError`."""
        return self._read(self._frames.feed(data))

    def end(self) -> bytes:
        """What is left at the stream's end; half an event says nothing."""
        if self._ended:
            return b""
        try:
            last = self._read(self._frames.end())
        except ValueError:
            last = b""
        return last + self._told(self._stream.end())

    def _read(self, events: list[bytes]) -> bytes:
        out = b""
        stream = self._stream
        for event in events:
            if self._ended:
                break
            chunks = stream.feed(event)
            if chunks:
                out += self._told(chunks)
            if stream.done and not self._ended:
                self._ended = True
                out += _DONE
        return out

    def _told(self, chunks: list[Json]) -> bytes:
        if self._numbers is not None:
            for chunk in chunks:
                self._numbers.put(chunk)
        if len(chunks) == 1 and "error" not in chunks[0]:
            return b"data: %b\n\n" % orjson.dumps(chunks[0])
        out = b""
        for chunk in chunks:
            out += b"data: %b\n\n" % orjson.dumps(chunk)
            if "error" in chunk:
                self._ended = True
                break
        return out

    def whole(self, status: int, body: bytes) -> tuple[int, bytes]:
        """A whole answer, or an error. Raises :class:`ValueError` for what is no answer of the provider's API."""
        if status >= 400:
            failed = self._translator.error(status, body)
            return failed.status, orjson.dumps(failed.envelope)
        if status >= 300:
            return status, body
        try:
            told = self._translator.response(body, self._memo)
            if isinstance(told, Media):
                self.media = told
                return status, told.data
            return status, orjson.dumps(told)
        except _UNREADABLE as error:
            raise ValueError(f"the upstream's answer is none of its API: {error}") from None


def usage_apart(media: Media) -> bytes:
    """What tells the usage of an answer that is no JSON, as one that is would."""
    return b"{}" if media.usage is None else orjson.dumps({"usage": media.usage})


def translated(attempt: Attempt, data: bytes | None) -> bytes:
    """The next bytes of a stream, None for its end, as OpenAI's events. Empty where the attempt has failed by them."""
    inbound = attempt.inbound
    assert inbound is not None
    try:
        return inbound.end() if data is None else inbound.feed(data)
    except _UNREADABLE as error:
        attempt.fail(f"The upstream's stream can't be read: {error}.")
        return b""


def translate_whole(attempt: Attempt) -> bool:
    """Make a whole answer one of OpenAI's API. False where the attempt has failed by it."""
    inbound = attempt.inbound
    assert inbound is not None
    try:
        attempt.replace(*inbound.whole(attempt.status or 0, attempt.body()))
        if inbound.media is not None:
            attempt.content_type = inbound.media.content_type.encode("latin-1", "replace")
            attempt.apart = usage_apart(inbound.media)
    except ValueError as error:
        attempt.fail(f"The upstream's answer can't be read: {error}.")
        return False
    return True
