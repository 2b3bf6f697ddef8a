"""Conversations: make, read, change and remove them and their items.

Source: OpenAI API reference, "Conversations". What another organisation has does not exist here.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.dataplane.endpoints.counted import counted, json_body
from gateway.dataplane.endpoints.models import authenticate
from gateway.dataplane.endpoints.responses import PREFIXES, as_json, page, page_asked, store_of
from gateway.dataplane.stored.conversations import (
    MOST_ITEMS,
    Conversation,
    adding,
    creating,
    describing,
    removing,
    taking_out,
)
from gateway.dataplane.stored.records import Json, encode, with_ids
from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.base import missing
from gateway.protocols.responses.checks import array, object_of, refusal
from gateway.protocols.responses.items import kind_of
from gateway.protocols.responses.request import check_metadata

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker

_MOST_AT_ONCE: Final = 20


def routes(worker: Worker) -> list[Route]:
    """Every operation, under every prefix that inference has."""
    handlers = Conversations(worker)
    found = []
    for prefix in PREFIXES:
        path = f"{prefix}/conversations"
        one = f"{path}/{{conversation_id}}"
        item = f"{one}/items/{{item_id}}"
        found += [
            Route(path, handlers.create, methods=["POST"]),
            Route(one, handlers.read, methods=["GET"]),
            Route(one, handlers.update, methods=["POST"]),
            Route(one, handlers.remove, methods=["DELETE"]),
            Route(f"{one}/items", handlers.list_items, methods=["GET"]),
            Route(f"{one}/items", handlers.add_items, methods=["POST"]),
            Route(item, handlers.read_item, methods=["GET"]),
            Route(item, handlers.remove_item, methods=["DELETE"]),
        ]
    return found


class Conversations:
    """The handlers. What writes is counted against the caller's limits on requests."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def create(self, request: Request) -> Response:
        """A new conversation, with items to begin with where some are given."""
        organization = (await counted(self._worker, request)).organization
        body = await json_body(self._worker, request)
        check_metadata(body.get("metadata"))
        now = int(time.time())
        made = Conversation(f"conv_{secrets.token_hex(24)}", now, now, encode(body.get("metadata") or {}))
        items = _items(body) if body.get("items") is not None else []
        added = adding(organization, made.id, items, now) if items else []
        await store_of(self._worker).change(creating(organization, made), *added)
        return as_json(made.shown())

    async def read(self, request: Request) -> Response:
        """The conversation, without its items."""
        caller = await authenticate(self._worker, request)
        return as_json((await self._find(request, caller.organization)).shown())

    async def update(self, request: Request) -> Response:
        """Other metadata."""
        organization = (await counted(self._worker, request)).organization
        body = await json_body(self._worker, request)
        if "metadata" not in body:
            raise missing("metadata")
        check_metadata(body["metadata"])
        found = await self._find(request, organization)
        found.metadata = encode(body["metadata"] or {})
        now = int(time.time())
        await store_of(self._worker).change(describing(organization, found.id, found.metadata, now))
        return as_json(found.shown())

    async def remove(self, request: Request) -> Response:
        """The conversation and its items go; Responses that were made of it stay."""
        organization = (await counted(self._worker, request)).organization
        found = await self._find(request, organization)
        await store_of(self._worker).change(*removing(organization, found.id))
        return as_json({"id": found.id, "object": "conversation.deleted", "deleted": True})

    async def list_items(self, request: Request) -> Response:
        """The items, page by page, the last ones first."""
        asked = page_asked(request)
        caller = await authenticate(self._worker, request)
        found = await self._find(request, caller.organization)
        items = await store_of(self._worker).items(caller.organization, found.id)
        return as_json(page(items, asked))

    async def add_items(self, request: Request) -> Response:
        """Items at the end."""
        organization = (await counted(self._worker, request)).organization
        items = _items(await json_body(self._worker, request))
        found = await self._find(request, organization)
        store = store_of(self._worker)
        if len(await store.items(organization, found.id)) + len(items) > MOST_ITEMS:
            raise refusal(f"A conversation may have at most {MOST_ITEMS} items.", "items")
        await store.change(*adding(organization, found.id, items, int(time.time())))
        return as_json(_list(items))

    async def read_item(self, request: Request) -> Response:
        """One item."""
        caller = await authenticate(self._worker, request)
        found = await self._find(request, caller.organization)
        for item in await store_of(self._worker).items(caller.organization, found.id):
            if item["id"] == request.path_params["item_id"]:
                return as_json(item)
        raise _no_item(request)

    async def remove_item(self, request: Request) -> Response:
        """One item goes."""
        organization = (await counted(self._worker, request)).organization
        found = await self._find(request, organization)
        removed = await store_of(self._worker).change(
            taking_out(organization, found.id, request.path_params["item_id"])
        )
        if not removed:
            raise _no_item(request)
        return as_json(found.shown())

    async def _find(self, request: Request, organization: str) -> Conversation:
        conversation_id = request.path_params["conversation_id"]
        found = await store_of(self._worker).conversation(organization, conversation_id)
        if found is None:
            message = f"Conversation with id '{conversation_id[:100]}' not found."
            raise GatewayError(Kind.NOT_FOUND, "conversation_not_found", message, "conversation_id")
        return found


def _items(body: Json) -> list[Json]:
    given = array(body.get("items"), "items")
    if not 1 <= len(given) <= _MOST_AT_ONCE:
        raise refusal(f"'items' must have from 1 to {_MOST_AT_ONCE} items.", "items")
    for i, each in enumerate(given):
        if kind_of(object_of(each, f"items[{i}]"), f"items[{i}]") == "item_reference":
            raise refusal("An item of a conversation can't be a reference.", f"items[{i}].type")
    return with_ids(given, secrets.token_hex(24))


def _list(items: list[Json]) -> Json:
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"],
        "last_id": items[-1]["id"],
        "has_more": False,
    }


def _no_item(request: Request) -> GatewayError:
    message = f"Item with id '{request.path_params['item_id'][:100]}' not found."
    return GatewayError(Kind.NOT_FOUND, "item_not_found", message, "item_id")
