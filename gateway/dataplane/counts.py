"""Token counts that a request waits for: of a prompt, where counting is all that is asked, and of what was produced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.contract.usage import Tokens
from gateway.dataplane.counting.wire import Ask
from gateway.dataplane.recounting import recount
from gateway.dataplane.vendors import vocabulary_of
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.counting.wire import Counted
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.recounting import Parts
    from gateway.dataplane.routing import Route


def counts_itself(exchange: Exchange, route: Route) -> bool:
    """Whether some target counts the tokens of a request as it came."""
    interpreter = exchange.interpreter
    assert interpreter is not None
    return any(
        target.serves(exchange.endpoint) and interpreter.is_native(exchange, target)
        for target in route.candidates(exchange.endpoint, 0.0)
    )


async def count_tokens(exchange: Exchange, route: Route) -> None:
    """Answer how many tokens a request has, as far as can be known without its model."""
    interpreter = exchange.interpreter
    assert interpreter is not None
    interpreter.to_chat(exchange)
    target = route.targets[0]
    ask = Ask(0, vocabulary_of(target.vendor, target.model), "chat.completions", exchange.raw)
    counted = await counted_by(exchange, ask)
    if counted is None:
        raise GatewayError(Kind.UNAVAILABLE, "count_unavailable", "Tokens can't be counted now.", retry_after=1.0)
    exchange.tokens = Tokens()
    exchange.outcome = "ok"
    kind = b'"object":"response.input_tokens",' if exchange.spec.stateful else b""
    told = b'{%b"input_tokens":%d}' % (kind, counted.prompt)
    exchange.hold(200, b"content-type: application/json\r\n", told)


async def counted_by(exchange: Exchange, ask: Ask) -> Counted | None:
    """What the counting process makes of it; None where it can't."""
    await exchange.before_waiting()
    waiting: asyncio.Future[Counted | None] = exchange.wire.loop.create_future()
    exchange.wire.worker.counter.count(ask, lambda counted: None if waiting.done() else waiting.set_result(counted))
    return await waiting


async def recounted(exchange: Exchange, parts: Parts) -> None:
    """See :func:`gateway.dataplane.recounting.recount`."""
    await exchange.before_waiting()
    waiting: asyncio.Future[None] = exchange.wire.loop.create_future()
    recount(exchange, parts, lambda: None if waiting.done() else waiting.set_result(None))
    await waiting
