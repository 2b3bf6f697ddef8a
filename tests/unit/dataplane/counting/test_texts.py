"""What of requests and answers is counted."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.counting.__main__ import count
from gateway.dataplane.counting.texts import Texts, of_answer, of_request
from gateway.dataplane.counting.wire import Ask, Produced


@pytest.mark.parametrize(
    ("endpoint", "body", "texts", "tokens"),
    [
        ("chat.completions", {"messages": [{"role": "user", "content": "hi"}]}, ["user", "hi"], 6),
        (
            "chat.completions",
            {"messages": [{"role": "system", "content": "a"}, {"role": "user", "name": "Al", "content": "b"}]},
            ["system", "a", "user", "Al", "b"],
            10,
        ),
        (
            "chat.completions",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "what is"},
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                        ],
                    }
                ]
            },
            ["user", "what is"],
            6 + 85 + 765,
        ),
        (
            "chat.completions",
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}]},
                    {"role": "tool", "content": "1"},
                ],
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
            ["assistant", "f", '{"a":1}', "tool", "1", '[{"type":"function","function":{"name":"f"}}]'],
            9,
        ),
        ("completions", {"prompt": "Once"}, ["Once"], 0),
        ("completions", {"prompt": ["Once", "Twice"]}, ["Once", "Twice"], 0),
        ("completions", {"prompt": [[1, 2, 3], [4]]}, [], 4),
        ("embeddings", {"input": [5, 6]}, [], 2),
        ("rerank", {"query": "q", "documents": ["a", {"text": "b"}]}, ["q", "a", "b"], 0),
        ("audio.speech", {"input": "Say it."}, ["Say it."], 0),
        ("chat.completions", {"messages": ["odd", {"content": 7, "tool_calls": ["odd"]}]}, [], 6),
        ("chat.completions", ["no object"], [], 0),
    ],
)
def test_requests(endpoint: str, body: Any, texts: list[str], tokens: int) -> None:
    assert of_request(endpoint, orjson.dumps(body)) == Texts(texts, [], tokens)


def events(*deltas: dict[str, Any], index: int = 0) -> bytes:
    """Events of a chat stream."""
    return b"".join(
        b"data: " + orjson.dumps({"choices": [{"index": index, "delta": delta}]}) + b"\n\n" for delta in deltas
    )


@pytest.mark.parametrize(
    ("produced", "texts", "thoughts"),
    [
        (Produced(events({"role": "assistant", "content": ""}, {"content": "un"}, {"content": "do"})), ["undo"], []),
        (Produced(events({"content": "a"}) + events({"content": "b"}, index=1)), ["a", "b"], []),
        (
            Produced(events({"reasoning_content": "h", "reasoning": "h"}, {"reasoning": "m"}, {"content": "ok"})),
            ["ok"],
            ["hm"],
        ),
        (
            Produced(
                events(
                    {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
                    {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
                    {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
                )
            ),
            ['f{"a":1}'],
            [],
        ),
        (Produced(b'data: {"choices":[{"text":"Once"}]}\r\n\r\ndata: [DONE]\r\n\r\n: ping\n\n'), ["Once"], []),
        (Produced(b'{"choices":[{"message":{"content":"x","reasoning":"y"}}]}', is_whole=True), ["x"], ["y"]),
        (Produced(events({"content": "c"}), text=rb"a\n\u00e9", thoughts=b"t"), ["a\né", "c"], ["t"]),
        (Produced(text=rb"\ud83d"), [r"\ud83d"], []),
        (Produced(b"data: 7\n\ndata: {\n\nhalf"), [], []),
    ],
)
def test_answers(produced: Produced, texts: list[str], thoughts: list[str]) -> None:
    found = of_answer(produced)
    assert (found.texts, found.thoughts) == (texts, thoughts)


@pytest.mark.parametrize(
    ("vocabulary", "text", "tokens"),
    [
        # What OpenAI's cookbook publishes, "Comparing encodings".
        ("o200k_base", "お誕生日おめでとう", 8),
        ("cl100k_base", "お誕生日おめでとう", 9),
        ("o200k_base", "antidisestablishmentarianism", 6),
        ("cl100k_base", "2 + 2 = 4", 7),
        ("cl100k_base", "tiktoken is great!", 6),
        ("qwen3.5", "hello world", 2),
    ],
)
def test_each_vocabulary_counts_as_it_is(vocabulary: str, text: str, tokens: int) -> None:
    asked = Ask(7, vocabulary, "completions", orjson.dumps({"prompt": text}))
    counted = count(asked)
    assert (counted.number, counted.prompt, counted.completion) == (7, tokens, 0)


def test_what_was_not_kept_counts_as_the_rest_does() -> None:
    kept = Produced(text=b" one two three four", lost=190)
    assert count(Ask(1, "o200k_base", "completions", None, kept)).completion == 4 + 40


@given(st.binary())
def test_anything_may_be_asked(body: bytes) -> None:
    counted = count(Ask(1, "o200k_base", "chat.completions", body, Produced(body, text=body)))
    assert counted.prompt >= 0
    assert counted.completion >= 0
