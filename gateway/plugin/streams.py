"""Rewriting the texts of a streamed chat or text completion, across the borders of its events.

Each text of each choice is a channel with its own filter. What a filter holds back comes out with the choice's last
event, before its ``finish_reason`` is seen, or at the latest before ``[DONE]`` or an error event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import orjson

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.arguments import ArgumentsFilter
from gateway.plugin.scan import TextFilter
from gateway.plugin.sse import DONE, data_of, with_data
from gateway.plugin.texts import rewrite_texts

Channel: TypeAlias = tuple[int, str, int]
"""Choice index, member name, and tool call index or -1."""

TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
MAX_CHANNELS = 1024

_ENVELOPE = ("id", "object", "created", "model", "system_fingerprint", "service_tier")


class StreamRewriter:
    """The filters of one stream. ``make`` gives a fresh filter for a channel."""

    def __init__(self, make: Callable[[], TextFilter]) -> None:
        self._make = make
        self._channels: dict[Channel, TextFilter] = {}
        self._envelope: dict[str, Any] = {}

    def event(self, event: bytes) -> bytes:
        """One event in; none, one or more events out. An event without a change comes back as the same object."""
        data = data_of(event)
        if data is None:
            return event
        if data.strip() == DONE:
            return self._flush_all() + event
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return event
        if not isinstance(document, dict):
            return event
        choices = document.get("choices")
        if isinstance(choices, list):
            return self._choices(event, document, choices)
        before = self._flush_all() if "error" in document else b""
        changed = rewrite_texts(document, tuple(document), self._whole, self._whole_arguments)
        return before + (with_data(event, orjson.dumps(document)) if changed else event)

    def _choices(self, event: bytes, document: dict[str, Any], choices: list[Any]) -> bytes:
        if not self._envelope:
            self._envelope = {key: document[key] for key in _ENVELOPE if key in document}
        before: list[bytes] = []
        changed = False
        for choice in choices:
            if isinstance(choice, dict):
                changed |= self._choice(choice, before)
        if changed:
            event = with_data(event, orjson.dumps(document))
        return b"".join([*before, event]) if before else event

    def _choice(self, choice: dict[str, Any], before: list[bytes]) -> bool:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        finished = choice.get("finish_reason") is not None
        changed = self._texts(choice, ("text",), index, finished)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            changed |= self._texts(delta, TEXTS, index, finished)
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                changed |= self._tool_call(call, index, finished)
            function = delta.get("function_call")
            if isinstance(function, dict):
                changed |= self._member(function, "arguments", (index, "function_call", -1), finished)
        if finished:
            before += self._flush(index)
        if changed and choice.get("logprobs") is not None:
            choice["logprobs"] = None  # its tokens would spell the former text
        return changed

    def _texts(self, holder: dict[str, Any], names: tuple[str, ...], index: int, finished: bool) -> bool:
        changed = False
        for name in names:
            value = holder.get(name)
            if isinstance(value, str):
                changed |= self._member(holder, name, (index, name, -1), finished)
            elif isinstance(value, list):
                # Content parts come whole.
                changed |= rewrite_texts(holder, (name,), self._whole, self._whole_arguments)
        return changed

    def _tool_call(self, call: Any, index: int, finished: bool) -> bool:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return False
        tool = call.get("index")
        return self._member(
            function, "arguments", (index, "tool_calls", tool if isinstance(tool, int) else 0), finished
        )

    def _member(self, holder: dict[str, Any], name: str, channel: Channel, finished: bool) -> bool:
        value = holder.get(name)
        if not isinstance(value, str):
            return False
        text_filter = self._channel(channel)
        new = text_filter.feed(value)
        if finished:
            new += text_filter.flush()
        if new == value:
            return False
        holder[name] = new
        return True

    def _channel(self, channel: Channel) -> TextFilter:
        found = self._channels.get(channel)
        if found is None:
            if len(self._channels) >= MAX_CHANNELS:
                raise GatewayError(Kind.UPSTREAM, "upstream_error", "The upstream's stream has too many parts.")
            plain = channel[1] not in ("tool_calls", "function_call")
            found = self._channels[channel] = self._make() if plain else ArgumentsFilter(self._make)
        return found

    def _flush(self, index: int) -> list[bytes]:
        out: list[bytes] = []
        for channel in [channel for channel in self._channels if channel[0] == index]:
            rest = self._channels.pop(channel).flush()
            if rest:
                out.append(self._event_of(channel, rest))
        return out

    def _flush_all(self) -> bytes:
        return b"".join([event for index in sorted({key[0] for key in self._channels}) for event in self._flush(index)])

    def _event_of(self, channel: Channel, text: str) -> bytes:
        index, name, tool = channel
        choice: dict[str, Any] = {"index": index}
        if name == "text":
            choice["text"] = text
        elif name == "tool_calls":
            choice["delta"] = {"tool_calls": [{"index": tool, "function": {"arguments": text}}]}
        elif name == "function_call":
            choice["delta"] = {"function_call": {"arguments": text}}
        else:
            choice["delta"] = {name: text}
        choice["finish_reason"] = None
        return b"data: " + orjson.dumps({**self._envelope, "choices": [choice]}) + b"\n\n"

    def _whole(self, text: str) -> str:
        whole = self._make()
        return whole.feed(text) + whole.flush()

    def _whole_arguments(self, text: str) -> str:
        whole = ArgumentsFilter(self._make)
        return whole.feed(text) + whole.flush()
