"""Errors of upstreams in the words of another reference, and answers that say more than the upstream's."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.answers import begun
from gateway.dataplane.envelope import reworded


@pytest.mark.parametrize("error", [{"message": "Too dark.", "type": "x"}, "Too dark."])
def test_an_upstreams_error_keeps_its_message_and_status(error: object) -> None:
    told = orjson.loads(reworded(orjson.dumps({"error": error}), 422))
    assert (told["detail"], told["status_code"]) == ("Too dark.", 422)
    assert told["timestamp"].endswith("Z")


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3), st.sampled_from((b"", b" ", b"\r\n\t")))
def test_fields_go_before_those_of_an_object(fields: dict[str, Any], space: bytes) -> None:
    body = space + b"{" + space + orjson.dumps(fields)[1:] + space
    assert orjson.loads(begun(b'"success":true', body)) == {"success": True} | fields


@pytest.mark.parametrize("body", [b"", b"[1]", b"no JSON"])
def test_what_is_no_object_stays_as_it_is(body: bytes) -> None:
    assert begun(b'"success":true', body) == body
