"""What organizations' feedback has taught is asked for in the background, over real HTTP, and kept apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import msgspec

from gateway.bus.embedded import EmbeddedPolicy
from gateway.contract.internal import HEADER, internal_token
from gateway.contract.learned_routes import LearnedRoutes, Shift, Timing
from gateway.contract.policy import Change
from gateway.dataplane.learned import taught as module
from gateway.dataplane.learned.taught import Lessons, Taught

MASTER = "gw_test_master_key"
WAIT = 30.0


class Sidecar:
    """Answers ``GET /internal/routes`` with what was laid down; with 404 while ``away``."""

    def __init__(self) -> None:
        self.told: dict[str, LearnedRoutes] = {}
        self.asked: list[str] = []
        self.away = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *headers = head.decode().split("\r\n")
                method, target, _ = line.split(" ")
                assert f"{HEADER}: {internal_token(MASTER)}" in headers
                url = urlsplit(target)
                assert (method, url.path) == ("GET", "/internal/routes")
                (organization,) = parse_qs(url.query)["organization"]
                self.asked.append(organization)
                body = msgspec.json.encode(self.told.get(organization, LearnedRoutes(0, organization)))
                status = b"404 Not Found" if self.away else b"200 OK"
                writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
        except asyncio.IncompleteReadError:
            writer.close()


@asynccontextmanager
async def sidecar() -> AsyncIterator[tuple[Sidecar, Taught]]:
    double = Sidecar()
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    source = EmbeddedPolicy(f"http://{host}:{port}", MASTER)
    taught = Taught(source)
    try:
        yield double, taught
    finally:
        await taught.close()
        await source.close()
        server.close()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT):
        while not true():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.002)


def shifted(seq: int, organization: str, by: float) -> LearnedRoutes:
    return LearnedRoutes(seq, organization, (Shift("a/x", by, 12.0, "math"),), fixed="a/x")


def change(kind: str, organization: str) -> Change:
    return msgspec.convert({"seq": 9, "at_ns": 0, "kind": kind, "id": organization}, Change)


async def test_what_was_taught_is_there_soon_and_for_its_organization_alone() -> None:
    async with sidecar() as (double, taught):
        double.told["acme & co"] = shifted(3, "acme & co", 0.5)
        assert taught.of("acme & co").shift("a/x", "math") == (0.0, 0.0), "a request does not wait"
        await until(lambda: taught.of("acme & co").seq == 3)
        assert taught.of("acme & co").shift("a/x", "math") == (0.5, 12.0)
        assert taught.of("acme & co").fixed == "a/x"
        await until(lambda: taught.of("other").seq == 0)
        assert taught.of("other").shift("a/x", "math") == (0.0, 0.0)
        assert sorted(double.asked) == ["acme & co", "other"], "each was asked for once"


async def test_a_change_has_it_asked_again_and_the_old_stays_until_then() -> None:
    async with sidecar() as (double, taught):
        double.told["acme"] = shifted(3, "acme", 0.5)
        await until(lambda: taught.of("acme").seq == 3)
        double.told["acme"] = shifted(4, "acme", -1.0)
        taught.changed(change("routing", "other"))
        assert taught.of("acme").shift("a/x", "math")[0] == 0.5
        taught.changed(change("routing", "acme"))
        assert taught.of("acme").shift("a/x", "math")[0] == 0.5
        await until(lambda: taught.of("acme").seq == 4)
        assert taught.of("acme").shift("a/x", "math")[0] == -1.0
        double.told["acme"] = shifted(5, "acme", 2.0)
        taught.changed(change("everything", ""))
        await until(lambda: taught.of("acme").seq == 5)


async def test_while_the_sidecar_has_no_answer_what_is_known_goes_on() -> None:
    async with sidecar() as (double, taught):
        double.told["acme"] = shifted(3, "acme", 0.5)
        await until(lambda: taught.of("acme").seq == 3)
        double.away = True
        taught.changed(change("routing", "acme"))
        taught.of("acme")
        await until(lambda: len(double.asked) == 2 and not taught.of("acme").asking)
        for _ in range(50):
            taught.of("acme")
        assert len(double.asked) == 2, "it is not asked again at once"
        assert taught.of("acme").shift("a/x", "math")[0] == 0.5
        double.away = False
        taught.changed(change("everything", ""))
        await until(lambda: taught.of("acme").fresh)


async def test_so_many_organizations_are_held_and_no_more() -> None:
    taught = Taught()
    kept = taught.of("first")
    for number in range(module.MOST):
        taught.of(f"o{number}")
    assert len(taught) == module.MOST
    assert taught.of("first") is not kept, "the one held longest is gone"


def test_shifts_for_a_task_and_for_every_task_add_up() -> None:
    lessons = Lessons()
    lessons.take(LearnedRoutes(1, "o", (Shift("a/x", 0.5, 3.0), Shift("a/x", -0.2, 7.0, "math"))))
    assert lessons.shift("a/x", "math") == (0.3, 7.0)
    assert lessons.shift("a/x", "law") == (0.5, 3.0)
    assert lessons.shift("b/x", "math") == (0.0, 0.0)
    assert not lessons.plain


def test_a_target_that_nobody_tried_is_off_by_what_all_are() -> None:
    lessons = Lessons()
    lessons.take(LearnedRoutes(1, "o", (Shift("a/x", 0.5, 3.0),), common=-0.7))
    assert lessons.shift("a/x", "math") == (0.5, 3.0)
    assert lessons.shift("b/x", "math") == (-0.7, 0.0)
    lessons.take(LearnedRoutes(2, "o", (Shift("a/x", 0.5, 3.0),)))
    assert lessons.shift("b/x", "math") == (0.0, 0.0)


def test_what_is_in_doubt_is_told_by_task_by_target_and_for_all_others() -> None:
    lessons = Lessons()
    assert lessons.doubt_of("a/x", "math") == 0.0
    shifts = (Shift("a/x", 0.5, 3.0, doubt=0.3), Shift("a/x", -0.2, 7.0, "math", 0.1), Shift("c/x", 0.1, 2.0, "math"))
    lessons.take(LearnedRoutes(1, "o", shifts, doubt=0.4))
    assert [lessons.doubt_of("a/x", task) for task in ("math", "law")] == [0.1, 0.3]
    assert lessons.doubt_of("b/x", "math") == 0.4
    assert [lessons.doubt_of("c/x", task) for task in ("math", "law")] == [0.0, 0.4]


def test_lengths_go_on_from_what_was_told() -> None:
    lessons = Lessons()
    assert lessons.plain
    lessons.take(LearnedRoutes(1, "o", timings=(Timing("a/x", 0.1, 0.01, 1.5, 2.0, 9.0),)))
    assert (lessons.length("a/x"), lessons.length("b/x")) == (2.0, 1.0)
    for _ in range(200):
        lessons.answered("a/x", 0.5)
        lessons.answered("b/x", 1e9)
    assert abs(lessons.length("a/x") - 0.5) < 0.02
    assert lessons.length("b/x") <= 10.0
