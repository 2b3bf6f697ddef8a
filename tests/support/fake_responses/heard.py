"""What a request of the Responses API says: see :class:`tests.support.fake_vendors.heard.Heard`."""

from __future__ import annotations

from typing import Any

from tests.support.fake_vendors import openai_like
from tests.support.fake_vendors.heard import Heard

Json = dict[str, Any]


def heard(body: Json) -> Heard:
    """What a request says; one of Chat Completions too, which the same provider has."""
    if "messages" in body:
        return openai_like.heard(body)
    items = items_of(body)
    parts = [part for item in items if item.get("role") == "user" for part in _parts(item["content"])]
    choice = body.get("tool_choice", "auto")
    effort = (body.get("reasoning") or {}).get("effort")
    wanted = (body.get("text") or {}).get("format") or {}
    return Heard(
        system=body.get("instructions") or "",
        texts=tuple(part["text"] for part in parts if part["type"] == "input_text"),
        results=tuple(item["output"] for item in items if item.get("type") == "function_call_output"),
        images=tuple(part["image_url"] for part in parts if part["type"] == "input_image"),
        tools=tuple(tool["name"] for tool in body.get("tools") or () if tool["type"] == "function"),
        choice=choice if isinstance(choice, str) else choice["name"],
        single=body.get("parallel_tool_calls") is False,
        schema=wanted.get("schema"),
        thinks=effort not in (None, "none"),
        signatures=tuple(item["encrypted_content"] for item in items if item.get("type") == "reasoning"),
        limit=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
    )


def items_of(body: Json) -> list[Json]:
    """The input as items."""
    given = body["input"]
    return given if isinstance(given, list) else [{"role": "user", "content": given}]


def _parts(content: Any) -> list[Json]:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content
