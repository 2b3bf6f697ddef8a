"""Content blocks of requests in the internal form."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.protocols.base import Json, invalid
from gateway.protocols.sealed import is_sealed, unseal

_FILE_FIELDS: Final = (("title", "filename"), ("context", "context"), ("citations", "citations"))
_ORDER: Final = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}
_CALL: Final = frozenset(("type", "id", "name", "input"))


def system_message(content: Any, field: str) -> Json:
    """A system message out of a text, or of text blocks."""
    return {"role": "system", "content": _shortest(_parts(content, field))}


def user_messages(content: Any, field: str) -> list[Json]:
    """One message, and before it one for each result of a tool: those come first in a turn."""
    results = []
    parts = []
    for place, block in enumerate(_blocks(content, field)):
        if block.get("type") == "tool_result":
            results.append(_tool_message(block, f"{field}.{place}"))
        else:
            parts.append(_part(block, f"{field}.{place}"))
    if parts or not results:
        results.append({"role": "user", "content": _shortest(parts)})
    return results


def assistant_message(content: Any, field: str) -> Json:
    """An earlier answer. Its blocks are kept as they are where Chat can't say them, for those who can read them."""
    blocks, signed = _unsealed(_blocks(content, field), field)
    message: Json = {"role": "assistant", "content": None}
    thoughts = [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]
    texts = [_part(block, field) for block in blocks if block.get("type") == "text"]
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    if texts:
        message["content"] = _shortest(texts)
    if thoughts:
        message["reasoning_content"] = "".join([block.get("thinking") or "" for block in thoughts])
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = [_call(block, field, signed) for block in calls]
        if calls[-1].get("cache_control"):
            message["cache_control"] = calls[-1]["cache_control"]
    if not _in_order(blocks, calls):
        message["provider_blocks"] = {"vendor": "anthropic", "blocks": blocks}
    return message


def _in_order(blocks: list[Json], calls: list[Json]) -> bool:
    places = [_ORDER.get(str(block.get("type")), -1) for block in blocks]
    if -1 in places or places != sorted(places) or any(block.get("citations") for block in blocks):
        return False
    marked = calls[:-1], calls[-1:]
    return not any(block.keys() - _CALL for block in marked[0]) and not any(
        block.keys() - _CALL - {"cache_control"} for block in marked[1]
    )


def _unsealed(blocks: list[Json], field: str) -> tuple[list[Json], Json]:
    """The blocks that a vendor made, and what the gateway had the client carry of its calls, by their ids."""
    kept: list[Json] = []
    signed: Json = {}
    for block in blocks:
        if block.get("type") != "redacted_thinking" or not is_sealed(block.get("data")):
            kept.append(block)
            continue
        try:
            calls = unseal(block["data"]).get("calls")
        except ValueError:
            raise invalid(f"{field}.data", "a block as it was told", block["data"]) from None
        signed |= calls if isinstance(calls, dict) else {}
    return kept, signed


def _call(block: Json, field: str, signed: Json) -> Json:
    arguments = block.get("input")
    if not isinstance(arguments, dict):
        raise invalid(f"{field}.input", "an object", arguments)
    function = {"name": block.get("name"), "arguments": orjson.dumps(arguments).decode()}
    made: Json = {"id": block.get("id"), "type": "function", "function": function}
    extra = signed.get(str(block.get("id")))
    if isinstance(extra, dict):
        made["extra_content"] = extra
    return made


def _tool_message(block: Json, field: str) -> Json:
    content = block.get("content")
    message: Json = {
        "role": "tool",
        "tool_call_id": block.get("tool_use_id"),
        "content": _shortest(_parts(content, f"{field}.content")) if content is not None else "",
    }
    if block.get("is_error"):
        message["is_error"] = True
    if block.get("cache_control"):
        message["cache_control"] = block["cache_control"]
    return message


def _blocks(content: Any, field: str) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise invalid(field, "a text or an array of blocks", content)
    for place, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise invalid(f"{field}.{place}", "a block with a type", block)
    return content


def _parts(content: Any, field: str) -> list[Json]:
    return [_part(block, f"{field}.{place}") for place, block in enumerate(_blocks(content, field))]


def _shortest(parts: list[Json]) -> str | list[Json]:
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    return parts


def _part(block: Json, field: str) -> Json:
    kind = block["type"]
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise invalid(f"{field}.text", "a string", block.get("text"))
        part: Json | None = {"type": "text", "text": block["text"]}
    elif kind == "image":
        part = _image(block.get("source"), f"{field}.source")
    elif kind == "document":
        part = _document(block, f"{field}.source")
    elif kind == "search_result":
        return block
    else:
        part = None
    if part is None:
        return {"type": "provider_block", "vendor": "anthropic", "block": block}
    if block.get("cache_control"):
        part["cache_control"] = block["cache_control"]
    return part


def _image(source: Any, field: str) -> Json:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "base64":
        return {"type": "image_url", "image_url": {"url": _data_url(source, field)}}
    if kind == "url":
        return {"type": "image_url", "image_url": {"url": source.get("url")}}
    if kind == "file":
        return {"type": "image_url", "image_url": {"file_id": source.get("file_id")}}
    raise invalid(field, "a source of type base64, url or file", source)


def _document(block: Json, field: str) -> Json | None:
    """None for one that is made of blocks itself."""
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if not isinstance(source, dict) or kind not in ("base64", "text", "url", "file", "content"):
        raise invalid(field, "a source of type base64, text, content, url or file", source)
    if kind == "content":
        return None
    file: Json
    if kind == "base64":
        file = {"file_data": _data_url(source, field)}
    elif kind == "text":
        file = {"text": source.get("data")}
    elif kind == "url":
        file = {"file_url": source.get("url")}
    else:
        file = {"file_id": source.get("file_id")}
    for own, name in _FILE_FIELDS:
        if block.get(own):
            file[name] = block[own]
    return {"type": "file", "file": file}


def _data_url(source: Json, field: str) -> str:
    kind, data = source.get("media_type"), source.get("data")
    if not isinstance(kind, str) or not isinstance(data, str):
        raise invalid(field, "media_type and data as strings", source)
    return f"data:{kind};base64,{data}"
