"""Tool calls as text: how tools are told to the model, the grammar of a call, and reading calls back as they stream.

A call is written as ``<tool_call>\\n{"name": "…", "arguments": {…}}\\n</tool_call>``, the form SmolLM2, Qwen and Hermes
models were trained on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.local.grammar import Grammar, literal
from gateway.local.requests import NamedTool, Tool, invalid

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
_MAX_CALLS = 4
_HEAD = re.compile(r'\s*\{"name": "([^"]+)", "arguments": ')


def tool_instructions(tools: list[Tool]) -> str:
    """What a model whose chat template knows nothing of tools is told in its system message."""
    listed = "\n".join(json.dumps(msgspec.to_builtins(tool.function), ensure_ascii=False) for tool in tools)
    return (
        "You may call functions to answer the user. The functions are given as JSON inside <tools></tools>:\n"
        f"<tools>\n{listed}\n</tools>\n"
        "To call a function, answer with its name and arguments as JSON, and nothing else:\n"
        f'{OPEN}\n{{"name": "function name", "arguments": {{"argument": "value"}}}}\n{CLOSE}\n'
        "If no function is needed, answer in plain words."
    )


def call_text(name: str, arguments: Any) -> str:
    """An earlier call of the assistant, as the model would have written it."""
    return f'{OPEN}\n{{"name": {json.dumps(name)}, "arguments": {json.dumps(arguments, ensure_ascii=False)}}}\n{CLOSE}'


def result_text(content: str) -> str:
    """A tool's answer, for templates without a place for it."""
    return f"<tool_response>\n{content}\n</tool_response>"


def chosen_tools(tools: list[Tool], choice: str | NamedTool | None) -> list[Tool]:
    """The tools that may be called. Raises ``GatewayError`` (``INVALID``) for a named tool that isn't listed."""
    if not isinstance(choice, NamedTool):
        return tools
    chosen = [tool for tool in tools if tool.function.name == choice.function.name]
    if not chosen:
        names = ", ".join(tool.function.name for tool in tools)
        raise invalid(f"Expected one of the tools: {names}.", "tool_choice.function.name")
    return chosen


def call_grammar(tools: list[Tool], *, several: bool) -> str:
    """The grammar of what follows ``<tool_call>\\n``."""
    grammar = Grammar("tools")
    root = _calls(grammar, tools, several=several)
    return grammar.render(root)


def call_or_json_grammar(tools: list[Tool], schema: Any, *, several: bool, strict: bool) -> str:
    """The grammar of an answer that is either tool calls (with ``<tool_call>``) or JSON of ``schema``."""
    grammar = Grammar("response_format.json_schema.schema", strict=strict)
    answer = grammar.schema(schema)
    return grammar.render(f"{answer} | {literal(OPEN + chr(10))} {_calls(grammar, tools, several=several)}")


def _calls(grammar: Grammar, tools: list[Tool], *, several: bool) -> str:
    options = []
    for tool in tools:
        parameters = tool.function.parameters or {}
        if parameters.get("type", "object") != "object":
            raise invalid("Expected parameters of type object.", "tools")
        arguments = grammar.schema({"type": "object", **parameters})
        head = literal(f'{{"name": "{tool.function.name}", "arguments": ')
        options.append(f'{head} {arguments} "}}"')
    call = grammar.add("call", " | ".join(options))
    more = f" ({literal(chr(10) + OPEN + chr(10))} {call} {literal(chr(10) + CLOSE)}){{0,{_MAX_CALLS - 1}}}"
    return f"{call} {literal(chr(10) + CLOSE)}{more if several else ''}"


@dataclass(frozen=True)
class CallDelta:
    """A piece of a call: the first of each has its ``name``, the others a fragment of its JSON ``arguments``."""

    index: int
    name: str | None
    arguments: str


class CallReader:
    """Reads calls from text that comes in pieces and follows the grammar of :func:`call_grammar`."""

    def __init__(self) -> None:
        self.count = 0
        self._buffer = ""
        self._inside = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> list[CallDelta]:
        """The deltas that ``text`` completes."""
        self._buffer += text
        deltas: list[CallDelta] = []
        while self._buffer:
            if not self._inside:
                # The close and open marks between two calls are passed over with the next call's head.
                self._buffer = self._buffer.removeprefix(f"}}\n{CLOSE}").removeprefix(f"\n{OPEN}\n")
                head = _HEAD.match(self._buffer)
                if head is None:
                    break
                self._buffer = self._buffer[head.end() :]
                self._inside = True
                self.count += 1
                deltas.append(CallDelta(self.count - 1, head.group(1), ""))
            elif fragment := self._take_arguments():
                deltas.append(CallDelta(self.count - 1, None, fragment))
        return deltas

    def _take_arguments(self) -> str:
        for position, char in enumerate(self._buffer):
            self._step(char)
            if self._depth == 0 and char == "}" and not self._in_string:
                self._inside = False
                return self._cut(position + 1)
        return self._cut(len(self._buffer))

    def _step(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif self._in_string:
            self._escaped = char == "\\"
            self._in_string = char != '"'
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1

    def _cut(self, length: int) -> str:
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken
