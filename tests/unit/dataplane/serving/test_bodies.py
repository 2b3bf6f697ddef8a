"""Request bodies: as they come, too large, refused early, and uploads that are relayed while they arrive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from gateway.dataplane.upload import Upload
from gateway.settings.model import Model, Target
from tests.support.raw_upstream import (
    LAST_CHUNK,
    WAIT,
    Peer,
    answer,
    chunk,
    completion,
    raw_upstream,
    serve_completions,
)
from tests.support.wire import Wire, chat, head, post, wire
from tests.support.worker import provider, running_worker, settings_for

MOST = 100_000
TYPE = "multipart/form-data; boundary=b"
MODEL = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n'
FILE = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
END = b"\r\n--b--\r\n"


async def push(client: Wire, data: bytes) -> None:
    """Send a large body; the gateway may stop taking it."""
    try:
        await client.send(data)
    except ConnectionError:
        return


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [MOST + 1, 3 * MOST, 5_000_000])
async def test_too_large_a_body_is_a_413_that_can_be_read(tmp_path: Path, framing: str, size: int) -> None:
    """Also by a client that sends its whole body before it reads."""
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url), max_body_bytes=MOST), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        body = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * size + b'"}]}'
        if framing == "length":
            data = post("/v1/chat/completions", body)
        else:
            pieces = [chunk(body[at : at + 10_000]) for at in range(0, len(body), 10_000)]
            data = head("/v1/chat/completions", b"transfer-encoding: chunked") + b"".join(pieces) + LAST_CHUNK
        sending = asyncio.create_task(push(client, data))
        got = await client.answer()
        assert (got.status, got.code) == (413, "request_too_large")
        assert str(MOST) in got.json["error"]["message"]
        sending.cancel()
        assert upstream.requests == []


async def test_a_body_as_large_as_allowed_is_taken(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url), max_body_bytes=MOST), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        empty = len(orjson.dumps(chat("")))
        for _ in range(2):
            await client.send(post("/v1/chat/completions", chat("x" * (MOST - empty))))
            assert (await client.answer()).status == 200


async def test_a_small_body_of_a_refused_request_costs_the_connection_nothing(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat("x" * 50_000), key="wrong"))
        assert (await client.answer()).status == 401
        await client.send(post("/v1/chat/completions", chat()))
        assert (await client.answer()).status == 200


async def test_a_client_that_asks_first_is_told_to_go_on(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        body = orjson.dumps(chat())
        for _ in range(2):
            await client.send(head("/v1/chat/completions", b"expect: 100-continue", b"content-length: %d" % len(body)))
            assert (await client.head()).status == 100
            await client.send(body)
            assert (await client.answer()).status == 200


async def test_a_client_that_asks_first_and_has_no_key_is_told_at_once(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(head("/v1/chat/completions", b"expect: 100-continue", b"content-length: 500", key="wrong"))
        got = await client.answer()
        assert got.status == 401
        assert got.headers["connection"] == "close"


def form(model: bytes = b"m", content: bytes = b"RIFF") -> bytes:
    return MODEL % model + FILE + content + END


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("order", ["model first", "file first"])
async def test_an_upload_reaches_the_upstream_with_the_targets_model(tmp_path: Path, order: str, framing: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        received.append((request.headers, request.body))
        await peer.send(answer(b'{"text":"hello"}'))
        await peer.gone()

    received: list[tuple[dict[str, str], bytes]] = []
    content = bytes(range(256)) * 300
    if order == "model first":
        body, expected = form(content=content), MODEL % b"x" + FILE + content + END
    else:
        body, expected = (
            FILE + content + b"\r\n" + MODEL % b"m" + b"--b--\r\n",
            FILE + content + b"\r\n" + MODEL % b"x" + b"--b--\r\n",
        )
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        if framing == "length":
            await client.send(post("/v1/audio/transcriptions", body, content_type=TYPE))
        else:
            await client.send(head("/v1/audio/transcriptions", b"transfer-encoding: chunked", content_type=TYPE))
            for at in range(0, len(body), 7_777):
                await client.send(chunk(body[at : at + 7_777]))
            await client.send(LAST_CHUNK)
        got = await client.answer()
        assert (got.status, got.json) == (200, {"text": "hello"})
        ((headers, sent),) = received
        assert sent == expected
        assert headers["content-type"] == TYPE
        assert ("content-length" in headers) == (framing == "length")
        assert (await gateway.usage())[0].model == "m"


async def test_an_upload_is_relayed_while_it_arrives(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        async for piece in peer.body(request):
            got.append(piece)
            arrived.set()
        await peer.send(answer(b'{"text":"hello"}'))
        await peer.gone()

    got: list[bytes] = []
    arrived = asyncio.Event()
    body = form(content=b"a" * 50_000)
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(head("/v1/audio/transcriptions", b"content-length: %d" % len(body), content_type=TYPE))
        for at in range(0, len(body), 10_000):
            arrived.clear()
            await client.send(body[at : at + 10_000])
            async with asyncio.timeout(WAIT):
                await arrived.wait()  # each piece is there before the next is sent
        assert (await client.answer()).status == 200
        assert b"".join(got) == body.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nx\r\n")


async def test_an_answer_that_comes_before_the_upload_is_complete_can_be_read(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(b'{"error":{"message":"no"}}', status=b"400 Bad Request"))
        await peer.gone()

    size = 8_000_000
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url), max_body_bytes=2 * size), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        body = form(content=b"a" * size)
        await push(client, post("/v1/audio/transcriptions", body, content_type=TYPE))  # all of it, before reading
        got = await client.answer()
        assert (got.status, got.json["error"]["message"]) == (400, "no")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upload_that_grows_too_large_is_stopped_in_the_middle(tmp_path: Path, framing: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url), max_body_bytes=MOST), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        body = form(content=b"a" * (5 * MOST))
        if framing == "length":
            data = post("/v1/audio/transcriptions", body, content_type=TYPE)
        else:
            pieces = [chunk(body[at : at + 10_000]) for at in range(0, len(body), 10_000)]
            start = head("/v1/audio/transcriptions", b"transfer-encoding: chunked", content_type=TYPE)
            data = start + b"".join(pieces) + LAST_CHUNK
        sending = asyncio.create_task(push(client, data))
        got = await client.answer()
        assert (got.status, got.code) == (413, "request_too_large")
        sending.cancel()
        if upstream.peers:
            async with asyncio.timeout(WAIT):
                await upstream.peers[0].left.wait()


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (FILE + b"x" + END, 400, "model"),
        (form(b""), 400, "model"),
        (form()[:-9] + b"\r\n" + MODEL % b"other" + b"--b--\r\n", 400, "model"),
        (form(b"unknown"), 404, "model"),
        (b"nonsense", 400, None),
    ],
)
async def test_bad_uploads_are_refused(tmp_path: Path, body: bytes, status: int, param: str | None) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/audio/transcriptions", body, content_type=TYPE))
        got = await client.answer()
        assert (got.status, got.json["error"]["param"]) == (status, param)


async def test_a_default_model_of_a_form_is_left_to_the_upstream(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.send(answer(orjson.dumps({"size": len(request.body)})))
        await peer.gone()

    models = (Model(name="dall-e-2", targets=(Target(provider="up", model="dall-e-2"),)),)
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url), models=models), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        body = FILE + b"png" + END
        await client.send(post("/v1/images/variations", body, content_type=TYPE))
        assert (await client.answer()).json == {"size": len(body)}


@pytest.mark.parametrize(
    ("names", "target", "part"),
    [
        (["mine"], "gpt-image-1", b"gpt-image-1"),
        (["mine"], "dall-e-2", None),
        (["dall-e-2", "mine"], "gpt-image-1", b"gpt-image-1"),
    ],
)
async def test_the_only_model_stands_for_the_default_one_of_a_form(
    tmp_path: Path, names: list[str], target: str, part: bytes | None
) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.send(answer(orjson.dumps({"body": request.body.decode()})))
        await peer.gone()

    models = tuple(Model(name=name, targets=(Target(provider="up", model=target),)) for name in names)
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url), models=models), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        body = FILE + b"png" + END
        await client.send(post("/v1/images/variations", b"\r\n" + body, content_type=TYPE))
        received = (await client.answer()).json["body"].encode()

    head, rest = received[: -len(body)], received[-len(body) :]
    assert rest == body
    if part is None:
        assert head == b"\r\n"
    else:
        upload = Upload(TYPE)
        upload.feed(received)
        assert upload.model == part.decode()


async def test_one_of_several_models_is_not_guessed(tmp_path: Path) -> None:
    models = tuple(Model(name=name, targets=(Target(provider="up", model="x"),)) for name in ("a", "b"))
    settings = settings_for(provider("http://127.0.0.1:9/v1"), models=models)
    async with running_worker(settings, tmp_path) as gateway, wire(gateway.address) as client:
        await client.send(post("/v1/images/variations", FILE + b"png" + END, content_type=TYPE))
        got = await client.answer()
        assert (got.status, got.json["error"]["code"]) == (404, "model_not_found")


async def test_the_answer_of_the_usual_upload_keeps_the_connection(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(completion()))

    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        for _ in range(3):
            await client.send(post("/v1/audio/transcriptions", form(), content_type=TYPE))
            assert (await client.answer()).status == 200
        assert len(upstream.peers) == 1
