"""Token counts as upstreams tell them."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from gateway.contract.usage import Tokens
from gateway.dataplane.usage import read_answer


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, Tokens(prompt=5, completion=2)),
        ({"input_tokens": 5, "output_tokens": 2}, Tokens(prompt=5, completion=2)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Tokens(prompt=8)),
        ({"total_tokens": 8, "completion_tokens": 3}, Tokens(prompt=5, completion=3)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}, Tokens(prompt=5, cached=4)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Tokens(prompt=5, cached=5)),
        ({"prompt_tokens": 5, "prompt_tokens_details": None}, Tokens(prompt=5)),
        (
            {"prompt_tokens": 1, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 6}},
            Tokens(prompt=1, completion=9, reasoning=6),
        ),
        ({"prompt_tokens": 5.0, "completion_tokens": "2"}, Tokens(prompt=5, completion=2)),
        ({"prompt_tokens": -5, "completion_tokens": -2}, Tokens()),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": -3}}, Tokens(prompt=5)),
    ],
)
def test_usage(usage: dict[str, Any], tokens: Tokens) -> None:
    assert read_answer(orjson.dumps({"choices": [{}], "usage": usage})) == (tokens, True)


@pytest.mark.parametrize("answer", [{}, {"usage": None}, {"usage": 7}, {"usage": {"prompt_tokens": [1]}}, [], "text"])
def test_usage_of_another_shape_is_none(answer: Any) -> None:
    tokens, _ = read_answer(orjson.dumps(answer))
    assert tokens is None


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"usage":'])
def test_what_is_no_json_is_told(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_answer(body)
