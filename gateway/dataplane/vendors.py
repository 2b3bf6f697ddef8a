"""What is known of providers whose usage says something else than OpenAI's does, as data.

A provider is known by the host of its ``base_url``, else by its kind or name. One that is not known is read by what its
numbers say; see :mod:`gateway.dataplane.usage`.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

Reasoning = Literal["told", "beside", "rest"]
"""Where a provider counts tokens of thought.

``told``: within the completion, as OpenAI does, or beside it where only so the total comes out (xAI). ``beside``:
always beside it. ``rest``: it does not tell them, and they are what the total has beyond prompt and completion.
"""


class Vendor(NamedTuple):
    """One kind of provider. ``vocabulary`` is the one its tokens are counted by where it tells no usage."""

    name: str
    reasoning: Reasoning = "told"
    vocabulary: str = "o200k_base"


UNKNOWN: Final = Vendor("")
LOCAL: Final = Vendor("local")

# The hosts as a pattern, and the names under which providers are commonly configured.
_VENDORS: Final[tuple[tuple[str, tuple[str, ...], Vendor], ...]] = (
    (r"api\.openai\.com", ("openai",), Vendor("openai")),
    (r"(?:openai|services\.ai)\.azure\.com|cognitiveservices\.azure\.com", ("azure", "azure_v1"), Vendor("azure")),
    (r"api\.anthropic\.com", ("anthropic",), Vendor("anthropic")),
    (r"googleapis\.com", ("google", "gemini", "vertex"), Vendor("google", reasoning="rest")),
    (r"api\.deepseek\.com", ("deepseek",), Vendor("deepseek")),
    (r"api\.x\.ai", ("xai", "x-ai"), Vendor("xai")),
    (r"api\.groq\.com", ("groq",), Vendor("groq")),
    (r"api\.mistral\.ai", ("mistral",), Vendor("mistral")),
    (r"api\.cohere\.(?:ai|com)", ("cohere",), Vendor("cohere")),
    (r"api\.perplexity\.ai", ("perplexity",), Vendor("perplexity", reasoning="beside")),
    (r"api\.moonshot\.(?:ai|cn)", ("moonshot", "moonshotai"), Vendor("moonshot")),
    (r"dashscope(?:-intl|-us)?\.aliyuncs\.com", ("dashscope", "qwen", "alibaba"), Vendor("qwen", vocabulary="qwen3.5")),
    (r"openrouter\.ai", ("openrouter",), Vendor("openrouter")),
)
_BY_HOST: Final = tuple((re.compile(rf"(?:^|\.)(?:{hosts})$"), vendor) for hosts, _, vendor in _VENDORS)
_BY_NAME: Final = {name: vendor for _, names, vendor in _VENDORS for name in names}
# The models of OpenAI that came before its present vocabulary.
_CL100K: Final = re.compile(r"(?:gpt-4(?!o|\.)|gpt-3\.5|gpt-35|text-embedding-)")


def vendor_of(name: str, base_url: str | None, kind: str = "openai") -> Vendor:
    """The vendor behind a configured provider: by its host, else by its kind, else by its name."""
    host = (urlsplit(base_url).hostname or "") if base_url else ""
    for pattern, vendor in _BY_HOST:
        if pattern.search(host):
            return vendor
    by_kind = None if kind == "openai" else _BY_NAME.get(kind)
    return by_kind or _BY_NAME.get(name.lower(), UNKNOWN)


def vocabulary_of(vendor: Vendor, model: str) -> str:
    """The vocabulary by which a model's tokens are counted: its own where it is public, else the nearest there is."""
    bare = model.rpartition("/")[2].lower()
    if _CL100K.match(bare):
        return "cl100k_base"
    return "qwen3.5" if bare.startswith(("qwen", "qwq")) else vendor.vocabulary
