"""Calls through an HTTP proxy."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
import trustme

from gateway.dataplane.target import Target
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.pool import Pool
from gateway.settings.model import Provider, Timeouts
from tests.support.calls import acquire, exchange, pool_of, start
from tests.support.raw_upstream import Peer, RawUpstream, Script, raw_upstream, serve_completions
from tests.support.tls import server_context

CREDENTIALS = "Basic " + base64.b64encode(b"user:p@ss").decode()


async def refuse(peer: Peer) -> None:
    await peer.head()
    await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
    await peer.gone()


def tunnel(to: RawUpstream, reply: bytes = b"HTTP/1.1 200 OK\r\nvia: proxy\r\n\r\n") -> Script:
    async def script(peer: Peer) -> None:
        await peer.head()
        reader, writer = await asyncio.open_connection("127.0.0.1", to.port)
        await peer.send(reply)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()

        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
        finally:
            writer.transport.abort()

    return script


def proxied(port: int) -> str:
    return f"http://user:p%40ss@127.0.0.1:{port}"


async def test_plain_http_goes_in_absolute_form_with_the_proxys_credentials() -> None:
    async with raw_upstream(serve_completions) as proxy:
        provider = Provider(name="up", base_url="http://api.test:8000/v1", proxy=proxied(proxy.port))
        async with pool_of("http://api.test:8000/v1", proxy=proxied(proxy.port)) as pool:
            head = Target(provider, "x", pool, None).head_for(b"/chat/completions")
            assert await send(pool, head) == 200
        request = proxy.requests[0]
        assert request.line == b"POST http://api.test:8000/v1/chat/completions HTTP/1.1"
        assert request.headers["host"] == "api.test:8000"
        assert request.headers["proxy-authorization"] == CREDENTIALS


async def send(pool: Pool, head: bytes) -> int:
    return (await start(await acquire(pool), head=head).done()).status


async def test_https_goes_through_a_tunnel_and_tells_the_proxy_nothing_more(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with (
        raw_upstream(serve_completions, tls=server_context(authority, "api.test")) as upstream,
        raw_upstream(tunnel(upstream)) as proxy,
        pool_of("https://api.test", proxy=proxied(proxy.port), ca_file=str(ca_file)) as pool,
    ):
        call = await exchange(pool)
        assert call.status == 200
        assert (await exchange(pool)).status == 200
        assert [request.line for request in proxy.requests] == [b"CONNECT api.test:443 HTTP/1.1"]
        assert proxy.requests[0].headers == {"host": "api.test:443", "proxy-authorization": CREDENTIALS}
        assert "proxy-authorization" not in upstream.requests[0].headers
        assert len(upstream.peers) == 1
        assert pool.request_target_prefix == ""
        assert pool.proxy_headers == b""


async def test_the_certificate_behind_a_tunnel_is_verified(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions, tls=server_context(trustme.CA(), "api.test")) as upstream,
        raw_upstream(tunnel(upstream)) as proxy,
        pool_of("https://api.test", proxy=proxied(proxy.port)) as pool,
    ):
        with pytest.raises(UpstreamError, match="certificate") as caught:
            await acquire(pool)
        assert caught.value.reason == "tls"
        assert upstream.requests == []


async def test_a_proxy_that_refuses_the_tunnel_is_named_as_the_cause() -> None:
    async with raw_upstream(refuse) as proxy, pool_of("https://api.test", proxy=proxied(proxy.port)) as pool:
        with pytest.raises(UpstreamError, match="407 Proxy Authentication Required") as caught:
            await acquire(pool)
        assert caught.value.reason == "proxy"
        await proxy.peers[0].left.wait()


async def test_a_proxy_that_closes_fails_the_tunnel() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()

    async with raw_upstream(script) as proxy, pool_of("https://api.test", proxy=proxied(proxy.port)) as pool:
        with pytest.raises(UpstreamError) as caught:
            await acquire(pool)
        assert caught.value.reason == "proxy"


async def test_a_proxy_whose_answer_never_ends_fails_the_tunnel() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        while True:
            await peer.send(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 4096)

    async with raw_upstream(script) as proxy, pool_of("https://api.test", proxy=proxied(proxy.port)) as pool:
        with pytest.raises(UpstreamError, match="too large") as caught:
            await acquire(pool)
        assert caught.value.reason == "proxy"


async def test_a_silent_proxy_meets_the_deadline_to_connect() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    timeouts = Timeouts(connect=0.2)
    async with raw_upstream(script) as proxy:
        async with pool_of("https://api.test", proxy=proxied(proxy.port), timeouts=timeouts) as pool:
            with pytest.raises(UpstreamError) as caught:
                await acquire(pool)
            assert caught.value.reason == "connect_timeout"
        await proxy.peers[0].left.wait()


async def test_a_proxy_that_breaks_the_handshake_fails_the_tunnel() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await peer.reader.read(1)
        peer.close(reset=True)

    async with raw_upstream(script) as proxy, pool_of("https://api.test", proxy=proxied(proxy.port)) as pool:
        with pytest.raises(UpstreamError) as caught:
            await acquire(pool)
        assert caught.value.reason in ("proxy", "tls")


async def test_a_proxy_that_takes_no_connection_is_refused_as_such() -> None:
    async with raw_upstream(serve_completions) as proxy:
        port = proxy.port
    async with pool_of("https://api.test", proxy=proxied(port)) as pool:
        with pytest.raises(UpstreamError, match="takes no connection") as caught:
            await acquire(pool)
        assert caught.value.reason == "connect"
        assert "p@ss" not in caught.value.message


async def test_an_ipv6_host_is_bracketed_in_the_tunnels_target() -> None:
    async with raw_upstream(refuse) as proxy, pool_of("https://[2001:db8::1]", proxy=proxied(proxy.port)) as pool:
        with pytest.raises(UpstreamError):
            await acquire(pool)
        assert proxy.requests[0].line == b"CONNECT [2001:db8::1]:443 HTTP/1.1"
