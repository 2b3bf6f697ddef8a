"""The upkeep of admission: what fails unexpectedly begins again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from gateway.bus.policy import Query
from gateway.contract.policy import Change, CredentialPolicy, Resolution
from gateway.dataplane.admission import state
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.admission.state import Admission
from gateway.dataplane.credentials import Learnt
from gateway.kernel.secrets import digest_of
from gateway.settings.model import Settings
from tests.support.raw_upstream import WAIT

SECRET = b"gw_live_one"


class Source:
    """Knows every credential; its first change can't be read."""

    connected = True

    def __init__(self) -> None:
        self.listened = 0
        self.begun = asyncio.Event()

    async def resolve(self, query: Query) -> Resolution:
        return Resolution(1, CredentialPolicy("key_1", "key_1", "api_key", "acme"))

    async def changes(self) -> AsyncGenerator[Change | None, None]:
        self.listened += 1
        if self.listened == 1:
            yield Change(2, 0, "credential", "key_1", "this is no digest")
        self.begun.set()
        while True:
            yield None
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        pass


async def test_changes_are_heard_again_after_one_that_can_not_be_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state, "AGAIN", 0.0)
    source, registry = Source(), Registry()
    learnt = Learnt(source, registry, Settings())
    await learnt.ask(SECRET)
    admission = Admission(registry, None, learnt, None, None, None)
    admission.start(0.0)
    async with asyncio.timeout(WAIT):
        await source.begun.wait()
    assert "upkeep of limits failed" in caplog.text, "told when it happens, not at the end"
    assert learnt.get(digest_of(SECRET), SECRET) is None, "what that change was about is not known"
    await admission.stop()


class Stubborn(Source):
    """Swallows one cancellation, as ``asyncio.wait_for`` of Python 3.11 does at times: the Redis library calls it."""

    async def changes(self) -> AsyncGenerator[Change | None, None]:
        self.begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        while True:
            yield None
            await asyncio.sleep(0.01)


async def test_it_stops_whatever_swallows_that() -> None:
    source, registry = Stubborn(), Registry()
    admission = Admission(registry, None, Learnt(source, registry, Settings()), None, None, None)
    admission.start(0.0)
    async with asyncio.timeout(WAIT):
        await source.begun.wait()
        await admission.stop()
