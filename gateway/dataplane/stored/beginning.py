"""A request of the Responses API as the pipeline meets it: what it goes on from is looked up, then it is translated.

That comes before the request is admitted, because what it may cost depends on all of what is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.dataplane import body as bodies
from gateway.dataplane.stored.conversations import MOST_ITEMS
from gateway.dataplane.stored.records import MOST_ANCESTORS, RUNNING, Json, Record, encode
from gateway.dataplane.stored.session import Compaction, Session
from gateway.dataplane.stored.shortening import shorten
from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.responses.checks import integer, refusal
from gateway.protocols.responses.compaction import FIELDS
from gateway.protocols.responses.items import kind_of
from gateway.protocols.responses.protocol import COMPACT
from gateway.protocols.responses.request import MAX_TOKENS, Wanted, read
from gateway.protocols.responses.response import response_id_of
from gateway.providers.base import Unsupported

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.stored.store import Store
    from gateway.dataplane.target import Target

_PREVIOUS: Final = "previous_response_id"
MOST_REFERENCES: Final = 1000
_COUNTED: Final = frozenset(
    (
        *("model", "input", "instructions", "previous_response_id", "conversation"),
        *("tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"),
    )
)
"""What makes a request's tokens; where these alone are asked for, the rest changes nothing."""


async def begin(exchange: Exchange) -> None:
    """Make the request one of the internal form. Raises :class:`~gateway.kernel.errors.GatewayError` naming a field."""
    interpreter = exchange.interpreter
    assert interpreter is not None
    body, makes = _asked(exchange)
    wanted = read(body)
    before: list[Json] = []
    ancestors: tuple[str, ...] = ()
    if wanted.previous is not None:
        before, ancestors = await _go_on(exchange, wanted.previous)
    elif wanted.conversation is not None:
        before = await _converse(exchange, wanted)
    await _resolve(exchange, wanted)
    interpreter.protocol = session = makes(wanted, before, ancestors)
    targets = _candidates(exchange)
    translated = [target for target in targets if not interpreter.is_native(exchange, target)]
    relays = len(translated) < len(targets)
    exchange.max_tokens = _most_tokens(body)
    try:
        interpreter.to_chat(exchange)
        if translated and body.get("truncation") == "auto":
            await shorten(exchange, translated)
    except Unsupported:
        if not relays:
            raise
    if relays:
        relayed = session.relay()
        if exchange.spec.free:
            del relayed["store"]
        interpreter.relay_as(exchange, relayed)
        interpreter.watch = session


def _asked(exchange: Exchange) -> tuple[Json, type[Session]]:
    """The request, and what it is the beginning of."""
    try:
        body: Json = orjson.loads(exchange.raw)
    except orjson.JSONDecodeError as error:
        raise bodies.invalid(f"The body is not valid JSON: {error.msg}.", code="invalid_json") from None
    if exchange.spec.free:
        return {name: value for name, value in body.items() if name in _COUNTED} | {"store": False}, Session
    if exchange.spec.protocol is not COMPACT:
        return body, Session
    for name in body:
        if name not in FIELDS:
            raise refusal(f"Unknown parameter: '{name[:100]}'.", name, "unknown_parameter")
    return body | {"store": False}, Compaction


def _candidates(exchange: Exchange) -> list[Target]:
    """The targets that may be asked."""
    assert exchange.caller is not None
    route = exchange.runtime.router.find(exchange.model, exchange.caller.models)
    return list(route.candidates(exchange.endpoint, 0.0))


def _most_tokens(body: Json) -> int | None:
    """The most completion tokens asked for."""
    longest = integer(body.get("max_output_tokens"), "max_output_tokens", 1, MAX_TOKENS)
    return integer(body.get("max_tokens"), "max_tokens", 1, MAX_TOKENS) if longest is None else longest


def store_of(exchange: Exchange) -> Store:
    """Where Responses are kept. Raises :class:`~gateway.kernel.errors.GatewayError` where that is nowhere."""
    store = exchange.wire.worker.stored
    if store is None:
        raise GatewayError(Kind.UNAVAILABLE, "store_unavailable", "This gateway stores no responses.")
    return store


