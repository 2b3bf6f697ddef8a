"""Tool calls: their grammar and how they are read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError
from gateway.local.native import LoadedModel
from gateway.local.requests import Function, FunctionName, NamedTool, Tool
from gateway.local.tools import CLOSE, OPEN, CallReader, call_grammar, call_text, chosen_tools, tool_instructions
from tests.unit.local.test_grammar import accepts

WEATHER = Tool(
    "function",
    Function(
        "get_weather",
        parameters={
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    ),
)
NOW = Tool("function", Function("now"))


def read(pieces: list[str]) -> list[tuple[str, str]]:
    """The calls in text that comes in pieces."""
    reader, calls = CallReader(), []
    for piece in pieces:
        for delta in reader.feed(piece):
            if delta.name is not None:
                calls.append((delta.name, ""))
            name, arguments = calls[delta.index]
            calls[delta.index] = (name, arguments + delta.arguments)
    return calls


OBJECT = st.dictionaries(
    st.text(max_size=5),
    st.text(max_size=8) | st.integers() | st.none() | st.lists(st.text(max_size=3), max_size=2),
    max_size=3,
)


@given(st.lists(OBJECT, min_size=1, max_size=3), st.lists(st.integers(1, 30), max_size=60))
def test_calls_are_read_back_whatever_the_pieces(arguments: list[dict[str, Any]], cuts: list[int]) -> None:
    text = "\n".join(call_text("f", value) for value in arguments).removeprefix(f"{OPEN}\n")
    pieces, position = [], 0
    for cut in cuts:
        pieces.append(text[position : position + cut])
        position += cut
    pieces.append(text[position:])
    calls = read(pieces)
    assert [name for name, _ in calls] == ["f"] * len(arguments)
    assert [json.loads(written) for _, written in calls] == arguments


def test_the_grammar_admits_calls_of_the_tools_alone(model: LoadedModel) -> None:
    one, several = call_grammar([WEATHER, NOW], several=False), call_grammar([WEATHER, NOW], several=True)
    call = f'{{"name": "get_weather", "arguments": {{"city": "Rome"}}}}\n{CLOSE}'
    assert accepts(model, one, call)
    assert accepts(model, one, f'{{"name": "now", "arguments": {{}}}}\n{CLOSE}')
    assert not accepts(model, one, f"{call}\n{OPEN}\n{call}")
    assert accepts(model, several, f"{call}\n{OPEN}\n{call}")
    assert not accepts(model, one, f'{{"name": "other", "arguments": {{}}}}\n{CLOSE}')
    assert not accepts(model, one, f'{{"name": "get_weather", "arguments": {{}}}}\n{CLOSE}')


def test_a_named_tool_is_the_only_choice() -> None:
    named = NamedTool("function", FunctionName("now"))
    assert chosen_tools([WEATHER, NOW], named) == [NOW]
    with pytest.raises(GatewayError, match=r"get_weather") as caught:
        chosen_tools([WEATHER], named)
    assert caught.value.field == "tool_choice.function.name"


def test_parameters_must_be_an_object() -> None:
    with pytest.raises(GatewayError, match="type object"):
        call_grammar([Tool("function", Function("f", parameters={"type": "string"}))], several=False)


def test_the_instructions_show_every_tool() -> None:
    told = tool_instructions([WEATHER, NOW])
    assert '"name": "get_weather"' in told
    assert '"name": "now"' in told
    assert OPEN in told
