"""A stream that breaks off: who goes on, what the client sees, what is recorded and billed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from gateway.contract.usage import Tokens
from gateway.dataplane.counting.__main__ import count
from gateway.dataplane.counting.client import Counter
from gateway.dataplane.counting.wire import Ask, Produced
from gateway.dataplane.vendors import UNKNOWN
from gateway.plugin.api import Plugin, PluginContext, Request
from gateway.plugin.failures import Fail
from gateway.settings.model import Connections, Price
from tests.support.raw_upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    WAIT,
    Peer,
    RawUpstream,
    Script,
    answer,
    chunk,
    completion,
    raw_upstream,
)
from tests.support.streams import DONE, ask, breaks, event, role, says, sent, stream, text, two, usage, whole
from tests.support.wire import chat, post, wire
from tests.support.worker import RunningWorker, provider, running_worker, settings_for

BEGUN = (role(), text("One "), text("two "))
RESTART = b"x-gateway-stream-recovery: restart"


@asynccontextmanager
async def pair(
    directory: Path, first: Script, second: Script, **fields: Any
) -> AsyncIterator[tuple[RunningWorker, RawUpstream, RawUpstream]]:
    """A gateway before two upstreams."""
    async with (
        raw_upstream(first) as up,
        raw_upstream(second) as spare,
        running_worker(two(up.base_url, spare.base_url, **fields), directory) as gateway,
    ):
        yield gateway, up, spare


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "stalled"])
async def test_another_target_goes_on_from_the_text(tmp_path: Path, cut: bool) -> None:
    async with pair(tmp_path, breaks(*BEGUN, reset=cut), says(*whole("three ", "four."))) as (gateway, _, spare):
        got = await stream(gateway, max_tokens=50, stream_options={"include_usage": True})
        assert (got.text, got.done, got.code) == ("One two three four.", True, "")
        body = sent(spare.requests[0])
        assert body["messages"][-1] == {"role": "assistant", "content": "One two"}, "no white space at the end"
        assert body["messages"][:-1] == [{"role": "user", "content": "hi"}]
        assert body["max_tokens"] == 48
        assert body["model"] == "y"


async def test_it_is_one_stream_to_the_client(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("three ", "four."))) as (gateway, _, _):
        got = await stream(gateway, stream_options={"include_usage": True})
        assert got.all("id") == {"c1"}
        assert got.all("model") == {"c1"}
        assert [delta["role"] for delta in got.deltas if "role" in delta] == ["assistant"]
        assert [c["finish_reason"] for d in got.documents for c in d["choices"] if c["finish_reason"]] == ["stop"]
        assert got.answer.body.count(DONE) == 1
        counts = [document["usage"] for document in got.documents if "usage" in document]
        # 20 were the prompt and what was prefilled.
        assert counts == [{"prompt_tokens": 18, "completion_tokens": 4, "total_tokens": 22}]


async def test_both_parts_are_recorded_and_billed_once(tmp_path: Path) -> None:
    prices = (
        Price(provider="up", model="x", input_per_1k=1.0, output_per_1k=1.0),
        Price(provider="spare", model="y", input_per_1k=0.001, output_per_1k=0.002),
    )
    async with (
        raw_upstream(breaks(*BEGUN)) as up,
        raw_upstream(says(*whole("three ", "four."))) as spare,
    ):
        settings = msgspec.structs.replace(two(up.base_url, spare.base_url), pricing=prices)
        async with running_worker(settings, tmp_path) as gateway:
            got = await stream(gateway)
            assert got.text == "One two three four."
            made = (await gateway.usage())[0]
            assert (made.outcome, made.provider, made.target) == ("ok", "spare", "y")
            assert made.tokens == Tokens(prompt=17, completion=5)
            assert made.estimated, "the first part was counted here: its last space is a token of its own"
            assert made.cost_nanos == 17 * 1_000 + 5 * 2_000
            first, second = made.attempts
            assert (first.reason, second.reason) == ("reset", "ok")
            assert first.tokens == Tokens(prompt=8, completion=3)
            assert first.cost_nanos == 11 * 1_000_000
            assert second.tokens == Tokens(prompt=20, completion=2)
            assert second.cost_nanos == 20 * 1_000 + 2 * 2_000


async def test_a_first_part_whose_usage_was_told_counts_as_told(tmp_path: Path) -> None:
    told = text("two ").replace(b'"choices"', b'"usage":{"prompt_tokens":11,"completion_tokens":5},"choices"')
    async with pair(tmp_path, breaks(role(), text("One "), told), says(*whole("three."))) as (gateway, _, _):
        assert (await stream(gateway)).text == "One two three."
        made = (await gateway.usage())[0]
        assert made.tokens == Tokens(prompt=11, completion=6)
        assert made.attempts[0].tokens == Tokens(prompt=11, completion=5)
        assert not made.estimated


async def test_usage_told_behind_what_is_no_event_counts_for_nothing(tmp_path: Path) -> None:
    """The client has two words, whatever else came in the same read."""
    bad = b'data: {"choices":\n\n'
    async with pair(tmp_path, breaks(*BEGUN, bad, usage(11, 50), DONE), says(*whole("three."))) as (gateway, _, _):
        assert (await stream(gateway)).text == "One two three."
        (made,) = await gateway.usage()
        first, _ = made.attempts
        assert first.reason == "protocol"
        assert first.tokens is not None
        assert first.tokens.completion < 5
        assert made.tokens.completion == first.tokens.completion + 1


@pytest.mark.parametrize("begun", [(), (role(),), (role(), event({}))], ids=["nothing", "role", "empty"])
async def test_where_nothing_was_said_the_failure_is_invisible(tmp_path: Path, begun: tuple[bytes, ...]) -> None:
    async with pair(tmp_path, breaks(*begun), says(*whole("Hello.")), prefill=None) as (gateway, _, spare):
        got = await stream(gateway)
        assert (got.text, got.done, got.code) == ("Hello.", True, "")
        assert sent(spare.requests[0])["messages"] == [{"role": "user", "content": "hi"}]
        assert [delta["role"] for delta in got.deltas if "role" in delta] == ["assistant"]
        assert len(got.all("id")) == 1
        made = (await gateway.usage())[0]
        assert made.tokens == Tokens(prompt=20, completion=1)
        assert made.outcome == "ok"


async def test_white_space_is_not_doubled(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(role(), text("One"), text("\n\n")), says(*whole("\n", "\nTwo ", "three"))) as (
        gateway,
        _,
        spare,
    ):
        got = await stream(gateway)
        assert got.text == "One\n\nTwo three"
        assert sent(spare.requests[0])["messages"][-1]["content"] == "One"


@pytest.mark.parametrize(
    ("style", "more"),
    [
        ("prefix", {"prefix": True}),
        ("continue_final_message", {}),
    ],
)
async def test_the_ways_of_a_prefill(tmp_path: Path, style: str, more: dict[str, Any]) -> None:
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("three.")), prefill=style) as (gateway, _, spare):
        assert (await stream(gateway)).text == "One two three."
        body = sent(spare.requests[0])
        assert body["messages"][-1] == {"role": "assistant", "content": "One two ", **more}
        assert body.get("continue_final_message", False) is (style == "continue_final_message")
        assert body.get("add_generation_prompt", True) is (style != "continue_final_message")


async def test_a_clients_own_prefill_is_part_of_ours(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("three."))) as (gateway, _, spare):
        messages = [{"role": "user", "content": "count"}, {"role": "assistant", "content": "Zero "}]
        assert (await stream(gateway, messages=messages)).text == "One two three."
        assert sent(spare.requests[0])["messages"] == [messages[0], {"role": "assistant", "content": "Zero One two"}]


async def test_a_text_completion_goes_on_anywhere(tmp_path: Path) -> None:
    def piece(words: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "text": words, "finish_reason": finish}
        return b"data: " + orjson.dumps({"id": "t1", "object": "text_completion", "choices": [choice]}) + b"\n\n"

    begun, rest = breaks(piece("a b "), piece("c ")), says(piece("d"), piece("", "stop"), usage(9, 1), DONE)
    async with pair(tmp_path, begun, rest, prefill="none") as (gateway, _, spare):
        got = await ask(gateway, path="/v1/completions", prompt="Letters: ")
        assert got.body.count(DONE) == 1
        documents = [orjson.loads(part[6:]) for part in got.body.split(b"\n\n") if part[:7] == b"data: {"]
        assert "".join(choice["text"] for document in documents for choice in document["choices"]) == "a b c d"
        assert sent(spare.requests[0])["prompt"] == "Letters: a b c "


NOT_CONTINUED: list[Any] = [
    pytest.param([event({"tool_calls": [{"index": 0, "function": {"arguments": '{"a'}}]})], {}, id="tool call"),
    pytest.param([event({"refusal": "I can"})], {}, id="refusal"),
    pytest.param([text("As "), event({"annotations": [{"type": "url_citation"}]})], {}, id="citation"),
    pytest.param([text("As "), event({"provider_blocks": {"vendor": "x", "blocks": []}})], {}, id="own block"),
    pytest.param([event({"reasoning_content": "Let me"})], {}, id="thoughts alone"),
    pytest.param([text("One "), event({"content": "Un "}, index=1)], {"n": 2}, id="two choices"),
    pytest.param([text('{"a":')], {"response_format": {"type": "json_object"}}, id="JSON"),
]


@pytest.mark.parametrize(("begun", "fields"), NOT_CONTINUED)
async def test_what_no_prefill_can_hold_ends_in_an_error(
    tmp_path: Path, begun: list[bytes], fields: dict[str, Any]
) -> None:
    async with pair(tmp_path, breaks(role(), *begun), says(*whole("x"))) as (gateway, _, spare):
        got = await stream(gateway, **fields)
        assert (got.code, got.done) == ("upstream_reset", False)
        assert spare.requests == []
        made = (await gateway.usage())[0]
        assert made.outcome == "cut"


@pytest.mark.parametrize(("begun", "fields"), NOT_CONTINUED)
async def test_or_begins_anew_where_the_client_wants_that(
    tmp_path: Path, begun: list[bytes], fields: dict[str, Any]
) -> None:
    async with pair(tmp_path, breaks(role(), *begun), says(*whole("Anew ", "then."))) as (gateway, _, spare):
        got = await stream(gateway, RESTART, **fields)
        places = [place for place, document in enumerate(got.documents) if "gateway" in document]
        assert len(places) == 1
        mark = got.documents[places[0]]
        assert mark["gateway"] == {"event": "restart", "reason": "reset"}
        assert mark["choices"] == []
        rest = [c["delta"] for document in got.documents[places[0] :] for c in document["choices"]]
        assert "".join(delta.get("content") or "" for delta in rest) == "Anew then."
        assert rest[0]["role"] == "assistant"
        assert got.done
        assert got.all("id") == {"c1"}
        assert sent(spare.requests[0])["messages"] == [{"role": "user", "content": "hi"}]
        made = (await gateway.usage())[0]
        assert made.outcome == "ok"
        assert made.tokens == Tokens(prompt=20, completion=2), "the part that was thrown away is not billed"
        assert made.attempts[0].tokens is not None


async def test_a_restart_by_setting_and_only_where_going_on_is_not_possible(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("three.")), stream_recovery="restart") as (
        gateway,
        up,
        spare,
    ):
        got = await stream(gateway)
        assert got.text == "One two three."
        spare.requests.clear()
        up.requests.clear()
        gateway.runtime.router.routes["m"].targets[1].prefill = "none"
        got = await stream(gateway)
        assert got.text == "One two three."
        assert any("gateway" in document for document in got.documents)


@pytest.mark.parametrize("by", ["setting", "header"])
async def test_the_error_a_client_asked_for(tmp_path: Path, by: str) -> None:
    header = (b"x-gateway-stream-recovery: error",) if by == "header" else ()
    setting: dict[str, Any] = {"stream_recovery": "error"} if by == "setting" else {}
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("x")), **setting) as (gateway, _, spare):
        got = await stream(gateway, *header)
        assert (got.text, got.code, got.done) == ("One two ", "upstream_reset", False)
        assert spare.requests == []
        made = (await gateway.usage())[0]
        assert (made.outcome, made.provider) == ("cut", "up")
        assert made.tokens.completion == 3, "counted by a vocabulary"


async def test_the_header_outdoes_the_setting_and_is_checked(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), says(*whole("three.")), stream_recovery="error") as (gateway, up, _):
        got = await stream(gateway, b"X-Gateway-Stream-Recovery: Continue")
        assert got.text == "One two three."
        refused = await ask(gateway, b"x-gateway-stream-recovery: maybe")
        assert (refused.status, refused.code) == (400, "invalid_stream_recovery")
        assert refused.json["error"]["param"] == "x-gateway-stream-recovery"
        assert len(up.requests) == 1


async def test_a_target_that_refuses_a_prefill_is_not_sent_another(tmp_path: Path) -> None:
    async def refuses(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if sent(request)["messages"][-1]["role"] == "assistant":
                await peer.send(answer(b'{"error":{"message":"no prefill","code":"x"}}', status=b"400 Bad Request"))
            else:
                await peer.send(STREAM_HEAD, *map(chunk, whole("Anew.")), b"0\r\n\r\n")

    async with pair(tmp_path, breaks(*BEGUN), refuses) as (gateway, _, spare):
        got = await stream(gateway)
        assert (got.text, got.code) == ("One two ", "upstream_reset")
        made = (await gateway.usage())[0]
        assert [attempt.reason for attempt in made.attempts] == ["reset", "status_400"]
        assert (made.outcome, made.provider, made.tokens.completion) == ("cut", "up", 3)
        assert len(spare.requests) == 1
        await stream(gateway)
        assert len(spare.requests) == 1, "it is known to refuse them"
        got = await stream(gateway, RESTART)
        assert got.text == "One two Anew."


async def test_a_continuation_that_breaks_off_is_gone_on_with_as_well(tmp_path: Path) -> None:
    async with (
        raw_upstream(breaks(*BEGUN)) as up,
        raw_upstream(breaks(role("c2"), text("three ", "c2"))) as spare,
        running_worker(two(up.base_url, spare.base_url), tmp_path) as gateway,
    ):
        gateway.runtime.router.routes["m"].targets[0].prefill = "message"

        async def again(peer: Peer) -> None:
            request = await peer.request()
            if len(up.requests) == 1:
                await peer.send(STREAM_HEAD, *map(chunk, BEGUN))
                peer.close()
                return
            assert sent(request)["messages"][-1]["content"] == "One two three"
            await peer.send(STREAM_HEAD, *map(chunk, whole("four.", id="c3")), b"0\r\n\r\n")

        up.script = again
        got = await stream(gateway)
        assert (got.text, got.done) == ("One two three four.", True)
        assert got.all("id") == {"c1"}
        made = (await gateway.usage())[0]
        assert [attempt.reason for attempt in made.attempts] == ["reset", "reset", "ok"]
        assert made.tokens.completion == 6
        assert [attempt.tokens and attempt.tokens.completion for attempt in made.attempts] == [3, 2, 1]


async def test_an_answer_that_was_whole_but_for_its_end_is_whole(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN, event({}, "stop")), says(*whole("x"))) as (gateway, _, spare):
        got = await stream(gateway)
        assert (got.text, got.done, got.code) == ("One two ", True, "")
        assert spare.requests == []
        made = (await gateway.usage())[0]
        assert (made.outcome, made.tokens.completion, made.estimated) == ("ok", 3, True)


async def test_a_refusal_within_the_stream_is_the_answer(tmp_path: Path) -> None:
    error = b'data: {"error":{"message":"filtered","type":"invalid_request_error","code":"content_filter"}}\n\n'
    async with pair(tmp_path, breaks(*BEGUN, error), says(*whole("x"))) as (gateway, _, spare):
        got = await stream(gateway)
        assert (got.text, got.code, got.done) == ("One two ", "content_filter", False)
        assert spare.requests == []
        assert (await gateway.usage())[0].outcome == "error"


async def test_an_error_that_is_not_the_first_key_is_noticed(tmp_path: Path) -> None:
    error = (
        b'data: {"id":"c1","error":{"code":502,"message":"down"},"choices":[{"index":0,"delta":{"content":""}}]}\n\n'
    )
    async with pair(tmp_path, breaks(*BEGUN, error, DONE), says(*whole("three."))) as (gateway, _, _):
        got = await stream(gateway)
        assert (got.text, got.code, got.done) == ("One two three.", "", True)
        assert [attempt.reason for attempt in (await gateway.usage())[0].attempts] == ["stream_error", "ok"]


BAD = [
    b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
    b"data: {broken}\n\n",
    b'data: {"a":[1}\n\n',
    b"data: x\n\n",
]


@pytest.mark.parametrize("bad", BAD)
async def test_a_malformed_event_never_reaches_the_client(tmp_path: Path, bad: bytes) -> None:
    async with pair(tmp_path, breaks(*BEGUN, bad, text("lost"), reset=False), says(*whole("three."))) as (
        gateway,
        up,
        _,
    ):
        got = await stream(gateway)
        assert (got.text, got.done) == ("One two three.", True)
        await up.peers[0].left.wait()


async def test_a_client_that_leaves_a_continuation_ends_it(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(*BEGUN), breaks(text("three "), reset=False)) as (gateway, _, spare):
        async with wire(gateway.address) as client:
            await client.send(post("/v1/chat/completions", chat(stream=True)))
            got = await client.head()
            while b"three" not in got.body:
                await client.piece(got)
            client.leave(reset=True)
        await spare.peers[0].left.wait()
        made = (await gateway.usage())[0]
        assert made.outcome == "cancelled"
        assert [attempt.reason for attempt in made.attempts] == ["reset", "cancelled"]
        assert made.tokens.completion == 5


class _Shouts(Plugin):
    """Turns the answer into capitals, and holds each piece back until the next."""

    name = "shouts"

    def change(self, request: Request, event: bytes) -> bytes:
        held: bytes = request.state.pop("held", b"")
        if event == DONE:
            return held + event
        request.state["held"] = event.replace(b"two", b"TWO").replace(b"three", b"THREE")
        return held


class AtOnce(_Shouts):
    def on_chunk(self, request: Request, event: bytes) -> bytes:
        return self.change(request, event)


class Waits(_Shouts):
    async def on_chunk(self, request: Request, event: bytes) -> bytes:
        await asyncio.sleep(0)
        return self.change(request, event)


@pytest.mark.parametrize("plugin", [AtOnce, Waits])
async def test_plugins_see_one_stream_and_providers_what_providers_said(tmp_path: Path, plugin: type[_Shouts]) -> None:
    shouting = [(plugin(None, PluginContext(data_dir=".", redis_url=None)), "closed")]
    async with (
        raw_upstream(breaks(*BEGUN)) as up,
        raw_upstream(says(*whole("three ", "four."))) as spare,
        running_worker(two(up.base_url, spare.base_url), tmp_path, shouting) as gateway,  # type: ignore[arg-type]
    ):
        got = await stream(gateway)
        assert (got.text, got.done) == ("One TWO THREE four.", True)
        assert sent(spare.requests[0])["messages"][-1]["content"] == "One two"
        gateway.runtime.router.routes["m"].targets[1].prefill = "none"
        got = await stream(gateway, RESTART)
        assert (got.code, got.done) == ("upstream_reset", False), "what is held back would get into the new answer"


async def test_a_slow_client_holds_the_continuation_up(tmp_path: Path) -> None:
    pieces = [text("x" * 60_000, "c2") for _ in range(200)]
    rest = (role("c2"), *pieces, event({}, "stop", id="c2"), usage(5, 200, "c2"), DONE)
    async with (
        pair(tmp_path, breaks(*BEGUN), says(*rest)) as (gateway, _, _),
        wire(gateway.address, receive_buffer=16_384) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        got = await client.head()
        while b'"xxx' not in got.body:
            await client.piece(got)
        (connection,) = (each for pool in gateway.runtime.pools.values() for each in pool.active)
        async with asyncio.timeout(30):
            while connection.transport.is_reading():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await client.rest(got)
        assert got.complete
        assert got.body.count(b"x" * 60_000) == 200


LONG = ("Unbelievably straightforward ", "internationalisation matters here, ")


class Watching(Plugin):
    """Sees the usage event on its way."""

    name = "watching"

    def __init__(self) -> None:
        super().__init__(None, PluginContext(data_dir=".", redis_url=None))
        self.seen: list[Tokens] = []

    async def on_usage(self, request: Request, event: Any) -> None:
        self.seen.append(event.tokens)


@pytest.mark.parametrize("watched", [False, True])
async def test_what_nobody_told_is_counted_by_its_text(tmp_path: Path, watched: bool) -> None:
    """Two events, that hold many more tokens: what the process counts stands in the end, told or not to plugins."""
    watching = Watching()
    plugins: list[tuple[Plugin, Fail]] = [(watching, "closed")] if watched else []
    async with (
        raw_upstream(breaks(role(), *map(text, LONG))) as up,
        raw_upstream(says(*whole("at ", "last."))) as spare,
        running_worker(two(up.base_url, spare.base_url), tmp_path, plugins) as gateway,
    ):
        got = await stream(gateway)
        assert got.text == "".join(LONG) + "at last."
        made = (await gateway.usage())[0]
        counted = count(Ask(0, UNKNOWN.vocabulary, "chat.completions", None, Produced(text="".join(LONG).encode())))
        assert counted.completion > 5
        first, second = made.attempts
        assert first.tokens is not None
        assert first.tokens.completion == counted.completion
        assert second.tokens is not None
        assert made.tokens.completion == counted.completion + second.tokens.completion
        assert made.tokens.prompt == max(0, second.tokens.prompt - counted.completion)
        assert made.estimated
        assert watching.seen == ([made.tokens] if watched else [])


async def test_what_cannot_be_counted_stays_as_it_was_estimated(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(role(), *map(text, LONG)), says(*whole("at ", "last."))) as (gateway, _, _):
        gateway.worker.counter._not_before = float("inf")
        gateway.worker.counter.count = Counter.count.__get__(gateway.worker.counter)  # type: ignore[method-assign]
        assert (await stream(gateway)).done
        made = (await gateway.usage())[0]
        assert (made.tokens.completion, made.estimated) == (4, True)


async def test_a_part_that_was_thrown_away_is_counted_for_its_attempt_alone(tmp_path: Path) -> None:
    async with pair(tmp_path, breaks(role(), *map(text, LONG)), says(*whole("Anew.")), prefill=None) as (gateway, _, _):
        got = await stream(gateway, RESTART)
        assert got.done
        made = (await gateway.usage())[0]
        first, second = made.attempts
        assert first.tokens is not None
        assert first.tokens.completion > 5
        assert second.tokens is not None
        assert made.tokens.completion == second.tokens.completion
        assert not made.estimated or made.tokens.prompt == second.tokens.prompt


async def test_a_stream_that_ended_early_is_not_asked_anew_because_another_has_its_connection(tmp_path: Path) -> None:
    """Both wait for the only connection. The second has it, unanswered, when the first is looked at."""
    go, let = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            who = orjson.loads((await peer.request()).body)["user"]
            if who == "cut":
                await peer.send(STREAM_HEAD, *map(chunk, BEGUN), LAST_CHUNK)
                continue
            await (go if who == "before" else let).wait()
            await peer.send(answer(completion("Well.")))

    async with raw_upstream(script) as up:
        one = provider(up.base_url, connections=Connections(max=1, queue=10))
        async with running_worker(settings_for(one), tmp_path) as gateway:
            pool = gateway.runtime.pools["up"]
            before = asyncio.create_task(ask(gateway, user="before"))
            await up.until(lambda: len(up.requests) == 1)
            cut = asyncio.create_task(stream(gateway, b"x-gateway-stream-recovery: error", user="cut"))
            await until(lambda: pool.waiting == 1)
            behind = asyncio.create_task(ask(gateway, user="behind"))
            await until(lambda: pool.waiting == 2)
            go.set()
            got = await cut
            assert (got.text, got.done, got.code) == ("One two ", False, "upstream_reset")
            let.set()
            assert [(await each).status for each in (before, behind)] == [200, 200]
        assert [sent(each)["user"] for each in up.requests] == ["before", "cut", "behind"]


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0)
