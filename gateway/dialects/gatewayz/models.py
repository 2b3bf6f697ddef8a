"""``/models/providers``: who made the models that can be asked for. ``/models`` itself is the data plane's."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field

from gateway.dialects.common.context import ContextOf
from gateway.dialects.common.models import Answer, Parameters
from gateway.dialects.common.routing import make_router

router = make_router()


class Chosen(Parameters):
    """Which of them: ``gateway`` is a provider, by its name or kind, that must serve their models."""

    moderated_only: bool = False
    limit: int = Field(default=1000, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=1_000_000)
    gateway: str = Field(default="all", max_length=256)


class Maker(Answer):
    """Who makes models. ``official_url`` is null where it is not known."""

    name: str
    slug: str
    description: str
    model_count: int
    official_url: str | None


class Makers(Answer):
    """A page of them, and how many are on it."""

    success: bool = True
    data: list[Maker]
    count: int


@router.get("/models/providers")
def providers(context: ContextOf, chosen: Annotated[Chosen, Query()]) -> Makers:
    """Those of most models first. It runs in a thread: the providers' lists may have to be read."""
    found = context.models.authors(chosen.gateway, moderated_only=chosen.moderated_only)
    data = [
        Maker(
            name=each.name,
            slug=each.slug,
            description=f"{each.name} models",
            model_count=each.models,
            official_url=each.official_url,
        )
        for each in found[chosen.offset : chosen.offset + chosen.limit]
    ]
    return Makers(data=data, count=len(data))
