"""Token counts out of upstream answers.

What is read, and where vendors tell it; each token is counted once.

======================  ===========================================================================================
prompt                  ``prompt_tokens``, ``input_tokens``, else the total without the completion. Anthropic's own
                        ``input_tokens`` is without what was read from its cache and written to it: both are added
cached                  ``prompt_tokens_details.cached_tokens`` (OpenAI and most), ``cached_tokens`` (Moonshot,
                        Together), ``prompt_cache_hit_tokens`` (DeepSeek), ``cache_read_input_tokens`` (Anthropic)
written to a cache      ``cache_creation_input_tokens`` (Anthropic; Qwen in the details), ``cache_write_tokens``
                        (OpenAI, OpenRouter), ``cache_creation_tokens`` (LiteLLM); ``ephemeral_1h_input_tokens``
completion              ``completion_tokens``, ``output_tokens``
reasoning               ``completion_tokens_details.reasoning_tokens``, ``reasoning_tokens``, ``thinking_tokens``; for
                        who counts them beside the completion see :data:`gateway.dataplane.vendors.Reasoning`
sound, images           ``audio_tokens`` and ``image_tokens`` of the details; ``seconds`` (OpenAI's ``duration``),
                        ``prompt_audio_seconds`` (Mistral), ``duration`` of a transcript; ``data`` of an images answer
elsewhere               ``x_groq.usage`` (Groq), ``choices[0].usage`` (Moonshot), ``meta`` and ``billed_units`` (Cohere)
======================  ===========================================================================================
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.contract.usage import Tokens
from gateway.dataplane.endpoints.inference import ENDPOINTS
from gateway.dataplane.usage_shapes import Answer, Billed, Details, Elsewhere, Kept, Usage
from gateway.dataplane.vendors import UNKNOWN, Vendor

MAX_TOKENS = 2**40


_decode: Final = msgspec.json.Decoder(Answer, strict=False).decode
_decode_elsewhere: Final = msgspec.json.Decoder(Elsewhere, strict=False).decode
_BY_OTHER_UNITS: Final = frozenset(
    endpoint.name for endpoint in ENDPOINTS if endpoint.name.startswith(("images", "audio"))
)


def tokens_of(usage: Usage, vendor: Vendor = UNKNOWN, endpoint: str = "") -> Tokens:
    """The counts of one ``usage`` object."""
    prompt = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
    completion = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
    if prompt is None:
        prompt = max(0, (usage.total_tokens or 0) - (completion or 0))
    asked = usage.prompt_tokens_details or usage.input_tokens_details
    given = usage.completion_tokens_details or usage.output_tokens_details
    if (
        vendor.reasoning != "told"
        or endpoint in _BY_OTHER_UNITS
        or (asked is not None and _is_rare(asked))
        or (given is not None and (given.reasoning_tokens or _is_rare(given)))
        or usage.cached_tokens
        or usage.reasoning_tokens
        or usage.prompt_cache_hit_tokens
        or usage.cache_read_input_tokens
        or usage.cache_creation_input_tokens
        or usage.billed_units
        or usage.prompt_audio_seconds
    ):
        return _all_of(usage, vendor, endpoint, prompt, completion or 0)
    # A negative count would give money back, and one beyond any model's is a fault of the upstream.
    if not 0 <= prompt < MAX_TOKENS:
        prompt = _within(prompt, MAX_TOKENS)
    if completion is None or not 0 <= completion < MAX_TOKENS:
        completion = _within(completion, MAX_TOKENS)
    if asked is None or not asked.cached_tokens:
        return Tokens(prompt, 0, completion)
    return Tokens(prompt, _within(asked.cached_tokens, prompt), completion)


def _is_rare(details: Details) -> Any:
    return (
        details.audio_tokens
        or details.image_tokens
        or details.cache_write_tokens
        or details.cache_creation_tokens
        or details.cache_creation_input_tokens
        or details.thinking_tokens
    )


def _all_of(usage: Usage, vendor: Vendor, endpoint: str, prompt: int, completion: int) -> Tokens:
    """The counts of a ``usage`` object that tells more than prompt, cached and completion."""
    none = Details()
    asked = usage.prompt_tokens_details or usage.input_tokens_details or usage.input_token_details or none
    given = usage.completion_tokens_details or usage.output_tokens_details or none
    if usage.billed_units is not None:
        prompt = usage.billed_units.input_tokens or 0
        completion = usage.billed_units.output_tokens or 0
    cached = (
        asked.cached_tokens or usage.cached_tokens or usage.prompt_cache_hit_tokens or usage.cache_read_input_tokens
    )
    written, written_1h = _written(usage, asked)
    if usage.prompt_tokens is None and usage.input_tokens is not None:
        prompt += (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    reasoning = given.reasoning_tokens or usage.reasoning_tokens or given.thinking_tokens or 0
    reasoning, completion = _thought(usage, vendor, prompt, completion, reasoning)
    audio, image = given.audio_tokens, given.image_tokens
    if endpoint == "audio.speech":
        audio = completion  # what it makes is sound
    elif endpoint.startswith("images.") and image is None:
        image = completion - (given.text_tokens or 0)
    seconds = usage.seconds if usage.seconds is not None else usage.prompt_audio_seconds
    prompt = _within(prompt, MAX_TOKENS)
    completion = _within(completion, MAX_TOKENS)
    written = _within(written, prompt)
    return Tokens(
        prompt,
        _within(cached, prompt),
        completion,
        _within(reasoning, completion),
        written,
        _within(written_1h, written),
        _within(asked.audio_tokens, prompt),
        _within(audio, completion),
        _within(asked.image_tokens, prompt),
        _within(image, completion),
        0,
        _whole(seconds),
    )


def _written(usage: Usage, asked: Details) -> tuple[int, int]:
    """Prompt tokens written to the provider's cache, and those of them for an hour."""
    written = (
        usage.cache_creation_input_tokens
        or asked.cache_creation_input_tokens
        or asked.cache_write_tokens
        or asked.cache_creation_tokens
        or 0
    )
    kept = usage.cache_creation or asked.cache_creation or asked.cache_creation_token_details
    if kept is None:
        return written, 0
    hour = kept.ephemeral_1h_input_tokens or 0
    return max(written, hour + (kept.ephemeral_5m_input_tokens or 0)), hour


