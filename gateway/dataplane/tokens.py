"""Access tokens of providers that want one in place of a key: fetched at the start, and again before they end.

What an issuer is asked is made by :mod:`gateway.providers.credentials`. A token is there before the first request needs
it, or its absence is: nothing in a request's way waits for an issuer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from gateway.dataplane.issuers import poster
from gateway.kernel.errors import GatewayError, Kind
from gateway.providers.credentials import asker_for
from gateway.providers.oauth import Token, TokenRequest, token_of
from gateway.settings.model import Provider

FIRST: Final = 5.0
"""Seconds that a start waits for the first token."""
_AGAIN: Final = (1.0, 60.0)  # seconds until an issuer that failed is asked again: the first time, and the most
_SHARE: Final = 0.8  # of a token's life, after which the next one is fetched

_log = logging.getLogger("gateway.providers")

Fetch = Callable[[TokenRequest], tuple[int, bytes]]


class TokenSource:
    """The access token of one provider. It runs from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        name: str,
        ask: Callable[[float], TokenRequest],
        fetch: Fetch,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._ask = ask
        self._fetch = fetch
        self._clock = clock
        self._token: Token | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def value(self) -> str:
        """The token. Raises :class:`GatewayError` (UNAVAILABLE) where there is none that is valid."""
        token = self._token
        if token is None or token.expires_at <= self._clock():
            message = f"The provider '{self._name}' can't be asked: there is no access token for it."
            raise GatewayError(Kind.UNAVAILABLE, "provider_token_missing", message)
        return token.value

    async def start(self) -> None:
        """Fetch the first token, for :data:`FIRST` seconds at most, and keep it fresh from then on."""
        first = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(first), name=f"tokens of {self._name}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST):
                await asyncio.shield(first)

    def stop(self) -> None:
        """Fetch no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, first: asyncio.Future[None]) -> None:
        pause = _AGAIN[0]
        while True:
            try:
                token = await asyncio.to_thread(self._fetched)
            except (ValueError, OSError) as error:
                _log.warning("no access token for provider %s: %s", self._name, error)
                wait, pause = pause, min(2 * pause, _AGAIN[1])
            else:
                self._token = token
                wait, pause = max(_AGAIN[0], _SHARE * (token.expires_at - self._clock())), _AGAIN[0]
            if not first.done():
                first.set_result(None)
            await asyncio.sleep(wait)

    def _fetched(self) -> Token:
        now = self._clock()
        return token_of(*self._fetch(self._ask(now)), now)


def source_for(provider: Provider) -> TokenSource | None:
    """Where the tokens of a provider come from; None for one with a key. Raises :class:`ValueError` for a credential
    that can't be one.
    """
    ask = asker_for(provider.kind, provider.options)
    if ask is None:
        return None
    return TokenSource(provider.name, ask, poster(provider.proxy))
