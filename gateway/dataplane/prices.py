"""What the sidecar tells of prices: those made by API and those of the default list, which no configuration holds.

It is asked at the start, when the feed tells that a price has changed, after a reload and once a day; never in a
request's way. What was told is kept while the sidecar is away, and over reloads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import NamedTuple

from gateway.bus.backoff import Backoff
from gateway.bus.connection import START_SECONDS
from gateway.bus.policy import PRICED_MOST, PolicyUnavailable, PriceSource
from gateway.contract.prices import Priced, PriceFrom
from gateway.dataplane.pricing import Pricing, holds, rate_told
from gateway.dataplane.routing import Router
from gateway.dataplane.target import Target
from gateway.kernel.currency import ExchangeRates

logger = logging.getLogger("gateway.prices")

AGAIN = 86_400.0  # seconds: so far what is told looks ahead at the least
PAUSE = 0.2  # seconds between two questions, in which many changes become one


class _Told(NamedTuple):
    rate: Pricing | None
    by_api: bool


class PriceList:
    """Sets ``rate`` of the targets in use: to a price by API, else the configuration's, else the default one.

    :meth:`serve` before :meth:`run`, and with every new configuration.
    """

    def __init__(self, source: PriceSource) -> None:
        self._source = source
        self._targets: dict[tuple[str, str], Target] = {}
        self._told: dict[tuple[str, str], _Told] = {}
        self._wanted = asyncio.Event()
        self._failing = False
        self._patient_until = time.monotonic() + START_SECONDS

    def serve(self, router: Router) -> None:
        """Price these targets from now on: by what was told, and soon by what is told of them."""
        self._targets = router.targets()
        self._set()
        self.ask()

    def ask(self) -> None:
        """Ask soon. May be called any number of times."""
        self._wanted.set()

    async def run(self) -> None:
        """Ask whenever it is time, until cancelled."""
        backoff = Backoff()
        while True:
            self._wanted.clear()
            try:
                await self._ask()
            except PolicyUnavailable as error:
                self._complain(error)
                await self._wait(backoff.next())
            else:
                self._failing = False
                backoff.reset()
                await asyncio.sleep(PAUSE)
                await self._wait(AGAIN)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wanted.wait()

    async def _ask(self) -> None:
        """Ask for all targets. What is told takes effect as a whole."""
        waiting = [Priced(*pair) for pair in self._targets]
        told: dict[tuple[str, str], _Told] = {}
        while waiting:
            asked = waiting[:PRICED_MOST]
            answer = await self._source.prices(asked)
            if not 0 < len(answer.prices) <= len(asked):
                raise PolicyUnavailable(f"the sidecar told {len(answer.prices)} of {len(asked)} prices")
            exchange = ExchangeRates(answer.exchange, complete=True)
            for target, versions in zip(asked, answer.prices, strict=False):
                told[target.provider, target.model] = _taken(versions, exchange)
            waiting = waiting[len(answer.prices) :]
        self._told = told
        self._set()

    def _set(self) -> None:
        now = time.time()
        for pair, target in self._targets.items():
            told = self._told.get(pair)
            known = holds(target.configured, now)
            if told is None or told.rate is None or (known and not told.by_api):
                # This process has read the configuration itself, perhaps later than the sidecar.
                target.rate = target.configured
            else:
                target.rate = told.rate

    def _complain(self, error: PolicyUnavailable) -> None:
        if not self._failing and time.monotonic() >= self._patient_until:
            self._failing = True
            logger.warning("prices can't be asked for; those that are known stay", extra={"reason": str(error)})


def _taken(versions: list[PriceFrom], exchange: ExchangeRates) -> _Told:
    return _Told(rate_told(versions, exchange), any(version.source == "api" for version in versions))
