"""``POST /tokenize``: the exact tokens of a text, or of chat messages through the model's template."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

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


async def tokenize(engine: Engine, exchange: Exchange) -> None:
    """Answer ``{"tokens": [...], "count": n, "model": …}``; beside running answers when the model is in memory."""
    request = parse(await exchange.body(engine.settings.max_body_bytes), TokenizeRequest)
    engine.check_model(request.model)
    if request.messages is None and request.content is None and request.prompt is None:
        raise invalid("Expected 'content', or 'messages'.", "content")
    tokens: list[int] | None = None
    if (resident := engine.residency.peek(request.model)) is not None:
        tokens = await asyncio.to_thread(_tokens_now, request, resident)
    if tokens is None:

        def work(resident: Resident, _job: Job) -> Iterator[list[int]]:
            yield tokens_of(request, resident)

        async for found in engine.stream(exchange, request.model, work):
            tokens = found
    tokens = tokens or []
    await exchange.json({"tokens": tokens, "count": len(tokens), "model": request.model})
