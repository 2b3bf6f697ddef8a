"""``truncation: "auto"`` for targets of Chat Completions: what is oldest goes until the rest fits.

Instructions stay, and so does what the request itself said last; a tool's call and its output go together. Source:
OpenAI API reference, "Create a model response" (``truncation``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from gateway.dataplane import body as bodies
from gateway.dataplane.counting.wire import Ask
from gateway.dataplane.counts import counted_by
from gateway.dataplane.vendors import vocabulary_of
from gateway.protocols.base import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.target import Target

_ROUNDS: Final = 4
"""Times that tokens are counted: bytes tell them only nearly."""
_SPARE: Final = 1.05
"""More than what is too much goes, so that mostly one round does."""


async def shorten(exchange: Exchange, targets: Sequence[Target]) -> None:
    """Make a request of the internal form fit the longest context of some targets, as far as that is known. One that
    can't be made to fit stays too long: its target refuses it.
    """
    longest = _longest(targets)
    if longest is None or longest.offers.context_length is None:
        return
    room = longest.offers.context_length - (exchange.max_tokens or 0)
    vocabulary = vocabulary_of(longest.vendor, longest.model)
    for _ in range(_ROUNDS):
        if len(exchange.raw) <= room:
            return  # a token has at least one byte
        counted = await counted_by(exchange, Ask(0, vocabulary, "chat.completions", exchange.raw))
        exchange.check()
        if counted is None or counted.prompt <= room:
            return
        chat: Json = orjson.loads(exchange.raw)
        share = (counted.prompt - room) * _SPARE / counted.prompt
        kept = without_oldest(chat["messages"], share)
        if len(kept) == len(chat["messages"]):
            return
        exchange.raw = orjson.dumps(chat | {"messages": kept})
        exchange.fields = bodies.decode(exchange.raw)


def _longest(targets: Sequence[Target]) -> Target | None:
    """The target with the longest context; None where one's is not known."""
    if any(target.offers.context_length is None for target in targets):
        return None
    return max(targets, key=lambda target: target.offers.context_length or 0, default=None)


def without_oldest(messages: list[Json], share: float) -> list[Json]:
    """The messages without so large a share of their bytes, the oldest first."""
    sizes = [len(orjson.dumps(message)) for message in messages]
    excess = share * sum(sizes)
    gone: set[int] = set()
    turns = _turns(messages)
    for turn in turns[:-1]:  # the last one is what is asked
        if excess <= 0:
            break
        gone.update(turn)
        excess -= sum(sizes[place] for place in turn)
    return [message for place, message in enumerate(messages) if place not in gone]


def _turns(messages: list[Json]) -> list[list[int]]:
    """Places of messages that stay or go together, in their order; those of ``system`` are none."""
    turns: list[list[int]] = []
    for place, message in enumerate(messages):
        role = message["role"]
        if role == "tool" and turns:
            turns[-1].append(place)
        elif role != "system":
            turns.append([place])
    return turns
