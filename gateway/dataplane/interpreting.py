"""Between the pipeline, which speaks OpenAI's Chat Completions, and a client that speaks another protocol.

A request stays as it came as long as only targets of the client's own protocol are asked. It becomes one of the
internal form as soon as anything else wants it: a plugin, a copy, a target of another API. What goes out is translated
where the exchange writes it, so everything before that knows one protocol alone.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from gateway.contract.envelopes.openai import TABLE
from gateway.dataplane import body as bodies
from gateway.kernel.errors import GatewayError
from gateway.plugin.sse import DONE, data_of, split_events
from gateway.protocols.base import ClientProtocol, Json, StreamEncoder, invalid
from gateway.protocols.sealed import carries

if TYPE_CHECKING:
    from gateway.dataplane.body import Fields
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.target import Target

_STATUSES: Final = {kind: status for status, kind in reversed(TABLE.kinds.values())} | {"overloaded_error": 529}
_OURS: Final = b'data: {"error"'
"""How an error of the gateway's begins; no native event does."""


_VERSIONS: Final = {"anthropic": "anthropic-version"}
"""By the kind of providers whose API a client speaks, the header that names its version, which is a date."""
_DATE: Final = re.compile(rb"\d{4}-\d\d-\d\d")

_UNREADABLE: Final[Json] = {
    "error": {
        "message": "The upstream sent an event that can't be read.",
        "type": "upstream_error",
        "param": None,
        "code": "upstream_protocol",
    }
}

logger = logging.getLogger("gateway.interpreting")


class Watch(Protocol):
    """What looks at answers that are relayed in the client's own protocol."""

    def relayed(self, body: bytes) -> bytes:
        """A whole answer, as the client is to get it."""

    def relayed_events(self, block: bytes) -> bytes:
        """Whole events, as the client is to get them."""


