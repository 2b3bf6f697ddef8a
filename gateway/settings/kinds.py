"""The kinds of providers as data: ``config/providers/<kind>.yaml``, one file each.

A file says where a vendor's API is, how it is authenticated and how it differs from OpenAI's; what differs more has a
translation of its own (:mod:`gateway.providers`), and its file says the rest. ``openai`` is any API like OpenAI's; only
``llama_cpp``, which is no API, has no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from gateway.kernel.shipped import shipped
from gateway.settings.fields import END, Section
from gateway.settings.models import Prefill

LOCAL = "llama_cpp"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

Url = Annotated[str, Meta(pattern=r"^https?://\S+" + END)]
Path_ = Annotated[str, Meta(pattern=r"^/\S*" + END)]
ListPath = Annotated[str, Meta(pattern=r"^(/\S*)?" + END)]
HeaderName = Annotated[str, Meta(pattern=r"^[a-z0-9-]+" + END)]
Parameter = Annotated[str, Meta(pattern=r"^[a-z_0-9]+" + END)]


class Auth(Section, frozen=True, kw_only=True):
    """The header a key goes in, after ``scheme`` and a space where there is one."""

    header: HeaderName = "authorization"
    scheme: str = "Bearer"


class Option(Section, frozen=True, kw_only=True):
    """One of a provider's ``options``. One that is neither required nor has a default may be absent."""

    about: str
    required: bool = False
    default: str | None = None


class Features(Section, frozen=True, kw_only=True):
    """What every model of the vendor takes; what is absent is as known of the model."""

    tools: bool | None = None
    vision: bool | None = None
    json_schema: bool | None = None
    prefill: Prefill | None = None


class ProviderKind(Section, frozen=True, kw_only=True):
    """One kind of provider.

    ``base_url`` and ``paths`` may hold ``{option}``, paths ``{model}`` too. ``key``: whether an ``api_key`` is needed;
    ``unless`` are options that make it unnecessary. ``endpoints`` are those it has, by their names here; absent, any
    that OpenAI has. ``models`` is where its list of models is, empty where it has none that names what a target does.
    ``renamed`` are parameters with another name, ``unsupported`` those that are refused or that change
    nothing there, ``split`` sizes such as ``1024x768`` that are two numbers there.
    """

    name: str
    docs: Url
    api: Literal["openai", "anthropic", "gemini", "vertex", "bedrock", "cohere", "mistral"] = "openai"
    base_url: Url | None = None
    auth: Auth = Auth()
    key: Literal["required", "optional"] = "required"
    unless: tuple[str, ...] = ()
    paths: dict[str, Path_] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()
    models: ListPath = "/models"
    renamed: dict[Parameter, Parameter] = field(default_factory=dict)
    unsupported: tuple[Parameter, ...] = ()
    split: dict[Parameter, tuple[Parameter, Parameter]] = field(default_factory=dict)
    options: dict[str, Option] = field(default_factory=dict)
    features: Features = Features()


IN_ENGINE = ProviderKind(
    name="llama.cpp",
    docs="https://github.com/ggml-org/llama.cpp",
    renamed={"repetition_penalty": "repeat_penalty"},
    unsupported=(
        "audio",
        "function_call",
        "functions",
        "prediction",
        "reasoning_effort",
        "verbosity",
        "web_search_options",
    ),
)
"""What the engine of models on this machine takes of a chat: it ignores fields that it does not know."""


def names() -> tuple[str, ...]:
    """Every kind that a configuration may name, in order."""
    return tuple(sorted([*(path.stem for path in shipped("providers").glob("*.yaml")), LOCAL]))


@lru_cache(maxsize=256)
def kind_of(name: str) -> ProviderKind | None:
    """What is known of a kind; None for ``llama_cpp``. Raises :class:`ValueError` for a file that is not sound."""
    return None if name == LOCAL else read(shipped("providers") / f"{name}.yaml")


def read(path: Path) -> ProviderKind:
    """One file. Raises :class:`ValueError` that names it and what was expected."""
    try:
        found = msgspec.yaml.decode(path.read_bytes(), type=ProviderKind)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path.name}: {error}") from None
    known = {*found.options, "model"}
    for text in (found.base_url or "", *found.paths.values()):
        for name in _PLACEHOLDER.findall(text):
            if name not in known:
                raise ValueError(f"{path.name}: {{{name}}} is none of the options")
    for name in found.unless:
        if name not in found.options:
            raise ValueError(f"{path.name}: unless names {name}, which is none of the options")
    return found


def options_of(kind: ProviderKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """A provider's options with the defaults of its kind."""
    defaults = {name: option.default for name, option in kind.options.items() if option.default is not None}
    return {**defaults, **given}


def base_url_of(kind: ProviderKind, options: Mapping[str, Any]) -> str | None:
    """The base URL where a configuration gives none; None where the kind has none, or an option it needs is absent."""
    if kind.base_url is None or any(name not in options for name in _PLACEHOLDER.findall(kind.base_url)):
        return None
    return fill(kind.base_url, options)


def needed(kind: ProviderKind) -> Iterator[str]:
    """The options that the base URL is made of."""
    yield from dict.fromkeys(_PLACEHOLDER.findall(kind.base_url or ""))


def fill(text: str, values: Mapping[str, Any]) -> str:
    """A template with its placeholders replaced."""
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), text)