def _thought(usage: Usage, vendor: Vendor, prompt: int, completion: int, reasoning: int) -> tuple[int, int]:
    """The tokens of thought, and the completion with them."""
    total = usage.total_tokens or 0
    if vendor.reasoning == "rest":
        rest = max(0, total - prompt - completion)
        return max(reasoning, rest), completion + rest
    beside = reasoning > completion or (reasoning > 0 and total == prompt + completion + reasoning)
    if vendor.reasoning == "beside" or beside:
        return reasoning, completion + reasoning
    return reasoning, completion


def _within(count: int | None, most: int) -> int:
    if count is None or count <= 0:
        return 0
    return count if count < most else most


def _whole(seconds: float | None) -> int:
    """Whole seconds, as they are paid by."""
    return 0 if seconds is None or not 0 < seconds < MAX_TOKENS else int(seconds + 0.5)


def read_answer(body: bytes, vendor: Vendor = UNKNOWN, endpoint: str = "") -> tuple[Tokens | None, bool]:
    """The usage in a whole answer or an event, and whether it has choices. Raises :class:`msgspec.DecodeError`.

    A ``usage`` of an unknown shape counts as none; of one that is partly so, the rest is read.
    """
    try:
        answer = _decode(body)
    except msgspec.ValidationError:
        return _read_damaged(body, vendor, endpoint)
    if answer.usage is not None:
        tokens = tokens_of(answer.usage, vendor, endpoint)
        if endpoint == "embeddings" and not tokens.prompt:
            return None, False  # there is no text of no tokens: this says that nobody counted
        return tokens, bool(answer.choices)
    return _read_elsewhere(body, vendor, endpoint), bool(answer.choices)


def _read_elsewhere(body: bytes, vendor: Vendor, endpoint: str) -> Tokens | None:
    try:
        answer = _decode_elsewhere(body)
    except msgspec.ValidationError:
        return None
    for within in (answer.x_groq, *(answer.choices or ())[-1:]):
        if within is not None and within.usage is not None:
            return tokens_of(within.usage, vendor, endpoint)
    if answer.meta is not None:
        billed = answer.meta.billed_units or answer.meta.tokens
        if billed is not None and (billed.input_tokens is not None or billed.output_tokens is not None):
            return tokens_of(Usage(input_tokens=billed.input_tokens, output_tokens=billed.output_tokens))
    if endpoint.startswith("images.") and answer.data:
        return Tokens(images=len(answer.data))
    if endpoint.startswith("audio.") and answer.duration is not None:
        return Tokens(audio_seconds=_whole(answer.duration))
    return None


def _read_damaged(body: bytes, vendor: Vendor, endpoint: str) -> tuple[Tokens | None, bool]:
    """What can be read of an answer in which something has another type than it should."""
    answer: Any = msgspec.json.decode(body)
    if not isinstance(answer, dict):
        return None, True
    usage = _sound(answer.get("usage"), Usage)
    has_choices = bool(answer.get("choices"))
    if usage is None or usage == Usage():
        return None, True
    return tokens_of(usage, vendor, endpoint), has_choices


def _sound(value: Any, shape: type[Struct]) -> Any:
    """A struct of those fields of a dict that are as they should be."""
    if not isinstance(value, dict):
        return None
    found = {}
    for name in shape.__struct_fields__:
        if name not in value:
            continue
        try:
            found[name] = msgspec.convert({name: value[name]}, shape, strict=False)
        except msgspec.ValidationError:
            nested = _NESTED.get(name)
            if nested is not None:
                found[name] = shape(**{name: _sound(value[name], nested)})
    return shape(**{name: getattr(part, name) for name, part in found.items()})


_NESTED: Final[dict[str, type[Struct]]] = {
    "prompt_tokens_details": Details,
    "completion_tokens_details": Details,
    "input_tokens_details": Details,
    "output_tokens_details": Details,
    "input_token_details": Details,
    "cache_creation": Kept,
    "cache_creation_token_details": Kept,
    "billed_units": Billed,
}
