"""Forms for providers that take none: kept until they are whole, then served as any request is."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.plugin.api import Plugin, PluginContext, Request
from gateway.settings.model import Model, Target
from tests.support.raw_upstream import Peer, answer, chunk, raw_upstream
from tests.support.wire import FORM_START, head, post, wire
from tests.support.worker import provider, running_worker, settings_for

CONTEXT = PluginContext(data_dir=".", redis_url=None)
PATH = "/v1/audio/transcriptions"
TYPE = "multipart/form-data; boundary=b"
FILE = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
MODEL = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
SOUND = b"RIFF" + bytes(range(256)) * 2_000  # more than is kept of a request that can't be served yet
END = b"\r\n--b--\r\n"
FORM = MODEL + FILE + SOUND + END
USAGE = {"promptTokenCount": 70, "candidatesTokenCount": 4, "totalTokenCount": 74}
HEARD = orjson.dumps(
    {
        "candidates": [{"content": {"parts": [{"text": "Hallo"}]}, "finishReason": "STOP"}],
        "usageMetadata": {**USAGE, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 64}]},
    }
)
BUSY = answer(b'{"error": {"code": 503, "message": "busy"}}', status=b"503 Service Unavailable")


async def hears(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(answer(HEARD))


def sound_in(body: bytes) -> bytes:
    return base64.b64decode(orjson.loads(body)["contents"][0]["parts"][0]["inlineData"]["data"])


@pytest.mark.parametrize("form", [FORM, FILE + SOUND + b"\r\n" + MODEL.rstrip() + END], ids=["model first", "last"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_nothing_is_asked_before_the_form_is_whole(tmp_path: Path, form: bytes, is_chunked: bool) -> None:
    async with (
        raw_upstream(hears) as upstream,
        running_worker(settings_for(provider(upstream.base_url, kind="gemini")), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        for _ in range(2):  # the connection serves the next one as well
            if is_chunked:
                await client.send(head(PATH, b"transfer-encoding: chunked", content_type=TYPE))
                await client.send(chunk(form[:400_000]) + chunk(form[400_000:-5]))
                await client.send(chunk(form[-5:]) + b"0\r\n\r\n")
            else:
                whole = post(PATH, form, content_type=TYPE)
                await client.send(whole[:-5])
                await client.send(whole[-5:])
            got = await client.answer()
            assert (got.status, got.json["text"]) == (200, "Hallo")
        assert [sound_in(request.body) for request in upstream.requests] == [SOUND, SOUND]
        assert upstream.requests[0].target == "/v1/models/x:generateContent"
        assert upstream.requests[0].headers["content-type"] == "application/json"
        (event, _) = await gateway.usage(2)
        tokens = event.tokens
        assert (tokens.prompt, tokens.audio_prompt, tokens.completion, event.estimated) == (70, 64, 4, False)
        assert (event.endpoint, event.outcome) == ("audio.transcriptions", "ok")


async def test_a_form_that_is_here_whole_is_sent_again(tmp_path: Path) -> None:
    async def at_first_busy(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(BUSY if len(peer.upstream.requests) == 1 else answer(HEARD))

    async with (
        raw_upstream(at_first_busy) as upstream,
        running_worker(settings_for(provider(upstream.base_url, kind="gemini")), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post(PATH, FORM, content_type=TYPE))
        got = await client.answer()

        assert (got.status, got.headers["x-gateway-attempts"]) == (200, "2")
        assert sound_in(upstream.requests[1].body) == SOUND


async def test_it_falls_back_to_a_target_of_openais_api_and_back(tmp_path: Path) -> None:
    async def busy(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(BUSY)

    tag = b'--b\r\ncontent-disposition: form-data; name="user_tag"\r\n\r\nx\r\n'
    whole = MODEL + tag + FORM.removeprefix(MODEL)
    async with raw_upstream(busy) as upstream, raw_upstream(hears) as other:
        up = provider(upstream.base_url, kind="gemini", drop_params=("user_tag",))
        beside = provider(other.base_url, "beside")
        models = (
            Model(name="m", targets=(Target(provider="up", model="x"), Target(provider="beside", model="whisper"))),
            Model(name="n", targets=(Target(provider="up", model="x"),), fallbacks=("m",)),
        )
        async with running_worker(settings_for(up, beside, models=models), tmp_path) as gateway:
            for model in (b"m", b"n"):
                async with wire(gateway.address) as client:
                    named = whole.replace(b"\r\n\r\nm\r\n", b"\r\n\r\n" + model + b"\r\n")
                    await client.send(post(PATH, named, content_type=TYPE))
                    got = await client.answer()
                assert (got.status, got.headers.get("x-gateway-dropped")) == (200, None)
                assert other.requests[-1].body == whole.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nwhisper\r\n")
                assert other.requests[-1].headers["content-type"] == TYPE


@pytest.mark.parametrize(
    ("form", "code", "field"),
    [
        (MODEL + FILE + b"x" + END + b"", None, None),
        (FORM_START + b"x" + END, "invalid_value", "file"),
        (MODEL + MODEL + END, "duplicate_parameter", "model"),
        (
            MODEL + b'--b\r\ncontent-disposition: form-data; name="stream"\r\n\r\ntrue\r\n' + FILE + b"x" + END,
            "unsupported_parameter",
            "stream",
        ),
        (MODEL + FILE + b"x\r\n--b", "invalid_multipart", None),
    ],
    ids=["good", "no file", "two models", "stream", "cut"],
)
async def test_a_form_that_makes_no_sense(tmp_path: Path, form: bytes, code: str | None, field: str | None) -> None:
    async with (
        raw_upstream(hears) as upstream,
        running_worker(settings_for(provider(upstream.base_url, kind="gemini")), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post(PATH, form, content_type=TYPE))
        got = await client.answer()

        if code is None:
            assert got.status == 200
            return
        assert (got.status, got.code, got.json["error"]["param"]) == (400, code, field)
        assert upstream.requests == []


async def test_a_form_that_is_too_large(tmp_path: Path) -> None:
    async with (
        raw_upstream(hears) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url, kind="gemini"), max_body_bytes=300_000), tmp_path
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(head(PATH, b"transfer-encoding: chunked", content_type=TYPE) + chunk(FORM[:300_001]))
        got = await client.answer()

        assert (got.status, got.code) == (413, "request_too_large")
        assert upstream.requests == []


class Elsewhere(Plugin):
    """Sends every form to another model than the one it names."""

    name = "elsewhere"

    def on_request(self, request: Request) -> None:
        request.model = "m"


async def test_a_plugin_names_the_model_of_a_form(tmp_path: Path) -> None:
    async with raw_upstream(hears) as upstream, raw_upstream(hears) as other:
        models = (
            Model(name="m", targets=(Target(provider="up", model="x"),)),
            Model(name="n", targets=(Target(provider="beside", model="x"),)),
        )
        settings = settings_for(
            provider(upstream.base_url, kind="gemini"), provider(other.base_url, "beside"), models=models
        )
        async with running_worker(settings, tmp_path, [(Elsewhere(None, CONTEXT), "closed")]) as gateway:
            named = FORM.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nn\r\n")
            async with wire(gateway.address) as client:
                await client.send(post(PATH, named, content_type=TYPE))
                assert (await client.answer()).status == 200
            assert (len(upstream.requests), other.requests) == (1, [])


async def test_images_are_edited(tmp_path: Path) -> None:
    made: dict[str, Any] = {
        "candidates": [
            {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "aQ=="}}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": USAGE,
    }

    async def draws(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(orjson.dumps(made)))

    form = MODEL + b'--b\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nSwap\r\n'
    form += b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\nPNG' + END
    async with (
        raw_upstream(draws) as upstream,
        running_worker(settings_for(provider(upstream.base_url, kind="gemini")), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/images/edits", form, content_type=TYPE))
        got = await client.answer()

        assert (got.status, got.json["data"]) == (200, [{"b64_json": "aQ=="}])
        (event,) = await gateway.usage()
        assert (event.tokens.prompt, event.tokens.image_completion) == (70, 4)
