"""WebSocket through the gateway to a sidecar: agreed, refused, left, held back, and never a way past the gateway."""

from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response

from gateway.dataplane import tunnel
from gateway.dataplane.forward import Passage
from gateway.dataplane.forwarding import Asked
from gateway.kernel.errors import GatewayError, Kind
from tests.support.forwarding import at_rest, echo, forwarding, front, settled
from tests.support.raw_upstream import WAIT, Peer, answer
from tests.support.wire import Wire, wire
from tests.support.worker import RunningWorker

OFFER = (
    b"GET /v1/stream?x=1 HTTP/1.1\r\nhost: gw\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
AGREED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nx-theirs: 1\r\n\r\n"
MEGABYTE = bytes(1_048_576)


async def say_back(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@asynccontextmanager
async def live(
    directory: Path, handler: Callable[[ServerConnection], Awaitable[None]] = say_back
) -> AsyncIterator[tuple[RunningWorker, str]]:
    """A sidecar that speaks WebSocket, and a worker in front of it with its ws:// address."""
    path = str(directory / "s")
    async with unix_serve(handler, path, process_request=_check, max_size=None, ping_interval=None) as server:
        async with forwarding(directory, f"unix:{path}") as gateway:
            yield gateway, f"ws://127.0.0.1:{gateway.address[1]}"
        server.close()


def _check(socket: ServerConnection, request: Request) -> Response | None:
    if request.headers.get("authorization") == "Bearer wrong":
        return Response(401, "Unauthorized", Headers({"content-type": "text/plain", "x-why": "key"}), b"no\n")
    return None


async def test_messages_go_both_ways(tmp_path: Path) -> None:
    async with live(tmp_path) as (gateway, url), connect(url + "/v1/stream", max_size=None) as client:
        assert client.response is not None
        assert client.response.headers["x-request-id"].startswith("req_")
        for message in ("hello", b"\x00\xff", "x" * 3_000_000, ""):
            await client.send(message)
            assert await asyncio.wait_for(client.recv(), WAIT) == message
        assert len(gateway.worker.forward.tunnels) == 1
        assert not gateway.connections


async def test_what_the_sidecar_is_told(tmp_path: Path) -> None:
    seen: list[Request] = []

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        seen.append(socket.request)

    headers = {"x-forwarded-for": "10.0.0.1", "x-gateway-internal": "forged", "authorization": "Bearer k"}
    async with live(tmp_path, handler) as (gateway, url):
        async with connect(url + "/v1/tasks/t%20/updates?a=b", additional_headers=headers, subprotocols=None) as client:
            assert client.response is not None
            request_id = client.response.headers["x-request-id"]
            await client.wait_closed()
        (request,) = seen
        assert request.path == "/v1/tasks/t%20/updates?a=b"
        assert request.headers["host"] == f"127.0.0.1:{gateway.address[1]}"
        assert request.headers["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
        assert request.headers["x-forwarded-proto"] == "http"
        assert request.headers["x-request-id"] == request_id
        assert request.headers["authorization"] == "Bearer k"
        assert "x-gateway-internal" not in request.headers


async def test_a_sidecar_that_closes_closes_the_client(tmp_path: Path) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send("last words")
        await socket.close(4001, "enough")

    async with live(tmp_path, handler) as (gateway, url), connect(url + "/ws") as client:
        assert await client.recv() == "last words"
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")
        await at_rest(gateway.worker.forward)


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_leaves_is_gone_for_the_sidecar(tmp_path: Path, politely: bool) -> None:
    async def handler(socket: ServerConnection) -> None:
        try:
            await socket.send("here")
            await socket.wait_closed()
        finally:
            left.set()

    left = asyncio.Event()
    async with live(tmp_path, handler) as (gateway, url):
        client = await connect(url + "/ws")
        await client.recv()
        if politely:
            await client.close()
        else:
            client.transport.abort()
        await asyncio.wait_for(left.wait(), WAIT)
        await at_rest(gateway.worker.forward)


# refusals


async def test_a_refusal_of_the_sidecar_is_relayed(tmp_path: Path) -> None:
    async with live(tmp_path) as (gateway, url):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url + "/v1/stream", additional_headers={"authorization": "Bearer wrong"})
        response = refused.value.response
        assert (response.status_code, response.body, response.headers["x-why"]) == (401, b"no\n", "key")
        assert response.headers["connection"] == "close"
        await at_rest(gateway.worker.forward)


@pytest.mark.parametrize(
    ("path", "address", "status"),
    [
        ("/internal/changes", "unix", 404),
        ("/%69nternal/changes", "unix", 404),
        ("/v1/stream", None, 404),
        ("/v1/stream", "unix", 503),
        ("/v1/chat/completions", "unix", 405),
    ],
)
async def test_offers_that_go_nowhere(tmp_path: Path, path: str, address: str | None, status: int) -> None:
    async with forwarding(tmp_path, f"unix:{tmp_path}/s" if address else None) as gateway:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{gateway.address[1]}{path}")
        response = refused.value.response
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert len(response.headers.get_all("x-request-id")) == 1
        if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            assert response.headers["retry-after"] == "2"
            assert b"SERVICE_UNAVAILABLE" in (response.body or b"")


async def test_a_path_of_our_own_is_served_without_the_offer(tmp_path: Path) -> None:
    async with front(tmp_path, echo) as (sidecar, _, client):
        await client.send(OFFER.replace(b"/v1/stream?x=1", b"/health"))
        assert (await client.answer()).status == 200
        await client.send(OFFER.replace(b"upgrade: websocket", b"upgrade: h2c"))
        assert (await client.answer()).status == 200
    assert ["upgrade" in request.headers for request in sidecar.requests] == [False]


async def test_the_gate_refuses_and_is_told_of_the_end(tmp_path: Path) -> None:
    done: list[str] = []

    async def gate(request: Asked) -> Passage:
        passage = Passage(headers=[(b"x-ratelimit-limit", b"5")], done=lambda: done.append(request.path))
        if request.path == "/ws":
            passage.refusal = GatewayError(Kind.RATE_LIMITED, "rate_limit_exceeded", "Too many.", retry_after=3)
        return passage

    async with live(tmp_path) as (gateway, url):
        gateway.worker.forward.gate = gate
        with pytest.raises(InvalidStatus) as refused:
            await connect(url + "/ws")
        response = refused.value.response
        assert (response.status_code, response.headers["retry-after"]) == (429, "3")
        assert response.headers["x-ratelimit-limit"] == "5"
        async with connect(url + "/v1/stream") as client:
            assert client.response is not None
            assert client.response.headers["x-ratelimit-limit"] == "5"
            assert done == ["/ws"]
        await at_rest(gateway.worker.forward)
        assert done == ["/ws", "/v1/stream"]


async def refusing(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(answer(b"[]"))


async def test_a_refused_offer_is_no_way_past_the_gateway(tmp_path: Path) -> None:
    """A sidecar that knows no WebSocket answers and keeps the connection: the client must not get it."""
    async with front(tmp_path, refusing) as (sidecar, gateway, client):
        await client.send(OFFER + b"POST /internal/poke HTTP/1.1\r\nhost: gw\r\ncontent-length: 0\r\n\r\n")
        got = await client.answer()
        assert (got.status, got.body, got.headers["connection"]) == (200, b"[]", "close")
        assert await client.at_end()
        await at_rest(gateway.worker.forward)
    assert [request.target for request in sidecar.requests] == ["/v1/stream?x=1"]


TOO_LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n" + MEGABYTE


@pytest.mark.parametrize(("said", "status"), [(b"", 503), (b"what?\r\n\r\n", 502), (TOO_LONG, 502)])
async def test_a_sidecar_that_answers_an_offer_badly(tmp_path: Path, said: bytes, status: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(said[:200_000])

    async with front(tmp_path, script) as (_, gateway, client):
        await client.send(OFFER)
        got = await client.answer()
        assert got.status == status
        assert await client.at_end()
        await at_rest(gateway.worker.forward)


async def test_a_sidecar_that_does_not_answer_an_offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    monkeypatch.setattr(tunnel, "_ANSWER", 0.05)
    async with front(tmp_path, script) as (_, _, client):
        await client.send(OFFER)
        assert (await client.answer()).status == 504
        assert await client.at_end()


# bytes


async def agreeing(peer: Peer) -> None:
    """Agrees, in two pieces, and has said something at once."""
    await peer.head()
    await peer.send(AGREED[:30])
    await asyncio.sleep(0)
    await peer.send(AGREED[30:] + b"first")
    while data := await peer.reader.read(65_536):
        await peer.send(data)


async def joined(client: Wire) -> None:
    got = await client.head()
    assert (got.status, got.headers["upgrade"], got.headers["x-theirs"]) == (101, "websocket", "1")


async def test_no_byte_is_lost_around_the_agreement(tmp_path: Path) -> None:
    async with front(tmp_path, agreeing) as (_, _, client):
        await client.send(OFFER + b"early")
        await joined(client)
        await client.send(b"later")
        assert await asyncio.wait_for(client.reader.readexactly(15), WAIT) == b"firstearlylater"


async def test_after_another_request_on_the_same_connection(tmp_path: Path) -> None:
    async with front(tmp_path, agreeing) as (_, gateway, client):
        await client.send(b"GET /health HTTP/1.1\r\nhost: gw\r\n\r\n")
        assert (await client.answer()).status == 200
        await client.send(OFFER)
        await joined(client)
        assert await asyncio.wait_for(client.reader.readexactly(5), WAIT) == b"first"
        assert not gateway.connections


async def test_a_client_that_does_not_read_holds_the_sidecar_back(tmp_path: Path) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(AGREED)
        for _ in range(32):
            await peer.send(MEGABYTE)
            sent += len(MEGABYTE)

    async with front(tmp_path, script, receive_buffer=65_536) as (_, _, client):
        await client.send(OFFER)
        await joined(client)
        assert await settled(lambda: sent) < 16_000_000
        assert len(await asyncio.wait_for(client.reader.read(), WAIT)) == 32 * len(MEGABYTE)


async def test_a_sidecar_that_does_not_read_holds_the_client_back(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(AGREED)
        await reading.wait()
        size = 0
        while size < 32 * len(MEGABYTE):
            size += len(await peer.reader.read(1_000_000))
        await peer.send(b"%d" % size)

    reading = asyncio.Event()
    async with front(tmp_path, script) as (_, _, client):
        await client.send(OFFER)
        await joined(client)
        sending = asyncio.create_task(client.send(MEGABYTE * 32))
        assert await settled(client.writer.transport.get_write_buffer_size) > 16_000_000
        reading.set()
        assert await asyncio.wait_for(client.reader.read(), WAIT) == b"%d" % (32 * len(MEGABYTE))
        await sending


async def test_tunnels_end_with_the_worker(tmp_path: Path) -> None:
    async with front(tmp_path, agreeing) as (_, gateway, client):
        await client.send(OFFER)
        await joined(client)
        gateway.worker.forward.close()
        await asyncio.wait_for(client.reader.read(), WAIT)
        await at_rest(gateway.worker.forward)


async def test_many_at_once(tmp_path: Path) -> None:
    async def talk(url: str, number: int) -> None:
        async with connect(url + "/ws") as client:
            for turn in range(5):
                await client.send(f"{number} {turn}")
                assert await client.recv() == f"{number} {turn}"

    async with live(tmp_path) as (gateway, url):
        async with asyncio.timeout(WAIT):
            await asyncio.gather(*(talk(url, number) for number in range(50)))
        async with wire(gateway.address) as client:
            await client.send(b"GET /live HTTP/1.1\r\nhost: gw\r\n\r\n")
            assert (await client.answer()).status == 200
        await at_rest(gateway.worker.forward)
