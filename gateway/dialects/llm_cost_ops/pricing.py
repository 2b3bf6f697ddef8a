"""``/api/v1/pricing``: prices by effective date ("Pricing Management").

Reading needs ``pricing:read``, writing ``pricing:write``. A price of the platform is everybody's; an organisation's own
are its alone, and its reports of usage are rated by them. Beyond the reference, ``pricing_structure`` also holds, and
takes, what else a model is paid by.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from msgspec import UNSET
from pydantic import Field

from gateway.dialects.common.authentication import Caller
from gateway.dialects.common.context import ContextOf
from gateway.dialects.common.fields import naming
from gateway.dialects.common.models import Answer, Asked, Instant, Moment, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, WorksOf, Writing
from gateway.dialects.llm_cost_ops.paging import CountedPage, CursorPaging, cursor_of
from gateway.dialects.llm_cost_ops.rates import (
    AskedStructure,
    Per1k,
    Structure,
    per_1k,
    rates_of,
    structure_of,
    taken_away,
    tiers_of,
)
from gateway.domain.fields import invalid
from gateway.domain.pricing.book import bases_of
from gateway.domain.pricing.defaults import Defaults
from gateway.domain.pricing.model import PriceVersion
from gateway.domain.pricing.requests import NewPrice, PriceChange, PriceFilter
from gateway.domain.pricing.service import READ, PriceService
from gateway.domain.pricing.sync import complete
from gateway.settings.model import Settings

router = make_router()
PATH = "/api/v1/pricing"
SUPPORTED = ("openai", "anthropic", "google", "azure", "aws", "cohere", "mistral")
"""Reference, "Supported Providers"."""
Currency = Literal["USD", "EUR", "GBP", "JPY", "AUD", "CAD"]
_NAMES = {
    "model": "model_id",
    "rates": "pricing_structure",
    "tiers": "pricing_structure.tiers",
    "effective_from": "effective_date",
    "effective_to": "end_date",
    "organization": "organization_id",
}


class AskedPrice(Asked):
    """A price to make. Beyond the reference: ``end_date``, ``organization_id`` and ``pricing_structure``."""

    provider: str = Field(min_length=1)
    model_id: str = Field(min_length=1)
    input_price_per_1k: Per1k
    output_price_per_1k: Per1k
    currency: Currency = "USD"
    effective_date: Moment | None = None
    end_date: Moment | None = None
    organization_id: str | None = None
    pricing_structure: AskedStructure = AskedStructure()


class AskedChange(Asked):
    """What the next version says otherwise; what is left out stays. ``effective_date`` is now where it is left out."""

    input_price_per_1k: Per1k | None = None
    output_price_per_1k: Per1k | None = None
    currency: Currency | None = None
    effective_date: Moment | None = None
    pricing_structure: AskedStructure = AskedStructure()


class Chosen(CursorPaging):
    """Which prices. Beyond the reference: ``source`` and ``organization_id``, and pages by cursor."""

    provider: str | None = None
    model_id: str | None = None
    active_only: bool = True
    source: Literal["api", "config", "default"] | None = None
    organization_id: str | None = None


class Ending(Parameters):
    """When it ends; a date alone is its midnight in UTC."""

    end_date: Moment | None = None


class MadePrice(Answer):
    """A price that was made."""

    id: str
    provider: str
    model_id: str
    input_price_per_1k: float
    output_price_per_1k: float
    currency: str
    effective_date: Instant
    created_at: Instant


class ListedPrice(MadePrice):
    """A price in a list."""

    end_date: Instant | None
    updated_at: Instant


class ShownPrice(Answer):
    """A price by itself. ``end_date`` is there where it has one."""

    id: str
    provider: str
    model_id: str
    input_price_per_1k: float
    output_price_per_1k: float
    currency: str
    effective_date: Instant
    end_date: Instant | None = None
    pricing_structure: Structure


class MadeAnswer(Answer):
    """A price that was made."""

    data: MadePrice


class PriceAnswer(Answer):
    """One price."""

    data: ShownPrice


class PricesAnswer(Answer):
    """Prices, the last made first."""

    data: list[ListedPrice]
    pagination: CountedPage


@router.get(PATH)
async def listed(works: WorksOf, actor: Caller, context: ContextOf, asked: Annotated[Chosen, Query()]) -> PricesAnswer:
    """Those in force, or all versions with ``active_only=false``."""
    after = asked.after
    actor.require(READ, asked.organization_id)
    if asked.source in (None, "default"):
        await complete(works, bases_of(context.settings))
    async with works.read(actor) as work:
        page = await PriceService(work).list(
            PriceFilter(
                provider=asked.provider,
                model=asked.model_id,
                source=asked.source,
                organization=asked.organization_id,
                active=asked.active_only,
                after=after,
                limit=asked.limit,
                ascending=asked.order == "asc",
            )
        )
    return PricesAnswer(
        data=[ListedPrice(**_made(row), end_date=row.effective_to, updated_at=row.updated_at) for row in page.items],
        pagination=CountedPage(
            has_more=page.next is not None,
            next_cursor=cursor_of(page.next, asked.order),
            total_count=page.total,
            limit=asked.limit,
        ),
    )


@router.post(PATH, status_code=201)
async def create(body: AskedPrice, work: Writing, context: ContextOf) -> MadeAnswer:
    """Make a price; the open one that began before ends where it begins."""
    await _require_known(body.provider, context.settings)
    rates = {"input": body.input_price_per_1k, "output": body.output_price_per_1k}
    new = NewPrice(
        provider=body.provider,
        model=body.model_id,
        rates=rates_of(rates, body.pricing_structure),
        tiers=tiers_of(body.pricing_structure) or (),
        currency=body.currency,
        effective_from=body.effective_date,
        effective_to=body.end_date,
        organization=body.organization_id,
    )
    with naming(**_NAMES):
        row = await PriceService(work).create(new)
    return MadeAnswer(data=MadePrice(**_made(row)))


@router.get(PATH + "/{pricing_id}", response_model_exclude_unset=True)
async def get(pricing_id: str, work: Reading) -> PriceAnswer:
    """One version of a price."""
    return PriceAnswer(data=_shown(await PriceService(work).get(pricing_id)))


@router.put(PATH + "/{pricing_id}", response_model_exclude_unset=True)
async def update(pricing_id: str, body: AskedChange, work: Writing) -> PriceAnswer:
    """Make the next version; the answer is that one, with an id of its own."""
    given = {"input": body.input_price_per_1k, "output": body.output_price_per_1k}
    rates: dict[str, int | None] = dict(rates_of(given, body.pricing_structure))
    tiers = tiers_of(body.pricing_structure)
    change = PriceChange(
        rates=rates | dict.fromkeys(taken_away(body.pricing_structure)),
        tiers=UNSET if tiers is None else tiers,
        currency=UNSET if body.currency is None else body.currency,
        effective_from=body.effective_date,
    )
    with naming(**_NAMES):
        row = await PriceService(work).new_version(pricing_id, change)
    return PriceAnswer(data=_shown(row))


@router.delete(PATH + "/{pricing_id}", status_code=204)
async def end(pricing_id: str, work: Writing, asked: Annotated[Ending, Query()]) -> Response:
    """End a price, now by default. It goes on being told by its id, and in lists with ``active_only=false``."""
    await PriceService(work).end(pricing_id, asked.end_date)
    return Response(status_code=204)


async def _require_known(provider: str, settings: Settings) -> None:
    if provider in SUPPORTED or provider in bases_of(settings):
        return
    listed = await asyncio.to_thread(Defaults().providers)
    if provider not in listed:
        names = ", ".join([*SUPPORTED, *(name for name in bases_of(settings) if name not in SUPPORTED)])
        message = f"provider must be a provider of gateway.yaml or of the default list, such as: {names}."
        raise invalid(message, "provider", "invalid_provider")


def _made(row: PriceVersion) -> dict[str, Any]:
    return {
        "id": row.id,
        "provider": row.provider,
        "model_id": row.model,
        "input_price_per_1k": per_1k(row.rates.get("input", 0)),
        "output_price_per_1k": per_1k(row.rates.get("output", 0)),
        "currency": row.currency,
        "effective_date": row.effective_from,
        "created_at": row.created_at,
    }


def _shown(row: PriceVersion) -> ShownPrice:
    fields = _made(row)
    del fields["created_at"]
    if row.effective_to is not None:
        fields["end_date"] = row.effective_to
    return ShownPrice(**fields, pricing_structure=structure_of(row))
