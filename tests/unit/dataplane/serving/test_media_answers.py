"""Answers of translated providers that are no JSON, and tokens that an answer's head tells."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.plugin.api import Plugin, PluginContext, Request, Response
from gateway.settings.model import Model, Price, Target
from tests.support.raw_upstream import Peer, answer, raw_upstream
from tests.support.wire import post, wire
from tests.support.worker import provider, running_worker, settings_for

SAMPLES = b"\x01\x00" * 100
NOBODY = {"prompt_tokens": 0, "total_tokens": 0}
SPEECH = {"model": "m", "input": "Guten Tag", "voice": "Kore", "response_format": "pcm"}


class Looks(Plugin):
    """Notes what answers it is shown."""

    name = "looks"

    def __init__(self) -> None:
        super().__init__(None, PluginContext(data_dir=".", redis_url=None))
        self.seen: list[str] = []

    def on_response(self, request: Request, response: Response) -> None:
        self.seen.append(response.content_type)


def models_for(model: str) -> tuple[Model, ...]:
    return (Model(name="m", targets=(Target(provider="up", model=model),)),)


def spoken(usage: dict[str, Any] | None) -> bytes:
    part = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": base64.b64encode(SAMPLES).decode()}}
    told: dict[str, Any] = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    return orjson.dumps(told if usage is None else {**told, "usageMetadata": usage})


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "counted"])
@pytest.mark.parametrize("is_looked_at", [False, True], ids=["plain", "plugin"])
async def test_speech(tmp_path: Path, is_told: bool, is_looked_at: bool) -> None:
    plugins = [Looks()] if is_looked_at else []

    async def speaks(peer: Peer) -> None:
        await peer.request()
        usage = {"promptTokenCount": 3, "candidatesTokenCount": 40} if is_told else None
        await peer.send(answer(spoken(usage)).replace(b"/json", b"/json; charset=UTF-8", 1))

    async with (
        raw_upstream(speaks) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url, kind="gemini")), tmp_path, [(each, "closed") for each in plugins]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/audio/speech", SPEECH))
        got = await client.answer()

        assert (got.status, got.headers["content-type"], got.body) == (200, "audio/pcm", SAMPLES)
        (event,) = await gateway.usage()
        tokens = event.tokens
        if is_told:
            assert (tokens.prompt, tokens.completion, tokens.audio_completion) == (3, 40, 40)
        else:
            assert (tokens.prompt > 0, tokens.completion) == (True, 0)
        assert (event.estimated, event.outcome) == (not is_told, "ok")
        assert [each.seen for each in plugins] == [[] for _ in plugins]


async def test_a_transcript_as_text_goes_through_plugins(tmp_path: Path) -> None:
    async def hears(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b'{"text": "Hallo", "usage": {"prompt_tokens": 4, "prompt_audio_seconds": 9}}'))

    form = b'--b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    parts = ((b"model", b"", b"m"), (b"response_format", b"", b"text"), (b"file", b'; filename="a.mp3"', b"x"))
    body = b"".join([form % part for part in parts]) + b"--b--\r\n"
    price = Price(provider="up", model="x", per_audio_second=0.001)
    looks = Looks()
    async with (
        raw_upstream(hears) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url, kind="mistral"), prices=(price,)), tmp_path, [(looks, "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/audio/transcriptions", body, content_type="multipart/form-data; boundary=b"))
        got = await client.answer()

        assert (got.headers["content-type"], got.body) == ("text/plain; charset=utf-8", b"Hallo\n")
        assert got.headers["x-gateway-cost"] == "0.009000000"
        assert looks.seen == ["text/plain; charset=utf-8"]
        assert upstream.requests[0].headers["content-type"].startswith("multipart/form-data; boundary=")
        (event,) = await gateway.usage()
        assert (event.tokens.prompt, event.tokens.audio_seconds, event.estimated) == (4, 9, False)


@pytest.mark.parametrize(
    ("kind", "told", "line", "tokens", "estimated"),
    [
        ("bedrock", {"embeddings": {"float": [[0.5]]}}, b"X-Amzn-Bedrock-Input-Token-Count: 7", 7, False),
        ("bedrock", {"embeddings": {"float": [[0.5]]}}, b"x-other: 7", None, True),
        ("gemini", {"embeddings": [{"values": [0.5]}]}, b"x-other: 7", None, True),
        ("cohere", {"embeddings": {"float": [[0.5]]}}, b"x-other: 7", None, True),
        ("openai", {"data": [{"embedding": [0.5]}], "usage": NOBODY}, b"x-other: 7", None, True),
    ],
)
async def test_tokens_of_embeddings(
    tmp_path: Path, kind: str, told: Any, line: bytes, tokens: int | None, estimated: bool
) -> None:
    async def embeds(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(orjson.dumps(told), line))

    async with (
        raw_upstream(embeds) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url, kind=kind, api_key="k"), models=models_for("cohere.embed-v4:0")),
            tmp_path,
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/embeddings", {"model": "m", "input": "one two three"}))
        got = await client.answer()

        assert got.json["data"][0]["embedding"] == [0.5]
        assert got.json["usage"] == {"prompt_tokens": tokens or 0, "total_tokens": tokens or 0}
        (event,) = await gateway.usage()
        assert (event.tokens.prompt, event.estimated) == (tokens or 3, estimated)


async def test_pictures_are_paid_by_their_number(tmp_path: Path) -> None:
    async def draws(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b'{"images": ["aQ==", "ag=="], "error": null}'))

    price = Price(provider="up", model="amazon.nova-canvas-v1:0", per_image=0.04)
    async with (
        raw_upstream(draws) as upstream,
        running_worker(
            settings_for(
                provider(upstream.base_url, kind="bedrock", api_key="k"),
                prices=(price,),
                models=models_for("amazon.nova-canvas-v1:0"),
            ),
            tmp_path,
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/images/generate", {"model": "m", "prompt": "x", "n": 2}))
        got = await client.answer()

        assert (got.json["success"], len(got.json["data"])) == (True, 2)  # in Gatewayz' form
        assert got.headers["x-gateway-cost"] == "0.080000000"
        (event,) = await gateway.usage()
        assert (event.tokens.images, event.estimated) == (2, False)


async def test_a_picture_that_was_refused_with_200(tmp_path: Path) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b'{"candidates": [{"finishReason": "IMAGE_SAFETY"}]}'))

    async with (
        raw_upstream(refuses) as upstream,
        running_worker(settings_for(provider(upstream.base_url, kind="gemini")), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/images/generations", {"model": "m", "prompt": "x"}))
        got = await client.answer()

        assert (got.status, got.code) == (400, "content_policy_violation")
        (event,) = await gateway.usage()
        assert (event.outcome, event.status, event.tokens.images) == ("error", 400, 0)


async def test_what_a_kind_does_not_serve_is_told_by_kind_and_path(tmp_path: Path) -> None:
    async with (
        raw_upstream(lambda peer: peer.gone()) as upstream,
        running_worker(settings_for(provider(upstream.base_url, kind="cohere")), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/images/generations", {"model": "m", "prompt": "x"}))
        got = await client.answer()

        assert (got.status, got.code) == (400, "unsupported_endpoint")
        assert "/images/generations" in got.json["error"]["message"]
        assert "'cohere'" in got.json["error"]["message"]
