"""Access tokens: fetched at the start, again before they end, and not waited for."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from gateway.dataplane import tokens
from gateway.dataplane.tokens import TokenSource, source_for
from gateway.kernel.errors import GatewayError, Kind
from gateway.providers.oauth import TokenRequest
from gateway.settings.model import Provider


class Issuer:
    """Answers in turn, the last one for ever; ``asked`` are the times at which."""

    def __init__(self, *answers: tuple[int, bytes] | OSError) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.changed = threading.Event()

    def __call__(self, asked: TokenRequest) -> tuple[int, bytes]:
        assert asked.url == "https://issuer.test/"
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        self.changed.set()
        if isinstance(answer, OSError):
            raise answer
        return answer


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def token(value: str, seconds: float) -> tuple[int, bytes]:
    return 200, b'{"access_token": "%b", "expires_in": %f}' % (value.encode(), seconds)


def source(issuer: Issuer, clock: Clock) -> TokenSource:
    return TokenSource("p", lambda now: TokenRequest("https://issuer.test/", b""), issuer, clock)


def slept(monkeypatch: pytest.MonkeyPatch, most: int) -> tuple[list[float], asyncio.Event]:
    """The seconds that this test's loop was to sleep, which takes no time, and what is set when there are ``most``."""
    waits: list[float] = []
    enough = asyncio.Event()
    own, really = asyncio.get_running_loop(), asyncio.sleep

    async def sleep(seconds: float) -> None:
        if asyncio.get_running_loop() is not own:
            return await really(seconds)  # servers of other tests run in threads of their own
        waits.append(seconds)
        if len(waits) == most:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waits, enough


async def test_the_token_is_there_when_the_start_is_over() -> None:
    clock = Clock()
    one = source(Issuer(token("a", 3600)), clock)
    await one.start()

    assert one.value == "a"
    clock.now += 3601
    with pytest.raises(GatewayError) as refused:
        _ = one.value
    assert refused.value.kind is Kind.UNAVAILABLE
    one.stop()


async def test_the_next_token_is_fetched_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer(token("a", 100), (503, b"<html>"), token("b", 100))
    one = source(issuer, Clock())
    waits, enough = slept(monkeypatch, 3)
    await one.start()
    await enough.wait()

    assert waits == [80.0, 1.0, 80.0]
    assert one.value == "b"
    one.stop()


async def test_an_issuer_that_fails_is_told_of_and_asked_again_ever_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits, enough = slept(monkeypatch, 8)
    one = source(Issuer((400, b'{"error": "invalid_grant"}'), OSError("refused")), Clock())
    with caplog.at_level(logging.WARNING, "gateway.providers"):
        await one.start()
        await enough.wait()

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert "invalid_grant" in caplog.messages[0]
    with pytest.raises(GatewayError):
        _ = one.value
    one.stop()


async def test_a_start_does_not_wait_for_an_issuer_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "FIRST", 0.05)
    go = threading.Event()

    def hangs(asked: TokenRequest) -> tuple[int, bytes]:
        go.wait(20)
        return token("late", 3600)

    one = TokenSource("p", lambda now: TokenRequest("https://issuer.test/", b""), hangs, Clock())
    try:
        await one.start()
        with pytest.raises(GatewayError):
            _ = one.value
    finally:
        go.set()
        one.stop()


def test_only_those_without_a_key_have_one() -> None:
    entra = {"tenant_id": "t", "client_id": "c", "client_secret": "s"}

    assert source_for(Provider(name="p", kind="azure", options=entra)) is not None
    assert source_for(Provider(name="p", kind="azure", api_key="k")) is None
    assert source_for(Provider(name="p", base_url="http://a")) is None
