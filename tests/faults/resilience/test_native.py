"""Streams that are relayed in the client's own protocol and break off: by raw bytes and by the vendors' own SDKs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from gateway.settings.model import Timeouts
from tests.faults.resilience.stage import IMPATIENT, PATIENT, Stage, stage
from tests.faults.upstream.call import TEXT
from tests.support.native_streams import Message, Native, Response
from tests.support.wire import post, wire
from tests.support.worker import KEY

ANTHROPIC: dict[str, Any] = {"kind": "anthropic", "api_key": "sk-up"}
OPENAI: dict[str, Any] = {"kind": "openai"}
BEGUN = "Seven ships sailed past"
WORDS = len(TEXT.split())

FAULTS: list[tuple[str, str, Timeouts]] = [
    ("stream-cut", "reset", PATIENT),
    ("stream-reset", "reset", PATIENT),
    ("stream-stall", "stall_timeout", IMPATIENT),
    ("malformed-chunk", "protocol", PATIENT),
    ("missing-terminator", "reset", PATIENT),
    ("error-event", "stream_error", PATIENT),
    ("endless-event", "protocol", PATIENT),
    ("wrong-chunk-size", "protocol", PATIENT),
    ("invalid-utf8", "protocol", PATIENT),
]
EACH = pytest.mark.parametrize(("fault", "reason", "timeouts"), FAULTS, ids=[fault for fault, _, _ in FAULTS])


@asynccontextmanager
async def messages(directory: Path, fault: str, spare: dict[str, Any], **fields: Any) -> AsyncIterator[Stage]:
    """A target that speaks Messages, and another."""
    async with stage(directory, fault, kinds=(ANTHROPIC, spare), **fields) as on:
        yield on


async def ask_message(on: Stage, **fields: Any) -> Message:
    """One streamed Message, as bytes."""
    asked = {"model": "m", "max_tokens": 100, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with wire(on.gateway.address) as client:
        await client.send(post("/v1/messages", {**asked, **fields}))
        return Message(await client.answer())


async def ask_response(on: Stage, **fields: Any) -> Response:
    """One streamed Response, as bytes."""
    asked = {"model": "m", "stream": True, "store": False, "input": "hi", "stream_options": PLAIN}
    async with wire(on.gateway.address) as client:
        await client.send(post("/v1/responses", {**asked, **fields}))
        return Response(await client.answer())


PLAIN = {"include_obfuscation": False}


def message_sdk(on: Stage) -> anthropic.AsyncAnthropic:
    """Anthropic's own client."""
    host, port = on.gateway.address
    return anthropic.AsyncAnthropic(
        api_key=KEY,
        base_url=f"http://{host}:{port}",
        max_retries=0,
        timeout=30,
        http_client=anthropic.DefaultAsyncHttpxClient(verify=False),
    )


def openai_sdk(on: Stage) -> openai.AsyncOpenAI:
    """OpenAI's own client."""
    host, port = on.gateway.address
    return openai.AsyncOpenAI(
        api_key=KEY,
        base_url=f"http://{host}:{port}/v1",
        max_retries=0,
        timeout=30,
        http_client=openai.DefaultAsyncHttpxClient(verify=False),
    )


async def _is_recorded(on: Stage, reason: str, *, cached: int) -> None:
    """The last request: both attempts, each with what it took, and the whole once."""
    event = await on.event()
    assert (event.outcome, event.provider, event.target) == ("ok", "spare", "healthy")
    assert [attempt.reason for attempt in event.attempts] == [reason, "ok"]
    first, second = (attempt.tokens for attempt in event.attempts)
    assert first is not None
    assert second is not None
    assert first.completion > 0
    assert (second.completion, event.tokens.completion) == (WORDS - 3, first.completion + WORDS - 3)
    if cached:
        assert (first.prompt, first.cached) == (14, 4), "what its provider told at the beginning"
        assert event.tokens.prompt == 14
    assert event.estimated


