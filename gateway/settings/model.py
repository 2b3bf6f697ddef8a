"""The shape of ``gateway.yaml``: frozen, typed, and refusing what it does not know.

These structs are the single description of the file. The loader, the fault report of ``gateway check`` and the
published JSON Schema are all derived from them; a docstring or ``msgspec.Meta`` here is what an editor shows.
Durations are seconds, sizes are bytes, money is US dollars unless a field says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

# Python's $ also matches before a final line break, which would end up in a header or a path.
_END = r"$(?!\n)"


def _expect(words: str) -> dict[str, Any]:
    """What a text must be, in words, for the fault report: a pattern alone tells a person little."""
    return {"x-expected": words}


def _about(text: str) -> Meta:
    """What a key is for, as editors show it."""
    return Meta(description=text)


Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\s\x00-\x1f]+" + _END,
        extra_json_schema=_expect("a name without spaces"),
    ),
]
# A day is the longest a deadline can be: timers of the event loop take no more than a few weeks.
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
Dollars = Annotated[float, Meta(ge=0)]
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}" + _END
Day = Annotated[str, Meta(pattern=_DAY, extra_json_schema=_expect("a day such as 2026-01-31"))]

Secret = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=512,
        pattern=r"^[\x21-\x7e]+" + _END,
        extra_json_schema=_expect("printable characters without spaces"),
    ),
]

# No NUL: no system call takes one in a path.
FilePath = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00]+" + _END, extra_json_schema=_expect("a path"))]
Host = Annotated[
    str, Meta(min_length=1, pattern=r"^[^\s\x00/]+" + _END, extra_json_schema=_expect("a host name or an IP address"))
]
ApiKey = Annotated[
    str, Meta(min_length=1, pattern=r"^[\x20-\x7e]+" + _END, extra_json_schema=_expect("printable characters"))
]
BaseUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?://[^\s/]|unix:/)\S*" + _END,
        extra_json_schema=_expect("an http:// or https:// URL, or unix:/path"),
    ),
]
CollectorUrl = Annotated[
    str, Meta(pattern=r"^https?://[^\s/]\S*" + _END, extra_json_schema=_expect("an http:// or https:// URL"))
]
ProxyUrl = Annotated[str, Meta(pattern=r"^http://[^\s/]\S*" + _END, extra_json_schema=_expect("an http:// URL"))]
RedisUrl = Annotated[str, Meta(pattern=r"^(rediss?|unix)://", extra_json_schema=_expect("a redis:// or rediss:// URL"))]
DatabaseUrl = Annotated[
    str, Meta(pattern=r"^(postgresql|sqlite)(\+[a-z]+)?://", extra_json_schema=_expect("a postgresql:// URL"))
]

SidecarUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?://[^\s/]+|unix:/\S+)" + _END,
        extra_json_schema=_expect("http://host:port, or unix:/path"),
    ),
]
Listen = Annotated[
    str, Meta(pattern=r"^[^\s/]+:[0-9]{1,5}" + _END, extra_json_schema=_expect("host:port, such as 0.0.0.0:9090"))
]
Environment = Literal["live", "test", "staging", "development"]
Catalog = Literal["gatewayz", "llm_cost_ops", "ai_marketplace", "leanvibe", "ops_center"]

Strategy = Literal["priority", "weighted", "least_latency", "least_cost", "ml"]
Prefill = Literal["none", "message", "prefix", "continue_final_message"]
Recovery = Literal["continue", "restart", "error"]
Metric = Literal["requests", "tokens", "cost", "concurrency", "ai_requests"]
Window = Annotated[
    str,
    Meta(
        pattern=r"^([1-9][0-9]{0,5})?(s|m|h|d|second|minute|hour|day|month)" + _END,
        extra_json_schema=_expect("a window such as 10s, minute, hour, day or month"),
    ),
]


class _Model(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: immutable, and an unknown key is a fault."""


