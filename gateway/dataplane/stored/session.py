"""One request of the Responses API: what was asked, what it goes on from, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from gateway.dataplane.stored.records import RUNNING, Json, Record, encode, kept, with_ids
from gateway.kernel.errors import GatewayError
from gateway.plugin.sse import data_of, split_events
from gateway.protocols.base import Asked
from gateway.protocols.responses import compaction
from gateway.protocols.responses.checks import object_of
from gateway.protocols.responses.protocol import Responses
from gateway.protocols.responses.request import Wanted, to_chat
from gateway.protocols.responses.response import Memo, blank, failed, memo_model, remember
from gateway.protocols.responses.stream import ResponseStream
from gateway.protocols.responses.summary import summary_of
from gateway.protocols.responses.tools import flat_format_of
from gateway.protocols.sealed import is_sealed
from gateway.providers.base import Unsupported

_OURS: Final = frozenset(("previous_response_id", "conversation", "background", "store"))
_ENCRYPTED: Final = "reasoning.encrypted_content"


class Session(Responses):
    """The protocol of one exchange. ``before`` are the items it goes on from and ``ancestors`` the Responses that said
    them.
    """

    def __init__(self, wanted: Wanted, before: Sequence[Json] = (), ancestors: tuple[str, ...] = ()) -> None:
        self.wanted = wanted
        self.before = before
        self.ancestors = ancestors
        self.memo: Memo | None = None
        self.untranslatable: GatewayError | None = None
        """Why it can't be made one of the internal form: only targets that have Responses themselves can answer it."""
        self._whole: Json | None = None
        self._stream: ResponseStream | None = None
        self._relayed = 0  # events that came from the provider

    def request(self, body: Json, before: Sequence[Json] = ()) -> Asked:
        """See :class:`gateway.protocols.base.ClientProtocol`. ``body`` was read already."""
        if self.untranslatable is None:
            try:
                chat = to_chat(self.wanted, self.before)
            except GatewayError as error:
                self.untranslatable = error.with_traceback(None)
        if self.untranslatable is not None:
            told = self.untranslatable
            raise Unsupported(told.kind, told.code, told.message, told.field)
        self.memo = remember(self.wanted, chat)
        return Asked(chat, self.memo)

    def relay(self) -> Json:
        """What a target gets that has Responses itself. What is kept is the gateway's affair alone: a provider's own
        store is one for all organisations. Raises :class:`~gateway.kernel.errors.GatewayError` naming a field.
        """
        wanted = self.wanted
        if self.memo is None:
            self.memo = remember(wanted, {})
            self.memo.shown["text"] = wanted.body.get("text") or self.memo.shown["text"]
        body = {name: value for name, value in wanted.body.items() if name not in _OURS}
        body["store"] = False
        if self.before or not isinstance(body.get("input"), str):
            own = (item for item in wanted.items if not _is_sealed(item))
            body["input"] = [_readable(item) for item in (*filter(_is_sendable, self.before), *own)]
        include = body.get("include") or []
        if wanted.store and body.get("reasoning") and _ENCRYPTED not in include:
            body["include"] = [*include, _ENCRYPTED]  # the thoughts of a response that is not stored there
        _rename(body)
        return body

    def relayed(self, body: bytes) -> bytes:
        """See :class:`gateway.dataplane.interpreting.Watch`."""
        response = _read(body)
        if not isinstance(response, dict) or "output" not in response:
            return body
        self._whole = self._as_ours(response)
        return orjson.dumps(self._whole)

    def relayed_events(self, block: bytes) -> bytes:
        """See :class:`gateway.dataplane.interpreting.Watch`."""
        self._relayed += block.count(b"\ndata:")
        if b'"response"' not in block:
            return block
        return b"".join([self._relayed_event(event) for event in split_events(block)])

    def _relayed_event(self, event: bytes) -> bytes:
        document = _read(data_of(event) or b"null")
        response = document.get("response") if isinstance(document, dict) else None
        if not isinstance(response, dict) or "output" not in response:
            return event
        document["response"] = self._as_ours(response)
        if response.get("status") not in RUNNING:
            self._whole = document["response"]
        return b"event: %b\ndata: %b\n\n" % (str(document.get("type")).encode(), orjson.dumps(document))

    def _as_ours(self, response: Json) -> Json:
        """A provider's Response as the client asked for it: the id stays but where the client has another already."""
        wanted = self.wanted
        ours = response | {"store": wanted.store, "background": wanted.background}
        if wanted.previous is not None:
            ours["previous_response_id"] = wanted.previous
        if wanted.conversation is not None:
            ours["conversation"] = {"id": wanted.conversation}
        if wanted.background and self.memo is not None:
            ours["id"] = self.memo.id
        return ours

    def response(self, completion: Json, memo: Any) -> Json:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        self._whole = super().response(completion, memo)
        return self._whole

    def stream(self, memo: Any) -> ResponseStream:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        self._stream = super().stream(memo or self.memo)
        self._stream.begin_at(self._relayed)
        return self._stream

    def error(self, status: int, envelope: Json, request_id: str) -> Json:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        envelope = super().error(status, envelope, request_id)
        if self.wanted.background and self.memo is not None:
            self._whole = failed(self.memo, {}, [], status, envelope)
        return envelope

    @property
    def final(self) -> Json | None:
        """The Response as it ended, None where there was none."""
        return self._whole if self._stream is None else self._stream.final

    def queued(self) -> Json:
        """The Response that is made in the background, before it is."""
        assert self.memo is not None
        return blank(self.memo, "queued", memo_model(self.memo))

    def record(self, response: Json, status: str, alive_until: float = 0.0) -> Record:
        """What is kept of it."""
        assert self.memo is not None
        items = with_ids(self.wanted.items, self.memo.token)
        return Record(
            response["id"], self.memo.created, status, kept(response), encode(items), self.ancestors, alive_until
        )


