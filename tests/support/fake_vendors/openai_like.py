"""Chat completions as Azure and Mistral have them: OpenAI's, with a first chunk and a last one of their own."""

from __future__ import annotations

from typing import Any

import orjson

from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT, Said, said

USAGE = {
    "prompt_tokens": PROMPT,
    "completion_tokens": COMPLETION,
    "total_tokens": PROMPT + COMPLETION,
    "prompt_tokens_details": {"cached_tokens": CACHED},
}
FILTER = {"hate": {"filtered": False, "severity": "safe"}}
_COMMON = {"id": "c1", "created": 1_700_000_000, "model": "served"}


def _answer(body: dict[str, Any]) -> Said:
    texts = [each["content"] for each in body["messages"] if each["role"] == "user"]
    results = [each["content"] for each in body["messages"] if each["role"] == "tool"]
    return said(texts[-1], [tool["function"]["name"] for tool in body.get("tools", ())], results)


def _calls(answer: Said) -> list[dict[str, Any]]:
    return [
        {
            "index": place,
            "id": f"call0000{place}",
            "type": "function",
            "function": {"name": name, "arguments": '{"city":"Rome"}'},
        }
        for place, name in enumerate(answer.calls)
    ]


def whole(body: dict[str, Any], azure: bool) -> dict[str, Any]:
    """The answer to a chat."""
    answer = _answer(body)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.pieces) or None}
    if answer.calls:
        message["tool_calls"] = _calls(answer)
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "finish_reason": "tool_calls" if answer.calls else "stop",
    }
    told: dict[str, Any] = {**_COMMON, "object": "chat.completion", "choices": [choice], "usage": USAGE}
    if azure:
        choice["content_filter_results"] = FILTER
        told["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": FILTER}]
    return told


def stream(body: dict[str, Any], azure: bool) -> list[bytes]:
    """The events of a chat. Azure's first chunk has no choices; Mistral's last one has the usage too."""
    answer = _answer(body)
    chunks: list[dict[str, Any]] = []
    if azure:
        results = [{"prompt_index": 0, "content_filter_results": FILTER}]
        chunks.append(
            {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": results}
        )
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in answer.pieces]
    if answer.calls:
        deltas.append({"tool_calls": _calls(answer)})
    chunks += [_chunk(delta, None) for delta in deltas]
    last = _chunk({}, "tool_calls" if answer.calls else "stop")
    if azure:
        told = body.get("stream_options", {}).get("include_usage")
        chunks += [last, {**_COMMON, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}][
            : 2 if told else 1
        ]
    else:
        chunks.append({**last, "usage": USAGE})
    return [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def _chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {**_COMMON, "object": "chat.completion.chunk", "choices": [choice]}
