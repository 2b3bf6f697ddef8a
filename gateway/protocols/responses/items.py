"""Input items → the messages of Chat Completions.

A Response's output is a list of items, what Chat has as one assistant message: thoughts, text and tool calls that
follow one another become one message again. Source: OpenAI API reference, "Create a model response" (``input``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gateway.protocols.base import Json
from gateway.protocols.responses import thoughts
from gateway.protocols.responses.checks import object_of, one_of, refusal, string, text_or_none, unsupported
from gateway.protocols.responses.content import said_to_chat, to_chat
from gateway.protocols.responses.summary import summary_of

_ROLES: Final = ("user", "assistant", "system", "developer")


def to_messages(items: Sequence[object], first: int = 0, origin: str = "previous_response_id") -> list[Json]:
    """The messages. ``first`` is how many of ``items`` were stored, before the request's own ``input``; ``origin`` is
    the parameter that named them.

    Raises :class:`~gateway.kernel.errors.GatewayError` naming the item, and ``input`` for a tool call without its
    output or an output without its call.
    """
    messages = _Messages()
    for i, each in enumerate(items):
        where = f"input[{i - first}]" if i >= first else origin
        item = object_of(each, where)
        kind = kind_of(item, where)
        handle = _HANDLERS.get(kind)
        if handle is None:
            raise unsupported(f"{where}.type", f"can't be told an item of the type '{kind[:60]}'")
        handle(messages, item, where)
    return messages.finish()


def kind_of(item: Json, where: str) -> str:
    """The type of an item; a message and a reference may leave it out."""
    kind = text_or_none(item.get("type"), f"{where}.type")
    if kind is None:
        return "item_reference" if "id" in item and "role" not in item else "message"
    return kind


class _Messages:
    """Messages under construction. ``said`` is the assistant's last one as long as it may go on."""

    __slots__ = ("_calls", "_out", "_said", "_signed")

    def __init__(self) -> None:
        self._out: list[Json] = []
        self._said: Json | None = None
        self._calls: dict[str, bool] = {}  # ids of calls: whether there is an output
        self._signed: dict[str, Json] = {}  # what vendors signed of calls, by their ids

    def message(self, item: Json, where: str) -> None:
        role = one_of(item.get("role"), f"{where}.role", _ROLES)
        if role == "assistant":
            self._say(item, where)
            return
        self._end_turn()
        # To OpenAI's models "developer" and "system" are one; the others know "system" alone.
        shown = "system" if role == "developer" else role
        self._out.append({"role": shown, "content": to_chat(item.get("content"), f"{where}.content")})

    def _say(self, item: Json, where: str) -> None:
        text, refused = said_to_chat(item.get("content"), f"{where}.content")
        said = self._said
        if said is not None and "tool_calls" not in said and ("refusal" in said or said["content"] is not None):
            self._end_turn()
        said = self._turn()
        if text is not None:
            said["content"] = (said["content"] or "") + text
        if refused is not None:
            said["refusal"] = said.get("refusal", "") + refused
        if text is None and refused is None and said["content"] is None:
            said["content"] = ""

    def reasoning(self, item: Json, where: str) -> None:
        self._signed |= thoughts.into_message(self._turn(), item, where)

    def function_call(self, item: Json, where: str) -> None:
        function = {
            "name": string(item.get("name"), f"{where}.name"),
            "arguments": string(item.get("arguments"), f"{where}.arguments"),
        }
        self._call(item, {"type": "function", "function": function}, where)

    def custom_tool_call(self, item: Json, where: str) -> None:
        custom = {
            "name": string(item.get("name"), f"{where}.name"),
            "input": string(item.get("input"), f"{where}.input"),
        }
        self._call(item, {"type": "custom", "custom": custom}, where)

    def _call(self, item: Json, call: Json, where: str) -> None:
        if item.get("namespace") is not None:
            raise unsupported(f"{where}.namespace", "has no namespaces of tools")
        call_id = string(item.get("call_id"), f"{where}.call_id")
        if call_id in self._calls:
            raise refusal(f"The tool call '{call_id[:100]}' is there twice.", f"{where}.call_id")
        self._calls[call_id] = False
        if call_id in self._signed:
            call["extra_content"] = self._signed[call_id]
        self._turn().setdefault("tool_calls", []).append({"id": call_id, **call})

    def output(self, item: Json, where: str) -> None:
        call_id = string(item.get("call_id"), f"{where}.call_id")
        if call_id not in self._calls:
            raise refusal(f"No tool call found for function call output with call_id {call_id[:100]}.", "input")
        self._calls[call_id] = True
        self._end_turn()
        content = to_chat(item.get("output"), f"{where}.output")
        self._out.append({"role": "tool", "tool_call_id": call_id, "content": content})

    def compaction(self, item: Json, where: str) -> None:
        told = summary_of(item, where)
        if told is None:
            raise unsupported(f"{where}.encrypted_content", "can't read what another made of a conversation")
        self._end_turn()
        self._out.append({"role": "system", "content": told})

    def reference(self, item: Json, where: str) -> None:
        # Those that are stored were put in place of their references before.
        item_id = string(item.get("id"), f"{where}.id")
        raise refusal(f"Item with id '{item_id[:100]}' not found.", f"{where}.id", "item_not_found")

    def _turn(self) -> Json:
        if self._said is None:
            self._said = {"role": "assistant", "content": None}
        return self._said

    def _end_turn(self) -> None:
        said = self._said
        self._said = None
        if said is not None and (said["content"] is not None or "tool_calls" in said or "refusal" in said):
            self._out.append(said)

    def finish(self) -> list[Json]:
        self._end_turn()
        for call_id, answered in self._calls.items():
            if not answered:
                raise refusal(f"No tool output found for function call {call_id[:100]}.", "input")
        return self._out


_HANDLERS: Final[dict[str, Callable[[_Messages, Json, str], None]]] = {
    "message": _Messages.message,
    "reasoning": _Messages.reasoning,
    "function_call": _Messages.function_call,
    "function_call_output": _Messages.output,
    "custom_tool_call": _Messages.custom_tool_call,
    "custom_tool_call_output": _Messages.output,
    "compaction": _Messages.compaction,
    "item_reference": _Messages.reference,
}
