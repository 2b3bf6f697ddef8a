"""Limits, plans, budgets and static keys of ``gateway.yaml``: who may use how much."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.settings.fields import END, Catalog, Dollars, Metric, Name, Secret, Section, Window, about, expect


class _Limit(Section, frozen=True, kw_only=True):
    """What every limit tells, whomever it holds for."""

    metric: Annotated[Metric, about("What is counted.")]
    limit: Annotated[float, Meta(ge=0), about("The most that is allowed; dollars for cost.")]
    window: Annotated[
        Window | None, about("The time it is counted over: 10s, 5m, minute, hour, day, month. Not for concurrency.")
    ] = None
    sliding: Annotated[
        bool, about("Whether the window is the last span of that length, instead of a span of the calendar.")
    ] = False


class Limit(_Limit, frozen=True, kw_only=True):
    """At most ``limit`` of ``metric`` in each ``window``; ``concurrency`` takes no window."""

    model: Annotated[Name | None, about("Count only requests for this model.")] = None
    provider: Annotated[Name | None, about("Count only requests that this provider serves.")] = None


class SharedLimit(_Limit, frozen=True, kw_only=True):
    """A limit that all callers share: of the whole gateway, or of one of its models or providers."""

    model: Annotated[Name | None, about("The model whose requests are counted; absent: every model's.")] = None
    provider: Annotated[Name | None, about("The provider whose requests are counted; absent: every provider's.")] = None


class Plan(Section, frozen=True, kw_only=True):
    """What a subscriber may use."""

    name: Annotated[Name, about("The name keys refer to.")]
    price: Annotated[Dollars | None, about("Price in each interval; null where it is agreed upon in person.")] = 0.0
    currency: Annotated[
        str,
        Meta(pattern=r"^[A-Z]{3}" + END, extra_json_schema=expect("three capital letters, such as USD")),
        about("Currency of the price, by ISO 4217."),
    ] = "USD"
    interval: Annotated[Literal["day", "week", "month", "year", "once"], about("How often the price is due.")] = "month"
    limits: Annotated[tuple[Limit, ...], about("Limits of every key of the plan.")] = ()
    weight: Annotated[
        float,
        Meta(ge=0.01, le=100),
        about(
            "How much an organisation of the plan gets of a provider that has no room for all, for each 1 of another."
        ),
    ] = 1.0
    features: Annotated[tuple[str, ...], about("What the plan offers beside its limits.")] = ()
    title: Annotated[str | None, about("The name people see; absent: the name with a capital letter.")] = None
    description: Annotated[str, about("What the plan is for, in a sentence.")] = ""
    tier: Annotated[str | None, about("The tier it is known as, such as DEVELOPER; absent: the name in capitals.")] = (
        None
    )
    trial_days: Annotated[int, Meta(ge=0), about("Days that may be tried before the price is due.")] = 0
    quotas: Annotated[
        dict[str, int], about("Quotas beside the limits, such as max_users, max_projects, max_storage_mb.")
    ] = field(default_factory=dict)
    benefits: Annotated[tuple[str, ...], about("What the plan offers, in words for people.")] = ()
    catalogs: Annotated[tuple[Catalog, ...], about("The APIs whose lists of plans show it; absent: all.")] = ()


class Budget(Section, frozen=True, kw_only=True):
    """Money a key may spend in each period, in US dollars."""

    amount: Annotated[Dollars, about("US dollars.")]
    period: Annotated[
        Literal["day", "week", "month", "year", "total"], about("When the budget starts anew; total for never.")
    ] = "month"


class Key(Section, frozen=True, kw_only=True):
    """A static credential for deployments without a database of them."""

    key: Annotated[Secret, about("The credential itself; use ${NAME} or ${file:PATH}.")]
    name: Annotated[Name, about("The name shown in logs and usage.")]
    organization: Annotated[Name, about("The organisation it belongs to.")] = "default"
    plan: Annotated[Name | None, about("Name of a plan whose limits apply.")] = None
    limits: Annotated[tuple[Limit, ...], about("Limits of this key, beside those of its plan.")] = ()
    budget: Budget | None = None
    models: Annotated[tuple[Name, ...], about("Models the key may use; empty for all.")] = ()
