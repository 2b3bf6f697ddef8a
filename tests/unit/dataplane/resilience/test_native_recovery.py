"""A stream of Messages that was relayed and breaks off: who goes on, what the client sees, what is billed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.contract.usage import Tokens
from gateway.settings.model import Price
from tests.faults.upstream.dialects import framed
from tests.support.native_streams import Message
from tests.support.raw_upstream import LAST_CHUNK, STREAM_HEAD, Peer, RawUpstream, Script, chunk, raw_upstream
from tests.support.streams import DONE, breaks, event, role, says, sent, text, two, usage, whole
from tests.support.wire import post, wire
from tests.support.worker import RunningWorker, running_worker

Json = dict[str, Any]
START = framed(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 1000, "output_tokens": 1},
    },
)
PING = framed("ping")


def opened(index: int, kind: str = "text", **fields: Any) -> bytes:
    """A block begins."""
    block = {"type": kind, **({"text": ""} if kind == "text" else {}), **fields}
    return framed("content_block_start", index=index, content_block=block)


def piece(index: int, kind: str, **fields: Any) -> bytes:
    """A block goes on."""
    return framed("content_block_delta", index=index, delta={"type": kind, **fields})


def said(words: str, index: int = 0) -> bytes:
    """A block of text goes on."""
    return piece(index, "text_delta", text=words)


def closed(index: int) -> bytes:
    """A block ends."""
    return framed("content_block_stop", index=index)


THOUGHT = (
    opened(0, "thinking", thinking="", signature=""),
    piece(0, "thinking_delta", thinking="Let me count."),
    piece(0, "signature_delta", signature="sig"),
    closed(0),
)
CALL = (opened(0, "tool_use", id="t1", name="f", input={}), piece(0, "input_json_delta", partial_json='{"a"'))
BEGUN = (START, opened(0), PING, said("One "), said("two "))


@asynccontextmanager
async def pair(
    directory: Path, first: Script, second: Script, **fields: Any
) -> AsyncIterator[tuple[RunningWorker, RawUpstream, RawUpstream]]:
    """A gateway before an upstream that speaks Messages and one that speaks Chat Completions."""
    prices = fields.pop("prices", ())
    async with raw_upstream(first) as up, raw_upstream(second) as spare:
        settings = two(up.base_url, spare.base_url, **fields)
        own = structs.replace(settings.providers[0], kind="anthropic", api_key="sk-up")
        settings = structs.replace(settings, providers=(own, settings.providers[1]), pricing=prices)
        async with running_worker(settings, directory) as gateway:
            yield gateway, up, spare


async def ask(gateway: RunningWorker, *headers: bytes, **fields: Any) -> Message:
    """One request for a stream."""
    body = {"model": "m", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "hi"}], **fields}
    async with wire(gateway.address) as client:
        await client.send(post("/v1/messages", body, *headers))
        return Message(await client.answer())


async def reasons(gateway: RunningWorker) -> list[str]:
    """How the attempts of the last request ended."""
    return [attempt.reason for attempt in (await gateway.usage())[-1].attempts]


async def test_the_text_goes_on_in_its_block(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("three ", "four."))) as (gateway, up, spare):
        got = await ask(gateway, system="Count.", temperature=0.5)
        assert got.output == [{"type": "text", "text": "One two three four."}]
        assert (got.id, got.ended, got.stop_reason) == ("msg_1", True, "end_turn")
        assert got.kinds.count("message_start") == 1
        assert sent(up.requests[0])["model"] == "x"
        assert up.requests[0].target.endswith("/messages")
        body = sent(spare.requests[0])
        assert body["messages"][1:] == [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "One two"},
        ]
        assert body["max_completion_tokens"] if "max_completion_tokens" in body else body["max_tokens"] == 48


async def test_both_parts_are_billed_once(tmp_path: Path) -> None:
    prices = (
        Price(provider="up", model="x", input_per_1k=1.0, output_per_1k=1.0),
        Price(provider="spare", model="y", input_per_1k=0.001, output_per_1k=0.002),
    )
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("three ", "four.")), prices=prices) as (gateway, _, _):
        got = await ask(gateway)
        (made,) = await gateway.usage()
        assert (made.outcome, made.provider, made.target) == ("ok", "spare", "y")
        first, second = made.attempts
        assert (first.reason, second.reason) == ("reset", "ok")
        assert first.tokens == Tokens(prompt=1010, cached=1000, completion=3), "by a vocabulary"
        assert second.tokens == Tokens(prompt=20, completion=2)
        assert made.tokens == Tokens(prompt=1010, completion=5)
        assert made.cost_nanos == 1010 * 1_000 + 5 * 2_000
        assert made.estimated
        assert (got.usage["output_tokens"], got.usage["input_tokens"]) == (4, 1010), "by its events until it is counted"


async def test_where_nobody_could_go_on_what_was_cached_stays_cached(tmp_path: Path) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.request()
        peer.close()

    async with pair(tmp_path, breaks(*BEGUN), refuses) as (gateway, _, spare):
        got = await ask(gateway)
        assert (got.text, got.code, got.ended) == ("One two ", "upstream_reset", False)
        (made,) = await gateway.usage()
        assert (made.outcome, made.provider) == ("cut", "up")
        assert made.tokens == Tokens(prompt=1010, cached=1000, completion=3)
        assert await reasons(gateway) == ["reset", "reset"]
        assert len(spare.requests) == 1


@pytest.mark.parametrize(
    "begun",
    [
        (PING,),
        (START,),
        (START, PING, opened(0)),
        (START, opened(0, "thinking", thinking="", signature="")),
    ],
    ids=["ping", "start", "empty text", "empty thought"],
)
async def test_where_nothing_was_said_the_failure_is_invisible(tmp_path: Path, begun: tuple[bytes, ...]) -> None:
    async with pair(tmp_path, breaks(*begun), says(*whole("Hello.")), prefill=None) as (gateway, _, spare):
        got = await ask(gateway)
        assert (got.text, got.ended, got.code) == ("Hello.", True, "")
        assert got.kinds.count("message_start") == 1
        assert got.id == ("msg_1" if START in begun else "msg_c2")
        assert [message["role"] for message in sent(spare.requests[0])["messages"]] == ["user"]
        (made,) = await gateway.usage()
        assert made.outcome == "ok"
        assert made.tokens.completion == 1


async def test_a_block_that_has_ended_stays_as_it_is(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN, closed(0)), says(*whole("three."))) as (gateway, _, _):
        got = await ask(gateway)
        assert [block["text"] for block in got.output] == ["One two ", "three."]


async def test_a_thought_that_is_complete_stays_and_the_text_goes_on(tmp_path: Path) -> None:
    begun = (START, *THOUGHT, opened(1), said("One ", 1))
    async with pair(tmp_path, breaks(*begun), says(*whole("two."))) as (gateway, _, spare):
        got = await ask(gateway, thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000)
        assert got.output == [
            {"type": "thinking", "thinking": "Let me count.", "signature": "sig"},
            {"type": "text", "text": "One two."},
        ]
        body = sent(spare.requests[0])
        assert body["messages"][-1] == {"role": "assistant", "content": "One"}
        assert not body.keys() & {"thinking", "reasoning_effort"}, "no prefill is taken with it"


NOT_CONTINUED: list[Any] = [
    pytest.param(THOUGHT[:2], {}, id="thought"),
    pytest.param(THOUGHT, {}, id="whole thought"),
    pytest.param((opened(0, "redacted_thinking", data="x"), closed(0)), {}, id="redacted thought"),
    pytest.param(CALL, {}, id="tool call"),
    pytest.param((*CALL, closed(0)), {}, id="whole tool call"),
    pytest.param((opened(0), said("I call "), closed(0), opened(1, "tool_use", id="t", name="f")), {}, id="a second"),
    pytest.param((opened(0, "server_tool_use", id="t", name="web_search", input={}),), {}, id="server's tool"),
    pytest.param(
        (opened(0), said("As "), piece(0, "citations_delta", citation={"type": "char_location"})), {}, id="cited"
    ),
    pytest.param(
        (opened(0), said('{"a":')),
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        id="JSON",
    ),
    pytest.param(
        (opened(0), said(" it is")),
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [{"type": "text", "text": "So", "citations": [{"type": "x"}]}]},
            ]
        },
        id="behind a block of the provider's",
    ),
]


@pytest.mark.parametrize(("begun", "fields"), NOT_CONTINUED)
@pytest.mark.parametrize("wanted", ["continue", "restart"])
async def test_what_can_not_be_gone_on_with_ends_in_an_error(
    tmp_path: Path, begun: tuple[bytes, ...], fields: Json, wanted: str
) -> None:
    async with pair(tmp_path, breaks(START, *begun), says(*whole("x"))) as (gateway, _, spare):
        got = await ask(gateway, b"x-gateway-stream-recovery: " + wanted.encode(), **fields)
        assert (got.code, got.ended) == ("upstream_reset", False)
        assert len(got.kinds) == 2 + len(begun)
        assert spare.requests == []
        (made,) = await gateway.usage()
        assert (made.outcome, made.provider, made.tokens.prompt) == ("cut", "up", 1010)


async def test_the_error_a_client_asked_for(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("x"))) as (gateway, _, spare):
        got = await ask(gateway, b"x-gateway-stream-recovery: error")
        assert (got.text, got.code, got.ended) == ("One two ", "upstream_reset", False)
        assert spare.requests == []


async def test_an_answer_that_is_whole_but_for_its_end_gets_it(tmp_path: Path) -> None:
    last = framed("message_delta", delta={"stop_reason": "max_tokens", "stop_sequence": None})
    async with pair(tmp_path, breaks(*BEGUN, closed(0), last), says(*whole("x"))) as (gateway, _, spare):
        got = await ask(gateway)
        assert (got.text, got.ended, got.stop_reason, got.code) == ("One two ", True, "max_tokens", "")
        assert got.kinds.count("message_delta") == 1
        assert spare.requests == []
        assert (await gateway.usage())[0].outcome == "ok"


async def test_a_request_that_others_can_not_be_asked_is_not_asked_them(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("x"))) as (gateway, _, spare):
        got = await ask(gateway, context_management={"edits": []})
        assert (got.text, got.code) == ("One two ", "upstream_reset")
        assert spare.requests == []
        assert (await gateway.usage())[0].tokens == Tokens(prompt=1010, cached=1000, completion=3)


async def test_an_error_event_that_no_other_target_would_answer_otherwise_is_passed_on(tmp_path: Path) -> None:
    told = framed("error", error={"type": "invalid_request_error", "message": "No."})
    async with pair(tmp_path, breaks(*BEGUN, told), says(*whole("x"))) as (gateway, _, spare):
        got = await ask(gateway)
        assert got.code == "invalid_request_error"
        assert got.body.endswith(told)
        assert spare.requests == []


async def test_its_providers_error_is_told_where_others_have_failed_too(tmp_path: Path) -> None:
    told = framed("error", error={"type": "overloaded_error", "message": "Busy."})

    async def breaks_off(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, *map(chunk, (role("c2"), text("three ", "c2"))))
        peer.close()

    async with pair(tmp_path, breaks(*BEGUN, told), breaks_off) as (gateway, _, _):
        got = await ask(gateway)
        assert (got.text, got.ended, got.code) == ("One two three ", False, "overloaded_error")
        assert b'"message":"Busy."' in got.body
        assert await reasons(gateway) == ["stream_error", "reset"]


async def test_a_continuation_that_breaks_off_is_gone_on_with_as_well(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), breaks(role("c2"), text("three ", "c2"))) as (gateway, up, spare):
        gateway.runtime.router.routes["m"].targets[0].prefill = "message"

        async def again(peer: Peer) -> None:
            request = await peer.request()
            if len(up.requests) == 1:
                await peer.send(STREAM_HEAD, *map(chunk, BEGUN))
                peer.close()
                return
            assert sent(request)["messages"][-1]["content"] == "One two three"
            rest = (START, opened(0), said("four."), closed(0))
            last = framed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
            await peer.send(STREAM_HEAD, *map(chunk, (*rest, last, framed("message_stop"))), LAST_CHUNK)

        up.script = again
        got = await ask(gateway)
        assert got.output == [{"type": "text", "text": "One two three four."}]
        assert (got.ended, got.id) == (True, "msg_1")
        (made,) = await gateway.usage()
        assert [attempt.reason for attempt in made.attempts] == ["reset", "reset", "ok"]
        assert [attempt.tokens and attempt.tokens.completion for attempt in made.attempts] == [3, 2, 7]
        assert (made.tokens.completion, made.provider) == (12, "up")
        assert len(spare.requests) == 1


async def test_a_tool_call_may_follow(tmp_path: Path) -> None:
    call = {"index": 0, "id": "t9", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    rest = (role("c2"), text("three.", "c2"), event({"tool_calls": [call]}), event({}, "tool_calls"), usage(5, 9), DONE)
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    async with pair(tmp_path, breaks(*BEGUN), says(*rest)) as (gateway, _, _):
        got = await ask(gateway, tools=tools)
        assert [block["type"] for block in got.output] == ["text", "tool_use"]
        assert (got.text, got.stop_reason) == ("One two three.", "tool_use")


async def test_a_long_answer_goes_on_from_all_of_it(tmp_path: Path) -> None:
    pieces = [said(f"{number} is a number, ") for number in range(1000)]
    async with pair(tmp_path, breaks(START, opened(0), *pieces), says(*whole("done."))) as (gateway, _, spare):
        got = await ask(gateway)
        assert got.ended
        before = "".join(f"{number} is a number, " for number in range(1000))
        assert await reasons(gateway) == ["reset", "ok"]
        assert sent(spare.requests[0])["messages"][-1]["content"] == before.rstrip()
        assert got.text == before + "done."
