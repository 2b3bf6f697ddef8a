"""A stream of Responses that was relayed and breaks off: who goes on, and what the client sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.contract.usage import Tokens
from tests.faults.upstream.dialects import framed
from tests.support.native_streams import Response
from tests.support.raw_upstream import RawUpstream, Script, raw_upstream
from tests.support.streams import DONE, breaks, event, role, says, sent, text, two, usage, whole
from tests.support.wire import post, wire
from tests.support.worker import RunningWorker, running_worker

Json = dict[str, Any]
THOUGHT: Json = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA", "status": "completed"}
MESSAGE: Json = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
PART: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def numbered(*events: tuple[str, Json]) -> list[bytes]:
    """Events with their numbers."""
    return [framed(kind, sequence_number=number, **fields) for number, (kind, fields) in enumerate(events)]


def started() -> list[tuple[str, Json]]:
    """How each Response begins."""
    told = {"id": "resp_1", "object": "response", "created_at": 7, "status": "in_progress", "model": "x", "output": []}
    return [("response.created", {"response": told}), ("response.in_progress", {"response": told})]


def item(index: int, kind: str, **fields: Any) -> tuple[str, Json]:
    """An item begins."""
    return "response.output_item.added", {"output_index": index, "item": {"type": kind, **fields}}


def said(*words: str, index: int = 0, **fields: Any) -> list[tuple[str, Json]]:
    """A message under way."""
    place = {"item_id": "msg_1", "output_index": index, "content_index": 0}
    deltas = [("response.output_text.delta", {**place, "delta": word, "logprobs": [], **fields}) for word in words]
    begun = "response.output_item.added", {"output_index": index, "item": MESSAGE}
    return [begun, ("response.content_part.added", {**place, "part": PART}), *deltas]


THINKS: list[tuple[str, Json]] = [
    item(0, "reasoning", id="rs_1", summary=[]),
    ("response.output_item.done", {"output_index": 0, "item": THOUGHT}),
]


@asynccontextmanager
async def pair(
    directory: Path, first: Script, second: Script, **fields: Any
) -> AsyncIterator[tuple[RunningWorker, RawUpstream, RawUpstream]]:
    """A gateway before an upstream that has Responses and one that has not."""
    async with raw_upstream(first) as up, raw_upstream(second) as spare:
        settings = two(up.base_url, spare.base_url, **fields)
        own = structs.replace(settings.providers[0], responses=True)
        settings = structs.replace(settings, providers=(own, settings.providers[1]))
        async with running_worker(settings, directory) as gateway:
            yield gateway, up, spare


async def ask(gateway: RunningWorker, *headers: bytes, **fields: Any) -> Response:
    """One request for a stream."""
    body = {"model": "m", "stream": True, "store": False, "input": "hi", **fields}
    async with wire(gateway.address) as client:
        await client.send(post("/v1/responses", body, *headers))
        return Response(await client.answer())


async def test_the_text_goes_on_behind_the_thoughts(tmp_path: Path) -> None:
    begun = numbered(*started(), *THINKS, *said("One ", "two ", index=1))
    async with pair(tmp_path, breaks(*begun), says(*whole("three ", "four."))) as (gateway, up, spare):
        got = await ask(gateway, max_output_tokens=50, reasoning={"effort": "low"})
        assert (got.text, got.ended, got.id) == ("One two three four.", True, "resp_1")
        assert up.requests[0].target.endswith("/responses")
        assert (got.final["created_at"], got.final["model"], got.final["status"]) == (7, "x", "completed")
        first, message = got.output
        assert first == THOUGHT
        assert (message["id"], message["status"]) == ("msg_1", "completed")
        assert message["content"] == [{**PART, "text": "One two three four."}]
        body = sent(spare.requests[0])
        assert body["messages"][-1] == {"role": "assistant", "content": "One two"}
        assert "reasoning_effort" not in body
        (made,) = await gateway.usage()
        assert [attempt.reason for attempt in made.attempts] == ["reset", "ok"]
        first_tokens, second_tokens = (attempt.tokens for attempt in made.attempts)
        assert first_tokens is not None
        assert first_tokens.completion == 3
        assert second_tokens == Tokens(prompt=20, completion=2)
        assert made.tokens == Tokens(prompt=17, completion=5)
        assert (got.usage["input_tokens"], got.usage["output_tokens"]) == (18, 4), "by events until it is counted"


@pytest.mark.parametrize(
    "begun",
    [started()[:1], started(), [*started(), *said()], [*started(), *said()[:1]]],
    ids=["created", "started", "part", "item"],
)
async def test_where_nothing_was_said_the_failure_is_invisible(tmp_path: Path, begun: list[tuple[str, Json]]) -> None:
    async with pair(tmp_path, breaks(*numbered(*begun)), says(*whole("Hello.")), prefill=None) as (gateway, _, spare):
        got = await ask(gateway)
        assert (got.text, got.ended, got.code) == ("Hello.", True, "")
        assert [item["type"] for item in got.output] == ["message"]
        assert got.output[0]["content"][0]["text"] == "Hello."
        assert got.id == "resp_1"
        assert [message["role"] for message in sent(spare.requests[0])["messages"]] == ["user"]


async def test_a_tool_call_may_follow(tmp_path: Path) -> None:
    call = {"index": 0, "id": "t9", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    rest = (role("c2"), text("three.", "c2"), event({"tool_calls": [call]}), event({}, "tool_calls"), usage(5, 9), DONE)
    begun = numbered(*started(), *said("One two "))
    async with pair(tmp_path, breaks(*begun), says(*rest)) as (gateway, _, _):
        got = await ask(gateway, tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}}])
        assert [item["type"] for item in got.output] == ["message", "function_call"]
        assert got.output[0]["content"][0]["text"] == "One two three."


NOT_CONTINUED: list[Any] = [
    pytest.param(THINKS[:1], {}, id="thought"),
    pytest.param(THINKS, {}, id="whole thought"),
    pytest.param([item(0, "function_call", id="fc_1", name="f", call_id="c", arguments="")], {}, id="call"),
    pytest.param([*said("One"), item(1, "function_call", id="fc_1", name="f", call_id="c")], {}, id="call behind"),
    pytest.param([item(0, "web_search_call", id="ws_1")], {}, id="provider's tool"),
    pytest.param(said("x", logprobs=[{"token": "x", "logprob": -0.1}]), {}, id="log probabilities"),
    pytest.param(said('{"a":'), {"text": {"format": {"type": "json_object"}}}, id="JSON"),
]


@pytest.mark.parametrize(("begun", "fields"), NOT_CONTINUED)
async def test_what_can_not_be_gone_on_with_ends_in_an_error(
    tmp_path: Path, begun: list[tuple[str, Json]], fields: Json
) -> None:
    events = numbered(*started(), *begun)
    async with pair(tmp_path, breaks(*events), says(*whole("x"))) as (gateway, _, spare):
        got = await ask(gateway, **fields)
        assert (got.code, got.ended) == ("upstream_reset", False)
        assert got.kinds[-1] == "error"
        assert spare.requests == []
        assert (await gateway.usage())[0].outcome == "cut"


async def test_where_the_one_who_went_on_fails_too_the_response_has_failed(tmp_path: Path) -> None:
    begun = numbered(*started(), *said("One two "))
    async with pair(tmp_path, breaks(*begun), breaks(role("c2"), text("three ", "c2"))) as (gateway, _, _):
        got = await ask(gateway)
        assert (got.text, got.ended, got.code) == ("One two three ", False, "server_error")
        assert got.kinds[-1] == "response.failed"
        assert got.final["output"][0]["content"][0]["text"] == "One two three "
        assert got.final["status"] == "failed"
        (made,) = await gateway.usage()
        assert (made.outcome, [attempt.reason for attempt in made.attempts]) == ("cut", ["reset", "reset"])