class Server(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the gateway listens and what it accepts."""

    host: Annotated[Host, _about("Address to listen on; 0.0.0.0 or :: for every address.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), _about("Port to listen on; 0 takes a free one.")] = 8080
    workers: Annotated[int, Meta(ge=1, le=256), _about("Processes that answer requests.")] = 1
    max_body_bytes: Annotated[Count, _about("Largest request body in bytes; a larger one is answered with 413.")] = (
        33_554_432
    )
    request_timeout: Annotated[
        Seconds, _about("Seconds that a request may take in all, tries of every target included.")
    ] = 600.0
    drain: Annotated[Seconds, _about("Seconds that requests under way get to finish when the gateway stops.")] = 30.0
    limits_per_worker: Annotated[
        bool,
        _about("Whether each of several workers counts limits for itself, so that all together allow a multiple."),
    ] = False
    environment: Annotated[
        Environment | None, _about("Which environment this gateway is; keys made for another are refused. Absent: any.")
    ] = None


class Sidecar(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The process that owns accounts, keys and money, and where the data plane finds it."""

    listen: Annotated[
        Listen | None,
        _about("host:port to listen on beside the Unix socket, for proxies on other machines."),
    ] = None
    url: Annotated[
        SidecarUrl | None,
        _about("Where gateway proxy finds the sidecar: http://host:port or unix:/path. Absent: beside data_dir."),
    ] = None
    grace: Annotated[Seconds, _about("Seconds that known keys keep working while changes can't be heard of.")] = 3600.0
    cache: Annotated[Count, _about("Credentials a worker keeps; the least recently used go first.")] = 50_000


class Usage(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is kept of the requests that were served."""

    detail_days: Annotated[Count, _about("Days that single requests are kept; sums by hour and day stay.")] = 400


class Jwt(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tokens the gateway itself gives at sign-in."""

    algorithm: Annotated[Literal["HS256", "RS256", "ES256"], _about("How new tokens are signed.")] = "ES256"
    issuer: Annotated[str, Meta(min_length=1), _about("The tokens' iss claim.")] = "llm-gateway"
    access_ttl: Annotated[Seconds, _about("Seconds an access token is valid.")] = 3600.0
    refresh_ttl: Annotated[float, Meta(gt=0, le=31_536_000), _about("Seconds a refresh token is valid.")] = 2_592_000.0


class Oidc(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An OpenID Connect issuer whose tokens are accepted."""

    issuer: Annotated[
        CollectorUrl, _about("The issuer, as in the tokens' iss claim; its discovery is read from there.")
    ]
    audience: Annotated[str, Meta(min_length=1), _about("What the tokens' aud claim must hold.")]
    jwks_url: Annotated[CollectorUrl | None, _about("Where its keys are; absent: as its discovery says.")] = None
    organization_claim: Annotated[str | None, _about("Claim that names the organisation.")] = None
    organizations: Annotated[tuple[Name, ...], _about("Organisations it may speak for; empty for all.")] = ()
    role_claim: Annotated[str, _about("Claim that names the role, a dotted path.")] = "realm_access.roles"
    default_organization: Annotated[Name, _about("Organisation of tokens that name none.")] = "default"


class Admin(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first administrator."""

    email: Annotated[
        str,
        Meta(pattern=r"^[^@\s]+@[^@\s]+" + _END, extra_json_schema=_expect("an email address")),
        _about("Email address to sign in with."),
    ]
    password: Annotated[str, _about("Password to sign in with; use ${NAME} or ${file:PATH}.")]


class Timeouts(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Deadlines of one upstream call, in seconds."""

    connect: Annotated[Seconds, _about("To open a connection.")] = 5.0
    first_token: Annotated[Seconds, _about("Until the first byte of the answer.")] = 60.0
    stall: Annotated[Seconds, _about("Between two pieces of an answer.")] = 60.0
    total: Annotated[Seconds, _about("For the whole call.")] = 600.0


class Retry(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often one target is tried, and the pause between tries."""

    attempts: Annotated[int, Meta(ge=1, le=10), _about("Tries of one target, the first included.")] = 2
    backoff: Annotated[float, Meta(ge=0), _about("Seconds before the second try; doubled for each further one.")] = 0.5
    budget: Annotated[
        float, Meta(ge=0, le=1), _about("Second tries that a target gets, as a share of its calls; 100 are saved up.")
    ] = 0.2


class Breaker(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """After ``failures`` in a row a target rests for ``cooldown`` seconds."""

    failures: Annotated[Count, _about("Failures in a row after which a target rests.")] = 5
    cooldown: Annotated[Seconds, _about("Seconds a target rests; then one request is let through to see.")] = 10.0
    wait: Annotated[
        float,
        Meta(ge=0, le=3600),
        _about("Seconds that a request which no other target can answer waits for a resting one."),
    ] = 10.0


class Connections(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The pool of one provider, per worker."""

    max: Annotated[Count, _about("Connections open at once.")] = 1000
    queue: Annotated[int, Meta(ge=0), _about("Requests that may wait for a connection; a further one is refused.")] = (
        1000
    )
    idle: Annotated[Seconds, _about("Seconds after which an unused connection is closed.")] = 55.0
    keep: Annotated[int, Meta(ge=0), _about("Unused connections that are kept.")] = 100


class LlamaCpp(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``llama_cpp`` provider."""

    context_length: Annotated[int, Meta(ge=128), _about("Tokens of prompt and answer together.")] = 4096
    threads: Annotated[int, Meta(ge=0), _about("Threads to compute with; 0 for half of the cores.")] = 0
    gpu_layers: Annotated[int, Meta(ge=-1), _about("Layers to compute on a GPU; -1 for all.")] = 0
    batch: Annotated[Count, _about("Prompt tokens computed at a time.")] = 512
    memory_budget: Annotated[
        Count, _about("Bytes that loaded models may take; the least recently used one is unloaded beyond it.")
    ] = 2_147_483_648
    idle_unload: Annotated[Seconds, _about("Seconds after which an unused model is unloaded.")] = 900.0
    queue: Annotated[Count, _about("Requests that may wait for the engine; a further one is refused.")] = 64
    embeddings: Annotated[bool, _about("Whether the models also give embeddings.")] = True


class Provider(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An upstream that serves models."""

    name: Annotated[Name, _about("The name targets and prices refer to.")]
    kind: Annotated[
        Literal["openai", "llama_cpp"],
        _about("openai: any API like OpenAI's. llama_cpp: models that run on this machine."),
    ] = "openai"
    base_url: Annotated[BaseUrl | None, _about("Base URL of the API, usually ending in /v1, or unix:/path.")] = None
    api_key: Annotated[ApiKey | None, _about("Key of the API, a bearer token; use ${NAME} or ${file:PATH}.")] = None
    headers: Annotated[dict[str, str], _about("Headers to add to every call.")] = {}
    proxy: Annotated[ProxyUrl | None, _about("HTTP proxy to call through.")] = None
    verify_tls: Annotated[bool, _about("Whether the API's certificate is verified.")] = True
    ca_file: Annotated[
        FilePath | None, _about("Certificates to trust instead of the system's, in PEM; relative to this file.")
    ] = None
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    connections: Connections = Connections()
    model: Annotated[
        Name | None,
        _about("The model of a llama_cpp provider: a known name, or a .gguf file, which goes by its bare name."),
    ] = None
    models: Annotated[tuple[Name, ...], _about("Several models of a llama_cpp provider.")] = ()
    llama_cpp: LlamaCpp = LlamaCpp()


class Target(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One provider's model that can serve a gateway model."""

    provider: Annotated[Name, _about("Name of the provider.")]
    model: Annotated[Name, _about("The provider's name of the model.")]
    weight: Annotated[float, Meta(ge=0), _about("Share of the requests under the strategy weighted.")] = 1.0
    context_length: Annotated[
        Count | None, _about("Tokens of prompt and answer together. Absent: as known of the model, else without bound.")
    ] = None
    tools: Annotated[bool | None, _about("Whether it takes tools. Absent: as known of the model, else yes.")] = None
    vision: Annotated[bool | None, _about("Whether it takes images. Absent: as known of the model, else yes.")] = None
    json_schema: Annotated[
        bool | None, _about("Whether it answers by a JSON schema. Absent: as known of the model, else yes.")
    ] = None
    prefill: Annotated[
        Prefill | None,
        _about(
            "How it goes on from the beginning of an answer: message (a last message of the assistant), prefix (the"
            " same marked prefix: true), continue_final_message (as vLLM does), none. Absent: as known of the model,"
            " else none."
        ),
    ] = None


class Split(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A share of a model's requests that another model is tried first for, as a canary."""

    model: Annotated[Name, _about("The other model, by its name in this file.")]
    share: Annotated[float, Meta(gt=0, le=1), _about("Share of the requests, from 0 to 1.")]
    by: Annotated[
        Literal["request", "credential", "organization"],
        _about("What is drawn: each request for itself, or all those of a credential or an organisation alike."),
    ] = "request"


class Shadow(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another model that gets copies of requests; its answers are counted and thrown away."""

    model: Annotated[Name, _about("The other model, by its name in this file.")]
    budget: Annotated[Dollars, _about("US dollars that all copies may cost in a day, UTC; no more are made then.")]
    share: Annotated[float, Meta(gt=0, le=1), _about("Share of the requests that are copied, from 0 to 1.")] = 1.0
    concurrency: Annotated[
        int, Meta(ge=1, le=1000), _about("Copies under way at once in a worker; no more are made meanwhile.")
    ] = 8


class Hedge(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A second target is called when the first is late with its first token."""

    after: Annotated[
        Seconds | None,
        _about("Seconds until the second call. Absent: the learned 95th percentile of the target's first tokens."),
    ] = None
    share: Annotated[float, Meta(gt=0, le=1), _about("Requests that may get a second call, of all, from 0 to 1.")] = (
        0.05
    )
    spend: Annotated[
        float, Meta(gt=0, le=1), _about("What second calls may cost beside what is spent, from 0 to 1.")
    ] = 0.05


class Model(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A name apps ask for and the targets that answer it."""

    name: Annotated[Name, _about("The name apps ask for.")]
    strategy: Annotated[
        Strategy,
        _about(
            "How a target is chosen: priority takes them in order, weighted by weight, least_latency the quicker of two"
            " drawn ones, least_cost the cheapest."
        ),
    ] = "priority"
    targets: Annotated[tuple[Target, ...], Meta(min_length=1), _about("What answers the model.")]
    fallbacks: Annotated[tuple[Name, ...], _about("Other models to try, in order, when no target answers.")] = ()
    context_length: Annotated[
        Count | None, _about("Tokens of prompt and answer together, told to apps that list the models.")
    ] = None
    affinity: Annotated[
        Literal["prompt", "none"],
        _about(
            "prompt: long prompts that begin alike go to the same target, whose provider has the beginning cached, as"
            " long as it is not busier than the others. none: never."
        ),
    ] = "prompt"
    split: Annotated[
        tuple[Split, ...], _about("Shares of the requests that other models are tried first for, as canaries.")
    ] = ()
    shadow: Shadow | None = None
    hedge: Hedge | None = None
    stream_recovery: Annotated[
        Recovery,
        _about(
            "When a stream breaks off: continue goes on from its text on a target that takes a prefill, and else ends"
            " it with an error; restart begins the answer anew where it can't go on, and tells so; error ends it."
        ),
    ] = "continue"


class Price(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """US dollars per 1,000 tokens of one provider's model."""

    provider: Annotated[Name, _about("Name of the provider.")]
    model: Annotated[Name, _about("The provider's name of the model.")]
    input_per_1k: Annotated[Dollars, _about("Prompt tokens.")]
    output_per_1k: Annotated[Dollars, _about("Completion tokens.")]
    cached_input_per_1k: Annotated[
        Dollars | None, _about("Prompt tokens the provider had cached; absent: as other prompt tokens.")
    ] = None


class ExchangeRate(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one unit of a currency is worth, from a day on until the next one that is known."""

    currency: Annotated[Literal["EUR", "GBP", "JPY", "AUD", "CAD"], _about("The currency, by ISO 4217.")]
    day: Annotated[Day, _about("The day, in UTC.")]
    dollars: Annotated[float, Meta(gt=0, le=1_000), _about("US dollars for one unit.")]


class Limit(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """At most ``limit`` of ``metric`` in each ``window``; ``concurrency`` takes no window."""

    metric: Annotated[Metric, _about("What is counted.")]
    limit: Annotated[float, Meta(ge=0), _about("The most that is allowed; dollars for cost.")]
    window: Annotated[
        Window | None, _about("The time it is counted over: 10s, 5m, minute, hour, day, month. Not for concurrency.")
    ] = None
    sliding: Annotated[
        bool, _about("Whether the window is the last span of that length, instead of a span of the calendar.")
    ] = False
    model: Annotated[Name | None, _about("Count only requests for this model.")] = None
    provider: Annotated[Name | None, _about("Count only requests that this provider serves.")] = None


class SharedLimit(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A limit that all callers share: of the whole gateway, or of one of its models or providers."""

    metric: Annotated[Metric, _about("What is counted.")]
    limit: Annotated[float, Meta(ge=0), _about("The most that is allowed; dollars for cost.")]
    window: Annotated[
        Window | None, _about("The time it is counted over: 10s, 5m, minute, hour, day, month. Not for concurrency.")
    ] = None
    sliding: Annotated[
        bool, _about("Whether the window is the last span of that length, instead of a span of the calendar.")
    ] = False
    model: Annotated[Name | None, _about("The model whose requests are counted; absent: every model's.")] = None
    provider: Annotated[Name | None, _about("The provider whose requests are counted; absent: every provider's.")] = (
        None
    )


class Plan(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a subscriber may use."""

    name: Annotated[Name, _about("The name keys refer to.")]
    price: Annotated[Dollars | None, _about("Price in each interval; null where it is agreed upon in person.")] = 0.0
    currency: Annotated[
        str,
        Meta(pattern=r"^[A-Z]{3}" + _END, extra_json_schema=_expect("three capital letters, such as USD")),
        _about("Currency of the price, by ISO 4217."),
    ] = "USD"
    interval: Annotated[Literal["day", "week", "month", "year", "once"], _about("How often the price is due.")] = (
        "month"
    )
    limits: Annotated[tuple[Limit, ...], _about("Limits of every key of the plan.")] = ()
    features: Annotated[tuple[str, ...], _about("What the plan offers beside its limits.")] = ()
    title: Annotated[str | None, _about("The name people see; absent: the name with a capital letter.")] = None
    description: Annotated[str, _about("What the plan is for, in a sentence.")] = ""
    tier: Annotated[str | None, _about("The tier it is known as, such as DEVELOPER; absent: the name in capitals.")] = (
        None
    )
    trial_days: Annotated[int, Meta(ge=0), _about("Days that may be tried before the price is due.")] = 0
    quotas: Annotated[
        dict[str, int], _about("Quotas beside the limits, such as max_users, max_projects, max_storage_mb.")
    ] = {}
    benefits: Annotated[tuple[str, ...], _about("What the plan offers, in words for people.")] = ()
    catalogs: Annotated[tuple[Catalog, ...], _about("The APIs whose lists of plans show it; absent: all.")] = ()


class Budget(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Money a key may spend in each period, in US dollars."""

    amount: Annotated[Dollars, _about("US dollars.")]
    period: Annotated[
        Literal["day", "week", "month", "year", "total"], _about("When the budget starts anew; total for never.")
    ] = "month"


class Key(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A static credential for deployments without a database of them."""

    key: Annotated[Secret, _about("The credential itself; use ${NAME} or ${file:PATH}.")]
    name: Annotated[Name, _about("The name shown in logs and usage.")]
    organization: Annotated[Name, _about("The organisation it belongs to.")] = "default"
    plan: Annotated[Name | None, _about("Name of a plan whose limits apply.")] = None
    limits: Annotated[tuple[Limit, ...], _about("Limits of this key, beside those of its plan.")] = ()
    budget: Budget | None = None
    models: Annotated[tuple[Name, ...], _about("Models the key may use; empty for all.")] = ()


class PluginUse(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plugin in the chain. ``with`` is the plugin's own typed configuration."""

    name: Annotated[Name, _about("Name of the plugin.")]
    fail: Annotated[
        Literal["open", "closed"],
        _about("When the plugin itself fails: open goes on without it, closed refuses the request."),
    ] = "closed"
    path: Annotated[FilePath | None, _about("A Python file that holds the plugin; relative to this file.")] = None
    with_: Annotated[dict[str, Any], _about("The plugin's own configuration.")] = field(
        default_factory=dict, name="with"
    )


class Telemetry(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Traces and logs. Traces need the ``otel`` extra and cost nothing when off."""

    traces: Annotated[bool, _about("Whether traces are exported.")] = False
    endpoint: Annotated[
        CollectorUrl | None,
        _about(
            "Base URL of the OTLP/HTTP collector; absent: as OTEL_EXPORTER_OTLP_ENDPOINT, or http://localhost:4318."
        ),
    ] = None
    sample: Annotated[
        float,
        Meta(ge=0, le=1),
        _about(
            "Share of the requests that are traced; where the client's trace says whether it is sampled, that holds."
        ),
    ] = 1.0
    access_log: Annotated[bool, _about("Whether every request is logged.")] = True


class Settings(_Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``gateway.yaml``."""

    server: Server = Server()
    master_key: Annotated[
        Secret | None, _about("Credential that may do everything. Absent: made at first start and kept in data_dir.")
    ] = None
    admin: Admin | None = None
    data_dir: Annotated[FilePath, _about("Directory for what the gateway keeps; relative to this file.")] = "./data"
    redis_url: Annotated[RedisUrl | None, _about("Redis that several gateways share. Absent: embedded.")] = None
    database_url: Annotated[DatabaseUrl | None, _about("PostgreSQL for the ledger. Absent: SQLite in data_dir.")] = None
    providers: Annotated[tuple[Provider, ...], _about("The upstreams.")] = ()
    models: Annotated[tuple[Model, ...], _about("The models apps can ask for.")] = ()
    pricing: Annotated[tuple[Price, ...], _about("Prices that override the known ones.")] = ()
    exchange_rates: Annotated[
        tuple[ExchangeRate, ...], _about("Exchange rates beside the shipped ones, by which prices come to US dollars.")
    ] = ()
    plans: Annotated[
        FilePath | tuple[Plan, ...], _about("The plans, or the path of a file that lists them, relative to this file.")
    ] = ()
    keys: Annotated[tuple[Key, ...], _about("Static credentials.")] = ()
    limits: Annotated[
        tuple[SharedLimit, ...], _about("Limits that all callers share: of the gateway, of a model, of a provider.")
    ] = ()
    on_store_failure: Annotated[
        Literal["lease", "closed", "open"],
        _about(
            "While Redis can't be reached. lease: go on with what this machine holds, then refuse; closed: refuse at"
            " once what is limited; open: go on counting here alone."
        ),
    ] = "lease"
    sidecar: Sidecar = Sidecar()
    usage: Usage = Usage()
    jwt: Jwt = Jwt()
    oidc: Annotated[tuple[Oidc, ...], _about("Issuers whose tokens are accepted.")] = ()
    plugins: Annotated[tuple[PluginUse, ...], _about("The plugins, in the order of the chain.")] = ()
    telemetry: Telemetry = Telemetry()
