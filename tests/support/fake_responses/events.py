"""A Response as the events of a stream. Source: OpenAI API reference, "Streaming events"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]

ERROR: Json = {"type": "error", "code": "server_error", "message": "The server had an error", "param": None}


def encoded(events: Iterable[Json], first: int = 0) -> bytes:
    """Events as bytes, numbered from ``first``."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event | {"sequence_number": number}).encode())
        for number, event in enumerate(events, first)
    )


def events_of(response: Json) -> Iterator[Json]:
    """All events of a Response, without their numbers."""
    running = response | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": running}
    yield {"type": "response.in_progress", "response": running}
    for index, item in enumerate(response["output"]):
        place = {"output_index": index}
        inside = place | {"item_id": item["id"]}
        yield {"type": "response.output_item.added", **place, "item": _begun(item)}
        if item["type"] == "message":
            yield from _text(item, inside | {"content_index": 0})
        elif item["type"] == "function_call":
            yield from _arguments(item, inside)
        elif item["type"] == "reasoning":
            yield from _summary(item, inside)
        yield {"type": "response.output_item.done", **place, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _begun(item: Json) -> Json:
    empty: Json = {"content": [], "summary": [], "arguments": ""}
    return item | {"status": "in_progress"} | {name: value for name, value in empty.items() if name in item}


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def _text(item: Json, place: Json) -> Iterator[Json]:
    (part,) = item["content"]
    yield {"type": "response.content_part.added", **place, "part": part | {"text": ""}}
    for piece in _pieces(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _arguments(item: Json, place: Json) -> Iterator[Json]:
    told = item["arguments"]
    for piece in (told[:5], told[5:]):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **place, "name": item["name"], "arguments": told}


def _summary(item: Json, place: Json) -> Iterator[Json]:
    for index, part in enumerate(item["summary"]):
        inside = place | {"summary_index": index}
        yield {"type": "response.reasoning_summary_part.added", **inside, "part": part | {"text": ""}}
        for piece in _pieces(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **inside, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **inside, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **inside, "part": part}
