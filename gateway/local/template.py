"""Chat messages to the prompt the model was trained on, by the template in its GGUF metadata."""

from __future__ import annotations

import importlib
import json
from typing import Any

import msgspec

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.native import LoadedModel
from gateway.local.requests import Message, Tool, invalid
from gateway.local.tools import call_text, result_text, tool_instructions

_TEMPLATE_KEY = "tokenizer.chat_template"


class ChatTemplate:
    """The chat template of one model. ``native_tools`` tells whether it writes tools in the form we parse."""

    def __init__(self, model: LoadedModel) -> None:
        source = model.metadata.get(_TEMPLATE_KEY)
        self.native_tools = bool(source) and "tools" in str(source) and "<tool_call>" in str(source)
        self._formatter: Any = None
        if source:
            formats = importlib.import_module("llama_cpp.llama_chat_format")
            self._formatter = formats.Jinja2ChatFormatter(
                template=source, eos_token=model.special_text("eos"), bos_token=model.special_text("bos")
            )

    def render(self, messages: list[Message], tools: list[Tool] | None = None) -> str:
        """The prompt. Raises ``GatewayError`` (``INVALID``) for content the model cannot take."""
        if self._formatter is None:
            message = "This model has no chat template: use /v1/completions."
            raise GatewayError(Kind.INVALID, "chat_not_supported", message, "model")
        plain = [self._plain(message, index) for index, message in enumerate(messages)]
        if tools and not self.native_tools:
            plain = _with_instructions(plain, tool_instructions(tools))
        shown = [msgspec.to_builtins(tool) for tool in tools] if tools and self.native_tools else None
        try:
            return str(self._formatter(messages=plain, tools=shown).prompt)
        except Exception as error:
            # A template is a program that came with the weights: it may refuse messages in any way it likes.
            raise invalid(f"The model's chat template refused the messages: {error}.", "messages") from error

    def _plain(self, message: Message, index: int) -> dict[str, Any]:
        text = _text_of(message, f"messages[{index}].content")
        role = "system" if message.role == "developer" else "tool" if message.role == "function" else message.role
        if role == "tool" and not self.native_tools:
            return {"role": "user", "content": result_text(text)}
        if message.tool_calls:
            calls = [
                _call_of(call, f"messages[{index}].tool_calls[{number}]")
                for number, call in enumerate(message.tool_calls)
            ]
            if self.native_tools:
                return {
                    "role": role,
                    "content": text,
                    "tool_calls": [{"type": "function", "function": c} for c in calls],
                }
            written = "\n".join(call_text(call["name"], call["arguments"]) for call in calls)
            return {"role": role, "content": f"{text}\n{written}" if text else written}
        return {"role": role, "content": text}


def _text_of(message: Message, field: str) -> str:
    if message.content is None:
        if message.role == "assistant":
            return ""
        raise invalid("Expected text.", field)
    if isinstance(message.content, str):
        return message.content
    parts = []
    for number, part in enumerate(message.content):
        kind = part.get("type")
        if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
            expected = "Expected a text part: the local model reads text only"
            raise invalid(f"{expected}, not {kind!r}.", f"{field}[{number}]", "unsupported_content")
        parts.append(part[kind])
    return "\n".join(parts)


def _call_of(call: dict[str, Any], field: str) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid("Expected a function call with a name.", field)
    arguments = function.get("arguments") or "{}"
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise invalid("Expected arguments in JSON.", f"{field}.function.arguments") from error
    return {"name": function["name"], "arguments": arguments}


def _with_instructions(messages: list[dict[str, Any]], instructions: str) -> list[dict[str, Any]]:
    if messages and messages[0]["role"] == "system":
        first = {"role": "system", "content": f"{messages[0]['content']}\n\n{instructions}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": instructions}, *messages]
