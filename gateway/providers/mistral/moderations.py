"""Moderations. Source: "Classifiers" in Mistral's API reference.

The categories are other ones than OpenAI's. Those that mean the same get OpenAI's names, the rest keep their own; what
Mistral does not judge is told as OpenAI tells what its own model does not judge of an input: not flagged, a score of 0,
and applied to no type of input.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers import asking, telling
from gateway.providers.base import Json, Question
from gateway.providers.mistral.request import VENDOR

_KNOWN: Final = frozenset(("input",))
_CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_NAMES: Final = {
    "hate_and_discrimination": "hate",
    "violence_and_threats": "violence",
    "selfharm": "self-harm",
    "dangerous_and_criminal_content": "illicit",
    "criminal": "illicit",
}


def request(question: Question) -> tuple[bytes, tuple[str, ...]]:
    """The body, and what it can't express: pictures."""
    chat = question.chat
    dropped = asking.unknown(chat, _KNOWN)
    body: Json = {"model": question.upstream.model, "input": _texts(chat.get("input"), dropped)}
    body.update(asking.own_options(chat, VENDOR, dropped))
    return orjson.dumps(body), tuple(dropped)


def _texts(given: Any, dropped: list[str]) -> str | list[str]:
    """A text, several, or the texts of one input that has parts."""
    parts = [given] if isinstance(given, dict) else given
    if not isinstance(parts, list) or not parts or not isinstance(parts[0], dict):
        return given if isinstance(given, str) else asking.texts_of({"input": given})
    texts = []
    for index, part in enumerate(parts):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise asking.wrong(f"input[{index}]", "an object with a type")
        if part["type"] == "text":
            texts.append(asking.text_of(part, f"input[{index}]"))
        elif f"input.{part['type']}" not in dropped:
            dropped.append(f"input.{part['type']}")
    return "\n".join(texts)


def response(body: bytes) -> Json:
    """The judgements. Raises :class:`ValueError`."""
    told = telling.document(body)
    told["results"] = [_result(each) for each in told["results"]]
    return told


def _result(told: Json) -> Json:
    scores: Json = {_NAMES.get(name, name): score for name, score in told["category_scores"].items()}
    flags: Json = {_NAMES.get(name, name): bool(flag) for name, flag in told["categories"].items()}
    judged = {**dict.fromkeys(_CATEGORIES, False), **dict.fromkeys(flags, True)}
    return {
        "flagged": any(flags.values()),
        "categories": {name: flags.get(name, False) for name in judged},
        "category_scores": {name: scores.get(name, 0.0) for name in judged},
        "category_applied_input_types": {name: ["text"] if known else [] for name, known in judged.items()},
    }
