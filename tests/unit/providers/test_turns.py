"""A turn of the assistant keeps its meaning on its way to a vendor and back, whatever it says and calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.base import Question, Translator, Upstream
from gateway.providers.registry import translator_for
from gateway.providers.telling import Answer

Turn = dict[str, Any]

NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CALLS = st.lists(st.tuples(NAMES, st.dictionaries(st.text(max_size=6), VALUES, max_size=3)), max_size=3)
TEXTS = st.text(max_size=30)


def _gemini(body: Turn) -> Turn:
    return {"candidates": [{"content": body["contents"][1], "finishReason": "STOP"}]}


def _bedrock(body: Turn) -> Turn:
    return {"output": {"message": body["messages"][1]}, "stopReason": "end_turn"}


def _cohere(body: Turn) -> Turn:
    said = body["messages"][1]
    if isinstance(said.get("content"), str):
        said["content"] = [{"type": "text", "text": said["content"]}]
    return {"message": said, "finish_reason": "COMPLETE"}


def _mistral(body: Turn) -> Turn:
    return {"choices": [{"message": body["messages"][1], "finish_reason": "stop"}]}


VENDORS: dict[str, Callable[[Turn], Turn]] = {
    "gemini": _gemini,
    "bedrock": _bedrock,
    "cohere": _cohere,
    "mistral": _mistral,
}


def told(message: Turn) -> tuple[str, list[tuple[str, Any]]]:
    """What a message means."""
    calls = [
        (call["function"]["name"], orjson.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls", ())
    ]
    return message.get("content") or "", calls


def there_and_back(vendor: str, message: Turn) -> Turn:
    """The message as the vendor would give it back, had it said what it was sent."""
    found = translator_for(vendor)
    assert found is not None
    translator: Translator = found
    chat = {"messages": [{"role": "user", "content": "?"}, message]}
    call = translator.request(Question(chat, Upstream("gemini-2.5-pro", api_key="k")))
    answer: Any = translator.response(orjson.dumps(VENDORS[vendor](orjson.loads(call.body))), Answer("i", 1, "m"))
    found_message: Turn = answer["choices"][0]["message"]
    return found_message


@pytest.mark.parametrize("vendor", VENDORS)
@given(text=TEXTS, calls=CALLS)
def test_a_turn_keeps_its_meaning(vendor: str, text: str, calls: list[tuple[str, Any]]) -> None:
    made = [
        {
            "id": f"call_{place}",
            "type": "function",
            "function": {"name": name, "arguments": orjson.dumps(given).decode()},
        }
        for place, (name, given) in enumerate(calls)
    ]
    message: Turn = {"role": "assistant", "content": text or None}
    if made:
        message["tool_calls"] = made
    if not text.strip() and (vendor == "bedrock" or not text):
        text = ""  # Converse takes no blank text
        if not made:
            return

    back = there_and_back(vendor, message)

    assert told(back) == (text, calls)
    assert told(there_and_back(vendor, back)) == (text, calls)
    assert len({call["id"] for call in back.get("tool_calls", ())}) == len(calls)


@pytest.mark.parametrize("vendor", ["gemini", "bedrock"])
@given(thought=TEXTS.filter(str.strip), signature=st.binary(min_size=1, max_size=20))
def test_signed_thoughts_come_back_to_who_signed_them(vendor: str, thought: str, signature: bytes) -> None:
    message: Turn = {
        "role": "assistant",
        "content": "So.",
        "tool_calls": [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": signature.hex()}},
            }
        ],
        "thinking_blocks": [{"type": "thinking", "thinking": thought, "signature": signature.hex()}],
    }

    back = there_and_back(vendor, message)

    if vendor == "bedrock":
        assert back["thinking_blocks"] == message["thinking_blocks"]
        assert back["reasoning_content"] == thought
    else:
        assert back["tool_calls"][0]["extra_content"] == message["tool_calls"][0]["extra_content"]
