"""Large bodies: whole before their turn comes, one at a time, kept once, taken apart without being unfolded."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from gateway.dialects.common.bodies import IN_MEMORY, SlicedRequest, Text, Turns
from gateway.dialects.common.slices import MOST, members_of

LARGE = b"x" * (IN_MEMORY + 1)
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
_JSON = st.recursive(
    _PLAIN,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3),
    max_leaves=6,
)


def coming(*parts: bytes) -> Receive:
    """A body that comes in these parts."""
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request"})

    async def receive() -> Message:
        return messages.pop(0)

    return receive


class Sliced(SlicedRequest):
    """Whose records are sliced."""

    sliced = "records"


async def read(body: bytes) -> Any:
    """What a sliced request reads."""
    return await Sliced(Request({"type": "http"}), io.BytesIO(body)).json()


@pytest.mark.parametrize("parts", [(), (b"{}",), (b"ab", b"", b"c"), (LARGE,), (LARGE[:10], LARGE[10:])])
async def test_a_body_is_whole(parts: tuple[bytes, ...], tmp_path: Path) -> None:
    async with Turns().whole(coming(*parts), str(tmp_path)) as body:
        assert body.read() == b"".join(parts)
        assert not os.listdir(tmp_path)  # where a large one waited, it had no name


async def test_one_large_body_is_handled_at_a_time_and_small_ones_meanwhile(tmp_path: Path) -> None:
    turns = Turns()
    begun = asyncio.Event()

    async def second() -> None:
        async with turns.whole(coming(LARGE), str(tmp_path)):
            begun.set()

    async with turns.whole(coming(LARGE), str(tmp_path)):
        waiting = asyncio.create_task(second())
        async with turns.whole(coming(b"small"), str(tmp_path)) as body:
            assert body.read() == b"small"
        for _ in range(20):
            await asyncio.sleep(0)
        assert not begun.is_set()
    await waiting
    assert begun.is_set()


async def test_a_large_body_is_handled_while_nothing_else_of_megabytes_is(tmp_path: Path) -> None:
    large = asyncio.Lock()
    turns = Turns(large)
    for body, held in ((b"small", False), (LARGE, True)):
        async with turns.whole(coming(body), str(tmp_path)):
            assert large.locked() is held
        assert not large.locked()


async def test_a_client_that_stalls_in_mid_body_keeps_nobody_waiting(tmp_path: Path) -> None:
    turns = Turns()
    parts: asyncio.Queue[Message] = asyncio.Queue()
    parts.put_nowait({"type": "http.request", "body": LARGE, "more_body": True})

    async def stalled() -> None:
        async with turns.whole(parts.get, str(tmp_path)):
            raise AssertionError("the body never came whole")

    slow = asyncio.create_task(stalled())
    async with turns.whole(coming(LARGE), str(tmp_path)) as body:
        assert body.read() == LARGE
    parts.put_nowait({"type": "http.disconnect"})
    with pytest.raises(HTTPException):
        await slow


async def test_items_stay_text_until_they_are_read() -> None:
    body = b'{"records": [{"a": [1, 2]}, 3, "\\u00e9"], "more": {"n": 1e3}}'
    found = await read(body)
    assert found["more"] == {"n": 1000.0}
    assert all(isinstance(item, Text) for item in found["records"])
    assert [item.read() for item in found["records"]] == [{"a": [1, 2]}, 3, "é"]
    assert [item.size for item in found["records"]] == [len(b'{"a": [1, 2]}'), 1, len(b'"\\u00e9"')]


@pytest.mark.parametrize("text", ['{"records": {"a": 1}}', '{"records": null}', "[1]", '"text"', '{"n": [NaN]}', "3"])
async def test_what_cannot_be_taken_apart_is_read_as_everywhere(text: str) -> None:
    assert repr(await read(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", "{", '{"records": [1,]}', '{"records": ["a]}', "{} {}"])
async def test_what_is_no_json_is_told_as_everywhere(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as told:
        await read(text.encode())
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    assert (told.value.msg, told.value.pos) == (expected.value.msg, expected.value.pos)


@given(
    items=st.lists(_JSON, max_size=8),
    rest=st.dictionaries(st.text(max_size=4).filter(lambda name: name != "records"), _JSON, max_size=3),
    window=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
)
def test_wherever_the_file_is_cut_the_items_are_those_of_the_list(
    items: list[Any], rest: dict[str, Any], window: int, indent: int | None, is_ascii: bool
) -> None:
    body = json.dumps({**rest, "records": items, "last": 1}, indent=indent, ensure_ascii=is_ascii).encode()
    found = members_of(io.BytesIO(body), "records", window)
    assert [item.read() for item in found.pop("records")] == items
    assert found == {**rest, "last": 1}


@pytest.mark.parametrize("at", range(1, 40))
def test_what_ends_too_early_is_no_object(at: int) -> None:
    body = b'{"more": "\xc3\xa9", "records": [12, "\xc3\xa9", {}]}'
    with pytest.raises(ValueError):
        members_of(io.BytesIO(body[:at]), "records", 4)


def test_behind_more_items_than_anybody_takes_nothing_is_looked_at() -> None:
    body = b'{"records": [' + b"1," * (MOST + 1) + b"]} no JSON"
    assert len(members_of(io.BytesIO(body), "records")["records"]) == MOST
