"""The model ``auto``: a route over the targets of other models, of those that the caller's key may use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.dataplane.learned.decider import Decider, Learned
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.learned import Auto as AutoSettings
from gateway.settings.models import Model
from gateway.settings.models import Target as TargetSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target

NAME: Final = "auto"
MOST: Final = 256
"""Different lists of allowed models that a route is kept for."""

# What its name says answers no prompts; a list in routing.auto.models is taken as it is.
_NO_CHAT: Final = re.compile(
    r"(^|[-_/.])(embed\w*|whisper|tts|dall-e|moderation|rerank\w*|transcribe|speech|gpt-image|bge|imagen)([-_/.\d]|$)",
    re.IGNORECASE,
)


class Auto:
    """Routes to ``auto``, by what keys may use. ``make`` makes a route of settings and targets."""

    __slots__ = ("_all", "_kept", "_make", "_settings")

    def __init__(
        self,
        settings: AutoSettings,
        routes: dict[str, Route],
        learned: Learned,
        make: Callable[[Model, tuple[Target, ...]], Route],
    ) -> None:
        self._settings = settings
        self._make = make
        names = settings.models or tuple(routes)
        fits = _serves_chats if settings.models else _answers_prompts
        answering = {name: tuple(filter(fits, routes[name].targets)) for name in names}
        self._all = {name: targets for name, targets in answering.items() if targets}
        self._kept: dict[frozenset[str], Route] = {}
        if self._all:
            self._kept[frozenset()] = whole = self._built(frozenset(), learned, None)
            assert whole.learned is not None

    def route(self, allowed: frozenset[str]) -> Route | None:
        """The route for a key that may use these models, empty for all; None where there is nothing to choose from.

        Raises :class:`GatewayError` (FORBIDDEN) where the key may use none of them.
        """
        if not self._kept:
            return None
        if NAME in allowed:
            allowed = frozenset()
        found = self._kept.get(allowed)
        if found is None:
            if not any(name in self._all for name in allowed):
                message = f"Your key may use none of the models that '{NAME}' chooses from."
                raise GatewayError(Kind.FORBIDDEN, "model_not_allowed", message, "model")
            while len(self._kept) >= MOST:
                del self._kept[list(self._kept)[1]]  # the first is for all
            whole = self._kept[frozenset()].learned
            assert whole is not None
            found = self._kept[allowed] = self._built(allowed, whole.learned, whole)
        return found

    def listed(self, allowed: frozenset[str]) -> Route | None:
        """The route for such a key where lists of models name it: where there are several models to choose from."""
        among = [name for name in self._all if not allowed or NAME in allowed or name in allowed]
        return self.route(allowed) if len(among) > 1 else None

    def _built(self, allowed: frozenset[str], learned: Learned, parent: Decider | None) -> Route:
        targets = tuple(
            dict.fromkeys(
                target for name, each in self._all.items() if not allowed or name in allowed for target in each
            )
        )
        named = tuple(TargetSettings(provider=target.provider.name, model=target.model) for target in targets)
        route = self._make(Model(name=NAME, strategy="ml", targets=named), targets)
        route.learned = Decider(learned, self._settings, targets, parent=parent)
        route.complete()
        return route


def _serves_chats(target: Target) -> bool:
    return target.serves("chat.completions")


def _answers_prompts(target: Target) -> bool:
    return _NO_CHAT.search(target.model) is None and _serves_chats(target)
