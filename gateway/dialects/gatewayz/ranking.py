"""``/ranking/models``: which models are used most. Public: it tells of all callers together."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import Query
from msgspec import structs
from pydantic import Field

from gateway.dialects.common.models import Answer, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import PublicReading
from gateway.dialects.gatewayz.activity import tokens
from gateway.domain.actor import SYSTEM
from gateway.domain.analytics.periods import named, to_ns
from gateway.domain.analytics.service import Reader
from gateway.domain.ledger.query import Filter
from gateway.domain.work import Work

router = make_router()
_DAYS = timedelta(days=30)
_LOGO = "https://www.google.com/s2/favicons?domain={}&sz=128"
_DOMAINS = {
    "anthropic": "anthropic.com", "aws": "aws.amazon.com", "azure": "azure.microsoft.com", "cohere": "cohere.com",
    "deepseek": "deepseek.com", "google": "google.com", "meta": "meta.com", "meta-llama": "meta.com",
    "mistral": "mistral.ai", "mistralai": "mistral.ai", "openai": "openai.com", "openrouter": "openrouter.ai",
    "qwen": "qwen.ai", "x-ai": "x.ai",
}  # fmt: skip


class Chosen(Parameters):
    """Which part of the ranking."""

    limit: int = Field(default=50, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=1_000_000)


class Ranked(Answer):
    """A model, by the tokens of the last thirty days; its trend is against the thirty before.

    ``logo_url`` is null for an author whose site is not known.
    """

    rank: int
    model_name: str
    author: str
    logo_url: str | None
    tokens: str
    trend_percentage: str
    trend_direction: Literal["up", "down", "stable"]


class Ranking(Answer):
    """A page of the ranking, and how many are on it."""

    success: bool = True
    data: list[Ranked]
    count: int
    has_logo_urls: bool


@router.get("/ranking/models")
async def ranking(public: PublicReading, chosen: Annotated[Chosen, Query()]) -> Ranking:
    """Models by tokens, the most used first."""
    work = Work(public.session, SYSTEM, public.now, public.seal)
    within = named("last-30-days", work.now)
    assert within.start is not None
    now = Filter(from_ns=within.from_ns, until_ns=within.until_ns)
    before = structs.replace(now, from_ns=to_ns(within.start - _DAYS), until_ns=within.from_ns)
    used, former = await _used(work, now), await _used(work, before)
    order = sorted((key for key, count in used.items() if count > 0), key=lambda key: (-used[key], key))
    page = list(enumerate(order, 1))[chosen.offset : chosen.offset + chosen.limit]
    data = [_ranked(rank, key, used[key], former.get(key, 0)) for rank, key in page]
    return Ranking(data=data, count=len(data), has_logo_urls=any(item.logo_url is not None for item in data))


async def _used(work: Work, wanted: Filter) -> dict[tuple[str, str], int]:
    """Tokens by author and model."""
    found = await Reader(work, "system:read").sums(
        wanted, ("provider", "model"), None, ("prompt_tokens", "completion_tokens")
    )
    counts: dict[tuple[str, str], int] = {}
    for item in found:
        provider, model = item.group
        author, slash, name = model.partition("/")
        key = (author, name) if slash and author and name else (provider or "unknown", model)
        counts[key] = counts.get(key, 0) + tokens(item)
    return counts


def _ranked(rank: int, key: tuple[str, str], now: int, before: int) -> Ranked:
    author, model = key
    percent = 100 if not before else round(abs(now - before) / before * 100)
    domain = _DOMAINS.get(author.lower())
    return Ranked(
        rank=rank,
        model_name=model,
        author=author,
        logo_url=None if domain is None else _LOGO.format(domain),
        tokens=f"{short(now)} tokens",
        trend_percentage=f"{percent}%",
        trend_direction="stable" if now == before else "up" if now > before else "down",
    )


def short(count: int) -> str:
    """A number as people say it: ``950``, ``1.5K``, ``8.2B``."""
    for size, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + letter
    return str(count)
