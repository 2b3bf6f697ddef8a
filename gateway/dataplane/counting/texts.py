"""The texts of requests and answers whose tokens are counted.

A chat prompt is counted as OpenAI's cookbook does ("How to count tokens with tiktoken"): three tokens a message and one
for a name, beside those of its texts, and three for the beginning of the answer. Tools and schemas count as the JSON
they come in, which is near to how they are rendered. A picture counts 85 tokens in low detail and else 765, what one of
1024x1024 pixels costs in gpt-4o; other parts count nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from gateway.dataplane.counting.wire import Produced

_A_MESSAGE, _A_NAME, _THE_ANSWER = 3, 1, 3
_LOW_DETAIL, _HIGH_DETAIL = 85, 765
_BLANK_LINE: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)|\n\r\n")
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_THOUGHTS: Final = ("reasoning_content", "reasoning")
_JSON_FIELDS: Final = ("tools", "functions", "response_format")


class Texts(Struct):
    """Texts to count, and tokens that are known without."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    tokens: int = 0


def of_request(endpoint: str, body: bytes) -> Texts:
    """What a request's body says. Raises :class:`msgspec.DecodeError`."""
    document = msgspec.json.decode(body)
    found = Texts()
    if not isinstance(document, dict):
        return found
    if endpoint == "chat.completions":
        for message in document.get("messages") or ():
            _add_message(found, message)
        found.tokens += _THE_ANSWER
        found.texts += [msgspec.json.encode(document[name]).decode() for name in _JSON_FIELDS if document.get(name)]
    elif endpoint == "rerank":
        query, documents = document.get("query"), document.get("documents") or ()
        found.texts += _strings([query, *(each.get("text") if isinstance(each, dict) else each for each in documents)])
    else:
        _add_prompt(found, document.get("prompt", document.get("input")))
    return found


def _add_message(found: Texts, message: Any) -> None:
    if not isinstance(message, dict):
        return
    found.tokens += _A_MESSAGE + (_A_NAME if message.get("name") else 0)
    found.texts += _strings((message.get("role"), message.get("name"), message.get("refusal")))
    _add_content(found, message.get("content"))
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            found.texts += _strings((function.get("name"), function.get("arguments")))


def _add_content(found: Texts, content: Any) -> None:
    if isinstance(content, str):
        found.texts.append(content)
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        found.texts += _strings((part.get("text"), part.get("refusal")))
        image = part.get("image_url")
        if image is not None:
            low = isinstance(image, dict) and image.get("detail") == "low"
            found.tokens += _LOW_DETAIL if low else _HIGH_DETAIL


def _add_prompt(found: Texts, prompt: Any) -> None:
    """A text, several, tokens, or lists of tokens."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
        found.tokens += len(prompt)
    elif isinstance(prompt, list):
        for item in prompt:
            _add_prompt(found, item)
    else:
        found.texts += _strings((prompt,))


def of_answer(produced: Produced) -> Texts:
    """What an upstream has produced; what is no JSON of an answer says nothing."""
    found = Texts(_spelt(produced.text), _spelt(produced.thoughts))
    parts: dict[tuple[int, str], list[str]] = {}
    for payload in [produced.events] if produced.is_whole else _payloads(produced.events):
        try:
            document = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        choices = document.get("choices") if isinstance(document, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                _add_choice(parts, choice)
    for (_, name), pieces in parts.items():
        # Put together again: a token may be in two events.
        (found.thoughts if name in _THOUGHTS else found.texts).append("".join(pieces))
    return found


def _add_choice(parts: dict[tuple[int, str], list[str]], choice: dict[str, Any]) -> None:
    index = choice.get("index")
    index = index if isinstance(index, int) else 0
    said = choice.get("delta") or choice.get("message") or {}
    given: list[tuple[str, Any]] = [("text", choice.get("text"))]
    if isinstance(said, dict):
        given += [(name, said.get(name)) for name in ("content", "refusal")]
        # Some vendors spell it either way, in one event.
        given.append((_THOUGHTS[0], said.get(_THOUGHTS[0]) or said.get(_THOUGHTS[1])))
        for call in said.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                given += [(f"call {call.get('index')}", function.get(name)) for name in ("name", "arguments")]
    for name, value in given:
        if isinstance(value, str) and value:
            parts.setdefault((index, name), []).append(value)


def _payloads(events: bytes) -> Iterator[bytes]:
    for event in _BLANK_LINE.split(events):
        lines = [line[5:] for line in _LINE.split(event) if line.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)


def _spelt(text: bytes) -> list[str]:
    if not text:
        return []
    try:
        return [msgspec.json.decode(b'"' + text + b'"', type=str)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [text.decode("utf-8", "replace")]


def _strings(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str) and value]
