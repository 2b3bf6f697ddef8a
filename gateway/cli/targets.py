"""What a running gateway knows of its targets, read from its metrics, which are those of all its workers."""

from __future__ import annotations

from typing import Any, TypeAlias

import httpx
from prometheus_client.parser import text_string_to_metric_families

Told: TypeAlias = "dict[str, dict[str, Any]]"
Targets: TypeAlias = "dict[tuple[str, str], Told]"
"""By provider and target. ``breaker``: its ``state`` (closed, half_open, open), the ``failures`` in a row of the worker
with the most, how many workers have it ``open``, and how many requests are ``waiting`` for it. ``concurrency``, of a
target that has a limit: the ``limit``, the calls ``in_flight`` and the requests ``queued``.
"""

_READ = {
    "gateway_breaker_open": ("breaker", "open"),
    "gateway_breaker_half_open": ("breaker", "half_open"),
    "gateway_breaker_failures": ("breaker", "failures"),
    "gateway_breaker_waiting": ("breaker", "waiting"),
    "gateway_concurrency_limit": ("concurrency", "limit"),
    "gateway_concurrency_in_flight": ("concurrency", "in_flight"),
    "gateway_concurrency_queued": ("concurrency", "queued"),
}


def read_targets(root: str, timeout: float) -> Targets:
    """What ``GET /metrics`` below ``root`` tells of targets; nothing where it can't be read."""
    try:
        answer = httpx.get(f"{root}/metrics", timeout=timeout, trust_env=False)
        answer.raise_for_status()
        return _parsed(answer.text)
    except (httpx.HTTPError, ValueError, KeyError):
        return {}


def _parsed(text: str) -> Targets:
    found: Targets = {}
    for family in text_string_to_metric_families(text):
        if family.name in _READ:
            part, name = _READ[family.name]
            for sample in family.samples:
                target = found.setdefault((sample.labels["provider"], sample.labels["target"]), {})
                numbers = target.setdefault(part, {each: 0 for whose, each in _READ.values() if whose == part})
                numbers[name] = int(sample.value)
    for target in found.values():
        if "breaker" in target:
            half_open = target["breaker"].pop("half_open")
            target["breaker"]["state"] = "open" if target["breaker"]["open"] else "half_open" if half_open else "closed"
    return found


def described(told: Told) -> str:
    """A target's state in a few words: its breaker where it is not closed, and its limit where it has one."""
    words = []
    breaker, limit = told.get("breaker"), told.get("concurrency")
    if breaker is not None and breaker["state"] != "closed":
        failures = breaker["failures"]
        words.append(f"{breaker['state'].replace('_', '-')}, {failures} failure{'s' * (failures != 1)} in a row")
        words += [f"{breaker['waiting']} waiting"] if breaker["waiting"] else []
    if limit is not None:
        words.append(f"{limit['in_flight']} of {limit['limit']} calls")
        words += [f"{limit['queued']} queued"] if limit["queued"] else []
    return ", ".join(words)
