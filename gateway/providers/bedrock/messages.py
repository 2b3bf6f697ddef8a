"""The messages of the internal form as those of Converse.

Neighbours of one role become one message: the answers of parallel calls must stand in the message after them. Blank
texts are left out, because Converse refuses them. Source: "Message" in the Amazon Bedrock API reference.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

from gateway.providers import asking
from gateway.providers.base import Json
from gateway.providers.bedrock.media import VENDOR, block_of

_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


class Conversation:
    """Collects ``messages`` and ``system``, and names in ``dropped`` what they can't say."""

    def __init__(self, chat: Json) -> None:
        self.messages: list[Json] = []
        self.system: list[Json] = []
        self.dropped: list[str] = []
        self.uses_tools = False
        for at, role, message in asking.messages_of(chat):
            if role == "system":
                self.system += self._system(message, at)
            elif role == "user":
                self._add("user", self._blocks(message, at))
            elif role == "assistant":
                self._add("assistant", self._spoken(message, at))
            else:
                self._add("user", [self._answered(message, at), *_point(message)])
        if not self.messages:
            raise asking.wrong("messages", "at least one message of a user, an assistant or a tool")

    def _add(self, role: str, blocks: list[Json]) -> None:
        if not blocks:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def _system(self, message: Json, at: str) -> list[Json]:
        found: list[Json] = []
        for index, part in enumerate(asking.parts_of(message, at)):
            if part["type"] != "text":
                raise asking.wrong(f"{at}.content[{index}].type", "text")
            text = asking.text_of(part, f"{at}.content[{index}]")
            found += [{"text": text}] if text.strip() else []
            found += _point(part)
        return found

    def _blocks(self, message: Json, at: str) -> list[Json]:
        found: list[Json] = []
        for index, part in enumerate(asking.parts_of(message, at)):
            place = f"{at}.content[{index}]"
            if part["type"] in ("text", "refusal"):
                text = asking.text_of(part, place)
                found += [{"text": text}] if text.strip() else []
            else:
                block = block_of(part, place)
                name = f"messages.content.{part['type']}"
                if block is not None:
                    found.append(block)
                elif name not in self.dropped:
                    self.dropped.append(name)
            found += _point(part)
        return found

    def _spoken(self, message: Json, at: str) -> list[Json]:
        calls = list(asking.calls_of(message, at))
        self.uses_tools = self.uses_tools or bool(calls)
        own = message.get("provider_blocks")
        if isinstance(own, dict) and own.get("vendor") == VENDOR and isinstance(own.get("blocks"), list):
            return list(own["blocks"])
        found = _thoughts(message.get("thinking_blocks"))
        found += self._blocks(message, at)
        found += [
            {"toolUse": {"toolUseId": tool_id(id), "name": name, "input": arguments}}
            for id, name, arguments, _ in calls
        ]
        return found

    def _answered(self, message: Json, at: str) -> Json:
        self.uses_tools = True
        content = [block for block in self._blocks(message, at) if "cachePoint" not in block]
        result: Json = {"toolUseId": tool_id(str(message.get("tool_call_id") or "")), "content": content}
        if message.get("is_error") is True:
            result["status"] = "error"
        return {"toolResult": result}


def tool_id(id: str) -> str:
    """An id of a tool call as Converse takes it; another provider's may be longer or have other characters."""
    if _ID.match(id):
        return id
    return "call_" + blake2b(id.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _point(holder: Json) -> list[Json]:
    cached = holder.get("cache_control")
    return [] if not isinstance(cached, dict) else [cache_point(cached)]


def cache_point(cached: Json) -> Json:
    """``cache_control`` as the block that stands behind what is cached."""
    point: Json = {"type": "default"}
    if cached.get("ttl") in ("5m", "1h"):
        point["ttl"] = cached["ttl"]
    return {"cachePoint": point}


def _thoughts(blocks: Any) -> list[Json]:
    """Signed thoughts; without a signature they are refused, and the text of another's is left."""
    found: list[Json] = []
    for block in blocks if isinstance(blocks, list) else ():
        if block.get("type") == "redacted_thinking":
            found.append({"reasoningContent": {"redactedContent": block.get("data", "")}})
        elif block.get("signature"):
            text = {"text": block.get("thinking", ""), "signature": block["signature"]}
            found.append({"reasoningContent": {"reasoningText": text}})
    return found
