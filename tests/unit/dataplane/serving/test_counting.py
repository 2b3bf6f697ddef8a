"""What an upstream produced and told no usage of: counted by a vocabulary, marked as estimated, settled as such."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from gateway.contract.usage import Tokens
from gateway.dataplane.counting.client import Done
from gateway.dataplane.counting.wire import Ask
from gateway.plugin.api import Plugin, PluginContext, Request
from gateway.plugin.failures import Fail
from gateway.settings.model import Limit, Price
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    Peer,
    Script,
    answer,
    chunk,
    completion,
    delta,
    raw_upstream,
    usage_event,
)
from tests.support.wire import chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

LIMITS = (Limit(metric="concurrency", limit=5), Limit(metric="tokens", limit=100_000, window="hour"))
PRICES = (Price(provider="up", model="x", input_per_1k=0.001, output_per_1k=0.002),)
QUESTION = "The quick brown fox jumps over the lazy dog."
# o200k_base: the text has 10 tokens and the role 1; a message takes 3, the beginning of the answer 3.
PROMPT = 17
# Each of these words is one token with the space before it.
WORDS = [" one", " two", " three", " four"]


async def breaking(peer: Peer) -> None:
    """Cut in mid-stream, without a usage."""
    await peer.request()
    await peer.send(STREAM_HEAD, *(chunk(delta(word)) for word in WORDS))
    peer.close()


async def telling_on_the_way(peer: Peer) -> None:
    """Tells what it has produced so far, goes on, and breaks."""
    await peer.request()
    await peer.send(STREAM_HEAD, chunk(delta(" one")), chunk(usage_event(30, 7)), *(chunk(delta(w)) for w in WORDS))
    peer.close()


async def telling_nothing(peer: Peer) -> None:
    """A whole stream of a provider that tells no usage."""
    await peer.request()
    await peer.send(STREAM_HEAD, *(chunk(delta(word)) for word in WORDS), chunk(delta("", "stop") + DONE), LAST_CHUNK)
    await peer.gone()


async def thinking(peer: Peer) -> None:
    """Thoughts, then text, and a break."""
    await peer.request()
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": " one two"}}]}
    await peer.send(STREAM_HEAD, chunk(b"data: " + orjson.dumps(thought) + b"\n\n"), chunk(delta(" three")))
    peer.close()


@pytest.mark.parametrize("plugged", [False, True], ids=["alone", "with a plugin"])
@pytest.mark.parametrize(
    ("script", "outcome", "tokens"),
    [
        (breaking, "cut", Tokens(prompt=PROMPT, completion=4)),
        (telling_on_the_way, "cut", Tokens(prompt=30, completion=7 + 4)),
        (telling_nothing, "ok", Tokens(prompt=PROMPT, completion=4)),
        (thinking, "cut", Tokens(prompt=PROMPT, completion=3, reasoning=2)),
    ],
)
async def test_streams(tmp_path: Path, script: Script, outcome: str, tokens: Tokens, plugged: bool) -> None:
    plugins: list[tuple[Plugin, Fail]] = [(OnUsage(None, PluginContext(".", None)), "closed")] if plugged else []
    async with (
        raw_upstream(script) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url), limits=LIMITS, prices=PRICES),
            tmp_path,
            plugins,
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(QUESTION, stream=True)))
        await client.rest(await client.head())
        (event,) = await gateway.usage()
        assert (event.outcome, event.tokens, event.estimated) == (outcome, tokens, True)
        assert event.cost_nanos == tokens.prompt * 1_000 + tokens.completion * 2_000
        assert gateway.used("tokens") == tokens.prompt + tokens.completion
        assert gateway.runtime.active == 0


class OnUsage(Plugin):
    """Looks at each usage event."""

    name = "watcher"

    def on_usage(self, request: Request, event: object) -> None:
        """Nothing is done with it."""


async def test_a_client_that_leaves_pays_what_came(tmp_path: Path) -> None:
    async def going_on(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, *(chunk(delta(word)) for word in WORDS))
        await peer.gone()

    async with (
        raw_upstream(going_on) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS, prices=PRICES), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(QUESTION, stream=True)))
        got = await client.head()
        seen = b""
        while b"four" not in seen:
            seen += await client.piece(got)
        client.leave()
        (event,) = await gateway.usage()
        assert (event.outcome, event.estimated) == ("cancelled", True)
        assert event.tokens == Tokens(prompt=PROMPT, completion=4)


async def test_a_whole_answer_without_usage(tmp_path: Path) -> None:
    body = orjson.loads(completion("".join(WORDS)))
    del body["usage"]

    async def silent_of_usage(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(orjson.dumps(body)))

    async with (
        raw_upstream(silent_of_usage) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS, prices=PRICES), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(QUESTION)))
        got = await client.answer()
        assert got.json == body
        (event,) = await gateway.usage()
        assert (event.outcome, event.tokens, event.estimated) == ("ok", Tokens(prompt=PROMPT, completion=4), True)


async def test_where_nothing_can_count_the_size_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        raw_upstream(breaking) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        asked: list[Ask] = []

        def refuse(ask: Ask, done: Done) -> None:
            asked.append(ask)
            done(None)

        monkeypatch.setattr(gateway.worker.counter, "count", refuse)
        request = chat(QUESTION, stream=True)
        await client.send(post("/v1/chat/completions", request))
        await client.rest(await client.head())
        (event,) = await gateway.usage()
        assert event.tokens == Tokens(prompt=len(orjson.dumps(request)) // 4, completion=4)
        assert event.estimated
        assert [ask.vocabulary for ask in asked] == ["o200k_base"]


async def test_a_usage_at_the_end_needs_no_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def telling(peer: Peer) -> None:
        await peer.request()
        last = chunk(delta("", "stop")), chunk(usage_event(30, 7)), chunk(DONE), LAST_CHUNK
        await peer.send(STREAM_HEAD, *(chunk(delta(word)) for word in WORDS), *last)
        await peer.gone()

    async with (
        raw_upstream(telling) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        monkeypatch.delattr(type(gateway.worker.counter), "count")  # would fail, and so would the request
        await client.send(post("/v1/chat/completions", chat(QUESTION, stream=True)))
        await client.rest(await client.head())
        (event,) = await gateway.usage()
        assert (event.outcome, event.tokens, event.estimated) == ("ok", Tokens(prompt=30, completion=7), False)