class Interpreter:
    """One exchange's client. ``native`` says that the answer that goes out is in its protocol already; ``changed`` that
    a plugin changed the request, so that it can't be relayed as it came.
    """

    __slots__ = ("_carries", "_encoder", "_memo", "_own", "changed", "native", "protocol", "watch")

    def __init__(self, protocol: ClientProtocol) -> None:
        self.protocol = protocol
        self.native = False
        self.changed = False
        self._own: Fields | None = None  # the request as it came, once the exchange has the internal one
        self._memo: Any = None
        self._encoder: StreamEncoder | None = None
        self.watch: Watch | None = None
        self._carries: bool | None = None  # whether the request has what only another vendor can read

    # the request

    @property
    def is_chat(self) -> bool:
        """Whether the exchange has the request in the internal form."""
        return self._own is not None

    def is_native(self, exchange: Exchange, target: Target) -> bool:
        """Whether a target gets the request as it came, and the client the answer. Plugins that look at answers know
        OpenAI's alone.
        """
        chain = exchange.runtime.chain
        return (
            target.provider.kind == self.protocol.native
            and (target.provider.responses or not exchange.spec.stateful)
            and not self.changed
            and not self._is_carrying(exchange)
            and exchange.seam is None
            and not (chain.on_chunk if exchange.stream else chain.on_response)
        )

    def _is_carrying(self, exchange: Exchange) -> bool:
        """Whether a conversation was held with another vendor's model before, whose thoughts this one would refuse."""
        if self._carries is None:  # of Responses the stored session sees to it
            self._carries = self._own is None and not exchange.spec.stateful and carries(exchange.raw)
        return self._carries

    def own_fields(self, exchange: Exchange, target: Target) -> Fields:
        """The client's own request, for a target's model."""
        fields = self._own if self._own is not None else exchange.fields
        assert fields is not None
        fields["model"] = target.model_raw
        return fields

    def relay_as(self, exchange: Exchange, body: Json) -> None:
        """What a target of the client's own protocol gets in place of the request as it came. Where that could not be
        made one of the internal form it is what the exchange has, too.
        """
        raw = orjson.dumps(body)
        fields = bodies.decode(raw)
        if self._own is None:
            exchange.raw, exchange.fields = raw, fields
        else:
            self._own = fields

    def to_chat(self, exchange: Exchange) -> None:
        """Give the exchange the request in the internal form. Raises :class:`GatewayError` naming a field."""
        if self._own is not None:
            return
        self._is_carrying(exchange)
        self._check_version(exchange)
        try:
            asked = self.protocol.request(orjson.loads(exchange.raw))
        except orjson.JSONDecodeError as error:
            raise bodies.invalid(f"The body is not valid JSON: {error.msg}.", code="invalid_json") from None
        self._own, self._memo = exchange.fields, asked.memo
        chat = asked.chat
        if exchange.stream:
            chat["stream_options"] = {"include_usage": True}  # the protocol tells it in any case
        exchange.raw = orjson.dumps(chat)
        exchange.fields = bodies.decode(exchange.raw)
        exchange.endpoint = exchange.spec.shape  # of what plugins get to see

    def _check_version(self, exchange: Exchange) -> None:
        """A request that is relayed may name any: its provider is the judge of that."""
        header = _VERSIONS.get(self.protocol.native)
        if header is None:
            return
        for name, value in exchange.raw_headers:
            if name == header.encode() and not _DATE.fullmatch(value):
                raise invalid(header, "a version such as 2023-06-01", value.decode("latin-1"))

    # the answer

    def whole(self, exchange: Exchange, status: int, body: bytes) -> bytes:
        """A whole answer, or an error in OpenAI's envelope, for the client."""
        if self.native and status < 400:
            return body if self.watch is None else self.watch.relayed(body)
        try:
            document = _read(body)
        except ValueError:
            return body
        if not isinstance(document, dict):
            return body
        if status >= 400:
            return body if _is_native_error(document) else self._error(exchange, status, document)
        return orjson.dumps(self.protocol.response(document, self._memo)) if "choices" in document else body

    def _error(self, exchange: Exchange, status: int, document: Json) -> bytes:
        return orjson.dumps(self.protocol.error(status, document, exchange.id))

    def go_on(self, begun: Any) -> None:
        """What follows of a stream that was relayed is made of the internal form; ``begun`` is what the client's
        protocol must know of the beginning.
        """
        self.native = False
        if self._encoder is None:
            self._encoder = self.protocol.stream(self._memo)
            self._encoder.go_on(begun)

    def events(self, exchange: Exchange, block: bytes) -> bytes:
        """Whole events of a stream for the client."""
        if (self.native and not block.startswith(_OURS)) or not block:
            return block if self.watch is None else self.watch.relayed_events(block)
        encoder = self._encoder
        if encoder is None:
            encoder = self._encoder = self.protocol.stream(self._memo)
        out = []
        for event in split_events(block):
            payload = data_of(event)
            if payload is None:
                continue
            if payload == DONE:
                out.append(encoder.end())
                continue
            try:
                document = _read(payload)
                if "error" in document and "choices" not in document:
                    out.append(encoder.error(_status_in(document), document, exchange.id))
                else:
                    out.append(encoder.feed(document))
            except (ValueError, TypeError, AttributeError, KeyError, IndexError):
                # Sound JSON that is no chunk: the client is told in its own protocol, and nothing more.
                logger.exception("a chunk can't be translated", extra={"request_id": exchange.id})
                out.append(encoder.error(502, _UNREADABLE, exchange.id))
        return b"".join(out)


def _read(text: bytes) -> Any:
    """JSON as Python objects. Raises :class:`ValueError`."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # takes numbers beyond a double's range, of which nothing is made


def _is_native_error(document: Json) -> bool:
    return document.get("type") == "error"


def _status_in(document: Json) -> int:
    """The status an error within a stream stands for."""
    told = document["error"]
    if not isinstance(told, dict):
        return 502
    code = told.get("code")
    if type(code) is int and 400 <= code <= 599:
        return code
    return _STATUSES.get(str(told.get("type")), 502)


def countable(exchange: Exchange) -> tuple[str, bytes | None]:
    """By which endpoint's rules the tokens of a request's body are counted, and the body; None for one that none can
    read.
    """
    interpreter = exchange.interpreter
    if interpreter is None:
        return exchange.endpoint, exchange.raw if exchange.is_json else None
    try:
        interpreter.to_chat(exchange)
    except GatewayError:
        return "chat.completions", None
    return "chat.completions", exchange.raw
