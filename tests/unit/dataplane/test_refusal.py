"""What errors of upstreams mean, in the words of several of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.refusal import is_too_long, status_told


def body(**error: Any) -> bytes:
    return orjson.dumps({"error": error})


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded", "message": "too long"},
        {"type": "exceed_context_size_error", "message": "the request exceeds the available context size"},
        {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."},
        {"message": "prompt is too long: 205000 tokens > 200000 maximum", "type": "invalid_request_error"},
        {"message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 context length"},
        {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."},
    ],
)
def test_too_long(error: dict[str, Any]) -> None:
    assert is_too_long(400, body(**error))
    assert not is_too_long(500, body(**error))


@pytest.mark.parametrize(
    "error",
    [
        {"code": "content_filter", "message": "The response was filtered."},
        {"message": "Invalid value for 'temperature'.", "code": None},
        {"message": None},
        {"message": 3},
        {},
    ],
)
def test_not_too_long(error: dict[str, Any]) -> None:
    assert not is_too_long(400, body(**error))


def test_an_error_that_is_a_text() -> None:
    assert is_too_long(400, orjson.dumps({"error": "input is too long"}))
    assert not is_too_long(400, orjson.dumps({"error": "no"}))
    assert not is_too_long(400, b"<html>prompt is too long</html>")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"error": {"code": 429, "message": "slow"}}, 429),
        ({"error": {"status": 503}}, 503),
        ({"error": {"code": "engine"}}, 502),
        ({"error": {"code": 200}}, 502),
        ({"error": {"code": True}}, 502),
        ({"error": {"code": "content_filter"}}, 400),
        ({"error": {"type": "invalid_request_error"}}, 400),
        ({"error": "broken"}, 502),
        ({"error": None, "choices": []}, None),
        ({"error": {}}, None),
        ({"choices": []}, None),
        ([], None),
    ],
)
def test_the_status_of_an_error_that_came_with_200(answer: Any, status: int | None) -> None:
    assert status_told(orjson.dumps(answer)) == status


@given(st.binary(max_size=200))
def test_bytes_that_are_nothing(data: bytes) -> None:
    assert status_told(data) in (None, 502)
    assert not is_too_long(400, data)