@EACH
async def test_a_message_goes_on_elsewhere(
    tmp_path: Path, fault: str, reason: str, timeouts: Timeouts, score: Any
) -> None:
    spare = ANTHROPIC if fault != "stream-reset" else OPENAI
    async with messages(tmp_path, fault, spare, spared="healthy", timeouts=timeouts) as on:
        got = await ask_message(on)
        score(fault, True, "Messages spared", got.told, sum(on.calls))
        assert (got.text, got.ended, got.code, got.stop_reason) == (TEXT, True, "", "end_turn")
        assert got.id == f"msg_{fault}1"
        assert [block["type"] for block in got.output] == ["text"], "it goes on in the same block"
        assert (on.calls, on.spare.calls[0].prefill) == ((1, 1), BEGUN)
        assert on.spare.calls[0].body["max_tokens"] == 96
        await _is_recorded(on, reason, cached=4)
        assert got.usage["output_tokens"] == 4 + WORDS - 3, "both parts; the first by its events"
        assert got.usage["input_tokens"] + got.usage["cache_read_input_tokens"] == 14
        async with message_sdk(on) as client:
            asked: Any = [{"role": "user", "content": "hi"}]
            async with client.messages.stream(model="m", max_tokens=100, messages=asked) as stream:
                whole = await stream.get_final_message()
        assert [block.to_dict() for block in whole.content] == [{"type": "text", "text": TEXT}]
        assert (whole.id, whole.stop_reason, whole.model) == (f"msg_{fault}2", "end_turn", fault)
        assert on.calls == (2, 2)
        await _is_recorded(on, reason, cached=4)


@EACH
async def test_or_ends_with_the_error(tmp_path: Path, fault: str, reason: str, timeouts: Timeouts, score: Any) -> None:
    async with messages(tmp_path, fault, {}, timeouts=timeouts) as on:
        got = await ask_message(on)
        score(fault, True, "Messages alone", got.told, sum(on.calls))
        code = {"stream_error": "overloaded_error", "stall_timeout": "stall_timeout"}.get(reason, f"upstream_{reason}")
        assert (got.text, got.ended, got.code) == (BEGUN, False, code)
        async with message_sdk(on) as client:
            asked: Any = [{"role": "user", "content": "hi"}]
            with pytest.raises(anthropic.APIStatusError):
                async with client.messages.stream(model="m", max_tokens=100, messages=asked) as stream:
                    await stream.get_final_message()
        assert on.calls == (2, 0)
        event = await on.event()
        assert (event.outcome, event.provider, event.tokens.prompt, event.tokens.cached) == ("cut", "up", 14, 4)
        assert [attempt.reason for attempt in event.attempts] == [reason]


@EACH
async def test_a_response_goes_on_elsewhere(
    tmp_path: Path, fault: str, reason: str, timeouts: Timeouts, score: Any
) -> None:
    kinds = (OPENAI | {"responses": True}, OPENAI | {"responses": fault != "stream-reset"})
    async with stage(tmp_path, fault, spared="healthy", timeouts=timeouts, kinds=kinds) as on:
        got = await ask_response(on)
        score(fault, True, "Responses spared", got.told, sum(on.calls))
        assert (got.text, got.ended, got.code) == (TEXT, True, "")
        assert got.id == f"resp_{fault}1"
        assert [(item["id"], item["status"]) for item in got.output] == [(f"msg_{fault}1", "completed")]
        assert got.output[0]["content"][0]["text"] == TEXT
        assert (on.calls, on.spare.calls[0].prefill) == ((1, 1), BEGUN)
        await _is_recorded(on, reason, cached=0)
        assert got.usage["output_tokens"] == 4 + WORDS - 3
        async with (
            openai_sdk(on) as client,
            client.responses.stream(model="m", input="hi", store=False) as stream,
        ):
            whole = await stream.get_final_response()
        assert (whole.output_text, whole.id, whole.status, whole.model) == (TEXT, f"resp_{fault}2", "completed", fault)
        assert on.calls == (2, 2)
        await _is_recorded(on, reason, cached=0)


@EACH
async def test_or_ends_with_an_error_too(
    tmp_path: Path, fault: str, reason: str, timeouts: Timeouts, score: Any
) -> None:
    kinds: tuple[dict[str, Any], dict[str, Any]] = (OPENAI | {"responses": True}, {})
    async with stage(tmp_path, fault, timeouts=timeouts, kinds=kinds) as on:
        got = await ask_response(on)
        score(fault, True, "Responses alone", got.told, sum(on.calls))
        code = {"stream_error": "server_error", "stall_timeout": "stall_timeout"}.get(reason, f"upstream_{reason}")
        assert (got.text, got.ended, got.code, on.calls) == (BEGUN, False, code, (1, 0))
        event = await on.event()
        assert (event.outcome, [attempt.reason for attempt in event.attempts]) == ("cut", [reason])


@pytest.mark.parametrize("fault", ["healthy", "missing-done", "huge-event"])
async def test_what_is_no_fault_is_relayed_as_it_comes(tmp_path: Path, fault: str) -> None:
    async with messages(tmp_path, fault, ANTHROPIC, spared="healthy") as on:
        got: Native = await ask_message(on)
        assert (got.text, got.ended, got.code, on.calls) == (TEXT, True, "", (1, 0))
        event = await on.event()
        assert (event.outcome, event.tokens.prompt, event.tokens.completion) == ("ok", 14, WORDS)
