"""Reasoning items ⇄ the thoughts of an assistant message.

An item shows the text, as ``summary`` where a summary was asked for and as ``content`` otherwise. What a vendor signed
must come back to it unchanged: that travels in ``encrypted_content``, sealed (:mod:`gateway.protocols.sealed`).
"""

from __future__ import annotations

import msgspec

from gateway.protocols import sealed as sealing
from gateway.protocols.base import Json
from gateway.protocols.responses.checks import array, object_of, refusal, string, text_or_none


def seal(blocks: list[Json], provider_blocks: Json | None = None, calls: dict[str, Json] | None = None) -> str | None:
    """``encrypted_content`` for signed thoughts, a vendor's own blocks, and what it signed of calls, by their ids; None
    where there are none.
    """
    kept: Json = {}
    if blocks:
        kept["thinking_blocks"] = blocks
    if provider_blocks:
        kept["provider_blocks"] = provider_blocks
    if calls:
        kept["calls"] = calls
    return sealing.seal(kept) if kept else None


def unseal(sealed: str, where: str) -> Json:
    """What :func:`seal` took; nothing for what another made. Raises :class:`GatewayError` for a damaged one."""
    if not sealing.is_sealed(sealed):
        return {}
    try:
        return msgspec.convert(sealing.unseal(sealed), _Sealed).kept()
    except (ValueError, msgspec.ValidationError):
        raise refusal("The encrypted content could not be read: it was changed.", where) from None


class _Sealed(msgspec.Struct):
    thinking_blocks: list[Json] = []
    provider_blocks: Json = {}
    calls: dict[str, Json] = {}

    def kept(self) -> Json:
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value}


def item(item_id: str, text: str, *, summarized: bool, sealed: str | None, status: str = "completed") -> Json:
    """A reasoning item."""
    made: Json = {"id": item_id, "type": "reasoning", "status": status, "summary": []}
    if text:
        made["summary" if summarized else "content"] = [part(text, summarized)]
    if sealed is not None:
        made["encrypted_content"] = sealed
    return made


def part(text: str, summarized: bool) -> Json:
    """One part of an item's text."""
    return {"type": "summary_text" if summarized else "reasoning_text", "text": text}


def into_message(message: Json, item: Json, where: str) -> dict[str, Json]:
    """Add an item to the assistant message it belongs to. Gives what belongs to the calls after it, by their ids."""
    text = _text(item, where)
    if text:
        message["reasoning_content"] = message.get("reasoning_content", "") + text
    sealed = text_or_none(item.get("encrypted_content"), f"{where}.encrypted_content")
    if sealed is None:
        return {}
    kept = unseal(sealed, f"{where}.encrypted_content")
    if "thinking_blocks" in kept:
        message.setdefault("thinking_blocks", []).extend(kept["thinking_blocks"])
    if "provider_blocks" in kept:
        message["provider_blocks"] = kept["provider_blocks"]
    calls: dict[str, Json] = kept.get("calls", {})
    return calls


def _text(item: Json, where: str) -> str:
    name = "content" if item.get("content") else "summary"
    given = item.get(name)
    parts = [] if given is None else array(given, f"{where}.{name}")
    texts = []
    for i, each in enumerate(parts):
        place = f"{where}.{name}[{i}]"
        texts.append(string(object_of(each, place).get("text"), f"{place}.text"))
    return "\n\n".join(texts) if name == "summary" else "".join(texts)
