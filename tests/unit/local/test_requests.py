"""What is said of a request's faults."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gateway.kernel.errors import GatewayError
from gateway.local.requests import ChatRequest, CompletionRequest, EmbeddingRequest, Role, parse

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


def refused(body: object, kind: Any = ChatRequest) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parse(json.dumps(body).encode(), kind)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        (
            {"messages": [{"role": "usr"}]},
            "invalid_value",
            "'messages[0].role' must be one of system, developer, user, assistant, tool; got 'usr'.",
        ),
        ({"messages": [{"content": "a"}]}, "invalid_value", "'messages[0].role' is required."),
        ({"messages": []}, "invalid_value", "'messages' must have at least 1 entry."),
        ({"messages": "a"}, "invalid_type", "'messages' must be a list, got a string."),
        (
            {"messages": [{"role": "user", "content": 3}]},
            "invalid_type",
            "'messages[0].content' must be a string or a list, got an integer.",
        ),
        ({"temperature": "x"}, "invalid_type", "'temperature' must be a number, got a string."),
        ({"temperature": 3}, "invalid_value", "'temperature' must be at most 2."),
        ({"n": 1.5}, "invalid_type", "'n' must be an integer, got a number."),
        ({"n": 0}, "invalid_value", "'n' must be at least 1."),
        ({"repeat_penalty": 0}, "invalid_value", "'repeat_penalty' must be more than 0."),
        ({"stream": "yes"}, "invalid_type", "'stream' must be a boolean, got a string."),
        ({"logit_bias": {"1": "x"}}, "invalid_type", "'logit_bias' must be a number, got a string."),
        ({"model": None}, "invalid_type", "'model' must be a string, got null."),
        ({"modalities": ["audio"]}, "invalid_value", "'modalities[0]' must be text; got 'audio'."),
        (
            {"response_format": {"type": "x"}},
            "invalid_value",
            "'response_format.type' must be one of text, json_object, json_schema; got 'x'.",
        ),
        ({"tools": [{"type": "x"}]}, "invalid_value", "'tools[0].type' must be function; got 'x'."),
        (
            {"tool_choice": "any"},
            "invalid_value",
            "'tool_choice' must be one of none, auto, required, or an object that names a function; got 'any'.",
        ),
    ],
)
def test_a_fault_is_told_in_the_callers_words(fields: dict[str, Any], code: str, message: str) -> None:
    error = refused(CHAT | fields)
    assert (error.code, error.message) == (code, message)


def test_a_function_name_is_held_to_its_pattern() -> None:
    error = refused(CHAT | {"tools": [{"type": "function", "function": {"name": "a b"}}]})
    assert error.message == "'tools[0].function.name' must match '^[a-zA-Z0-9_.-]{1,64}$'."


def test_a_body_that_is_no_object_is_told_as_the_body() -> None:
    assert refused([]).message == "The body must be an object, got a list."


def test_other_requests_are_told_alike() -> None:
    error = refused({"model": "m", "prompt": 3}, CompletionRequest)
    assert error.message == "'prompt' must be a string or a list, got an integer."
    error = refused({"model": "m", "input": "a", "encoding_format": "hex"}, EmbeddingRequest)
    assert error.message == "'encoding_format' must be one of float, base64; got 'hex'."


def test_every_role_that_is_advised_is_taken() -> None:
    advised = refused(CHAT | {"messages": [{"role": "usr"}]}).message.split("one of ")[1].split(";")[0].split(", ")
    # `function` is taken for old clients and advised to nobody.
    assert [*advised, "function"] == [msgspec.convert(name, Role) for name in (*advised, "function")]
