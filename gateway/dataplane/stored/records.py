"""What is kept of a Response."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.protocols.responses.response import output_text

Json = dict[str, Any]

RUNNING: Final = ("queued", "in_progress")
"""Statuses of a Response in the background that is not over."""

MOST_ANCESTORS: Final = 1000
"""Responses that one may go on from, one after another."""

decode: Final = msgspec.json.Decoder().decode
encode: Final = msgspec.json.Encoder().encode


class Record(Struct):
    """One Response as it is kept for its organisation.

    ``response`` is the object as the client sees it and ``items`` its own input items, both JSON. ``ancestors`` are the
    ids of the Responses it went on from, the oldest first. ``created`` is Unix seconds, ``alive_until`` too: until when
    a worker has said that it runs in the background.
    """

    id: str
    created: int
    status: str
    response: bytes
    items: bytes
    ancestors: tuple[str, ...] = ()
    alive_until: float = 0.0

    def shown(self, now: float) -> Json:
        """The Response for the client. One that ran in a worker that is gone has failed."""
        made: Json = decode(self.response)
        made["status"] = self.status
        made["output_text"] = output_text(made.get("output") or [])
        if self.status in RUNNING and self.alive_until < now:
            made["status"] = "failed"
            made["error"] = {"code": "server_error", "message": "The gateway stopped while the response was made."}
        return made

    def input_items(self) -> list[Json]:
        """Its own input items."""
        items: list[Json] = decode(self.items)
        return items

    def said(self) -> list[Json]:
        """Its own input and output items, as the Response after it is asked to go on from them."""
        output: list[Json] = decode(self.response).get("output") or []
        return [*self.input_items(), *output]


def kept(response: Json) -> bytes:
    """A Response as JSON without what only says its texts once more."""
    return encode({name: value for name, value in response.items() if name != "output_text"})


def with_ids(items: list[Any], token: str) -> list[Json]:
    """Input items as they are kept: each has an id and a type, so that a client can list and refer to them."""
    kept = []
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        kind = item.get("type")
        kind = kind if isinstance(kind, str) else "message"
        made = {**item, "type": kind}
        if not made.get("id") or not isinstance(made["id"], str):
            made["id"] = f"{_PREFIXES.get(kind, 'item')}_{token}{0x8000 + i:04x}"
        if kind == "message" and isinstance(made.get("content"), str):
            word = "output_text" if made.get("role") == "assistant" else "input_text"
            part: Json = {"type": word, "text": made["content"]}
            made["content"] = [part | {"annotations": []} if word == "output_text" else part]
        if kind in _WITH_STATUS:
            made.setdefault("status", "completed")
        kept.append(made)
    return kept


_PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}
_WITH_STATUS: Final = frozenset(("message", "function_call", "function_call_output"))
