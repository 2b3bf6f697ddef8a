"""What clients of Anthropic's Messages and of OpenAI's Responses got, read event by event: that it is one coherent
stream is checked on the way.
"""

from __future__ import annotations

from typing import Any

import orjson

from tests.support.wire import Answer

Json = dict[str, Any]


class Native:
    """``text`` is the answer's, ``code`` that of an error at the end, ``ended`` whether the end was told. ``output``
    holds the blocks of a Message, or the items of a Response.
    """

    def __init__(self, answer: Answer) -> None:
        assert answer.status == 200, answer.body
        assert answer.complete, "the connection broke instead of telling"
        assert answer.body.endswith(b"\n\n"), "an event reached the client half-way"
        self.body = answer.body
        self.headers = answer.headers
        self.id = ""
        self.text = ""
        self.code = ""
        self.ended = False
        self.usage: Json = {}
        self.output: list[Json] = []
        self.kinds: list[str] = []
        for event in answer.body.removesuffix(b"\n\n").split(b"\n\n"):
            name, data = event.split(b"\n")
            document = orjson.loads(data.removeprefix(b"data: "))
            assert name == b"event: " + document["type"].encode()
            assert not self.ended, "something follows the end"
            assert not self.code, "something follows the error"
            self.kinds.append(document["type"])
            self.take(document)

    def take(self, event: Json) -> None:
        """The next event."""
        raise AssertionError(event)

    @property
    def told(self) -> str:
        """In a few words."""
        if self.ended and not self.code:
            return "the whole answer"
        return f"{len(self.text.split())} words, then the error `{self.code}`"


class Message(Native):
    """A streamed Message."""

    def __init__(self, answer: Answer) -> None:
        self._open = False
        self.stop_reason: str | None = None
        super().__init__(answer)

    def take(self, event: Json) -> None:
        """See :class:`Native`."""
        kind = event["type"]
        if kind == "message_start":
            assert not self.id
            self.id, self.usage = event["message"]["id"], event["message"]["usage"]
        elif kind == "error":
            self.code = event["error"].get("details", {}).get("error_code") or event["error"]["type"]
        else:
            assert self.id or kind == "ping"
            self._take_block(kind, event)

    def _take_block(self, kind: str, event: Json) -> None:
        if kind == "content_block_start":
            assert not self._open
            assert event["index"] == len(self.output), "the indexes go on"
            self._open = True
            self.output.append(event["content_block"])
        elif kind == "content_block_delta":
            assert self._open
            assert event["index"] == len(self.output) - 1
            delta, block = event["delta"], self.output[-1]
            name = delta["type"].removesuffix("_delta")
            if name == "text":
                self.text += delta["text"]
            if name == "citations":
                block.setdefault("citations", []).append(delta["citation"])
                return
            name, piece = ("input", delta["partial_json"]) if name == "input_json" else (name, delta[name])
            block[name] = (block.get(name) or "") + piece
        elif kind == "content_block_stop":
            assert self._open
            assert event["index"] == len(self.output) - 1
            self._open = False
        elif kind == "message_delta":
            assert not self._open
            self.stop_reason = event["delta"]["stop_reason"]
            self.usage |= event.get("usage", {})
        else:
            assert kind in ("message_stop", "ping")
            self.ended = kind == "message_stop"


class Response(Native):
    """A streamed Response."""

    def __init__(self, answer: Answer) -> None:
        self._next = 0
        self.final: Json = {}
        super().__init__(answer)

    def take(self, event: Json) -> None:
        """See :class:`Native`."""
        assert event["sequence_number"] == self._next, "the numbers go on"
        self._next += 1
        kind, response = event["type"], event.get("response") or {}
        if kind == "response.created":
            assert not self.id
            self.id = response["id"]
        elif response:
            assert response["id"] == self.id
        if kind == "error":
            self.code = event["code"]
        elif kind == "response.failed":
            self.final = response
            self.code, self.output = response["error"]["code"], response["output"]
        elif kind == "response.output_item.added":
            assert event["output_index"] == len(self.output)
            self.output.append(event["item"])
        elif kind == "response.output_item.done":
            assert self.output[event["output_index"]]["id"] == event["item"]["id"]
            self.output[event["output_index"]] = event["item"]
        elif kind == "response.output_text.delta":
            assert event["item_id"] == self.output[event["output_index"]]["id"]
            self.text += event["delta"]
        elif kind == "response.output_text.done":
            assert self.text.endswith(event["text"])
        elif kind in ("response.completed", "response.incomplete"):
            assert response["output"] == self.output
            self.final, self.ended, self.usage = response, True, response["usage"]
