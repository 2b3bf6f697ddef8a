"""``POST /tokenize``: the exact tokens of a text, or of chat messages through the model's template."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from gateway.kernel.tasks import end
from gateway.local.engine import Engine
from gateway.local.http import Exchange
from gateway.local.requests import TokenizeRequest, invalid, parse
from gateway.local.residency import Resident
from gateway.local.scheduler import Job


def tokens_of(request: TokenizeRequest, resident: Resident) -> list[int]:
    """The tokens; safe on any thread while the model's guard is held."""
    if request.messages is not None:
        text = resident.template.render(request.messages, request.tools)
        return resident.model.tokenize(text, add_special=False, parse_special=True)
    text = request.content if request.content is not None else request.prompt or ""
    return resident.model.tokenize(text, add_special=request.add_special, parse_special=True)


def _tokens_now(request: TokenizeRequest, resident: Resident) -> list[int] | None:
    with resident.model.guard:
        return None if resident.model.closed else tokens_of(request, resident)


async def _in_turn(engine: Engine, exchange: Exchange, request: TokenizeRequest) -> list[int]:
    """The tokens, once it is this request's turn; the model is loaded for it then."""

    def work(resident: Resident, _job: Job) -> Iterator[list[int]]:
        yield tokens_of(request, resident)

    return [token async for tokens in engine.stream(exchange, request.model, work) for token in tokens]


async def _beside(engine: Engine, request: TokenizeRequest) -> list[int]:
    """The tokens, beside running answers, as soon as the model is in memory for another's sake."""
    while True:
        resident = await engine.once_loaded(request.model)
        tokens = await asyncio.to_thread(_tokens_now, request, resident)
        if tokens is not None:
            return tokens


async def _first_of(ways: list[asyncio.Task[list[int]]]) -> list[int]:
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        return next(way.result() for way in ways if way in done)
    finally:
        await end(*ways)


async def tokenize(engine: Engine, exchange: Exchange) -> None:
    """Answer ``{"tokens": [...], "count": n, "model": …}``; beside running answers once the model is in memory."""
    request = parse(await exchange.body(engine.settings.max_body_bytes), TokenizeRequest)
    engine.check_model(request.model)
    if request.messages is None and request.content is None and request.prompt is None:
        raise invalid("Expected 'content', or 'messages'.", "content")
    tokens: list[int] | None = None
    if (resident := engine.residency.peek(request.model)) is not None:
        tokens = await asyncio.to_thread(_tokens_now, request, resident)
    if tokens is None:
        ways = (_in_turn(engine, exchange, request), _beside(engine, request))
        tokens = await _first_of([asyncio.create_task(way) for way in ways])
    await exchange.json({"tokens": tokens, "count": len(tokens), "model": request.model})
