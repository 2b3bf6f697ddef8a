"""What a request of the Messages API says: see :class:`tests.support.fake_vendors.heard.Heard`."""

from __future__ import annotations

from typing import Any

from tests.support.fake_anthropic.answers import text_of
from tests.support.fake_vendors.heard import Heard, data_url, parts_of

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def heard(body: dict[str, Any]) -> Heard:
    """What a request says."""
    blocks = {
        role: [block for turn in body["messages"] if turn["role"] == role for block in parts_of(turn["content"])]
        for role in ("user", "assistant")
    }
    images = [block["source"] for block in blocks["user"] if block["type"] == "image"]
    choice = body.get("tool_choice", {"type": "auto"})
    return Heard(
        system=text_of(body.get("system")),
        texts=tuple(block["text"] for block in blocks["user"] if block["type"] == "text"),
        results=tuple(text_of(block["content"]) for block in blocks["user"] if block["type"] == "tool_result"),
        images=tuple(each["url"] if "url" in each else data_url(each["media_type"], each["data"]) for each in images),
        tools=tuple(tool["name"] for tool in body.get("tools", ())),
        choice=_CHOICES.get(choice["type"]) or choice["name"],
        single=choice.get("disable_parallel_tool_use") is True,
        schema=body.get("output_config", {}).get("format", {}).get("schema"),
        thinks=body.get("thinking", {}).get("type") in ("enabled", "adaptive"),
        signatures=tuple(block["signature"] for block in blocks["assistant"] if block["type"] == "thinking"),
        limit=body["max_tokens"],
        temperature=body.get("temperature"),
    )
