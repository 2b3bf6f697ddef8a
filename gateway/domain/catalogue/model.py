"""The providers' lists as they are kept, and what has changed between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import asdict

from gateway.contract.catalogue import Details
from gateway.settings.model import Settings

MOST: Final = 5_000
"""Models of one provider that are kept."""
# What aggregators write behind a model's name; their lists have the name alone.
_VARIANTS: Final = {
    "openrouter": ("extended", "exacto", "floor", "nitro", "online", "thinking"),
    "huggingface": (),
}
_REGIONS: Final = ("us", "eu", "apac", "jp", "au", "us-gov", "global")


class Listing(Struct, frozen=True):
    """One provider's list: from ``base_url``, as of ``fetched_at`` (RFC 3339, UTC), by the provider's names.

    ``complete`` is false where there were more than are kept.
    """

    base_url: str
    fetched_at: str
    models: dict[str, Details]
    complete: bool = True


class Catalogue(Struct, frozen=True):
    """The lists by the providers' names in ``gateway.yaml``."""

    version: Literal[1] = 1
    providers: dict[str, Listing] = {}


class Changed(NamedTuple):
    """What a newer list has: ``changed`` are the fields that differ, each with what was and what is."""

    new: list[str]
    gone: list[str]
    changed: dict[str, dict[str, tuple[Any, Any]]]


class Absent(NamedTuple):
    """A target whose model the provider does not list, with when it was asked."""

    model: str
    provider: str
    target: str
    fetched_at: str


def compare(before: Listing, after: Listing) -> Changed:
    """What is new, gone and changed, in the order of the names."""
    both = sorted(before.models.keys() & after.models.keys())
    changed = {name: _differences(before.models[name], after.models[name]) for name in both}
    return Changed(
        sorted(after.models.keys() - before.models.keys()),
        sorted(before.models.keys() - after.models.keys()),
        {name: fields for name, fields in changed.items() if fields},
    )


def _differences(before: Details, after: Details) -> dict[str, tuple[Any, Any]]:
    was, now = asdict(before), asdict(after)
    return {name: (was[name], now[name]) for name in was if was[name] != now[name]}


def find(listing: Listing, kind: str, model: str) -> Details | None:
    """What a list says of a model, by any name under which it can be asked for; None where it does not have it."""
    return next((listing.models[name] for name in _names(kind, model) if name in listing.models), None)


def _names(kind: str, model: str) -> Iterator[str]:
    yield model
    bare, _, suffix = model.rpartition(":")
    if kind == "ollama":
        yield f"{model}:latest"
    elif kind in ("gemini", "vertex"):
        yield model.removeprefix("models/")
    elif kind == "bedrock":
        region, _, rest = model.partition(".")
        if region in _REGIONS:
            yield rest
    elif bare and kind in _VARIANTS and (suffix in _VARIANTS[kind] or not _VARIANTS[kind]):
        yield bare


def current(catalogue: Catalogue, settings: Settings) -> dict[str, Listing]:
    """The lists that are of the providers as they are configured now."""
    bases = {provider.name: listed_at(provider.base_url) for provider in settings.providers}
    return {
        name: listing
        for name, listing in catalogue.providers.items()
        if name in bases and listing.base_url == bases[name]
    }


def listed_at(base_url: str | None) -> str:
    """A base URL as it is asked, kept and shown: without user information."""
    if base_url is not None and base_url.startswith("unix:"):
        return base_url
    scheme, slashes, rest = (base_url or "").partition("://")
    host, slash, path = rest.partition("/")
    return (scheme + slashes + host.rpartition("@")[2] + slash + path).rstrip("/")


def absent(catalogue: Catalogue, settings: Settings) -> list[Absent]:
    """The configured targets that a whole list does not have. An ARN is a name that no list knows."""
    kinds = {provider.name: provider.kind for provider in settings.providers}
    listings = current(catalogue, settings)
    found = []
    for model in settings.models:
        for target in model.targets:
            listing = listings.get(target.provider)
            if listing is None or not listing.complete or target.model.startswith("arn:"):
                continue
            if find(listing, kinds[target.provider], target.model) is None:
                found.append(Absent(model.name, target.provider, target.model, listing.fetched_at))
    return found
