"""The shape of ``gateway.yaml``: frozen, typed, and refusing what it does not know.

These structs are the single description of the file. The loader, the fault report of ``gateway check`` and the
published JSON Schema are all derived from them; a docstring or ``msgspec.Meta`` here is what an editor shows.
Durations are seconds, sizes are bytes, money is US dollars unless a field says otherwise. All sections can be had from
here; providers, plans and pricing stand in modules of their own, what a value may be in :mod:`gateway.settings.fields`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from gateway.settings.fields import (
    END,
    CollectorUrl,
    Count,
    DatabaseUrl,
    Environment,
    FilePath,
    Host,
    Listen,
    Name,
    RedisUrl,
    Seconds,
    Secret,
    Section,
    SidecarUrl,
    about,
    expect,
)
from gateway.settings.learned import Auto, ModelRouting, Routing, Weighing
from gateway.settings.models import Hedge, Model, Prefill, Recovery, Shadow, Split, Target
from gateway.settings.plans import Budget, Key, Limit, Plan, SharedLimit
from gateway.settings.pricing import ExchangeRate, Price
from gateway.settings.providers import Breaker, Concurrency, Connections, LlamaCpp, Provider, Retry, Timeouts

__all__ = [
    "Admin",
    "Auto",
    "Batches",
    "Breaker",
    "Budget",
    "Concurrency",
    "Connections",
    "ExchangeRate",
    "Hedge",
    "Jwt",
    "Key",
    "Limit",
    "LlamaCpp",
    "Model",
    "ModelRouting",
    "Oidc",
    "Plan",
    "PluginUse",
    "Prefill",
    "Price",
    "Provider",
    "Recovery",
    "Retry",
    "Routing",
    "Server",
    "Settings",
    "Shadow",
    "SharedLimit",
    "Sidecar",
    "Split",
    "Target",
    "Telemetry",
    "Timeouts",
    "Usage",
    "Weighing",
]


class Server(Section, frozen=True, kw_only=True):
    """Where the gateway listens and what it accepts."""

    host: Annotated[Host, about("Address to listen on; 0.0.0.0 or :: for every address.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), about("Port to listen on; 0 takes a free one.")] = 8080
    workers: Annotated[int, Meta(ge=1, le=256), about("Processes that answer requests.")] = 1
    max_body_bytes: Annotated[Count, about("Largest request body in bytes; a larger one is answered with 413.")] = (
        33_554_432
    )
    request_timeout: Annotated[
        Seconds, about("Seconds that a request may take in all, tries of every target included.")
    ] = 600.0
    drain: Annotated[Seconds, about("Seconds that requests under way get to finish when the gateway stops.")] = 30.0
    limits_per_worker: Annotated[
        bool,
        about("Whether each of several workers counts limits for itself, so that all together allow a multiple."),
    ] = False
    environment: Annotated[
        Environment | None, about("Which environment this gateway is; keys made for another are refused. Absent: any.")
    ] = None


class Sidecar(Section, frozen=True, kw_only=True):
    """The process that owns accounts, keys and money, and where the data plane finds it."""

    listen: Annotated[
        Listen | None,
        about("host:port to listen on beside the Unix socket, for proxies on other machines."),
    ] = None
    url: Annotated[
        SidecarUrl | None,
        about("Where gateway proxy finds the sidecar: http://host:port or unix:/path. Absent: beside data_dir."),
    ] = None
    grace: Annotated[
        Seconds, about("Seconds that known keys keep working while changes can't be heard of, over restarts too.")
    ] = 3600.0
    cache: Annotated[Count, about("Credentials a worker keeps; the least recently used go first.")] = 50_000


class Usage(Section, frozen=True, kw_only=True):
    """What is kept of the requests that were served."""

    detail_days: Annotated[Count, about("Days that single requests are kept; sums by hour and day stay.")] = 400


class Responses(Section, frozen=True, kw_only=True):
    """What is kept of the answers of the Responses API, on each machine."""

    retention_days: Annotated[Count, about("Days that a response can be read and gone on from.")] = 30
    max_bytes: Annotated[
        int,
        Meta(ge=1_048_576),
        about("Bytes that all responses may take; the oldest go when there are more."),
    ] = 1_073_741_824


class Batches(Section, frozen=True, kw_only=True):
    """Files and batches on each machine: what is kept of them, and how fast batches run."""

    max_file_bytes: Annotated[Count, about("Largest file that is taken, in bytes.")] = 209_715_200
    max_lines: Annotated[Count, about("Requests that one batch may have at most.")] = 50_000
    organization_bytes: Annotated[Count, about("Bytes that the files and answers of one organisation may take.")] = (
        2_147_483_648
    )
    organization_files: Annotated[Count, about("Files that one organisation may have uploaded.")] = 500
    organization_batches: Annotated[Count, about("Batches of one organisation that may wait or run at once.")] = 50
    max_bytes: Annotated[Count, about("Bytes that the files and answers of all organisations may take.")] = (
        10_737_418_240
    )
    retention_days: Annotated[Count, about("Days after which files and ended batches are removed.")] = 30
    concurrency: Annotated[int, Meta(ge=1, le=1000), about("Requests of one batch that are under way at once.")] = 8
    total_concurrency: Annotated[
        int, Meta(ge=1, le=10_000), about("Requests of all batches of a machine that are under way at once.")
    ] = 32


class Jwt(Section, frozen=True, kw_only=True):
    """The tokens the gateway itself gives at sign-in."""

    algorithm: Annotated[Literal["HS256", "RS256", "ES256"], about("How new tokens are signed.")] = "ES256"
    issuer: Annotated[str, Meta(min_length=1), about("The tokens' iss claim.")] = "llm-gateway"
    access_ttl: Annotated[Seconds, about("Seconds an access token is valid.")] = 3600.0
    refresh_ttl: Annotated[float, Meta(gt=0, le=31_536_000), about("Seconds a refresh token is valid.")] = 2_592_000.0


class Oidc(Section, frozen=True, kw_only=True):
    """An OpenID Connect issuer whose tokens are accepted."""

    issuer: Annotated[CollectorUrl, about("The issuer, as in the tokens' iss claim; its discovery is read from there.")]
    audience: Annotated[str, Meta(min_length=1), about("What the tokens' aud claim must hold.")]
    jwks_url: Annotated[CollectorUrl | None, about("Where its keys are; absent: as its discovery says.")] = None
    organization_claim: Annotated[str | None, about("Claim that names the organisation.")] = None
    organizations: Annotated[tuple[Name, ...], about("Organisations it may speak for; empty for all.")] = ()
    role_claim: Annotated[str, about("Claim that names the role, a dotted path.")] = "realm_access.roles"
    default_organization: Annotated[Name, about("Organisation of tokens that name none.")] = "default"
    grace: Annotated[
        Seconds,
        about("Seconds that the keys it had verify tokens while it can't be reached; an hour at least."),
    ] = 86_400.0


class Admin(Section, frozen=True, kw_only=True):
    """The first administrator."""

    email: Annotated[
        str,
        Meta(pattern=r"^[^@\s]+@[^@\s]+" + END, extra_json_schema=expect("an email address")),
        about("Email address to sign in with."),
    ]
    password: Annotated[str, about("Password to sign in with; use ${NAME} or ${file:PATH}.")]


class PluginUse(Section, frozen=True, kw_only=True):
    """A plugin in the chain. ``with`` is the plugin's own typed configuration."""

    name: Annotated[Name, about("Name of the plugin.")]
    fail: Annotated[
        Literal["open", "closed"],
        about("When the plugin itself fails: open goes on without it, closed refuses the request."),
    ] = "closed"
    path: Annotated[FilePath | None, about("A Python file that holds the plugin; relative to this file.")] = None
    with_: Annotated[dict[str, Any], about("The plugin's own configuration.")] = field(
        default_factory=dict, name="with"
    )


