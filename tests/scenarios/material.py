"""Questions that the scenario tests ask through every client, and the check of a client that left."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from pydantic import BaseModel

from tests.support.fake_openai import FakeOpenAI

ABORT_SECONDS = 5.0
"""How soon the upstream connection must be closed after the client left."""


def tool(name: str, **properties: str) -> dict[str, Any]:
    """A function tool whose properties have the given JSON types, all required."""
    parameters = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


WEATHER = tool("get_weather", city="string", days="integer")
CLOCK = tool("get_time", zone="string")
TOOLS: Any = [WEATHER, CLOCK]  # dicts, where the SDK's types want its own
ASK_TOOLS = "get_weather city=Zürich days=3 and get_time zone=Europe/Zurich please"


class Person(BaseModel):
    """The structured output asked for."""

    name: str
    age: int
    tags: list[str]


ASK_PERSON = "name=Ada age=36 tags=math"
ADA = Person(name="Ada", age=36, tags=["math"])


async def leave(calling: asyncio.Future[Any]) -> None:
    """Cancel a call until it has ended. Once may be too little: where a chunk comes in the same turn of the event loop,
    Python 3.11's ``asyncio.wait_for``, by which LangChain waits for each, forgets the cancellation.
    """
    while not calling.done():
        calling.cancel()
        await asyncio.wait((calling,), timeout=0.2)
    assert calling.cancelled(), calling.exception()


async def until(seen: asyncio.Event, reading: asyncio.Future[None]) -> None:
    """Wait for ``seen``; where ``reading`` ends before, raise what it ended with."""
    reading.add_done_callback(lambda _: seen.set())
    await seen.wait()
    if reading.done():
        raise AssertionError("the stream ended early") from reading.exception()


def marker() -> str:
    """A text that no other request holds."""
    return f"marker-{uuid.uuid4().hex}"


def assert_closed_soon(fake: FakeOpenAI, said: str, left_at: float) -> None:
    """The provider's connection of the request that holds ``said`` was closed within :data:`ABORT_SECONDS`.

    ``left_at`` is when the client left, :func:`time.monotonic` seconds.
    """
    request = fake.recording.wait_request(said)
    took = fake.recording.wait_closed(request) - left_at
    assert request.connection.closed_by_peer
    assert took < ABORT_SECONDS, f"the upstream connection was closed {took:.3f} s after the client left"
