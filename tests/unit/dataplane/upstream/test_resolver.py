"""Names to addresses, and which of them is called."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gateway.dataplane.upstream import resolver as resolving
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.resolver import Resolver
from tests.support.calls import acquire, exchange, pool_of
from tests.support.raw_upstream import raw_upstream, serve_completions


class Names:
    """Stands in for an event loop: a clock, and a resolver that answers from a table. An error is raised."""

    def __init__(self, answers: list[str] | OSError) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> list[Any]:
        assert options["type"] == socket.SOCK_STREAM
        self.asked.append((host, port))
        if isinstance(self.answers, OSError):
            raise self.answers
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in self.answers]


def resolver_of(names: Names) -> Resolver:
    return Resolver(names)  # type: ignore[arg-type]


async def hosts(resolver: Resolver, name: str = "api.test", port: int = 443) -> list[str]:
    return [address.host for address in await resolver.resolve(name, port)]


async def test_an_answer_is_kept_for_its_time_and_then_asked_anew() -> None:
    names = Names(["192.0.2.1", "2001:db8::1"])
    resolver = resolver_of(names)
    assert await hosts(resolver) == ["192.0.2.1", "2001:db8::1"]
    names.answers = ["192.0.2.2"]
    names.now += resolving.TTL - 0.001
    assert await hosts(resolver) == ["192.0.2.1", "2001:db8::1"]
    names.now += 0.001
    assert await hosts(resolver) == ["192.0.2.2"]
    assert names.asked == [("api.test", 443)] * 2


async def test_ports_and_names_are_kept_apart() -> None:
    names = Names(["192.0.2.1"])
    resolver = resolver_of(names)
    await resolver.resolve("a.test", 1)
    await resolver.resolve("a.test", 2)
    await resolver.resolve("b.test", 1)
    assert names.asked == [("a.test", 1), ("a.test", 2), ("b.test", 1)]


async def test_a_stale_answer_is_served_when_asking_fails() -> None:
    names = Names(["192.0.2.1"])
    resolver = resolver_of(names)
    await hosts(resolver)
    names.now += resolving.TTL + 1
    names.answers = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert await hosts(resolver) == ["192.0.2.1"]
    names.answers = ["192.0.2.9"]
    assert await hosts(resolver) == ["192.0.2.9"]


async def test_a_name_that_never_resolved_is_an_error_that_names_it() -> None:
    resolver = resolver_of(Names(socket.gaierror(socket.EAI_NONAME, "Name or service not known")))
    with pytest.raises(UpstreamError, match=r"'api\.test'.*Name or service not known") as caught:
        await hosts(resolver)
    assert caught.value.reason == "dns"


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "MAX_NAMES", 3)
    names = Names(["192.0.2.1"])
    resolver = resolver_of(names)
    for number in range(10):
        await hosts(resolver, f"n{number}.test")
    assert len(resolver._cache) == 3
    assert await hosts(resolver, "n9.test") == ["192.0.2.1"]
    assert len(names.asked) == 10


class LocalNames(Resolver):
    """Gives each name the addresses of a table."""

    def __init__(self, *addresses: str) -> None:
        super().__init__(asyncio.get_running_loop())
        self.addresses = addresses
        self.asked = 0
        self.forgotten = 0

    async def resolve(self, host: str, port: int) -> list[resolving.Address]:
        self.asked += 1
        return [resolving.Address(int(socket.AF_INET), address, port) for address in self.addresses]

    def forget(self, host: str, port: int) -> None:
        self.forgotten += 1


async def test_the_second_address_is_called_where_the_first_refuses() -> None:
    async with raw_upstream(serve_completions) as upstream:
        names = LocalNames("127.0.0.2", "127.0.0.1")  # nobody listens on the first
        async with pool_of(f"http://api.test:{upstream.port}", resolver=names) as pool:
            assert (await exchange(pool)).status == 200
        assert names.forgotten == 0


async def test_addresses_are_forgotten_when_none_takes_a_connection() -> None:
    async with raw_upstream(serve_completions) as upstream:
        port = upstream.port
    names = LocalNames("127.0.0.2", "127.0.0.3")
    async with pool_of(f"http://api.test:{port}", resolver=names) as pool:
        with pytest.raises(UpstreamError, match=f"http://api.test:{port} takes no connection") as caught:
            await acquire(pool)
        assert caught.value.reason == "connect"
        assert names.forgotten == 1


async def test_a_name_too_long_for_dns_is_an_error_and_no_crash() -> None:
    name = "a" * 70 + ".test"
    with pytest.raises(UpstreamError) as caught:
        await Resolver(asyncio.get_running_loop()).resolve(name, 80)
    assert caught.value.reason == "dns"
