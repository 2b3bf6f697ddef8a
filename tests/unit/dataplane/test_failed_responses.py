"""What an answer that came with 200 tells of an error."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.dataplane.refusal import as_envelope, status_told
from gateway.dataplane.soundness import before_error


def failed(code: str) -> dict[str, Any]:
    return {"type": "response.failed", "response": {"status": "failed", "error": {"code": code, "message": "No."}}}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (failed("server_error"), 502),
        (failed("rate_limit_exceeded"), 429),
        (failed("vector_store_timeout"), 504),
        (failed("invalid_prompt"), 400),
        (failed("image_parse_error"), 400),
        ({"type": "error", "code": "server_error", "message": "No.", "param": None}, 502),
        ({"object": "response", "status": "failed", "error": {"code": "invalid_image", "message": "No."}}, 400),
        ({"object": "response", "status": "completed", "error": None}, None),
        ({"error": {"type": "x", "code": "invalid_api_key", "message": "No."}}, 502),
        ({"error": {"code": 429, "message": "No."}}, 429),
        ({"choices": []}, None),
    ],
)
def test_its_status(body: dict[str, Any], status: int | None) -> None:
    assert status_told(orjson.dumps(body)) == status


def test_its_envelope() -> None:
    told = orjson.loads(as_envelope(orjson.dumps(failed("server_error"))))
    assert told == {"error": {"code": "server_error", "message": "No."}}
    plain = b'{"error": {"message": "No."}}'
    assert as_envelope(plain) is plain
    assert as_envelope(b"no JSON") == b"no JSON"


def test_what_comes_before_it_counts() -> None:
    made = b'event: response.created\ndata: {"type":"response.created","response":{"error":null}}\n\n'
    end = b"event: response.failed\ndata: " + orjson.dumps(failed("server_error")) + b"\n\n"
    assert before_error(made + end) == (made, end)
    assert before_error(made) == (made, b"")
