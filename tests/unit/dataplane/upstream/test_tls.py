"""TLS to upstreams: who is trusted, and sessions that are resumed."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.dataplane.upstream.errors import UpstreamError
from tests.support.calls import acquire, exchange, pool_of, start
from tests.support.raw_upstream import Peer, answer, completion, raw_upstream, serve_completions
from tests.support.tls import server_context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority the tests trust."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """Its certificate as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


async def failure(base_url: str, **fields: Any) -> UpstreamError:
    async with pool_of(base_url, **fields) as pool:
        with pytest.raises(UpstreamError) as caught:
            await acquire(pool)
        assert pool.open_connections == 0
    return caught.value


async def test_a_trusted_server_is_called(authority: trustme.CA, ca_file: str) -> None:
    async with raw_upstream(serve_completions, tls=server_context(authority)) as upstream:
        for host in ("127.0.0.1", "localhost"):
            async with pool_of(f"https://{host}:{upstream.port}", ca_file=ca_file) as pool:
                assert (await exchange(pool)).status == 200
                assert (await exchange(pool)).status == 200
        assert len(upstream.peers) == 2


async def test_a_certificate_for_another_name_is_refused(authority: trustme.CA, ca_file: str) -> None:
    async with raw_upstream(serve_completions, tls=server_context(authority, "other.example")) as upstream:
        error = await failure(f"https://localhost:{upstream.port}", ca_file=ca_file)
        assert error.reason == "tls"
        assert "localhost" in error.message
        assert "mismatch" in error.message.lower()


async def test_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    async with raw_upstream(serve_completions, tls=server_context(authority)) as upstream:
        error = await failure(f"https://localhost:{upstream.port}")
        assert error.reason == "tls"
        assert "certificate" in error.message


async def test_another_authority_is_refused(authority: trustme.CA, ca_file: str) -> None:
    async with raw_upstream(serve_completions, tls=server_context(trustme.CA())) as upstream:
        error = await failure(f"https://localhost:{upstream.port}", ca_file=ca_file)
        assert error.reason == "tls"


async def test_verification_can_be_turned_off(authority: trustme.CA) -> None:
    async with (
        raw_upstream(serve_completions, tls=server_context(authority, "other.example")) as upstream,
        pool_of(f"https://localhost:{upstream.port}", verify_tls=False) as pool,
    ):
        assert (await exchange(pool)).status == 200


async def test_a_server_that_speaks_no_tls_is_a_tls_failure() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async with raw_upstream(script) as upstream:
        error = await failure(f"https://localhost:{upstream.port}")
        assert error.reason == "tls"


async def test_old_tls_is_refused(authority: trustme.CA, ca_file: str) -> None:
    context = server_context(authority)
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    async with raw_upstream(serve_completions, tls=context) as upstream:
        error = await failure(f"https://localhost:{upstream.port}", ca_file=ca_file)
        assert error.reason in ("tls", "connect")


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("closes", [False, True], ids=["kept alive", "closed after each answer"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_second_connection_resumes_the_session(
    authority: trustme.CA, ca_file: str, version: ssl.TLSVersion, closes: bool
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(completion(), *([b"connection: close"] if closes else [])))

    async with (
        raw_upstream(script, tls=server_context(authority, version=version)) as upstream,
        pool_of(f"https://localhost:{upstream.port}", ca_file=ca_file) as pool,
    ):
        first = await acquire(pool)
        tls = first.transport.get_extra_info("ssl_object")
        assert not tls.session_reused
        assert tls.version() == version.name.replace("_", ".")
        await start(first).done()
        if not closes:
            assert pool.take_idle() is first  # hold it, so that another is opened
        second = await acquire(pool)
        assert second is not first
        assert second.transport.get_extra_info("ssl_object").session_reused
        assert (await start(second).done()).status == 200
        first.abort()


async def test_a_session_the_server_has_forgotten_is_no_failure(authority: trustme.CA, ca_file: str) -> None:
    async with raw_upstream(serve_completions, tls=server_context(authority)) as upstream:
        port = upstream.port
        async with pool_of(f"https://localhost:{port}", ca_file=ca_file) as pool:
            assert (await exchange(pool)).status == 200
            await upstream.stop()
            server = raw_upstream(serve_completions, tls=server_context(authority), port=0)
            async with server as other:
                pool.origin = pool.origin._replace(port=other.port)
                connection = pool.take_idle()
                if connection is not None:
                    connection.abort()
                again = await acquire(pool)
                assert not again.transport.get_extra_info("ssl_object").session_reused
                assert (await start(again).done()).status == 200
