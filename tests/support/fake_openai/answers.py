"""What the fake model says: a pure function of the request, so that a test can tell two answers apart.

* A plain answer is ``"<n> messages, <k> images, <l> audio; <last user text>"`` (parts that are zero are left out).
* A text that starts with ``refuse`` is refused.
* Tools named in the last user text are called, in the order of ``tools``; ``tool_choice`` is obeyed; once their
  results are in, the answer is ``"Tools said: <result>; <result>"``.
* Arguments and structured output are :func:`~tests.support.fake_openai.samples.sample` of the schema.
* ``repeat=N`` in the text says the text N times.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.support.fake_openai.samples import pairs, sample

_TOKEN = re.compile(r"\S+\s*|\s+")
_REASONING = {"none": 0, "minimal": 4, "low": 8, "medium": 16, "high": 32, "xhigh": 64}


@dataclass
class Reply:
    """One choice: text, refusal or tool calls as ``(id, name, arguments)``, and why it ended."""

    text: str | None = None
    refusal: str | None = None
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    finish: str = "stop"


def tokens(text: str) -> list[str]:
    """``text`` cut into the fake model's tokens: words with the space that follows."""
    return _TOKEN.findall(text)


def digest(*parts: object) -> str:
    """A short stable identifier of ``parts``."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def reply(body: dict[str, Any], index: int = 0) -> Reply:
    """The answer to a chat request, for choice ``index``."""
    messages: list[dict[str, Any]] = body["messages"]
    text = last_user_text(messages)
    if text.startswith("refuse"):
        return Reply(refusal=f"I can't do that: {text}")
    called = _tool_calls(body, text)
    if called:
        return Reply(calls=called, finish="tool_calls")
    answer = _structured(body, text) or _plain(messages, text)
    if body.get("n", 1) > 1:
        answer = f"[{index}] {answer}"
    return _limited(answer, body.get("max_completion_tokens") or body.get("max_tokens"))


def usage(body: dict[str, Any], replies: list[Reply]) -> dict[str, Any]:
    """The ``usage`` object: words in, words out."""
    prompt = sum(len(tokens(_text_of(message.get("content")))) for message in body["messages"])
    completion = sum(
        len(tokens(r.text or r.refusal or "")) + sum(len(tokens(arguments)) for _, _, arguments in r.calls)
        for r in replies
    )
    reasoning = _REASONING.get(body.get("reasoning_effort", "none"), 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion + reasoning,
        "total_tokens": prompt + completion + reasoning,
        "prompt_tokens_details": {"cached_tokens": prompt // 2, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def logprobs(piece: str, top: int) -> dict[str, Any]:
    """One entry of ``logprobs.content`` for a token, with ``top`` alternatives."""

    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    value = -len(piece) / 8
    return entry(piece, value) | {"top_logprobs": [entry(f"{piece}{k}", value - k) for k in range(top)]}


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text of the last user message, or of the last message where there is none."""
    users = [message for message in messages if message.get("role") == "user"] or messages
    return _text_of(users[-1].get("content"))


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if part.get("type") == "text")
    return content or ""


def _plain(messages: list[dict[str, Any]], text: str) -> str:
    if messages[-1].get("role") == "tool":
        return "Tools said: " + "; ".join(_text_of(m.get("content")) for m in messages if m.get("role") == "tool")
    kinds = [part.get("type") for m in messages if isinstance(m.get("content"), list) for part in m["content"]]
    counts = [(len(messages), "messages"), (kinds.count("image_url"), "images"), (kinds.count("input_audio"), "audio")]
    said = ", ".join(f"{count} {name}" for count, name in counts if count)
    return f"{said}; " + " ".join([text] * int(pairs(text).get("repeat", 1)))


def _structured(body: dict[str, Any], text: str) -> str | None:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(sample(wanted["json_schema"]["schema"], text), ensure_ascii=False)
    return json.dumps({"echo": text}, ensure_ascii=False) if wanted.get("type") == "json_object" else None


def _limited(answer: str, limit: int | None) -> Reply:
    cut = tokens(answer)
    if limit is not None and len(cut) > limit:
        return Reply("".join(cut[:limit]), finish="length")
    return Reply(answer)


def _tool_calls(body: dict[str, Any], text: str) -> list[tuple[str, str, str]]:
    functions = [tool["function"] for tool in body.get("tools", []) if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    done = {call["function"]["name"] for message in body["messages"] for call in message.get("tool_calls") or []}
    if not functions or choice == "none":
        return []
    if isinstance(choice, dict):
        wanted = [f for f in functions if f["name"] == choice["function"]["name"]]
    else:
        wanted = [f for f in functions if f["name"] in text and f["name"] not in done]
        if not wanted and choice == "required":
            wanted = ([f for f in functions if f["name"] not in done] or functions)[:1]
    if body.get("parallel_tool_calls") is False:
        wanted = wanted[:1]
    return [
        (
            "call_" + digest(text, f["name"], len(body["messages"])),
            f["name"],
            json.dumps(sample(f.get("parameters", {}), text), ensure_ascii=False),
        )
        for f in wanted
    ]
