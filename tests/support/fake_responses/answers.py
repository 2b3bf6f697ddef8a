"""What it answers, as a whole Response: how many items it was asked and what was said last, calls, thoughts, a search.

Source: OpenAI API reference, "Create a model response" and "The response object".
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.support.fake_openai.samples import sample
from tests.support.fake_responses.heard import heard, items_of
from tests.support.fake_vendors.heard import Heard

Json = dict[str, Any]

THOUGHT = "Let me think."
"""The summary of every thought, where one is wanted."""


def response_of(body: Json) -> Json:
    """The Response to a request."""
    items, asked = items_of(body), heard(body)
    mark = hashlib.sha256(json.dumps(body).encode()).hexdigest()[:48]
    output = [*_thoughts(body, mark), *_searches(body, mark, _last(items))]
    calls = _calls(asked, items, mark)
    output += calls or [_message(_text(asked, items), mark)]
    return {
        "id": f"resp_{mark}",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "store": False,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 40,
            "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
            "output_tokens": 12,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 52,
        },
    }


def _last(items: list[Json]) -> str:
    """The text of the last item, or of the outputs that the input ends in."""
    if items[-1].get("type") != "function_call_output":
        content = items[-1].get("content")
        return content if isinstance(content, str) else str((content or [{}])[0].get("text", ""))
    outputs: list[str] = []
    for item in reversed(items):
        if item.get("type") != "function_call_output":
            break
        outputs.insert(0, item["output"])
    return ", ".join(outputs)


def _text(asked: Heard, items: list[Json]) -> str:
    if asked.schema is not None:
        return json.dumps(sample(asked.schema, _last(items)))
    return f"{len(items)} items; {_last(items)}"


def _message(text: str, mark: str) -> Json:
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {"id": f"msg_{mark}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def _calls(asked: Heard, items: list[Json], mark: str) -> list[Json]:
    """Two functions at once, unless one is to be called at a time; none where the last ones have answered."""
    if not asked.tools or asked.choice == "none" or items[-1].get("type") == "function_call_output":
        return []
    return [
        {
            "id": f"fc_{place}{mark}",
            "type": "function_call",
            "status": "completed",
            "arguments": '{"city":"Rome"}',
            "call_id": f"call_{place}{mark[:20]}",
            "name": name,
        }
        for place, name in enumerate(asked.tools[: 1 if asked.single else 2])
    ]


def _thoughts(body: Json, mark: str) -> list[Json]:
    reasoning = body.get("reasoning")
    if not reasoning:
        return []
    summary = [{"type": "summary_text", "text": THOUGHT}] if reasoning.get("summary") else []
    thought: Json = {"id": f"rs_{mark}", "type": "reasoning", "summary": summary, "status": "completed"}
    if "reasoning.encrypted_content" in (body.get("include") or ()):
        thought["encrypted_content"] = "gAAAA-encrypted"
    return [thought]


def _searches(body: Json, mark: str, query: str) -> list[Json]:
    if not any(tool["type"] == "web_search" for tool in body.get("tools") or ()):
        return []
    action = {"type": "search", "query": query}
    return [{"id": f"ws_{mark}", "type": "web_search_call", "status": "completed", "action": action}]
