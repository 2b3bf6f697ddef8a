"""Opening a connection: directly, through an HTTP proxy, over TLS, or to a Unix socket."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable
from typing import TypeVar, cast
from urllib.parse import unquote, urlsplit

from gateway.dataplane.upstream.connection import Connection
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.origin import Origin, parse_origin
from gateway.dataplane.upstream.resolver import Resolver
from gateway.dataplane.upstream.tls import ResumingContext

_NEXT_ADDRESS = 1.5  # seconds
MAX_PROXY_HEAD = 16_384

P = TypeVar("P", bound=asyncio.BaseProtocol)


class HttpProxy:
    """An HTTP proxy: absolute-form requests for ``http``, a ``CONNECT`` tunnel for ``https`` (RFC 9110 §9.3.6)."""

    def __init__(self, url: str) -> None:
        self.origin = parse_origin(url)
        parts = urlsplit(url)
        self.authorization = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self.authorization = b"proxy-authorization: Basic " + base64.b64encode(pair) + b"\r\n"


class _Tunnel(asyncio.Protocol):
    """Reads the proxy's answer to ``CONNECT``."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self._done = done
        self._head = b""
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head and not self._done.done():
            line = self._head.split(b"\r\n", 1)[0]
            fields = line.split(b" ", 2)
            if len(fields) > 1 and fields[1][:1] == b"2":
                self._done.set_result(None)
            else:
                shown = line.decode("latin-1")[:200]
                self._done.set_exception(UpstreamError("proxy", f"The proxy refused the tunnel: {shown}."))
        elif len(self._head) > MAX_PROXY_HEAD and not self._done.done():
            self._done.set_exception(UpstreamError("proxy", "The proxy's answer to CONNECT is too large."))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(UpstreamError("proxy", "The proxy closed the connection before the tunnel stood."))


async def dial(
    origin: Origin,
    factory: Callable[[], Connection],
    loop: asyncio.AbstractEventLoop,
    resolver: Resolver,
    context: ResumingContext | None,
    proxy: HttpProxy | None,
) -> Connection:
    """A connected :class:`Connection`; deadlines are the caller's. Raises :class:`UpstreamError`, ``sent`` false."""
    if origin.socket:
        try:
            _, connection = await loop.create_unix_connection(_as_protocol(factory), origin.socket)
        except OSError as error:
            raise UpstreamError("connect", "The local engine's socket takes no connection.") from error
        return cast("Connection", connection)
    if proxy is not None and context is not None:
        return await _dial_tunnel(origin, factory, loop, resolver, context, proxy)
    where = origin if proxy is None else proxy.origin
    tls = context if proxy is None else None
    return cast("Connection", await _dial_tcp(where, _as_protocol(factory), loop, resolver, tls))


def _as_protocol(factory: Callable[[], Connection]) -> Callable[[], asyncio.Protocol]:
    return cast("Callable[[], asyncio.Protocol]", factory)  # by its methods, not by class


async def _dial_tcp(
    origin: Origin,
    factory: Callable[[], P],
    loop: asyncio.AbstractEventLoop,
    resolver: Resolver,
    context: ResumingContext | None,
) -> P:
    addresses = await resolver.resolve(origin.host, origin.port)
    refusal: Exception | None = None
    for address in addresses:
        # An address that swallows what is sent to it must not use up the time of the others.
        patience = None if address is addresses[-1] else _NEXT_ADDRESS
        try:
            async with asyncio.timeout(patience):
                _, protocol = await loop.create_connection(
                    factory,
                    address.host,
                    address.port,
                    ssl=context,
                    server_hostname=origin.host if context is not None else None,
                )
        except ssl.SSLError as error:
            raise UpstreamError("tls", f"TLS with {origin.url} failed: {_tls_reason(error)}.") from error
        except OSError as error:
            refusal = error
            continue
        return protocol
    resolver.forget(origin.host, origin.port)
    raise UpstreamError("connect", f"{origin.url} takes no connection: {refusal}.") from refusal


async def _dial_tunnel(
    origin: Origin,
    factory: Callable[[], Connection],
    loop: asyncio.AbstractEventLoop,
    resolver: Resolver,
    context: ResumingContext,
    proxy: HttpProxy,
) -> Connection:
    done: asyncio.Future[None] = loop.create_future()
    tunnel = await _dial_tcp(proxy.origin, lambda: _Tunnel(done), loop, resolver, None)
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}".encode()
    transport = tunnel.transport
    transport.write(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, target, proxy.authorization))
    try:
        await done
        connection = factory()
        secured = await loop.start_tls(
            transport, cast("asyncio.Protocol", connection), context, server_hostname=origin.host
        )
    except ssl.SSLError as error:
        transport.abort()
        raise UpstreamError("tls", f"TLS with {origin.url} failed: {_tls_reason(error)}.") from error
    except OSError as error:
        transport.abort()
        raise UpstreamError("proxy", f"The tunnel to {origin.url} broke: {error}.") from error
    except BaseException:
        transport.abort()
        raise
    assert secured is not None
    connection.connection_made(secured)
    return connection


def _tls_reason(error: ssl.SSLError) -> str:
    return getattr(error, "verify_message", "") or error.reason or str(error)
