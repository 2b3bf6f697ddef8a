"""What is told of models from one plane to the other, and kept of the providers' own lists."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Details(Struct, frozen=True, omit_defaults=True):
    """A provider's model, as far as somebody has said; None for what nobody has.

    ``context_length`` and ``max_output`` are tokens. Modalities are lower-case words (``text``, ``image``, ``audio``,
    ``file``), ``parameters`` those of OpenAI's Chat Completions. ``prices`` are US dollars for one of what they count,
    by OpenRouter's names for it (``prompt``, ``completion``, …), as decimal texts. ``moderated`` says whether the
    provider filters what it is asked.
    """

    name: str | None = None
    context_length: int | None = None
    max_output: int | None = None
    input_modalities: tuple[str, ...] | None = None
    output_modalities: tuple[str, ...] | None = None
    parameters: tuple[str, ...] | None = None
    prices: dict[str, str] = {}
    moderated: bool | None = None


UNKNOWN = Details()
"""Of a model that nobody says anything of."""

# Vendors whose API serves their own models alone, as aggregators name them.
_VENDORS: Final = {
    "anthropic": "anthropic",
    "azure": "openai",
    "azure_v1": "openai",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gemini": "google",
    "jina": "jinaai",
    "mistral": "mistralai",
    "moonshot": "moonshotai",
    "perplexity": "perplexity",
    "qwen": "qwen",
    "vertex": "google",
    "xai": "x-ai",
}


def author_of(model: str, target: str, provider: str, kind: str) -> str:
    """Who made a model, in lower case: what stands before the slash of its name, or of its first target's, as
    aggregators write it; else the vendor that the ``kind`` is of; else the provider's name.
    """
    for name in (model, target):
        author, slash, rest = name.partition("/")
        if slash and author and rest:
            return author.casefold()
    return _VENDORS.get(kind, provider.casefold())
