"""The translated providers by their ``kind``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final

from gateway.providers.base import Translator

_MODULES: Final = {
    "anthropic": "gateway.providers.anthropic",
    "bedrock": "gateway.providers.bedrock",
    "cohere": "gateway.providers.cohere",
    "gemini": "gateway.providers.gemini",
    "mistral": "gateway.providers.mistral",
    "vertex": "gateway.providers.gemini.vertex",
}
"""Where each kind's ``translator()`` is. A module is loaded when a configuration names its kind."""


def translator_for(kind: str) -> Translator | None:
    """The translation of a kind; None for one that speaks OpenAI's API."""
    module = _MODULES.get(kind)
    if module is None:
        return None
    make: Callable[[], Translator] = import_module(module).translator
    return make()
