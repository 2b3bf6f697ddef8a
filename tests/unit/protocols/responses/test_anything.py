"""Whatever JSON a client sends is translated or refused with a sentence, and never anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.stored.records import with_ids
from gateway.dataplane.stored.session import Session
from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.responses.protocol import protocol
from gateway.protocols.responses.request import _KNOWN, read

_WORDS = st.sampled_from(
    [
        *("message", "function_call", "function_call_output", "reasoning", "custom_tool_call", "item_reference"),
        *("input_text", "input_image", "input_file", "input_audio", "output_text", "refusal", "summary_text"),
        *("function", "custom", "allowed_tools", "web_search", "json_schema", "json_object", "grammar", "text"),
        *("user", "assistant", "developer", "auto", "required", "f", "c1", "gw1.e30=", "gw1.WzFd", "gw1.eyJhIjoxfQ=="),
    ]
)
_NAMES = st.sampled_from(
    [
        *("type", "role", "content", "text", "id", "call_id", "name", "arguments", "output", "summary", "input"),
        *("encrypted_content", "image_url", "file_id", "file_data", "detail", "input_audio", "parameters", "function"),
        *("format", "schema", "strict", "mode", "tools", "effort", "verbosity", "json_schema", "namespace", "refusal"),
        *("prompt_cache_breakpoint", "ttl", "include_obfuscation", "context"),
    ]
)
_SCALARS = st.none() | st.booleans() | st.integers(-5, 50) | st.floats(allow_nan=False) | _WORDS | st.text(max_size=5)
_JSON: st.SearchStrategy[Any] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=6), max_leaves=8
)
_ITEMS = st.lists(st.dictionaries(_NAMES, _JSON, min_size=1, max_size=6), max_size=4)
_BODIES = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional=dict.fromkeys(sorted(_KNOWN - {"model", "input"}), _JSON) | {"input": _JSON | _ITEMS},
)


def tried(make: Callable[[], Any]) -> Any:
    """What is made, or None where that was refused as it should be."""
    refused = None
    try:
        return make()
    except GatewayError as error:
        refused = error
    assert refused.kind is Kind.INVALID
    assert refused.field
    assert refused.message
    return None


@given(_BODIES)
def test_any_body(body: dict[str, Any]) -> None:
    before = orjson.dumps(body)
    asked = tried(lambda: protocol().request(body))
    if asked is not None:
        orjson.dumps(asked.chat)
        assert all(message["role"] in ("system", "user", "assistant", "tool") for message in asked.chat["messages"])
    assert orjson.dumps(body) == before


@given(_BODIES)
def test_any_body_can_be_relayed_or_is_refused(body: dict[str, Any]) -> None:
    session = tried(lambda: Session(read(body)))
    relayed = None if session is None else tried(session.relay)
    if relayed is not None:
        assert relayed["store"] is False
        assert "previous_response_id" not in relayed
        orjson.dumps(session.queued())


@given(_ITEMS)
def test_any_items_can_be_kept(items: list[dict[str, Any]]) -> None:
    kept = with_ids(items, "ab" * 24)
    assert len(kept) == len(items)
    assert all(item["id"] for item in kept)
    orjson.dumps(kept)


_DELTAS = st.dictionaries(
    st.sampled_from(
        ["content", "reasoning_content", "refusal", "tool_calls", "annotations", "thinking_blocks", "role"]
    ),
    _JSON,
    max_size=3,
)


@given(st.lists(_DELTAS, max_size=5))
def test_any_chunks_end_or_are_refused_as_unreadable(deltas: list[dict[str, Any]]) -> None:
    api = protocol()
    made = api.stream(api.request({"model": "m", "input": "x"}).memo)
    try:
        data = b"".join(made.feed({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        data = made.error(502, {"error": {"message": "Unreadable."}}, "r")  # as the data plane does
    else:
        data += made.end()
    assert data.endswith(b"\n\n") or not data
