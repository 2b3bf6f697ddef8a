"""The shape of ``gateway.yaml``: frozen, typed, and refusing what it does not know.

These structs are the single description of the file. The loader, the fault report of ``gateway check`` and the
published JSON Schema are all derived from them; a docstring or ``msgspec.Meta`` here is what an editor shows.
Durations are seconds, sizes are bytes, money is US dollars unless a field says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f]+$")]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Dollars = Annotated[float, Meta(ge=0)]

Strategy = Literal["priority", "weighted", "least_latency", "least_cost", "ml"]
Metric = Literal["requests", "tokens", "cost", "concurrency", "ai_requests"]
Window = Annotated[str, Meta(pattern=r"^([1-9][0-9]*)?(s|m|h|d|second|minute|hour|day|month)$")]


class _Model(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: immutable, and an unknown key is a fault."""


class Server(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the gateway listens and what it accepts."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    workers: Count = 1
    max_body_bytes: Count = 33_554_432
    drain: Seconds = 30.0


class Admin(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first administrator."""

    email: Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+$")]
    password: str


class Timeouts(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Deadlines of one upstream call, in seconds."""

    connect: Seconds = 5.0
    first_token: Seconds = 60.0
    stall: Seconds = 60.0
    total: Seconds = 600.0


class Retry(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often one target is tried, and the first pause between tries in seconds."""

    attempts: Annotated[int, Meta(ge=1, le=10)] = 2
    backoff: Annotated[float, Meta(ge=0)] = 0.5


class Breaker(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """After ``failures`` in a row a target rests for ``cooldown`` seconds."""

    failures: Count = 5
    cooldown: Seconds = 10.0


class Connections(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The pool of one provider, per worker."""

    max: Count = 1000
    queue: Annotated[int, Meta(ge=0)] = 1000
    idle: Seconds = 55.0
    keep: Annotated[int, Meta(ge=0)] = 100


class LlamaCpp(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``llama_cpp`` provider."""

    context_length: Annotated[int, Meta(ge=128)] = 4096
    threads: Annotated[int, Meta(ge=0)] = 0
    gpu_layers: Annotated[int, Meta(ge=-1)] = 0
    batch: Count = 512
    memory_budget: Count = 2_147_483_648
    idle_unload: Seconds = 900.0
    queue: Count = 64
    embeddings: bool = True


class Provider(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An upstream that serves models."""

    name: Name
    kind: Literal["openai", "llama_cpp"] = "openai"
    base_url: Annotated[str, Meta(pattern=r"^(https?://|unix:/)")] | None = None
    api_key: str | None = None
    headers: dict[str, str] = {}
    proxy: Annotated[str, Meta(pattern=r"^http://")] | None = None
    verify_tls: bool = True
    ca_file: str | None = None
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    connections: Connections = Connections()
    model: Name | None = None
    models: tuple[Name, ...] = ()
    llama_cpp: LlamaCpp = LlamaCpp()


class Target(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One provider's model that can serve a gateway model."""

    provider: Name
    model: Name
    weight: Annotated[float, Meta(ge=0)] = 1.0


class Model(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A name apps ask for and the targets that answer it."""

    name: Name
    strategy: Strategy = "priority"
    targets: Annotated[tuple[Target, ...], Meta(min_length=1)]
    fallbacks: tuple[Name, ...] = ()
    context_length: Count | None = None


class Price(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """US dollars per 1,000 tokens of one provider's model."""

    provider: Name
    model: Name
    input_per_1k: Dollars
    output_per_1k: Dollars
    cached_input_per_1k: Dollars | None = None


class Limit(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """At most ``limit`` of ``metric`` in each ``window``; ``concurrency`` takes no window."""

    metric: Metric
    limit: Annotated[float, Meta(ge=0)]
    window: Window | None = None


class Plan(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a subscriber may use."""

    name: Name
    price: Dollars = 0.0
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")] = "USD"
    interval: Literal["day", "week", "month", "year", "once"] = "month"
    limits: tuple[Limit, ...] = ()
    features: tuple[str, ...] = ()


class Budget(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Money a key may spend in each period, in US dollars."""

    amount: Dollars
    period: Literal["day", "week", "month", "year", "total"] = "month"


class Key(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A static credential for deployments without a database of them."""

    key: Annotated[str, Meta(min_length=8, max_length=512, pattern=r"^[\x21-\x7e]+$")]
    name: Name
    organization: Name = "default"
    plan: Name | None = None
    limits: tuple[Limit, ...] = ()
    budget: Budget | None = None
    models: tuple[Name, ...] = ()


class PluginUse(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plugin in the chain. ``with`` is the plugin's own typed configuration."""

    name: Name
    fail: Literal["open", "closed"] = "closed"
    path: str | None = None
    with_: dict[str, Any] = field(default_factory=dict, name="with")


class Telemetry(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Traces and logs. Traces need the ``otel`` extra and cost nothing when off."""

    traces: bool = False
    endpoint: str | None = None
    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0
    access_log: bool = True


class Settings(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``gateway.yaml``."""

    server: Server = Server()
    master_key: Annotated[str, Meta(min_length=8)] | None = None
    admin: Admin | None = None
    data_dir: str = "./data"
    redis_url: Annotated[str, Meta(pattern=r"^(rediss?|unix)://")] | None = None
    database_url: Annotated[str, Meta(pattern=r"^(postgresql|sqlite)(\+[a-z]+)?://")] | None = None
    providers: tuple[Provider, ...] = ()
    models: tuple[Model, ...] = ()
    pricing: tuple[Price, ...] = ()
    plans: str | tuple[Plan, ...] = ()
    keys: tuple[Key, ...] = ()
    plugins: tuple[PluginUse, ...] = ()
    telemetry: Telemetry = Telemetry()
