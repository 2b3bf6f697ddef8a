"""The breakers of a running gateway, read from its metrics, which are those of all its workers."""

from __future__ import annotations

from typing import Any, TypeAlias

import httpx
from prometheus_client.parser import text_string_to_metric_families

Breakers: TypeAlias = "dict[tuple[str, str], dict[str, Any]]"
"""By provider and target: ``state`` (closed, half_open, open), the ``failures`` in a row of the worker with the most,
how many workers have it ``open``, and how many requests are ``waiting`` for it."""

_READ = {
    "gateway_breaker_open": "open",
    "gateway_breaker_half_open": "half_open",
    "gateway_breaker_failures": "failures",
    "gateway_breaker_waiting": "waiting",
}


def read_breakers(root: str, timeout: float) -> Breakers:
    """What ``GET /metrics`` below ``root`` tells of breakers; nothing where it can't be read."""
    try:
        answer = httpx.get(f"{root}/metrics", timeout=timeout, trust_env=False)
        answer.raise_for_status()
        return _parsed(answer.text)
    except (httpx.HTTPError, ValueError, KeyError):
        return {}


def _parsed(text: str) -> Breakers:
    found: Breakers = {}
    for family in text_string_to_metric_families(text):
        name = _READ.get(family.name)
        if name is None:
            continue
        for sample in family.samples:
            target = (sample.labels["provider"], sample.labels["target"])
            found.setdefault(target, dict.fromkeys(_READ.values(), 0))[name] = int(sample.value)
    for numbers in found.values():
        half_open = numbers.pop("half_open")
        numbers["state"] = "open" if numbers["open"] else "half_open" if half_open else "closed"
    return found


def described(breaker: dict[str, Any] | None) -> str:
    """A breaker in a few words; empty where it is closed, as nearly always."""
    if breaker is None or breaker["state"] == "closed":
        return ""
    failures = breaker["failures"]
    words = f"{breaker['state'].replace('_', '-')}, {failures} failure{'s' * (failures != 1)} in a row"
    return words + (f", {breaker['waiting']} waiting" if breaker["waiting"] else "")
