"""The parts of a continued stream whose provider told no usage: counted by their text once the request is over.

While the stream goes on nobody can wait for that, so that until then each event counts as a token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, structs

from gateway.contract.usage import Attempt as AttemptRecord
from gateway.contract.usage import Tokens
from gateway.dataplane.counting.wire import Ask, Counted, Produced
from gateway.dataplane.interpreting import countable
from gateway.dataplane.pricing import cost_of
from gateway.dataplane.vendors import vocabulary_of

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.target import Target

PromptFrom = Literal["told", "size", "difference"]
"""How the prompt's tokens are known: a provider told them; by the body's size; as what a later part's provider told,
without the tokens of the answer's beginning that was sent along.
"""


class Part:
    """``events`` is what was estimated of it, ``told`` what its provider has told of the prompt. It is ``kept`` by the
    client, until the stream begins anew.
    """

    __slots__ = ("ask", "events", "kept", "record", "target", "told")

    def __init__(
        self, exchange: Exchange, target: Target, produced: Produced, events: int, told: Tokens | None = None
    ) -> None:
        vocabulary = vocabulary_of(target.vendor, target.model)
        endpoint, raw = countable(exchange)
        self.ask = Ask(0, vocabulary, endpoint, raw if told is None else None, produced)
        self.target = target
        self.events = events
        self.told = told
        self.kept = True
        self.record: AttemptRecord | None = None


class Parts(Struct):
    """Those of one request, and how its prompt's tokens are known."""

    parts: list[Part]
    prompt_from: PromptFrom = "told"


def recount(exchange: Exchange, parts: Parts, done: Callable[[], None]) -> None:
    """Count, correct the request's tokens and those of its attempts, then call ``done``. What can't be counted stays
    as it was estimated.
    """
    waiting, parts.parts = parts.parts, []
    left = len(waiting)

    def told(part: Part, counted: Counted | None) -> None:
        nonlocal left
        left -= 1
        if counted is not None:
            _correct(exchange, parts.prompt_from, part, counted)
        if not left:
            done()

    for part in waiting:
        exchange.wire.worker.counter.count(part.ask, partial(told, part))


def _correct(exchange: Exchange, prompt_from: PromptFrom, part: Part, counted: Counted) -> None:
    record, tokens = part.record, exchange.tokens
    if record is not None and record.tokens is not None:
        told = part.told or Tokens(counted.prompt)
        record.tokens = structs.replace(told, completion=counted.completion, reasoning=counted.thoughts)
        record.cost_nanos = None if part.target.rate is None else cost_of(part.target.rate, record.tokens)
    if tokens is None or not part.kept:
        return
    more = counted.completion - part.events
    prompt = tokens.prompt
    if prompt_from == "size":
        prompt = counted.prompt
    elif prompt_from == "difference":
        prompt = max(0, prompt - more)
    exchange.tokens = structs.replace(
        tokens,
        prompt=prompt,
        completion=max(0, tokens.completion + more),
        reasoning=tokens.reasoning + counted.thoughts,
    )
