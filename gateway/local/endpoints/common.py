"""What the text-generating endpoints share: refusals, prompt limits, usage and identifiers."""

from __future__ import annotations

import functools
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.local.generate import TokenScore
from gateway.local.native import LoadedModel
from gateway.local.requests import Common, invalid
from gateway.local.residency import Resident

EACH_USAGE = b"x-gateway-usage"
"""The header by which the data plane asks to be told the usage with each event of a stream."""

_BYTES_PER_TOKEN = 256  # more than any vocabulary's longest token, so a longer text cannot fit


@dataclass
class Usage:
    """Token counts of a request. ``cached`` is part of ``prompt``."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def render(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


@dataclass
class Head:
    """The fields every body and chunk of one answer begins with."""

    prefix: str
    object: str
    model: str
    version: Callable[[], str]
    id: str = field(default="")
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.id = f"{self.prefix}-{secrets.token_hex(16)}"

    def render(self, **more: Any) -> dict[str, Any]:
        """A body of this answer."""
        return {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": fingerprint(self.version(), self.model),
            **more,
        }


@functools.lru_cache
def fingerprint(version: str, model: str) -> str:
    """OpenAI's ``system_fingerprint``: changes when the engine or the model does."""
    return "fp_" + hashlib.sha256(f"{version}/{model}".encode()).hexdigest()[:10]


def check_common(request: Common) -> None:
    """Refuses what makes no sense together."""
    if request.stream_options is not None and not request.stream:
        raise invalid("Expected 'stream' to be true when 'stream_options' is given.", "stream_options")


def fit(model: LoadedModel, text: str, field_name: str, *, add_special: bool) -> list[int]:
    """The tokens of a prompt. Raises ``GatewayError`` (``context_length_exceeded``) with the numbers."""
    size = len(text.encode("utf-8", errors="replace"))
    if size > model.context_length * _BYTES_PER_TOKEN:
        raise too_long(model, f"more than {size // _BYTES_PER_TOKEN}", field_name)
    tokens = model.tokenize(text, add_special=add_special, parse_special=True)
    return check_length(model, tokens, field_name)


def check_length(model: LoadedModel, tokens: list[int], field_name: str) -> list[int]:
    """Refuses a prompt that is empty, leaves no room for an answer, or has ids outside the vocabulary."""
    if not tokens:
        raise invalid("Expected a prompt of at least one token.", field_name)
    if len(tokens) >= model.context_length:
        raise too_long(model, str(len(tokens)), field_name)
    if wrong := [token for token in tokens if not 0 <= token < model.n_vocab]:
        raise invalid(f"Expected token ids from 0 to {model.n_vocab - 1}, not {wrong[0]}.", field_name)
    return tokens


def too_long(model: LoadedModel, count: str, field_name: str) -> Exception:
    """OpenAI's refusal of a prompt that does not fit."""
    message = (
        f"This model's maximum context length is {model.context_length} tokens. However, your {field_name} resulted in "
        f"{count} tokens. Please reduce the length of the {field_name}."
    )
    return invalid(message, field_name, "context_length_exceeded")


def room(resident: Resident, prompt: list[int], asked: int | None) -> int:
    """How many tokens the answer may have: what was asked for, within what the context leaves."""
    left = resident.model.context_length - len(prompt)
    return left if asked is None else min(asked, left)


def scores_for_chat(scores: list[TokenScore]) -> dict[str, Any]:
    """The ``logprobs`` object of a chat choice."""

    def entry(token: bytes, logprob: float) -> dict[str, Any]:
        return {"token": token.decode(errors="replace"), "logprob": logprob, "bytes": list(token)}

    content = [
        {**entry(score.token, score.logprob), "top_logprobs": [entry(*top) for top in score.top]} for score in scores
    ]
    return {"content": content, "refusal": None}
