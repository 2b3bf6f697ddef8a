"""What the mock upstream says: OpenAI's shapes, encoded once, so that answering costs next to nothing."""

from __future__ import annotations

import json
import time
from typing import Any

CREATED = 1_735_689_600
MODEL = "mock-chat"
TEXT = (
    "A gateway stands between an application and the models it asks. It knows who is asking, holds them to what they "
    "may use, picks a model that can answer, carries the answer back as it is written and keeps the account of it. "
    "When it does this well nobody notices that it is there, which is the whole point of it."
)
USAGE = {"prompt_tokens": 112, "completion_tokens": 64, "total_tokens": 176}


def completion() -> bytes:
    """A whole chat completion of about 0.75 KB."""
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    details = {"cached_tokens": 0, "audio_tokens": 0}
    return encode(
        {
            "id": "chatcmpl-bench00000000000000000001",
            "object": "chat.completion",
            "created": CREATED,
            "model": MODEL,
            "choices": [choice],
            "usage": {**USAGE, "prompt_tokens_details": details},
            "system_fingerprint": "fp_bench",
        }
    )


def embedding(dimensions: int = 64) -> bytes:
    """An embeddings answer with one vector."""
    vector = [round(0.5 - index / dimensions, 6) for index in range(dimensions)]
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return encode({"object": "list", "data": data, "model": "mock-embedding", "usage": usage})


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """One ``chat.completion.chunk``."""
    return {
        "id": "chatcmpl-bench00000000000000000002",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def events(count: int) -> tuple[bytes, ...]:
    """``count`` server-sent events: the role, the words, the finish reason. No usage and no end marker."""
    words = TEXT.split(" ")
    content = [chunk({"content": words[index % len(words)] + " "}) for index in range(count - 2)]
    return tuple(event(item) for item in [chunk({"role": "assistant", "content": ""}), *content, chunk({}, "stop")])


def usage_event() -> bytes:
    """The final chunk that ``stream_options.include_usage`` asks for."""
    return event({**chunk({}), "choices": [], "usage": USAGE})


def stamped_event() -> bytes:
    """A content event that carries the monotonic time of its sending in nanoseconds, as ``sent_ns``."""
    return event({**chunk({"content": "tick "}), "sent_ns": time.monotonic_ns()})


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event, its blank line included."""
    return b"data: " + encode(data) + b"\n\n"


def encode(data: dict[str, Any]) -> bytes:
    """Compact JSON, as most servers send it."""
    return json.dumps(data, separators=(",", ":")).encode()


DONE = b"data: [DONE]\n\n"
EVENTS = 35
