"""Bringing what is kept in line with what the providers list now."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import NamedTuple

from gateway.domain.catalogue.fetching import Failed, Fetched, Skipped, fetch_all
from gateway.domain.catalogue.file import CatalogueError, held, read, write
from gateway.domain.catalogue.model import Catalogue, Changed, Listing, compare, current
from gateway.settings.model import Settings


class Outcome(NamedTuple):
    """What came of asking one provider: its list, and what has changed since the one before where there was one."""

    fetched: Fetched
    changed: Changed | None = None


class Synchronised(NamedTuple):
    """The outcomes by the providers' names, and what is kept now."""

    outcomes: dict[str, Outcome]
    catalogue: Catalogue


async def synchronise(settings: Settings, only: Collection[str] = ()) -> Synchronised:
    """Ask the configured providers, or ``only`` some, and keep their lists. One that fails keeps the list it had.

    Raises :class:`CatalogueError` where nothing can be kept.
    """
    asked = [provider for provider in settings.providers if not only or provider.name in only]
    fetched = await fetch_all(asked)
    return await asyncio.to_thread(_keep, settings, fetched)


def _keep(settings: Settings, fetched: dict[str, Fetched]) -> Synchronised:
    with held(settings.data_dir):
        before = current(_read(settings.data_dir), settings)
        lists = {name: each for name, each in fetched.items() if isinstance(each, Listing)}
        catalogue = Catalogue(providers=before | lists)
        if lists or not fetched:
            write(settings.data_dir, catalogue)
    return Synchronised({name: _outcome(each, before.get(name)) for name, each in fetched.items()}, catalogue)


def _read(data_dir: str) -> Catalogue:
    try:
        return read(data_dir)
    except CatalogueError:
        return Catalogue()  # it is replaced by one that can be read


def _outcome(fetched: Fetched, before: Listing | None) -> Outcome:
    if isinstance(fetched, Failed | Skipped) or before is None:
        return Outcome(fetched)
    return Outcome(fetched, compare(before, fetched))
