"""Bodies of callers who are still to be looked up: nobody unknown makes the gateway keep one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.bus.policy import Query
from gateway.contract.policy import Change, CredentialPolicy, Resolution
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.credentials import Learnt
from tests.support.raw_upstream import WAIT, raw_upstream, serve_completions
from tests.support.wire import chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

HEAD = (
    b"POST %b HTTP/1.1\r\nhost: a\r\nauthorization: Bearer gw_live_other\r\n"
    b"content-type: %b\r\ncontent-length: 8000000\r\n\r\n"
)
FORM = b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\n'


class Source:
    """Answers when the test lets it."""

    connected = True

    def __init__(self, policy: CredentialPolicy | None) -> None:
        self.policy = policy
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def resolve(self, query: Query) -> Resolution:
        self.asked.set()
        await self.gate.wait()
        return Resolution(1, self.policy)

    async def changes(self) -> AsyncGenerator[Change | None, None]:
        yield None

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("path", "kind", "begin"),
    [
        (b"/v1/chat/completions", b"application/json", b'{"x":"'),
        (b"/v1/audio/transcriptions", b"multipart/form-data; boundary=b", FORM),
    ],
)
async def test_no_more_is_kept_of_a_stranger_than_a_window(
    tmp_path: Path, path: bytes, kind: bytes, begin: bytes
) -> None:
    settings = settings_for(provider("http://127.0.0.1:9"), max_body_bytes=10_000_000)
    source = Source(None)
    async with running_worker(settings, tmp_path) as gateway, wire(gateway.address) as client:
        gateway.worker.learnt = Learnt(source, Registry(), settings)
        gateway.runtime.credentials._learnt = gateway.worker.learnt
        await client.send(HEAD % (path, kind) + begin)
        client.writer.write(b"x" * 7_000_000)
        async with asyncio.timeout(WAIT):
            await source.asked.wait()
        (connection,) = gateway.connections
        assert not connection.reading
        assert connection.cycle._size < 1_000_000
        source.gate.set()
        answer = await client.answer()
        assert (answer.status, answer.code) == (401, "invalid_api_key")


async def test_who_turns_out_to_be_known_is_served(tmp_path: Path) -> None:
    async with raw_upstream(serve_completions) as upstream:
        settings = settings_for(provider(upstream.base_url), max_body_bytes=10_000_000)
        source = Source(CredentialPolicy("key_1", "key_1", "api_key", "acme"))
        async with running_worker(settings, tmp_path) as gateway, wire(gateway.address) as client:
            gateway.worker.learnt = Learnt(source, Registry(), settings)
            gateway.runtime.credentials._learnt = gateway.worker.learnt
            request = post("/v1/chat/completions", chat(padding="x" * 2_000_000))
            client.writer.write(request.replace(b"gw_test_unit", b"gw_live_one"))
            async with asyncio.timeout(WAIT):
                await source.asked.wait()
            source.gate.set()
            assert (await client.answer()).status == 200
