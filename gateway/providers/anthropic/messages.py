"""The conversation: Chat's messages as Anthropic's turns and blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from gateway.kernel.errors import GatewayError, Kind
from gateway.providers.anthropic.parts import blocks_of
from gateway.providers.base import Json


class Conversation:
    """``messages`` and ``system`` are Anthropic's; what they can't say is put into ``dropped``.

    System messages at the beginning are the system prompt. A later one stays where it is for a model that takes it
    there, right after a turn of the user's; otherwise it becomes part of the system prompt.
    """

    def __init__(self, dropped: dict[str, None], system_turns: bool) -> None:
        self.messages: list[Json] = []
        self.system: list[Json] = []
        self._dropped = dropped
        self._system_turns = system_turns

    def add(self, messages: Iterable[Json]) -> None:
        """Take over all messages, in order."""
        for place, message in enumerate(messages):
            if not isinstance(message, dict):
                raise _invalid(f"messages[{place}]", "Expected a message object.")
            role = message.get("role")
            if message.get("name") and role != "tool":
                self._dropped["messages.name"] = None
            if role == "user":
                self._turn("user", self._blocks(message, place))
            elif role == "assistant":
                self._turn("assistant", self._said(message, place))
            elif role == "tool":
                self._add_result(message, place)
            elif role in ("system", "developer"):
                self._add_system(self._blocks(message, place))
            else:
                self._dropped[f"messages.role.{role}"] = None

    def system_prompt(self) -> str | list[Json]:
        """``system``: a text where nothing more is said."""
        if len(self.system) == 1 and self.system[0].keys() == {"type", "text"}:
            text: str = self.system[0]["text"]
            return text
        return self.system

    def _add_system(self, blocks: list[Json]) -> None:
        last = self.messages[-1] if self.messages else None
        if self._system_turns and last is not None and last["role"] == "user":
            self.messages.append({"role": "system", "content": _shortest(blocks)})
        else:
            self.system += blocks

    def _blocks(self, message: Json, place: int) -> list[Json]:
        blocks = blocks_of(message.get("content"), f"messages[{place}].content", self._dropped)
        if message.get("cache_control") and blocks:
            blocks[-1]["cache_control"] = message["cache_control"]
        return blocks

    def _said(self, message: Json, place: int) -> list[Json]:
        own = message.get("provider_blocks")
        if isinstance(own, dict) and own.get("vendor") == "anthropic":
            return list(own.get("blocks") or ())
        # A thought that nobody signed is another vendor's, and would be refused.
        blocks = [_as_told(block) for block in message.get("thinking_blocks") or () if _is_signed(block)]
        blocks += blocks_of(message.get("content"), f"messages[{place}].content", self._dropped)
        if message.get("refusal"):
            blocks.append({"type": "text", "text": message["refusal"]})
        for name in ("audio", "function_call"):
            if message.get(name):
                self._dropped[f"messages.{name}"] = None
        for number, call in enumerate(message.get("tool_calls") or ()):
            field = f"messages[{place}].tool_calls[{number}]"
            function = call.get("function")
            if not isinstance(function, dict):
                self._dropped[f"messages.tool_calls.{call.get('type')}"] = None
                continue
            blocks.append(
                {
                    "type": "tool_use",
                    "id": call.get("id"),
                    "name": function.get("name"),
                    "input": _arguments(function.get("arguments"), f"{field}.function.arguments"),
                }
            )
        if message.get("cache_control") and blocks:
            blocks[-1] = {**blocks[-1], "cache_control": message["cache_control"]}
        return blocks

    def _add_result(self, message: Json, place: int) -> None:
        result: Json = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
        content = message.get("content")
        if isinstance(content, str):
            result["content"] = content
        else:
            result["content"] = blocks_of(content, f"messages[{place}].content", self._dropped)
        if message.get("is_error"):
            result["is_error"] = True
        if message.get("cache_control"):
            result["cache_control"] = message["cache_control"]
        self._turn("user", [result])

    def _turn(self, role: str, blocks: list[Json]) -> None:
        """Messages of one role are one turn: Anthropic wants the results of all calls of a turn in one message."""
        if not blocks:
            return
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != role:
            self.messages.append({"role": role, "content": _shortest(blocks)})
            return
        before = last["content"]
        last["content"] = [*([{"type": "text", "text": before}] if isinstance(before, str) else before), *blocks]


def _is_signed(block: Json) -> bool:
    return block.get("type") == "redacted_thinking" or bool(block.get("signature"))


def _as_told(block: Json) -> Json:
    # Of a stream it has its place in the list.
    return {name: value for name, value in block.items() if name != "index"}


def _shortest(blocks: list[Json]) -> str | list[Json]:
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


def _arguments(arguments: Any, field: str) -> Json:
    if not arguments:
        return {}
    try:
        value = orjson.loads(arguments)
    except (orjson.JSONDecodeError, TypeError):
        value = None
    if not isinstance(value, dict):
        raise _invalid(field, "Expected a JSON object, as a string.")
    return value


def _invalid(field: str, message: str) -> GatewayError:
    return GatewayError(Kind.INVALID, "invalid_request", f"{field}: {message}", field)
