"""A gateway between a client and two faulty providers: ``up``, which a request is sent to first, and ``spare``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from msgspec.structs import replace

from gateway.contract.usage import UsageEvent
from gateway.settings.model import Breaker, Model, Provider, Retry, Server, Settings, Target, Timeouts
from tests.faults.upstream.provider import FaultyProvider, faulty_provider
from tests.support.raw_upstream import WAIT
from tests.support.wire import Answer, chat, post, wire
from tests.support.worker import RunningWorker, running_worker, settings_for

PATIENT = Timeouts(connect=5, first_token=5, stall=5, total=WAIT)
IMPATIENT = Timeouts(connect=0.3, first_token=0.3, stall=0.3, total=WAIT)
QUICK = Retry(attempts=2, backoff=0.02)
NEVER = Breaker(failures=1_000_000)
"""A breaker that stays closed, for tests of single requests."""


class Got:
    """What a client got. ``text`` is the answer's, ``code`` that of an error in the body or in the last event."""

    def __init__(self, answer: Answer, seconds: float) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.seconds = seconds
        self.complete = answer.complete
        self.body = answer.body
        self.code = ""
        self.text = ""
        self.terminated = False
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            self._read_events(answer.body)
        else:
            self._read(orjson.loads(answer.body))

    def _read(self, document: Any) -> None:
        if "error" in document:
            self.code = str(document["error"]["code"])
        else:
            self.text = document["choices"][0]["message"]["content"]
            self.terminated = True

    def _read_events(self, body: bytes) -> None:
        assert body.endswith(b"\n\n"), "an event reached the client half-way"
        events = [event.removeprefix(b"data: ") for event in body.removesuffix(b"\n\n").split(b"\n\n")]
        for number, event in enumerate(events, 1):
            if event == b"[DONE]":
                assert number == len(events), "something follows the terminator"
                self.terminated = True
                continue
            document = orjson.loads(event)
            if "error" in document:
                assert number == len(events), "something follows the error"
                self.code = str(document["error"]["code"])
            if "gateway" in document:
                self.text = ""  # it begins anew
            for choice in document.get("choices", ()):
                self.text += choice["delta"].get("content") or ""

    @property
    def is_whole(self) -> bool:
        """Whether it looks like a whole answer to a client."""
        return self.status == 200 and self.complete and self.terminated and not self.code

    @property
    def told(self) -> str:
        """In a few words."""
        if self.is_whole:
            return "the whole answer"
        if self.status == 200:
            return f"{len(self.text.split())} words, then the error `{self.code}`"
        return f"{self.status} `{self.code}`"


class Stage:
    """``up`` and ``spare`` are the providers, ``gateway`` the worker between."""

    def __init__(self, up: FaultyProvider, spare: FaultyProvider, gateway: RunningWorker) -> None:
        self.up = up
        self.spare = spare
        self.gateway = gateway

    async def ask(self, *headers: bytes, stream: bool = False, **fields: Any) -> Got:
        """One request on a connection of its own, to its end."""
        async with wire(self.gateway.address) as client:
            began = time.monotonic()
            await client.send(post("/v1/chat/completions", chat(stream=stream, **fields), *headers))
            return Got(await client.answer(), time.monotonic() - began)

    async def event(self) -> UsageEvent:
        """The usage event of the last request."""
        return (await self.gateway.usage())[-1]

    async def reasons(self) -> list[str]:
        """How each attempt of the last request ended, by the usage event."""
        return [attempt.reason for attempt in (await self.event()).attempts]

    @property
    def calls(self) -> tuple[int, int]:
        """How many calls each provider saw."""
        return len(self.up.calls), len(self.spare.calls)


def settings(
    up: FaultyProvider,
    spare: FaultyProvider,
    fault: str,
    *,
    spared: str | None = None,
    timeouts: Timeouts = PATIENT,
    retry: Retry = QUICK,
    breaker: Breaker = NEVER,
    context: tuple[int | None, int | None] = (None, None),
    request_timeout: float = 600.0,
    kinds: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
    **model: Any,
) -> Settings:
    """The model ``m``: served by ``fault`` at ``up``, and by ``spared`` at ``spare`` where that is given. ``kinds`` are
    fields of the two providers, of OpenAI's kind without them.
    """
    shared: dict[str, Any] = {"timeouts": timeouts, "retry": retry, "breaker": breaker}
    # A busy machine is not to be taken for a fault of the one that has none.
    of_spare = shared | {"timeouts": PATIENT} if spared == "healthy" else shared
    providers = (
        Provider(name="up", base_url=up.base_url, **shared, **kinds[0]),
        Provider(name="spare", base_url=spare.base_url, **of_spare, **kinds[1]),
    )
    targets = [Target(provider="up", model=fault, context_length=context[0])]
    if spared is not None:
        targets.append(Target(provider="spare", model=spared, prefill="message", context_length=context[1]))
    found = settings_for(*providers, models=(Model(name="m", targets=tuple(targets), **model),))
    return replace(found, server=Server(drain=5, request_timeout=request_timeout))


@asynccontextmanager
async def stage(directory: Path, fault: str, **fields: Any) -> AsyncIterator[Stage]:
    """The whole arrangement for the duration of the block; ``fields`` are those of :func:`settings`."""
    async with (
        faulty_provider() as up,
        faulty_provider() as spare,
        running_worker(settings(up, spare, fault, **fields), directory) as gateway,
    ):
        yield Stage(up, spare, gateway)
