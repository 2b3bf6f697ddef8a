"""What the stream of a Response must look like, event by event: a checker that knows nothing of how it is made.

Source: OpenAI API reference, "Streaming events".
"""

from __future__ import annotations

from typing import Any

import msgspec
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

Json = dict[str, Any]

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

# delta, done and part events of each kind of text: the names of its index and of its text in the done event
_TEXTS = {
    "response.output_text": ("content_index", "text"),
    "response.refusal": ("content_index", "refusal"),
    "response.reasoning_text": ("content_index", "text"),
    "response.reasoning_summary_text": ("summary_index", "text"),
    "response.function_call_arguments": (None, "arguments"),
    "response.custom_tool_call_input": (None, "input"),
}
_PARTS = {"response.content_part": "content_index", "response.reasoning_summary_part": "summary_index"}
_BEGUN = (("response.created", "in_progress"), ("response.in_progress", "in_progress"))
_QUEUED = (("response.created", "queued"), ("response.queued", "queued"), ("response.in_progress", "in_progress"))
_ENDS = ("response.completed", "response.incomplete", "response.failed")


def events_of(stream: bytes) -> list[Json]:
    """The events of a stream, whose ``event`` lines must say what their data does."""
    assert stream.endswith(b"\n\n")
    events = []
    for block in stream.split(b"\n\n")[:-1]:
        name, data = block.split(b"\n")
        assert data.startswith(b"data: ")
        event = msgspec.json.decode(data[6:])
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


class Checked:
    """A stream that was found sound. ``texts`` are the joined deltas by item id, index and kind."""

    def __init__(self, stream: bytes) -> None:
        self.events = events_of(stream)
        self.final: Json = {}
        self.texts: dict[tuple[str, int, str], str] = {}
        self._items: dict[int, Json] = {}
        self._done: dict[int, Json] = {}
        self._parts: dict[tuple[str, int], Json] = {}
        self._ended: set[tuple[str, int]] = set()
        self._annotations: dict[tuple[str, int], list[Json]] = {}
        for number, event in enumerate(self.events):
            assert event["sequence_number"] == number
            _EVENT.validate_python(event, strict=True)
            self._check(number, event)
        assert self.final, "the stream has no end"

    def _check(self, number: int, event: Json) -> None:
        kind = event["type"]
        assert not self.final, "nothing follows the end"
        begun = _QUEUED if self.events[0]["response"]["status"] == "queued" else _BEGUN
        if number < len(begun):
            assert (kind, event["response"]["status"]) == begun[number]
            assert event["response"]["output"] == []
        elif kind in _ENDS:
            self._end(kind, event["response"])
        elif kind.startswith("response.output_item."):
            self._item(kind.rpartition(".")[2], event)
        elif kind.rpartition(".")[0] in _PARTS:
            self._part(kind, event)
        elif kind == "response.output_text.annotation.added":
            self._annotation(event)
        else:
            self._text(kind, event)

    def _item(self, word: str, event: Json) -> None:
        index, item = event["output_index"], event["item"]
        if word == "added":
            assert index == len(self._items), "items begin in order"
            assert item["status"] == "in_progress"
            assert not item.get("content")
            assert not item.get("summary")
            self._items[index] = item
            return
        assert index not in self._done
        assert item["id"] == self._items[index]["id"]
        assert item["type"] == self._items[index]["type"]
        assert item["status"] in ("completed", "incomplete")
        assert all(place in self._ended for place in self._parts if place[0] == item["id"]), "a part is open"
        self._check_texts(item)
        self._done[index] = item

    def _check_texts(self, item: Json) -> None:
        def said(kind: str, index: int = 0) -> str:
            return self.texts.pop((item["id"], index, f"response.{kind}"), "")

        if item["type"] == "function_call":
            assert item["arguments"] == said("function_call_arguments")
        elif item["type"] == "custom_tool_call":
            assert item["input"] == said("custom_tool_call_input")
        for i, part in enumerate(item.get("content", ())):
            word = "refusal" if part["type"] == "refusal" else "text"
            assert part[word] == said(part["type"], i)
            assert part.get("annotations", []) == self._annotations.get((item["id"], i), [])
        for i, part in enumerate(item.get("summary", ())):
            assert part["text"] == said("reasoning_summary_text", i)
        assert not [key for key in self.texts if key[0] == item["id"]], "a text is not in its item"

    def _part(self, kind: str, event: Json) -> None:
        base, _, word = kind.rpartition(".")
        place = event["item_id"], event[_PARTS[base]]
        assert self._is_open(event)
        if word == "added":
            assert place not in self._parts
            assert place[1] == sum(each[0] == place[0] for each in self._parts), "parts begin in order"
            text = event["part"].get("text", event["part"].get("refusal"))
            assert text == ""
            self._parts[place] = event["part"]
        else:
            assert place not in self._ended
            assert event["part"]["type"] == self._parts[place]["type"]
            self._ended.add(place)

    def _text(self, kind: str, event: Json) -> None:
        base, _, word = kind.rpartition(".")
        index_name, text_name = _TEXTS[base]
        place = event["item_id"], event[index_name] if index_name else 0
        assert self._is_open(event)
        if index_name:
            assert place in self._parts
            assert place not in self._ended, "a delta comes before its part's end"
        key = (*place, base)
        if word == "delta":
            self.texts[key] = self.texts.get(key, "") + event["delta"]
        else:
            assert word == "done"
            assert event[text_name] == self.texts.get(key, "")

    def _annotation(self, event: Json) -> None:
        place = event["item_id"], event["content_index"]
        assert place in self._parts
        assert place not in self._ended
        known = self._annotations.setdefault(place, [])
        assert event["annotation_index"] == len(known)
        known.append(event["annotation"])

    def _is_open(self, event: Json) -> bool:
        index = event["output_index"]
        return self._items[index]["id"] == event["item_id"] and index not in self._done

    def _end(self, kind: str, response: Json) -> None:
        assert kind == f"response.{response['status']}"
        first = self.events[0]["response"]
        assert (response["id"], response["created_at"]) == (first["id"], first["created_at"])
        if kind == "response.failed":
            assert response["error"]["message"]
            assert [item["id"] for item in response["output"]] == [item["id"] for item in self._items.values()]
        else:
            assert response["output"] == [self._done[i] for i in range(len(self._items))]
        Response.model_validate(response, strict=True)
        self.final = response
