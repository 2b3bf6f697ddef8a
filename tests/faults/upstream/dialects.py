"""The same provider as it speaks Anthropic's Messages and OpenAI's Responses: by the path that is asked.

Sources: the API references of both, "Streaming Messages" and "Streaming events".
"""

from __future__ import annotations

from typing import Any

import orjson

from tests.faults.upstream.call import Call, words
from tests.support.raw_upstream import Peer, Received

Json = dict[str, Any]
PROMPT = 10
"""Tokens of every prompt, as the provider counts."""


def framed(kind: str, **fields: Any) -> bytes:
    """One typed event."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


class MessagesCall(Call):
    """Messages: usage in two parts, the prompt's at the beginning and the answer's at the end."""

    @property
    def started(self) -> int:
        """See :class:`Call`."""
        return 3

    def events(self) -> list[bytes]:
        """See :class:`Call`."""
        told: Json = {
            "id": f"msg_{self.model}{self.number}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
        }
        told |= {"content": [], "stop_reason": None, "stop_sequence": None}
        usage: Json = {"input_tokens": PROMPT, "cache_read_input_tokens": 4, "output_tokens": 1}
        return [
            framed("message_start", message={**told, "usage": usage}),
            framed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            framed("ping"),
            *(self.piece(word) for word in words(self._rest())),
            framed("content_block_stop", index=0),
            framed(
                "message_delta",
                delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage={"output_tokens": len(words(self._rest()))},
            ),
        ]

    def end(self) -> list[bytes]:
        """See :class:`Call`."""
        return [framed("message_stop")]

    def piece(self, text: str) -> bytes:
        """See :class:`Call`."""
        return framed("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def error(self) -> bytes:
        """See :class:`Call`."""
        return framed("error", error={"type": "overloaded_error", "message": "The engine broke."})


class ResponsesCall(Call):
    """Responses: events are numbered, and the last one has all of it."""

    def __init__(self, peer: Peer, request: Received, number: int) -> None:
        super().__init__(peer, request, number)
        self._next = 0

    @property
    def started(self) -> int:
        """See :class:`Call`."""
        return 4

    @property
    def _item(self) -> str:
        return f"msg_{self.model}{self.number}"

    def _response(self, status: str, output: list[Json], usage: Json | None = None) -> Json:
        told: Json = {"id": f"resp_{self.model}{self.number}", "object": "response", "created_at": 1_700_000_000}
        return {**told, "status": status, "model": self.model, "output": output, "usage": usage}

    def _numbered(self, kind: str, **fields: Any) -> bytes:
        number, self._next = self._next, self._next + 1
        return framed(kind, sequence_number=number, **fields)

    def _part(self, text: str) -> Json:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _message(self, status: str, *parts: Json) -> Json:
        return {"id": self._item, "type": "message", "status": status, "role": "assistant", "content": list(parts)}

    async def words(self, count: int = 4) -> None:
        """See :class:`Call`."""
        await super().words(count)
        self._next = self.started + count

    def events(self) -> list[bytes]:
        """See :class:`Call`."""
        self._next, text = 0, self._rest()
        place = {"item_id": self._item, "output_index": 0, "content_index": 0}
        part = self._part(text)
        return [
            self._numbered("response.created", response=self._response("in_progress", [])),
            self._numbered("response.in_progress", response=self._response("in_progress", [])),
            self._numbered("response.output_item.added", output_index=0, item=self._message("in_progress")),
            self._numbered("response.content_part.added", **place, part=self._part("")),
            *(self.piece(word) for word in words(text)),
            self._numbered("response.output_text.done", **place, text=text, logprobs=[]),
            self._numbered("response.content_part.done", **place, part=part),
            self._numbered("response.output_item.done", output_index=0, item=self._message("completed", part)),
        ]

    def end(self) -> list[bytes]:
        """See :class:`Call`."""
        text = self._rest()
        count = len(words(text))
        usage: Json = {"input_tokens": PROMPT, "output_tokens": count, "total_tokens": PROMPT + count}
        usage |= {"input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 0}}
        output = [self._message("completed", self._part(text))]
        return [self._numbered("response.completed", response=self._response("completed", output, usage))]

    def piece(self, text: str) -> bytes:
        """See :class:`Call`."""
        place = {"item_id": self._item, "output_index": 0, "content_index": 0}
        return self._numbered("response.output_text.delta", **place, delta=text, logprobs=[])

    def error(self) -> bytes:
        """See :class:`Call`."""
        failed = self._response("failed", []) | {"error": {"code": "server_error", "message": "The engine broke."}}
        return self._numbered("response.failed", response=failed)


def dialect_of(request: Received) -> type[Call]:
    """What a request is in."""
    if request.target.endswith("/messages"):
        return MessagesCall
    return ResponsesCall if request.target.endswith("/responses") else Call
