"""Cohere's answers in the internal form. Source: "Chat", Cohere API reference, v2."""

from __future__ import annotations

from typing import Any, Final

from gateway.providers.base import Json
from gateway.providers.telling import Answer, Citation, cited, count, document, message, tool_call, usage_of

_FINISH: Final = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
_SAME: Final = frozenset(("COMPLETE", "MAX_TOKENS", "TOOL_CALL", None))


def response(body: bytes, memo: Answer) -> Json:
    """A ``chat.completion``. Raises :class:`ValueError`."""
    told = document(body)
    said = told["message"]
    texts: list[str] = []
    thoughts: list[str] = [said["tool_plan"]] if said.get("tool_plan") else []
    starts: dict[int, int] = {}
    for index, part in enumerate(said.get("content") or ()):
        if part.get("type") == "thinking":
            thoughts.append(part["thinking"])
        else:
            starts[index] = sum(map(len, texts))
            texts.append(part["text"])
    calls = [
        tool_call(call["id"], call["function"]["name"], call["function"].get("arguments") or "{}")
        for call in said.get("tool_calls") or ()
    ]
    made = message("".join(texts) if texts or not calls else None, calls, "\n".join(thoughts))
    made |= cited([note(each, starts.get(each.get("content_index", 0), 0)) for each in said.get("citations") or ()])
    choice: Json = {"index": 0, "message": made, **finish(told.get("finish_reason"))}
    if told.get("logprobs"):
        choice["logprobs"] = logprobs_of(told["logprobs"])
    answer = Answer(told.get("id") or memo.id, memo.created, memo.model)
    return answer.completion([choice], usage_from(told["usage"]) if told.get("usage") else None)


def finish(reason: Any) -> Json:
    """``finish_reason``, and the provider's own word where that says less."""
    found: Json = {"finish_reason": _FINISH.get(reason, "stop")}
    if reason not in _SAME:
        found["native_finish_reason"] = reason
    return found


def note(citation: Json, offset: int) -> Citation:
    """What a citation says of a part of the text, which begins at ``offset`` in the whole."""
    pages = []
    for source in citation.get("sources") or ():
        about = source.get("document") or source.get("tool_output") or {}
        if isinstance(about.get("url"), str):
            pages.append((about["url"], about.get("title")))
    return Citation(citation.get("start", 0) + offset, citation.get("end", 0) + offset, citation, tuple(pages))


def logprobs_of(items: list[Json]) -> Json:
    """OpenAI's log probabilities. One of Cohere's may be of several tokens that make one text."""
    content = [
        {
            "token": item.get("text") or "",
            "logprob": sum(item.get("logprobs") or ()),
            "bytes": list((item.get("text") or "").encode()),
            "top_logprobs": [],
        }
        for item in items
    ]
    return {"content": content, "refusal": None}


def usage_from(usage: Json) -> Json:
    """The tokens that were read and made, else those that are billed."""
    tokens = usage.get("tokens") or usage.get("billed_units") or {}
    cached = count(usage, "cached_tokens")
    return usage_of(count(tokens, "input_tokens"), count(tokens, "output_tokens"), cached=cached)
