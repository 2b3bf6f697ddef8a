"""Token counts out of upstream answers.

OpenAI's ``usage`` object (API reference, "The chat completion object" and "Embeddings"): cached tokens are part of the
prompt, reasoning tokens part of the completion, and each is counted once.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from gateway.contract.usage import Tokens

MAX_TOKENS = 2**40


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Answer(Struct):
    usage: _Usage | None = None
    choices: list[msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(_Answer, strict=False).decode


def tokens_of(usage: _Usage) -> Tokens:
    """The counts of one ``usage`` object, in either of OpenAI's spellings."""
    prompt = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
    completion = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
    if prompt is None:
        prompt = max(0, (usage.total_tokens or 0) - (completion or 0))
    asked = usage.prompt_tokens_details or usage.input_tokens_details
    given = usage.completion_tokens_details or usage.output_tokens_details
    # A negative count would give money back, and one beyond any model's is a fault of the upstream.
    prompt = _within(prompt, MAX_TOKENS)
    completion = _within(completion, MAX_TOKENS)
    cached = _within(asked.cached_tokens, prompt) if asked is not None else 0
    return Tokens(prompt, cached, completion, _within(given.reasoning_tokens, completion) if given is not None else 0)


def _within(count: int | None, most: int) -> int:
    if count is None or count <= 0:
        return 0
    return count if count < most else most


def read_answer(body: bytes) -> tuple[Tokens | None, bool]:
    """The usage in a whole answer, and whether the answer has choices. Raises :class:`msgspec.DecodeError`.

    A ``usage`` of an unknown shape counts as none.
    """
    try:
        answer = _decode(body)
    except msgspec.ValidationError:
        return None, True
    tokens = None if answer.usage is None else tokens_of(answer.usage)
    return tokens, bool(answer.choices)