def organization_of(exchange: Exchange) -> str:
    """Whose Responses the request may see."""
    assert exchange.caller is not None
    return exchange.caller.organization


async def _go_on(exchange: Exchange, previous: str) -> tuple[list[Json], tuple[str, ...]]:
    """The items of the Responses before, the oldest first, and their ids."""
    await exchange.before_waiting()
    store, organization = store_of(exchange), organization_of(exchange)
    last = await store.find(organization, previous)
    if last is None:
        raise _not_found(previous)
    if last.status in RUNNING:
        message = f"The response '{previous}' is not complete yet."
        raise refusal(message, _PREVIOUS, "previous_response_not_complete")
    ancestors = (*last.ancestors, last.id)
    if len(ancestors) > MOST_ANCESTORS:
        message = f"The conversation is too long: at most {MOST_ANCESTORS} responses may follow one another."
        raise refusal(message, _PREVIOUS)
    known = await store.find_all(organization, last.ancestors)
    known[last.id] = last
    exchange.check()
    gone = next((each for each in ancestors if each not in known), None)
    if gone is not None:
        raise _not_found(gone)
    return _said(exchange, [known[each] for each in ancestors]), ancestors


def _said(exchange: Exchange, records: Sequence[Record]) -> list[Json]:
    size = sum(len(record.response) + len(record.items) for record in records)
    if size > exchange.wire.worker.max_body_bytes:
        raise _too_large(_PREVIOUS)
    return [item for record in records for item in record.said()]


async def _converse(exchange: Exchange, wanted: Wanted) -> list[Json]:
    """The items of the conversation so far."""
    assert wanted.conversation is not None
    await exchange.before_waiting()
    store, organization = store_of(exchange), organization_of(exchange)
    if await store.conversation(organization, wanted.conversation) is None:
        message = f"Conversation with id '{wanted.conversation[:100]}' not found."
        raise GatewayError(Kind.NOT_FOUND, "conversation_not_found", message, "conversation")
    items = await store.items(organization, wanted.conversation)
    exchange.check()
    if len(items) + len(wanted.items) > MOST_ITEMS:
        raise refusal(f"A conversation may have at most {MOST_ITEMS} items.", "conversation")
    if sum(len(encode(item)) for item in items) > exchange.wire.worker.max_body_bytes:
        raise _too_large("conversation")
    return items


def _too_large(field: str) -> GatewayError:
    message = "The conversation is larger than a request may be: begin a new one, or send what matters as 'input'."
    return GatewayError(Kind.TOO_LARGE, "conversation_too_large", message, field)


def _not_found(response_id: str) -> GatewayError:
    message = f"Previous response with id '{response_id[:100]}' not found."
    return refusal(message, _PREVIOUS, "previous_response_not_found")


async def _resolve(exchange: Exchange, wanted: Wanted) -> None:
    """Put the stored items in place of references to them."""
    places = _references(wanted.items)
    if not places:
        return
    if len(places) > MOST_REFERENCES:
        raise refusal(f"'input' may have at most {MOST_REFERENCES} references to items.", "input")
    await exchange.before_waiting()
    ids = {found for _, item_id in places if (found := response_id_of(item_id)) is not None}
    records = await store_of(exchange).find_all(organization_of(exchange), sorted(ids))
    exchange.check()
    items = {item["id"]: item for record in records.values() for item in record.said() if "id" in item}
    for i, item_id in places:
        if item_id not in items:
            raise refusal(f"Item with id '{item_id[:100]}' not found.", f"input[{i}].id", "item_not_found")
        wanted.items[i] = items[item_id]


def _references(items: Sequence[Any]) -> list[tuple[int, str]]:
    return [
        (i, item["id"])
        for i, item in enumerate(items)
        if isinstance(item, dict)
        and isinstance(item.get("id"), str)
        and kind_of(item, f"input[{i}]") == "item_reference"
    ]