class Telemetry(Section, frozen=True, kw_only=True):
    """Traces and logs. Traces need the ``otel`` extra and cost nothing when off."""

    traces: Annotated[bool, about("Whether traces are exported.")] = False
    endpoint: Annotated[
        CollectorUrl | None,
        about("Base URL of the OTLP/HTTP collector; absent: as OTEL_EXPORTER_OTLP_ENDPOINT, or http://localhost:4318."),
    ] = None
    sample: Annotated[
        float,
        Meta(ge=0, le=1),
        about(
            "Share of the requests that are traced; where the client's trace says whether it is sampled, that holds."
        ),
    ] = 1.0
    access_log: Annotated[bool, about("Whether every request is logged.")] = True


class Settings(Section, frozen=True, kw_only=True):
    """The whole of ``gateway.yaml``."""

    server: Server = Server()
    master_key: Annotated[
        Secret | None, about("Credential that may do everything. Absent: made at first start and kept in data_dir.")
    ] = None
    admin: Admin | None = None
    data_dir: Annotated[FilePath, about("Directory for what the gateway keeps; relative to this file.")] = "./data"
    redis_url: Annotated[RedisUrl | None, about("Redis that several gateways share. Absent: embedded.")] = None
    database_url: Annotated[DatabaseUrl | None, about("PostgreSQL for the ledger. Absent: SQLite in data_dir.")] = None
    providers: Annotated[tuple[Provider, ...], about("The upstreams.")] = ()
    models: Annotated[tuple[Model, ...], about("The models apps can ask for.")] = ()
    pricing: Annotated[tuple[Price, ...], about("Prices that override the known ones.")] = ()
    exchange_rates: Annotated[
        tuple[ExchangeRate, ...], about("Exchange rates beside the shipped ones, by which prices come to US dollars.")
    ] = ()
    plans: Annotated[
        FilePath | tuple[Plan, ...], about("The plans, or the path of a file that lists them, relative to this file.")
    ] = ()
    keys: Annotated[tuple[Key, ...], about("Static credentials.")] = ()
    limits: Annotated[
        tuple[SharedLimit, ...], about("Limits that all callers share: of the gateway, of a model, of a provider.")
    ] = ()
    on_store_failure: Annotated[
        Literal["lease", "closed", "open"],
        about(
            "While Redis can't be reached. lease: go on with what this machine holds, then refuse; closed: refuse at"
            " once what is limited; open: go on counting here alone."
        ),
    ] = "lease"
    sidecar: Sidecar = Sidecar()
    usage: Usage = Usage()
    responses: Responses = Responses()
    batches: Batches = Batches()
    routing: Routing = Routing()
    jwt: Jwt = Jwt()
    oidc: Annotated[tuple[Oidc, ...], about("Issuers whose tokens are accepted.")] = ()
    plugins: Annotated[tuple[PluginUse, ...], about("The plugins, in the order of the chain.")] = ()
    telemetry: Telemetry = Telemetry()
