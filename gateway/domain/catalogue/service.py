"""What can be said of a provider's models, from the shipped list of context windows and the providers' own lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from gateway.contract.catalogue import UNKNOWN, Details, author_of
from gateway.contract.prices import Priced
from gateway.domain.catalogue.authors import Author, author
from gateway.domain.catalogue.file import Watched
from gateway.domain.catalogue.model import Listing, current, find
from gateway.domain.pricing.defaults import Defaults
from gateway.settings.model import Settings, Target

_ANY: Final = ("", "all")


class KnownModels:
    """Answers from any thread. ``defaults`` is the shipped list, which is loaded when it is first needed."""

    def __init__(self, settings: Settings, defaults: Defaults, watched: Watched) -> None:
        self._settings = settings
        self._defaults = defaults
        self._watched = watched
        self._kinds = {provider.name: provider.kind for provider in settings.providers}

    def describe(self, targets: Sequence[Priced]) -> list[Details]:
        """What is known of these targets, in their order: the shipped list goes before what the provider tells."""
        listings = current(self._watched.now(), self._settings)
        return [self._described(target, listings) for target in targets]

    def _described(self, target: Priced, listings: dict[str, Listing]) -> Details:
        told = self._listed(target.provider, target.model, listings) or UNKNOWN
        about = self._defaults.about(target.provider, target.model)
        if about is None:
            return told
        return replace(told, name=told.name or about.name, context_length=about.context_window or told.context_length)

    def _listed(self, provider: str, model: str, listings: dict[str, Listing]) -> Details | None:
        listing = listings.get(provider)
        return None if listing is None else find(listing, self._kinds[provider], model)

    def authors(self, gateway: str = "", *, moderated_only: bool = False) -> list[Author]:
        """Who made the configured models, those of most models first.

        ``gateway`` is a provider's name or kind that must serve them; ``moderated_only`` leaves the models whose
        provider says that it filters what it is asked.
        """
        listings = current(self._watched.now(), self._settings)
        counts: dict[str, int] = {}
        for model in self._settings.models:
            targets = [target for target in model.targets if self._is_at(target, gateway)]
            if targets and (not moderated_only or self._is_moderated(targets, listings)):
                first = model.targets[0]
                slug = author_of(model.name, first.model, first.provider, self._kinds[first.provider])
                counts[slug] = counts.get(slug, 0) + 1
        return [author(slug, counts[slug]) for slug in sorted(counts, key=lambda slug: (-counts[slug], slug))]

    def _is_at(self, target: Target, gateway: str) -> bool:
        wanted = gateway.casefold()
        return wanted in (*_ANY, target.provider.casefold(), self._kinds[target.provider])

    def _is_moderated(self, targets: Sequence[Target], listings: dict[str, Listing]) -> bool:
        return any(
            (self._listed(target.provider, target.model, listings) or UNKNOWN).moderated is True for target in targets
        )
