"""The upstreams of ``gateway.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, field

from gateway.settings.fields import ApiKey, BaseUrl, Count, FilePath, Name, ProxyUrl, Seconds, Section, about
from gateway.settings.kinds import names

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[names()]  # those of config/providers, so that the schema lists them


class Timeouts(Section, frozen=True, kw_only=True):
    """Deadlines of one upstream call, in seconds."""

    connect: Annotated[Seconds, about("To open a connection.")] = 5.0
    first_token: Annotated[Seconds, about("Until the first byte of the answer.")] = 60.0
    stall: Annotated[Seconds, about("Between two pieces of an answer.")] = 60.0
    total: Annotated[Seconds, about("For the whole call.")] = 600.0


class Retry(Section, frozen=True, kw_only=True):
    """How often one target is tried, and the pause between tries."""

    attempts: Annotated[int, Meta(ge=1, le=10), about("Tries of one target, the first included.")] = 2
    backoff: Annotated[float, Meta(ge=0), about("Seconds before the second try; doubled for each further one.")] = 0.5
    budget: Annotated[
        float, Meta(ge=0, le=1), about("Second tries that a target gets, as a share of its calls; 100 are saved up.")
    ] = 0.2


class Breaker(Section, frozen=True, kw_only=True):
    """After ``failures`` in a row a target rests for ``cooldown`` seconds."""

    failures: Annotated[Count, about("Failures in a row after which a target rests.")] = 5
    cooldown: Annotated[Seconds, about("Seconds a target rests; then one request is let through to see.")] = 10.0
    wait: Annotated[
        float,
        Meta(ge=0, le=3600),
        about("Seconds that a request which no other target can answer waits for a resting one."),
    ] = 10.0


class Connections(Section, frozen=True, kw_only=True):
    """The pool of one provider, per worker."""

    max: Annotated[Count, about("Connections open at once.")] = 1000
    queue: Annotated[int, Meta(ge=0), about("Requests that may wait for a connection; a further one is refused.")] = (
        1000
    )
    idle: Annotated[Seconds, about("Seconds after which an unused connection is closed.")] = 55.0
    keep: Annotated[int, Meta(ge=0), about("Unused connections that are kept.")] = 100


class Concurrency(Section, frozen=True, kw_only=True):
    """How many calls a target gets at once from each worker. The number follows how soon its answers begin."""

    max: Annotated[Count, about("Calls under way at once, at most.")] = 1000
    min: Annotated[
        Count, about("Calls under way at once that it always may get. As many as max: the number is fixed.")
    ] = 4
    initial: Annotated[
        Count | None, about("The number to begin with. Absent: 20, or the nearest within the bounds.")
    ] = None
    tolerance: Annotated[
        float,
        Meta(ge=1.1, le=10),
        about("How many times later than usual answers may begin before the number is lowered."),
    ] = 2.0
    queue: Annotated[int, Meta(ge=0), about("Requests that may wait for a target; a further one is refused.")] = 1000


class LlamaCpp(Section, frozen=True, kw_only=True):
    """Options of a ``llama_cpp`` provider."""

    context_length: Annotated[int, Meta(ge=128), about("Tokens of prompt and answer together.")] = 4096
    threads: Annotated[int, Meta(ge=0), about("Threads to compute with; 0 for half of the cores.")] = 0
    gpu_layers: Annotated[int, Meta(ge=-1), about("Layers to compute on a GPU; -1 for all.")] = 0
    batch: Annotated[Count, about("Prompt tokens computed at a time.")] = 512
    memory_budget: Annotated[
        Count, about("Bytes that loaded models may take; the least recently used one is unloaded beyond it.")
    ] = 2_147_483_648
    idle_unload: Annotated[Seconds, about("Seconds after which an unused model is unloaded.")] = 900.0
    queue: Annotated[Count, about("Requests that may wait for the engine; a further one is refused.")] = 64
    embeddings: Annotated[bool, about("Whether the models also give embeddings.")] = True


class Provider(Section, frozen=True, kw_only=True):
    """An upstream that serves models."""

    name: Annotated[Name, about("The name targets and prices refer to.")]
    kind: Annotated[
        Kind,
        about(
            "Whose API it is. openai: any API like OpenAI's. llama_cpp: models that run on this machine. The others are"
            " told in docs/providers.md."
        ),
    ] = "openai"
    base_url: Annotated[
        BaseUrl | None,
        about("Base URL of the API, usually ending in /v1, or unix:/path. Absent: the vendor's, where kind names one."),
    ] = None
    api_key: Annotated[ApiKey | None, about("Key of the API; use ${NAME} or ${file:PATH}.")] = None
    headers: Annotated[dict[str, str], about("Headers to add to every call.")] = field(default_factory=dict)
    responses: Annotated[
        bool, about("Whether an openai API has /responses itself, so that requests of it go there as they came.")
    ] = False
    drop_params: Annotated[
        tuple[str, ...],
        about("Parameters that are left out where the API can't express them, instead of refused; * for all."),
    ] = ()
    options: Annotated[dict[str, Any], about("Settings of the API's own, by their names.")] = field(
        default_factory=dict
    )
    proxy: Annotated[ProxyUrl | None, about("HTTP proxy to call through.")] = None
    verify_tls: Annotated[bool, about("Whether the API's certificate is verified.")] = True
    ca_file: Annotated[
        FilePath | None, about("Certificates to trust instead of the system's, in PEM; relative to this file.")
    ] = None
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    connections: Connections = Connections()
    concurrency: Annotated[
        Concurrency | None,
        about("A limit on the calls that each target gets at once, which follows its latency. Absent: none."),
    ] = None
    model: Annotated[
        Name | None,
        about("The model of a llama_cpp provider: a known name, or a .gguf file, which goes by its bare name."),
    ] = None
    models: Annotated[tuple[Name, ...], about("Several models of a llama_cpp provider.")] = ()
    llama_cpp: LlamaCpp = LlamaCpp()
