"""The sidecar's metrics, for the worker that is scraped: ``GET /metrics`` tells both in one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric

from gateway.bus.http import Client, parse_address
from gateway.contract import scrape
from gateway.contract.internal import HEADER, internal_token

_SECONDS = 3.0  # that the sidecar has to answer: less than any scraper waits

logger = logging.getLogger("gateway.metrics")


class Beside:
    """Asks the sidecar on this machine at each scrape. One that does not answer costs its own metrics alone."""

    def __init__(self, address: str, master_key: str) -> None:
        self._client = Client(parse_address(address), _SECONDS)
        self._headers = {HEADER: internal_token(master_key)}

    async def families(self) -> list[Metric]:
        """What it told, and ``gateway_sidecar_up``."""
        found: list[Metric] = []
        try:
            answer = await self._client.request("GET", scrape.PATH, self._headers, b"")
            if answer.status == 200:
                found = [*_metrics(scrape.decode(answer.body))]
        except (OSError, msgspec.DecodeError) as error:
            logger.debug("the sidecar tells no metrics", extra={"reason": str(error)})
        return [up(bool(found)), *found]

    def close(self) -> None:
        """Close the connections that were kept."""
        self._client.close()


def up(answers: bool) -> Metric:
    """Whether there is more to tell."""
    return GaugeMetricFamily("gateway_sidecar_up", "Whether the sidecar told its metrics.", float(answers))


def _metrics(found: list[scrape.Family]) -> Iterator[Metric]:
    for family in found:
        metric = Metric(family.name, family.help, family.type)
        for name, labels, value in family.samples:
            metric.add_sample(name, labels, value)
        yield metric
