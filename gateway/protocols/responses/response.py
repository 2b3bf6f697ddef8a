"""A chat completion → a Response object.

Source: OpenAI API reference, "The response object". Beside it stand, for those who read Gatewayz' documentation,
``output_text`` and ``created``, and in ``usage`` the names of Chat.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

from msgspec import Raw, Struct

from gateway.protocols.base import Json
from gateway.protocols.responses import thoughts
from gateway.protocols.responses.content import (
    annotations_from_chat,
    logprobs_from_chat,
    refusal_part,
    text_part,
)
from gateway.protocols.responses.request import Wanted, summarized
from gateway.protocols.responses.tools import flat_format
from gateway.protocols.sealed import signatures_of

INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is not whole, by Chat's ``finish_reason``. Any other reason is the answer's own end."""

_ID_BYTES: Final = 24
_ECHOED: Final = ("max_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "temperature", "top_p")
_CODES: Final = {400: "invalid_prompt", 422: "invalid_prompt", 429: "rate_limit_exceeded"}


class Memo(Struct):
    """What is remembered of a request to make its Response. ``token`` is what the ids of the Response and of its items
    have in common; ``created`` is Unix seconds; ``shown`` are the fields that tell what was asked, ``raw`` the same
    encoded, once a stream needed it.
    """

    token: str
    created: int
    shown: Json
    summarized: bool = False
    obfuscate: bool = False
    wanted: Wanted | None = None
    raw: dict[str, Raw] | None = None

    @property
    def id(self) -> str:
        """The id of the Response."""
        return f"resp_{self.token}"

    def item_id(self, prefix: str, index: int) -> str:
        """The id of the output item at an index: ``msg``, ``rs``, ``fc`` or ``ctc`` and the response's own token."""
        return f"{prefix}_{self.token}{index:04x}"


def response_id_of(item_id: str) -> str | None:
    """The Response that made an item, None for an id that is not of this form."""
    token = item_id.partition("_")[2]
    return f"resp_{token[:-4]}" if len(token) == 2 * _ID_BYTES + 4 else None


def remember(wanted: Wanted, chat: Json) -> Memo:
    """The memo of a request. Raises :class:`~gateway.kernel.errors.GatewayError` for a wrong ``reasoning.summary``."""
    body = wanted.body
    is_summarized = summarized(body)
    reasoning = body.get("reasoning") or {}
    shown: Json = {
        "object": "response",
        "background": wanted.background,
        "instructions": body.get("instructions"),
        "max_output_tokens": chat.get("max_completion_tokens") or chat.get("max_tokens"),
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": wanted.previous,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "store": wanted.store,
        "text": flat_format(chat),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": body.get("top_logprobs") or 0,
        "truncation": body.get("truncation") or "disabled",
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }
    for name in _ECHOED:
        shown[name] = body.get(name)
    if wanted.conversation is not None:
        shown["conversation"] = {"id": wanted.conversation}
    return Memo(secrets.token_hex(_ID_BYTES), int(time.time()), shown, is_summarized, wanted.obfuscate, wanted)


def blank(memo: Memo, status: str, model: object) -> Json:
    """A Response that has no output yet."""
    return {
        "id": memo.id,
        "created_at": memo.created,
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        **memo.shown,
    }


def finished(memo: Memo, head: Json, output: list[Json], reason: object, usage: object) -> Json:
    """The final Response. ``head`` is the completion or a chunk of it, ``reason`` Chat's ``finish_reason``."""
    why = INCOMPLETE.get(reason) if isinstance(reason, str) else None
    made = blank(memo, "incomplete" if why else "completed", head.get("model") or memo_model(memo))
    if why:
        made["incomplete_details"] = {"reason": why}
    else:
        made["completed_at"] = int(time.time())
    made["output"] = output
    made["usage"] = usage_of(usage)
    if head.get("service_tier") is not None:
        made["service_tier"] = head["service_tier"]
    return made


def failed(memo: Memo, head: Json, output: list[Json], status: int, envelope: Json) -> Json:
    """A Response that ended in an error, which came with an HTTP status and in OpenAI's envelope."""
    made = blank(memo, "failed", head.get("model") or memo_model(memo))
    error = envelope.get("error")
    error = error if isinstance(error, dict) else {}
    message = error.get("message") or "The model's provider failed."
    made["error"] = {"code": _CODES.get(status, "server_error"), "message": message}
    made["output"] = output
    return made


def memo_model(memo: Memo) -> object:
    """The model that was asked for."""
    return memo.wanted.body.get("model") if memo.wanted is not None else None


def from_completion(completion: Json, memo: Memo) -> Json:
    """The Response that a ``chat.completion`` makes."""
    choices = completion.get("choices")
    choice: Any = choices[0] if isinstance(choices, list) and choices else {}
    reason = choice.get("finish_reason")
    output = _output(choice, memo, "incomplete" if reason in INCOMPLETE else "completed")
    made = finished(memo, completion, output, reason, completion.get("usage"))
    made["output_text"] = output_text(output)
    made["created"] = memo.created
    if made["usage"] is not None:
        made["usage"] |= {
            "prompt_tokens": made["usage"]["input_tokens"],
            "completion_tokens": made["usage"]["output_tokens"],
        }
    return made


def output_text(output: list[Json]) -> str:
    """All text of a Response."""
    return "".join(
        part["text"]
        for item in output
        if item["type"] == "message"
        for part in item["content"]
        if part["type"] == "output_text"
    )


def _output(choice: Json, memo: Memo, status: str) -> list[Json]:
    message = choice.get("message") or {}
    output: list[Json] = []
    text = thought_of(message)
    signed = signatures_of(message.get("tool_calls"))
    sealed = thoughts.seal(message.get("thinking_blocks") or [], message.get("provider_blocks"), signed)
    if text or sealed:
        item_id = memo.item_id("rs", 0)
        output.append(thoughts.item(item_id, text, summarized=memo.summarized, sealed=sealed))
    content = _content(choice, message)
    if content:
        output.append(message_item(memo.item_id("msg", len(output)), content))
    for call in calls_of(message):
        output.append(call_item(memo, len(output), call))
    if output:
        output[-1]["status"] = status
    return output


def _content(choice: Json, message: Json) -> list[Json]:
    content: list[Json] = []
    annotations = annotations_from_chat(message.get("annotations"))
    if message.get("content") or annotations:
        text = message.get("content") or ""
        content.append(text_part(text, annotations, logprobs_from_chat(choice.get("logprobs"))))
    if message.get("refusal"):
        content.append(refusal_part(message["refusal"]))
    return content


def thought_of(message: Json) -> str:
    """The text of thoughts in a message or delta: ``reasoning_content``, which some providers call ``reasoning``."""
    text = message.get("reasoning_content") or message.get("reasoning")
    return text if isinstance(text, str) else ""


def calls_of(message: Json) -> list[Json]:
    """The tool calls of a message or delta; the one that Chat's older ``function_call`` tells is as good as one."""
    calls = message.get("tool_calls")
    if calls:
        return [call for call in calls if isinstance(call, dict)]
    older = message.get("function_call")
    return [{"index": 0, "type": "function", "function": older}] if isinstance(older, dict) else []


def message_item(item_id: str, content: list[Json], status: str = "completed") -> Json:
    """A message item."""
    return {"id": item_id, "type": "message", "status": status, "content": content, "role": "assistant"}


def call_item(memo: Memo, index: int, call: Json) -> Json:
    """An item for a whole tool call."""
    if call.get("type") == "custom" or (call.get("custom") and not call.get("function")):
        custom = call.get("custom") or {}
        return custom_item(memo, index, call.get("id"), custom.get("name") or "", custom.get("input") or "")
    function = call.get("function") or {}
    return function_item(memo, index, call.get("id"), function.get("name") or "", function.get("arguments") or "")


def function_item(
    memo: Memo, index: int, call_id: str | None, name: str, arguments: str, status: str = "completed"
) -> Json:
    """A ``function_call`` item."""
    return {
        "id": memo.item_id("fc", index),
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call_id or made_call_id(memo, index),
        "name": name,
    }


def custom_item(memo: Memo, index: int, call_id: str | None, name: str, given: str, status: str = "completed") -> Json:
    """A ``custom_tool_call`` item."""
    return {
        "id": memo.item_id("ctc", index),
        "type": "custom_tool_call",
        "status": status,
        "call_id": call_id or made_call_id(memo, index),
        "input": given,
        "name": name,
    }


def made_call_id(memo: Memo, index: int) -> str:
    """An id for a tool call to which the provider gave none."""
    return f"call_{memo.token[:20]}{index:04x}"


def usage_of(usage: object) -> Json | None:
    """``usage`` as a Response tells it."""
    if not isinstance(usage, dict):
        return None
    read = usage.get("prompt_tokens") or 0
    made = usage.get("completion_tokens") or 0
    of_read = usage.get("prompt_tokens_details") or {}
    of_made = usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": of_read.get("cached_tokens") or 0,
            "cache_write_tokens": of_read.get("cache_write_tokens") or 0,
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": of_made.get("reasoning_tokens") or 0},
        "total_tokens": usage.get("total_tokens") or read + made,
    }