class Compaction(Session):
    """One request to sum up what was said."""

    def request(self, body: Json, before: Sequence[Json] = ()) -> Asked:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        made = super().request(body, before)
        return Asked(compaction.asked(made.chat), made.memo)

    def relay(self) -> Json:
        """See :meth:`Session.relay`."""
        body = super().relay()
        del body["store"]
        return body

    def relayed(self, body: bytes) -> bytes:
        """See :class:`gateway.dataplane.interpreting.Watch`."""
        return body

    def response(self, completion: Json, memo: Any) -> Json:
        """See :class:`gateway.protocols.base.ClientProtocol`. It is nothing to be kept."""
        items = with_ids([*self.before, *self.wanted.items], memo.token)
        users = [item for item in items if item["type"] == "message" and item.get("role") == "user"]
        return compaction.compacted(completion, memo, users)


def _readable(item: Any) -> Any:
    """An item as a provider can read it: a summary that is the gateway's own as the message it stands for."""
    if not isinstance(item, dict) or item.get("type") != "compaction":
        return item
    told = summary_of(item, "input")
    return item if told is None else {"type": "message", "role": "system", "content": told}


def _read(text: bytes) -> Any:
    """JSON, or None for what is none or has a number beyond a double's range: it is relayed and not kept."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _is_sendable(item: Json) -> bool:
    """Whether a provider can be sent an item of an earlier Response. Thoughts that it did not encrypt it would look for
    in its store.
    """
    if item.get("type") != "reasoning":
        return True
    return isinstance(item.get("encrypted_content"), str) and not _is_sealed(item)


def _is_sealed(item: object) -> bool:
    """Whether an item is what another target thought."""
    return isinstance(item, dict) and item.get("type") == "reasoning" and is_sealed(item.get("encrypted_content"))


def _rename(body: Json) -> None:
    """What only Gatewayz calls so."""
    if body.get("max_tokens") is not None:
        body["max_output_tokens"] = body.pop("max_tokens")
    if body.get("response_format") is not None:
        form = object_of(body.pop("response_format"), "response_format")
        body["text"] = {**object_of(body.get("text") or {}, "text"), "format": flat_format_of(form)}
