"""Chat chunks → the typed events of a Response.

The order, as the API's reference has it: ``response.created``, ``response.in_progress``; of each item ``added``, its
parts (``added``, deltas, ``done``), ``done``; then ``response.completed``, ``response.incomplete`` or
``response.failed``. Items follow one another, but for tool calls whose pieces come in turns: those stay open together.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw

from gateway.protocols.base import Json
from gateway.protocols.calls import CallNumbers
from gateway.protocols.responses.begun import BegunResponse
from gateway.protocols.responses.content import annotations_from_chat, logprobs_from_chat
from gateway.protocols.responses.events import Events, encode
from gateway.protocols.responses.growing import CallItem, Item, MessageItem, ReasoningItem, ToldItem
from gateway.protocols.responses.response import (
    INCOMPLETE,
    Memo,
    blank,
    calls_of,
    failed,
    finished,
    memo_model,
    thought_of,
)
from gateway.protocols.sealed import signatures_of

MOST: Final = 67_108_864
"""Characters of an answer that are kept for its final event; one that grows beyond fails."""

_ONLY_TEXT: Final = ({"content"}, {"content", "role"})


class Calls(CallNumbers):
    """The tool calls of an answer by their numbers. A call begins when its name is known."""

    __slots__ = ("items", "pending")

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[int, CallItem] = {}
        self.pending: dict[int, Json] = {}


class ResponseStream:
    """One streamed answer: see :class:`gateway.protocols.base.StreamEncoder`. ``final`` is the Response as it ended."""

    __slots__ = (
        "_calls",
        "_events",
        "_given",
        "_head",
        "_items",
        "_kept",
        "_memo",
        "_open",
        "_over",
        "_reason",
        "_usage",
        "final",
    )

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._events = Events(memo.obfuscate)
        self._head: Json | None = None  # the first chunk
        self._given: Json = {}  # what the client was told of the Response by another
        self._items: list[Item] = []
        self._open: MessageItem | ReasoningItem | None = None
        self._calls = Calls()
        self._reason: str | None = None
        self._usage: object = None
        self._kept = 0
        self._over = False
        self.final: Json | None = None

    def begin_at(self, number: int) -> None:
        """Number the events from here on: so many have been told by another."""
        self._events.next = number

    def go_on(self, begun: BegunResponse) -> None:
        """See :class:`gateway.protocols.base.StreamEncoder`."""
        if begun.next >= 0:
            self._events.next = begun.next
        if begun.id is None:
            return
        self._head = {"model": begun.model}
        self._given = {"created_at": begun.created_at}
        if not self._memo.shown.get("background"):
            self._given["id"] = begun.id  # in the background it has ours
        self._items += [ToldItem(self._events, self._memo, place, item) for place, item in enumerate(begun.items)]
        if begun.open is not None:
            item = self._open = MessageItem(self._events, self._memo, len(self._items), begun.open)
            self._items.append(item)

    def feed(self, chunk: Json) -> bytes:
        """See :class:`gateway.protocols.base.StreamEncoder`."""
        if self._head is None:
            self._start(chunk)
        elif self._over:
            return b""
        usage = chunk.get("usage")
        if usage is not None:
            self._usage = usage
        choices = chunk.get("choices")
        if choices:
            choice = choices[0]
            delta = choice.get("delta")
            if delta:
                text = delta.get("content")
                opened = self._open
                if text and type(opened) is MessageItem and delta.keys() in _ONLY_TEXT and not choice.get("logprobs"):
                    self._kept += len(text)
                    opened.say(text)
                else:
                    self._read(choice, delta)
                if self._kept > MOST:
                    self._fail(502, {"error": {"message": "The model's answer is too large."}})
            self._reason = choice.get("finish_reason") or self._reason
        return self._events.take()

    def end(self) -> bytes:
        """See :class:`gateway.protocols.base.StreamEncoder`."""
        if self._over:
            return b""
        head = self._started()
        for number in list(self._calls.pending):
            self._begin_call(number, "")
        self._close(self._items, "incomplete" if self._reason in INCOMPLETE else "completed")
        output = [item.done for item in self._items if item.done is not None]
        self._finish(finished(self._memo, head, output, self._reason, self._usage))
        return self._events.take()

    def error(self, status: int, envelope: Json, request_id: str) -> bytes:
        """See :class:`gateway.protocols.base.StreamEncoder`."""
        if self._over:
            return b""
        if self._head is None:
            self._over = True
            error = envelope.get("error") or {}
            told = {"code": error.get("code"), "message": error.get("message") or "", "param": error.get("param")}
            self._events.add("error", told)
        else:
            self._fail(status, envelope)
        return self._events.take()

    def _started(self) -> Json:
        if self._head is None:
            self._start({})
        assert self._head is not None
        return self._head

    def _start(self, chunk: Json) -> None:
        self._head = chunk
        response = self._shown(blank(self._memo, "in_progress", chunk.get("model") or memo_model(self._memo)))
        for kind in ("response.created", "response.in_progress"):
            self._events.add(kind, {"response": response})

    def _shown(self, response: Json) -> Json:
        """What was asked is in three events, and may be large: it is encoded once."""
        shown = self._memo.shown
        raw = self._memo.raw
        if raw is None:
            raw = {name: Raw(encode(value)) for name, value in shown.items() if isinstance(value, dict | list | str)}
            self._memo.raw = raw
        return {**response, **raw} | {"service_tier": response["service_tier"]}

    def _read(self, choice: Json, delta: Json) -> None:
        """A delta of any kind. Where one says several things their order is that of an answer."""
        thought = thought_of(delta)
        blocks, own = delta.get("thinking_blocks"), delta.get("provider_blocks")
        if thought or blocks or own:
            self._think(thought, blocks or [], own)
        text = delta.get("content")
        logprobs = logprobs_from_chat(choice.get("logprobs")) if choice.get("logprobs") else []
        if text or logprobs:
            self._say(text or "", logprobs)
        if delta.get("refusal"):
            self._kept += len(delta["refusal"])
            self._message().refuse(delta["refusal"])
        if delta.get("annotations"):
            annotations = annotations_from_chat(delta["annotations"])
            if annotations:
                self._message().annotate(annotations)
        signed = signatures_of(delta.get("tool_calls"))
        if signed:
            self._thought().sign(signed)
        for call in calls_of(delta):
            self._call(call)

    def _think(self, text: str, blocks: list[Json], own: Json | None) -> None:
        item = self._thought()
        if text:
            self._kept += len(text)
            item.think(text)
        item.keep(blocks, own)

    def _thought(self) -> ReasoningItem:
        item = self._open
        if not isinstance(item, ReasoningItem):
            self._leave()
            item = self._open = ReasoningItem(self._events, self._memo, len(self._items))
            self._items.append(item)
        return item

    def _say(self, text: str, logprobs: list[Json]) -> None:
        self._kept += len(text)
        if logprobs:
            self._message().say_with(text, logprobs)
        else:
            self._message().say(text)

    def _message(self) -> MessageItem:
        item = self._open
        if not isinstance(item, MessageItem):
            self._leave()
            item = self._open = MessageItem(self._events, self._memo, len(self._items))
            self._items.append(item)
        return item

    def _leave(self) -> None:
        """Another item begins: those that can't go on end."""
        if self._open is not None:
            self._open.close("completed")
            self._open = None
        for item in self._calls.items.values():
            if item.done is None and item.is_whole:
                item.close("completed")

    def _call(self, call: Json) -> None:
        custom = call.get("custom")
        told: Any = custom or call.get("function") or {}
        name = told.get("name") or ""
        piece = told.get("input" if custom else "arguments") or ""
        if type(piece) is not str or type(name) is not str:
            raise TypeError("a tool call's name and arguments are texts")
        number = self._calls.find(call, name)
        self._kept += len(piece)
        item = self._calls.items.get(number)
        if item is None:
            waiting = self._calls.pending.setdefault(number, {"custom": False, "pieces": []})
            waiting["custom"] = waiting["custom"] or bool(custom)
            waiting["pieces"].append(piece)
            if name:
                self._begin_call(number, name)
        elif item.done is None:
            if piece:
                item.give(piece)
        elif piece.strip():
            self._fail(502, {"error": {"message": "The model's provider went on with a tool call that was complete."}})

    def _begin_call(self, number: int, name: str) -> None:
        waiting = self._calls.pending.pop(number)
        self._leave()
        call_id = self._calls.id_of(number)
        item = CallItem(self._events, self._memo, len(self._items), call_id, name, custom=waiting["custom"])
        self._items.append(item)
        self._calls.items[number] = item
        for piece in waiting["pieces"]:
            if piece:
                item.give(piece)

    def _close(self, items: list[Item], status: str) -> None:
        """Close what is open; only what was last is not whole where the answer isn't."""
        for item in items:
            if item.done is None:
                item.close(status if item is items[-1] else "completed")
        self._open = None

    def _finish(self, response: Json) -> None:
        response |= self._given
        self._over = True
        self.final = response
        self._events.add(f"response.{response['status']}", {"response": self._shown(response)})

    def _fail(self, status: int, envelope: Json) -> None:
        output = [item.done or item.shown("incomplete") for item in self._items]
        self._finish(failed(self._memo, self._started(), output, status, envelope))
