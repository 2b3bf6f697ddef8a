"""What well-known models take, by the names their providers give them.

Only families are listed whose every member behaves alike; whatever is not here is assumed to take everything. Sources:
the providers' model pages and API references (OpenAI "Models", Anthropic "Models overview" and "Prefill", Google
"Gemini models", Mistral "Models" and "Prefix", DeepSeek "Chat Prefix Completion (Beta)", Meta's model cards).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from gateway.settings.kinds import IN_ENGINE, kind_of
from gateway.settings.model import Model, Prefill, Provider, Target


class Capabilities(Struct, frozen=True):
    """What a target takes. ``context_length`` is in tokens of prompt and answer together; None: not known."""

    context_length: int | None = None
    tools: bool = True
    vision: bool = True
    json_schema: bool = True
    prefill: Prefill = "none"
    max_tokens: int | None = None


_ANYTHING: Final = Capabilities()

TOLD: Final = ("context_length", "tools", "vision", "json_schema", "prefill", "max_tokens")
"""What a configuration may say of a target, wherever it names it."""

# The first that fits counts. A vendor's prefix, as aggregators write it, is taken off before.
_FAMILIES: Final[tuple[tuple[str, Capabilities], ...]] = (
    (r"gpt-3\.5-turbo(-0125|-1106|-16k.*)?$", Capabilities(16_385, vision=False, json_schema=False)),
    (r"gpt-4(-0613|-0314)?$", Capabilities(8_192, vision=False, json_schema=False)),
    (r"gpt-4-turbo(-2024.*)?$", Capabilities(128_000, json_schema=False)),
    (r"gpt-4o(-mini)?(-2024.*)?$", Capabilities(128_000)),
    (r"gpt-4\.1(-mini|-nano)?(-2025.*)?$", Capabilities(1_047_576)),
    (r"gpt-5(-mini|-nano)?(-2025.*)?$", Capabilities(400_000)),
    (r"(o1|o3|o4-mini)(-20.*)?$", Capabilities(200_000)),
    (r"o3-mini(-20.*)?$", Capabilities(200_000, vision=False)),
    (r"claude-3-(haiku|sonnet|opus)(-2024.*|-latest)?$", Capabilities(200_000, json_schema=False, prefill="message")),
    (r"claude-3-[57]-(sonnet|haiku)(-202.*|-latest)?$", Capabilities(200_000, json_schema=False, prefill="message")),
    (r"(codestral|mistral-(small|medium|large))-(latest|2[45]\d\d)$", Capabilities(prefill="prefix")),
    (r"deepseek-(chat|reasoner)$", Capabilities(vision=False)),
    (r"(meta-)?llama-3\.[13]-(8b|70b|405b)(-instruct.*)?$", Capabilities(131_072, vision=False)),
)
_COMPILED: Final = tuple((re.compile(pattern), known) for pattern, known in _FAMILIES)


def known_of(model: str) -> Capabilities:
    """What is known of a model by its name, whatever its case and vendor prefix."""
    name = model.rpartition("/")[2].lower()
    for pattern, known in _COMPILED:
        if pattern.match(name):
            return known
    return _ANYTHING


def told_of(models: Iterable[Model]) -> dict[tuple[str, str], Target]:
    """Each provider's model that models name, with what any of them says of it: no two say different things."""
    found: dict[tuple[str, str], Target] = {}
    for target in (each for model in models for each in model.targets):
        before = found.setdefault((target.provider, target.model), target)
        told = {name: value for name in TOLD if (value := getattr(target, name)) is not None}
        found[target.provider, target.model] = replace(before, **told)
    return found


def capabilities_of(target: Target, provider: Provider) -> Capabilities:
    """What a target takes: as the configuration says, else as is known of the model."""
    known = known_of(target.model)
    if provider.kind == "llama_cpp":
        known = Capabilities(provider.llama_cpp.context_length, vision=False)
    elif provider.kind == "anthropic":
        known = replace(known, json_schema=True)  # where the model has no format for it, a tool stands for it
    else:
        known = _with_kind(known, provider.kind)
    return Capabilities(
        known.context_length if target.context_length is None else target.context_length,
        known.tools if target.tools is None else target.tools,
        known.vision if target.vision is None else target.vision,
        known.json_schema if target.json_schema is None else target.json_schema,
        known.prefill if target.prefill is None else target.prefill,
        target.max_tokens,
    )


def _with_kind(known: Capabilities, name: str) -> Capabilities:
    """What a vendor says of all its models goes before what is known of a model under any vendor."""
    kind = kind_of(name)
    told = {} if kind is None else asdict(kind.features)
    return replace(known, **{key: value for key, value in told.items() if value is not None})


class Facts(Struct, frozen=True):
    """What is known of a target without asking anybody: None for what is only assumed.

    ``refused`` are parameters that its API does not take.
    """

    context_length: int | None = None
    tools: bool | None = None
    vision: bool | None = None
    json_schema: bool | None = None
    refused: tuple[str, ...] = ()


def facts_of(target: Target, provider: Provider) -> Facts:
    """What the configuration and this module know: what a route goes by, without what is taken for granted."""
    offers, known, kind = capabilities_of(target, provider), known_of(target.model), kind_of(provider.kind)
    # A family whose context is listed is listed whole; of the others only what they lack is known.
    whole = kind is None or known.context_length is not None

    def sure(name: str) -> bool | None:
        said: bool | None = getattr(target, name)
        if said is None and kind is not None:
            said = getattr(kind.features, name)
        offered: bool = getattr(offers, name)
        return offered if said is not None or whole or not offered else None

    return Facts(
        offers.context_length,
        sure("tools"),
        sure("vision"),
        sure("json_schema"),
        (IN_ENGINE if kind is None else kind).unsupported,
    )
