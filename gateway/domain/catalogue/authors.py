"""Who makes models: names and sites of the well-known, by what aggregators call them."""

from __future__ import annotations

from typing import Final, NamedTuple

# Slug: the name as its owner writes it, and the site.
_KNOWN: Final = {
    "ai21": ("AI21", "https://www.ai21.com"),
    "amazon": ("Amazon", "https://aws.amazon.com/bedrock"),
    "anthropic": ("Anthropic", "https://www.anthropic.com"),
    "cohere": ("Cohere", "https://cohere.com"),
    "deepseek": ("DeepSeek", "https://www.deepseek.com"),
    "deepseek-ai": ("DeepSeek", "https://www.deepseek.com"),
    "google": ("Google", "https://ai.google.dev"),
    "jinaai": ("Jina AI", "https://jina.ai"),
    "meta": ("Meta", "https://ai.meta.com"),
    "meta-llama": ("Meta Llama", "https://www.llama.com"),
    "microsoft": ("Microsoft", "https://www.microsoft.com"),
    "minimax": ("MiniMax", "https://www.minimax.io"),
    "mistral": ("Mistral AI", "https://mistral.ai"),
    "mistralai": ("Mistral AI", "https://mistral.ai"),
    "moonshotai": ("Moonshot AI", "https://www.moonshot.ai"),
    "nvidia": ("NVIDIA", "https://www.nvidia.com"),
    "openai": ("OpenAI", "https://openai.com"),
    "openrouter": ("OpenRouter", "https://openrouter.ai"),
    "perplexity": ("Perplexity", "https://www.perplexity.ai"),
    "qwen": ("Qwen", "https://qwen.ai"),
    "x-ai": ("xAI", "https://x.ai"),
}


class Author(NamedTuple):
    """Who makes models, with how many of them can be asked for. ``official_url`` is None where it is not known."""

    name: str
    slug: str
    models: int
    official_url: str | None


def author(slug: str, models: int) -> Author:
    """An author by the slug; one that is not known goes by it."""
    name, url = _KNOWN.get(slug, (slug, None))
    return Author(name, slug, models, url)
