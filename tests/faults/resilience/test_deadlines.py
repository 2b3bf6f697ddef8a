"""Deadlines: each is kept, for every provider and for a single request, and the upstream hears of it in time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.settings.model import Breaker, Timeouts
from tests.faults.resilience.stage import PATIENT, QUICK, Got, stage
from tests.support.raw_upstream import WAIT
from tests.support.wire import chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
SHORT = 0.3
LATE = 4.0
DEADLINES = [
    ("silence", "first_token", "first_token_timeout"),
    ("headers-then-silence", "first_token", "first_token_timeout"),
    ("stream-stall", "stall", "stall_timeout"),
    ("silence", "total", "total_timeout"),
    ("stream-stall", "total", "total_timeout"),
]


def _was_in_time(got: Got, code: str) -> None:
    assert got.code == code
    assert got.status in (504, 200)
    assert not got.is_whole
    assert SHORT - 0.05 <= got.seconds < SHORT + LATE


@BOTH
@pytest.mark.parametrize(("fault", "deadline", "code"), DEADLINES)
async def test_of_a_provider(tmp_path: Path, fault: str, deadline: str, code: str, stream: bool) -> None:
    timeouts = {"connect": 5.0, "first_token": 5.0, "stall": 5.0, "total": WAIT, deadline: SHORT}
    async with stage(tmp_path, fault, timeouts=Timeouts(**timeouts)) as on:
        got = await on.ask(stream=stream)
        _was_in_time(got, code)
        assert await on.up.given_up() - on.up.calls[0].at < SHORT + LATE
        assert len(on.up.calls) == 1


@BOTH
@pytest.mark.parametrize(("fault", "deadline", "code"), DEADLINES)
async def test_of_a_request(tmp_path: Path, fault: str, deadline: str, code: str, stream: bool) -> None:
    wanted = f"{SHORT}" if deadline == "total" else f"{deadline}={SHORT}, total=8"
    async with stage(tmp_path, fault) as on:
        got = await on.ask(f"x-gateway-timeout: {wanted}".encode(), stream=stream)
        _was_in_time(got, code)
        assert await on.up.given_up() - on.up.calls[0].at < SHORT + LATE
        assert len(on.up.calls) == 1


@BOTH
async def test_the_deadline_is_one_for_all_targets(tmp_path: Path, stream: bool) -> None:
    timeouts = Timeouts(first_token=0.4)
    async with stage(tmp_path, "silence", spared="silence", timeouts=timeouts) as on:
        got = await on.ask(b"x-gateway-timeout: 0.6", stream=stream)
        assert got.status == 504
        assert on.calls == (1, 1)
        assert 0.55 <= got.seconds < 0.6 + LATE
        await on.spare.given_up()


async def test_the_gateways_own_deadline_holds_without_a_header(tmp_path: Path) -> None:
    async with stage(tmp_path, "silence", request_timeout=SHORT) as on:
        _was_in_time(await on.ask(), "total_timeout")
        _was_in_time(await on.ask(b"x-gateway-timeout: 9"), "total_timeout")


@BOTH
async def test_a_client_can_not_wait_longer_than_the_provider_allows(tmp_path: Path, stream: bool) -> None:
    async with stage(tmp_path, "silence", timeouts=Timeouts(first_token=SHORT)) as on:
        _was_in_time(await on.ask(b"x-gateway-timeout: first_token=60", stream=stream), "first_token_timeout")


async def test_a_client_in_a_hurry_does_not_take_the_target_from_others(tmp_path: Path) -> None:
    async with stage(tmp_path, "slow-headers", breaker=Breaker(failures=1, cooldown=60, wait=0)) as on:
        assert (await on.ask(b"x-gateway-timeout: 0.1")).status == 504
        assert (await on.ask(b"x-gateway-timeout: first_token=0.1")).status == 504
        assert (await on.ask()).is_whole


async def test_a_slow_answer_within_the_deadline_is_an_answer(tmp_path: Path) -> None:
    async with stage(tmp_path, "slow-first-token", timeouts=PATIENT, retry=QUICK) as on:
        assert (await on.ask(stream=True)).is_whole
        assert (await on.ask(b"x-gateway-timeout: first_token=4, total=5")).is_whole


@pytest.mark.parametrize(
    "value", [b"soon", b"0", b"-1", b"1e3", b"first_token", b"late=3", b"total=1, total=2", b"99999"]
)
async def test_a_timeout_that_is_none_is_refused(tmp_path: Path, value: bytes) -> None:
    async with stage(tmp_path, "healthy") as on:
        got = await on.ask(b"x-gateway-timeout: " + value)
        assert (got.status, got.code) == (400, "invalid_timeout")
        assert b"x-gateway-timeout" in got.body
        assert on.calls == (0, 0)


@contextmanager
def _full() -> Iterator[int]:
    """The port of a listener whose queue of connections is full: it answers no further one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        held = []
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(address)
            held.append(each)
        try:
            yield address[1]
        finally:
            for each in held:
                each.close()


@pytest.mark.parametrize("wanted", [b"", b"connect=0.3"])
async def test_a_connection_that_does_not_come_about(tmp_path: Path, wanted: bytes) -> None:
    with _full() as port:
        up = provider(f"http://127.0.0.1:{port}/v1", timeouts=Timeouts(connect=5 if wanted else SHORT), retry=QUICK)
        headers = [b"x-gateway-timeout: " + wanted] if wanted else []
        async with running_worker(settings_for(up), tmp_path) as gateway, wire(gateway.address) as client:
            await client.send(post("/v1/chat/completions", chat(), *headers))
            got = await client.answer()
            assert (got.status, got.code) == (504, "connect_timeout")
            reasons = [attempt.reason for attempt in (await gateway.usage())[0].attempts]
            assert reasons == ["connect_timeout"] * 2
