"""A whole Message as the events of its stream ("Streaming Messages")."""

from __future__ import annotations

import json
from typing import Any

from tests.support.fake_anthropic.answers import pieces
from tests.support.fake_openai.behaviours import Behaviour

Json = dict[str, Any]
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def events(behaviour: Behaviour, message: Json) -> list[bytes]:
    """Each complete with its terminator."""
    told = _told(message)
    if behaviour.ends == "error event":
        told[-1] = ERROR
    elif behaviour.ends != "well":
        told = told[:-2]
    framed = [_framed(behaviour, event) for event in told]
    if behaviour.comments:
        framed.insert(1, b": keep-alive" + behaviour.newline * 2)
    return framed


def _framed(behaviour: Behaviour, event: Json) -> bytes:
    data = json.dumps(event, ensure_ascii=False).encode()
    lines = (b"event: " + event["type"].encode(), b"data: " + data)
    return b"".join(line + behaviour.newline for line in lines) + behaviour.newline


def _told(message: Json) -> list[Json]:
    usage = message["usage"]
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    begun["usage"] = {**usage, "output_tokens": 1}
    begun["usage"].pop("output_tokens_details", None)
    begun.pop("stop_details", None)
    told: list[Json] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(message["content"]):
        start, deltas = _block(block)
        told.append({"type": "content_block_start", "index": index, "content_block": start})
        if not index:
            told.append({"type": "ping"})
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", "index": index})
    delta = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in message}
    summed = {"output_tokens": usage["output_tokens"]}
    if "output_tokens_details" in usage:
        summed["output_tokens_details"] = usage["output_tokens_details"]
    return [*told, {"type": "message_delta", "delta": delta, "usage": summed}, {"type": "message_stop"}]


def _block(block: Json) -> tuple[Json, list[Json]]:
    kind = block["type"]
    if kind == "text":
        deltas: list[Json] = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        deltas += [{"type": "citations_delta", "citation": each} for each in block.get("citations", ())]
        return {"type": "text", "text": ""}, deltas
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", "signature": ""}, deltas
    if kind in ("tool_use", "server_tool_use"):
        text = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
        cut = ["", *(text[at : at + 7] for at in range(0, len(text), 7))]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in cut]
    return block, []
