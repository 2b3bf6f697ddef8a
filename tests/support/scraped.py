"""Reads Prometheus text in tests: strictly, so that reading it is a test of its form."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families


class Scraped:
    """The samples of one scrape."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = {family.name: family for family in families}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def names(self) -> set[str]:
        """The names of all samples, and those a family without samples would have."""
        found = {sample.name for sample in self.samples}
        for family in self.families.values():
            found |= {family.name + "_total"} if family.type == "counter" else {family.name}
        return found


class Families:
    """A collector over families that are here already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> list[Metric]:
        return self._families


def written(families: Iterable[Metric]) -> tuple[Scraped, Scraped]:
    """The families as a scrape of the text format and one of OpenMetrics tell them."""
    collector = Families(families)
    plain = text_string_to_metric_families(generate_latest(collector).decode())
    strict = openmetrics.text_string_to_metric_families(generate_openmetrics(collector).decode())  # type: ignore[no-untyped-call]
    return Scraped(plain), Scraped(strict)


def scrape(root: str) -> Scraped:
    """``GET /metrics`` of a gateway, over a new connection."""
    answer = httpx.get(root + "/metrics")
    assert answer.status_code == 200
    return Scraped(text_string_to_metric_families(answer.text))
