"""Gemini's answers in the internal form. Source: "GenerateContentResponse" in the Gemini API reference."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from gateway.providers.base import Json
from gateway.providers.gemini.contents import VENDOR
from gateway.providers.telling import Answer, Citation, cited, count, document, message, tool_call, usage_of

FINISH: Final = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "MODEL_ARMOR",
        ),
        "content_filter",
    ),
}
"""Reasons to end; any other is told as ``stop`` with the provider's own word beside it."""


def response(body: bytes, memo: Answer) -> Json:
    """A ``chat.completion``. Raises :class:`ValueError`."""
    told = document(body)
    candidates = told.get("candidates")
    answer = named(memo, told)
    if isinstance(candidates, list) and candidates:
        choices = [_choice(candidate, index, answer) for index, candidate in enumerate(candidates)]
    elif "promptFeedback" in told:
        choices = [_blocked(told)]
    else:
        raise ValueError("expected candidates")
    usage = told.get("usageMetadata")
    return answer.completion(choices, usage_from(usage) if isinstance(usage, dict) else None)


def named(memo: Answer, told: Json) -> Answer:
    """What is said of the answer, with the id and the model it names itself."""
    return Answer(told.get("responseId") or memo.id, memo.created, told.get("modelVersion") or memo.model, memo.choices)


def block_reason(told: Json) -> str | None:
    """Why the prompt was refused, None where it was not."""
    feedback = told.get("promptFeedback")
    return feedback.get("blockReason") if isinstance(feedback, dict) else None


def _blocked(told: Json) -> Json:
    return {
        "index": 0,
        "message": message("", []),
        "finish_reason": "content_filter",
        "native_finish_reason": block_reason(told),
    }


def _choice(candidate: Json, position: int, answer: Answer) -> Json:
    index = candidate.get("index", position)
    parts = parts_of(candidate)
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    signature = None
    plain = True
    for part in parts:
        if "functionCall" in part:
            calls.append(call_of(part, answer, index, len(calls)))
        elif isinstance(part.get("text"), str):
            (thoughts if part.get("thought") is True else texts).append(part["text"])
            signature = part.get("thoughtSignature") or signature
        else:
            plain = False
    told = message("".join(texts) if texts or not calls else None, calls, "".join(thoughts))
    if signature is not None:
        told["extra_content"] = signed(signature)
    if not plain:
        told["provider_blocks"] = {"vendor": VENDOR, "blocks": parts}
    told |= cited(sources(candidate, told["content"] or ""))
    choice: Json = {"index": index, "message": told, **finish(candidate.get("finishReason"), bool(calls))}
    logprobs = logprobs_of(candidate)
    if logprobs is not None:
        choice["logprobs"] = logprobs
    return choice


def parts_of(candidate: Json) -> list[Json]:
    """The parts of a candidate; none where it was cut before it said anything."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return parts if isinstance(parts, list) else []


def finish(reason: Any, called: bool) -> Json:
    """``finish_reason``, and the provider's own word where that says less."""
    told = FINISH.get(reason, "stop")
    if told == "stop" and called and reason in ("STOP", None):
        told = "tool_calls"
    if reason in (None, "STOP", "MAX_TOKENS"):
        return {"finish_reason": told}
    return {"finish_reason": told, "native_finish_reason": reason}


def call_of(part: Json, answer: Answer, choice: int, number: int) -> Json:
    """A tool call. Where the provider gives no id it is made of the answer's and the call's place."""
    call = part["functionCall"]
    id = call.get("id")
    if not id:
        digest = blake2b(f"{answer.id}/{choice}/{number}".encode(), digest_size=12)
        id = "call_" + digest.hexdigest()
    made = tool_call(id, str(call.get("name", "")), call.get("args") or {})
    if part.get("thoughtSignature"):
        made["extra_content"] = signed(part["thoughtSignature"])
    return made


def signed(signature: str) -> Json:
    """A thought signature where Google's OpenAI-compatible API has it."""
    return {"google": {"thought_signature": signature}}


def sources(candidate: Json, text: str) -> list[Citation]:
    """Sources of the text. Google counts its places in UTF-8 bytes, the internal form in characters."""
    grounding = candidate.get("groundingMetadata") or {}
    chunks = grounding.get("groundingChunks") or []
    encoded = None if text.isascii() else text.encode()
    found: list[Citation] = []
    for support in grounding.get("groundingSupports") or []:
        segment = support.get("segment") or {}
        start = _characters(encoded, segment.get("startIndex", 0))
        end = _characters(encoded, segment.get("endIndex", 0))
        for number in support.get("groundingChunkIndices") or []:
            chunk = chunks[number] if 0 <= number < len(chunks) else {}
            web = chunk.get("web") or {}
            if chunk:
                found.append(Citation(start, end, chunk, ((web["uri"], web.get("title")),) if web.get("uri") else ()))
    cites = candidate.get("citationMetadata") or {}
    for citation in cites.get("citationSources") or cites.get("citations") or []:
        start = _characters(encoded, citation.get("startIndex", 0))
        end = _characters(encoded, citation.get("endIndex", 0))
        page = ((citation["uri"], citation.get("title")),) if citation.get("uri") else ()
        found.append(Citation(start, end, citation, page))
    return found


def _characters(encoded: bytes | None, place: int) -> int:
    return place if encoded is None else len(encoded[:place].decode(errors="ignore"))


def logprobs_of(candidate: Json) -> Json | None:
    """OpenAI's log probabilities, None where there are none."""
    result = candidate.get("logprobsResult")
    if not isinstance(result, dict):
        return None
    chosen = result.get("chosenCandidates") or []
    top = result.get("topCandidates") or []
    content = []
    for index, token in enumerate(chosen):
        others = top[index].get("candidates", []) if index < len(top) else []
        content.append({**_token(token), "top_logprobs": [_token(other) for other in others]})
    return {"content": content, "refusal": None}


def _token(token: Json) -> Json:
    text = token.get("token", "")
    return {"token": text, "logprob": token.get("logProbability", 0.0), "bytes": list(text.encode())}


def usage_from(usage: Json) -> Json:
    """Gemini counts thoughts beside the candidates' tokens and tools' results beside the prompt's."""
    reasoning = count(usage, "thoughtsTokenCount")
    told: Json = usage_of(
        count(usage, "promptTokenCount") + count(usage, "toolUsePromptTokenCount"),
        count(usage, "candidatesTokenCount") + reasoning,
        cached=count(usage, "cachedContentTokenCount"),
        reasoning=reasoning,
    )
    for name, theirs in (("prompt", "promptTokensDetails"), ("completion", "candidatesTokensDetails")):
        for detail in usage.get(theirs) or []:
            modality = detail.get("modality")
            if modality in ("AUDIO", "IMAGE"):
                told[f"{name}_tokens_details"][f"{modality.lower()}_tokens"] = count(detail, "tokenCount")
    return told
