"""The models of ``gateway.yaml``: what apps ask for by name, and the targets that answer."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.settings.fields import Count, Dollars, Name, Seconds, Section, Strategy, about
from gateway.settings.learned import ModelRouting

Prefill = Literal["none", "message", "prefix", "continue_final_message"]
Recovery = Literal["continue", "restart", "error"]


class Target(Section, frozen=True, kw_only=True):
    """One provider's model that can serve a gateway model."""

    provider: Annotated[Name, about("Name of the provider.")]
    model: Annotated[Name, about("The provider's name of the model.")]
    weight: Annotated[float, Meta(ge=0), about("Share of the requests under the strategy weighted.")] = 1.0
    context_length: Annotated[
        Count | None, about("Tokens of prompt and answer together. Absent: as known of the model, else without bound.")
    ] = None
    tools: Annotated[bool | None, about("Whether it takes tools. Absent: as known of the model, else yes.")] = None
    vision: Annotated[bool | None, about("Whether it takes images. Absent: as known of the model, else yes.")] = None
    json_schema: Annotated[
        bool | None, about("Whether it answers by a JSON schema. Absent: as known of the model, else yes.")
    ] = None
    max_tokens: Annotated[
        Count | None, about("Tokens of an answer where a request sets no bound and the API wants one.")
    ] = None
    prefill: Annotated[
        Prefill | None,
        about(
            "How it goes on from the beginning of an answer: message (a last message of the assistant), prefix (the"
            " same marked prefix: true), continue_final_message (as vLLM does), none. Absent: as known of the model,"
            " else none."
        ),
    ] = None


class Split(Section, frozen=True, kw_only=True):
    """A share of a model's requests that another model is tried first for, as a canary."""

    model: Annotated[Name, about("The other model, by its name in this file.")]
    share: Annotated[float, Meta(gt=0, le=1), about("Share of the requests, from 0 to 1.")]
    by: Annotated[
        Literal["request", "credential", "organization"],
        about("What is drawn: each request for itself, or all those of a credential or an organisation alike."),
    ] = "request"


class Shadow(Section, frozen=True, kw_only=True):
    """Another model that gets copies of requests; its answers are counted and thrown away."""

    model: Annotated[Name, about("The other model, by its name in this file.")]
    budget: Annotated[Dollars, about("US dollars that all copies may cost in a day, UTC; no more are made then.")]
    share: Annotated[float, Meta(gt=0, le=1), about("Share of the requests that are copied, from 0 to 1.")] = 1.0
    concurrency: Annotated[
        int, Meta(ge=1, le=1000), about("Copies under way at once in a worker; no more are made meanwhile.")
    ] = 8


class Hedge(Section, frozen=True, kw_only=True):
    """A second target is called when the first is late with its first token."""

    after: Annotated[
        Seconds | None,
        about("Seconds until the second call. Absent: the learned 95th percentile of the target's first tokens."),
    ] = None
    share: Annotated[float, Meta(gt=0, le=1), about("Requests that may get a second call, of all, from 0 to 1.")] = 0.05
    spend: Annotated[
        float, Meta(gt=0, le=1), about("What second calls may cost beside what is spent, from 0 to 1.")
    ] = 0.05


class Model(Section, frozen=True, kw_only=True):
    """A name apps ask for and the targets that answer it."""

    name: Annotated[Name, about("The name apps ask for.")]
    strategy: Annotated[
        Strategy,
        about(
            "How a target is chosen: priority takes them in order, weighted by weight, least_latency the quicker of two"
            " drawn ones, least_cost the cheapest, ml the cheapest that will answer this prompt well and soon enough."
        ),
    ] = "priority"
    targets: Annotated[
        tuple[Target, ...],
        Meta(min_length=1),
        about("What answers the model. What is told of a target holds wherever it is named."),
    ]
    fallbacks: Annotated[tuple[Name, ...], about("Other models to try, in order, when no target answers.")] = ()
    context_length: Annotated[
        Count | None, about("Tokens of prompt and answer together, told to apps that list the models.")
    ] = None
    drop_params: Annotated[
        tuple[str, ...],
        about("Parameters that are left out where a target can't express them, instead of refused; * for all."),
    ] = ()
    affinity: Annotated[
        Literal["prompt", "none"],
        about(
            "prompt: long prompts that begin alike go to the same target, whose provider has the beginning cached, as"
            " long as it is not busier than the others. none: never."
        ),
    ] = "prompt"
    split: Annotated[
        tuple[Split, ...], about("Shares of the requests that other models are tried first for, as canaries.")
    ] = ()
    shadow: Shadow | None = None
    hedge: Hedge | None = None
    routing: ModelRouting | None = None
    stream_recovery: Annotated[
        Recovery,
        about(
            "When a stream breaks off: continue goes on from its text on a target that takes a prefill, and else ends"
            " it with an error; restart begins the answer anew where it can't go on, and tells so; error ends it."
        ),
    ] = "continue"
