"""The shapes in which vendors tell usage, as :mod:`gateway.dataplane.usage` reads them; all else is left unread.

Apart from it because a Struct can't be compiled (``scripts/compile.py``) and what reads it should be.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct


class Kept(Struct):
    """What was written to a cache, by how long it is kept."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class Details(Struct):
    """Parts of a count, of the prompt or of the completion."""

    cached_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None
    text_tokens: int | None = None
    image_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: Kept | None = None
    cache_creation_token_details: Kept | None = None
    thinking_tokens: int | None = None


class Billed(Struct):
    """What Cohere bills."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class Usage(Struct):
    """A ``usage`` object of any vendor."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    input_token_details: Details | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: Kept | None = None
    billed_units: Billed | None = None
    prompt_audio_seconds: int | None = None
    seconds: float | None = None


class Answer(Struct):
    """Where nearly all tell it."""

    usage: Usage | None = None
    choices: list[msgspec.Raw] | None = None


class Within(Struct):
    """Something that has a ``usage`` of its own."""

    usage: Usage | None = None


class Meta(Struct):
    """Cohere's ``meta``."""

    billed_units: Billed | None = None
    tokens: Billed | None = None


class Elsewhere(Struct):
    """Where the others tell it, and what counts without a ``usage``."""

    choices: list[Within] | None = None
    x_groq: Within | None = None
    meta: Meta | None = None
    data: list[msgspec.Raw] | None = None
    duration: float | None = None
