from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from plugins.response_cache.memory import OVERHEAD, BoundedMemoryCache, size_of

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["set", "get", "delete"]), st.sampled_from("abcdef"), st.integers(0, 600)), max_size=40
)


@given(operations=OPERATIONS)
async def test_it_never_holds_more_than_its_bounds(operations: list[tuple[str, str, int]]) -> None:
    cache = BoundedMemoryCache(max_entries=3, max_bytes=3 * OVERHEAD)
    for operation, key, size in operations:
        if operation == "set":
            await cache.set(key, b"x" * size, ttl=100.0)
        elif operation == "get":
            value = await cache.get(key)
            assert value is None or set(value) <= {ord("x")}
        else:
            await cache.delete(key)
        held = cache._cache
        assert len(held) <= 3
        assert held.bytes_held == sum(size_of(key, value) for key, value in held.items()) <= cache.max_bytes
        assert set(cache._handlers) == set(held)
    await cache.close()
    assert cache._handlers == {}


async def test_the_least_recently_used_goes_first() -> None:
    cache = BoundedMemoryCache(max_entries=2, max_bytes=10_000)
    await cache.set("a", b"1")
    await cache.set("b", b"2")
    assert await cache.get("a") == b"1"
    await cache.set("c", b"3")
    assert (await cache.get("a"), await cache.get("b"), await cache.get("c")) == (b"1", None, b"3")


async def test_an_entry_beyond_all_bounds_replaces_nothing_but_its_own_key() -> None:
    cache = BoundedMemoryCache(max_entries=9, max_bytes=2_000)
    await cache.set("a", b"1")
    await cache.set("b", b"2")
    await cache.set("a", b"x" * 3_000)
    assert (await cache.get("a"), await cache.get("b")) == (None, b"2")


async def test_an_entry_ends_after_its_time_and_is_no_longer_counted() -> None:
    cache = BoundedMemoryCache(max_entries=9, max_bytes=2_000)
    await cache.set("a", b"1", ttl=0.01)
    gone = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.02, gone.set_result, None)
    await gone
    assert await cache.get("a") is None
    assert cache._cache.bytes_held == 0
