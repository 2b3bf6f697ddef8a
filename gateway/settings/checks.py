"""What the schema cannot say: references, cycles, and settings that do not fit together.

The checks read the plain values rather than the structs, so that one pass reports a misspelt key and an unknown
provider together. They therefore take nothing for granted: a value of the wrong type is another check's fault.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from gateway.settings.document import Document
from gateway.settings.faults import Fault, Finding, Path, dotted, named, nearest
from gateway.settings.kind_checks import check_kind, doubt_kind
from gateway.settings.learned_checks import check_learned
from gateway.settings.local_models import local_models, weights
from gateway.settings.model_checks import check_models
from gateway.settings.pricing import RATE_KEYS
from gateway.settings.provider_checks import check_concurrency, doubt_concurrency
from gateway.settings.view import Item, as_dict, as_list, entries, find_cycle, names_of, text_of

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*\Z")


class PlanList(NamedTuple):
    """The values of the list of plans, the document they were written in, and where in it."""

    document: Document
    data: object
    path: Path


class Checks:
    """Checks one configuration: the main document's values and the list of plans, wherever that was written.

    ``base`` is the directory that paths start at. ``plans`` is None where the plans could not be read.
    """

    def __init__(self, main: Document, data: object, base: FilePath, plans: PlanList | None) -> None:
        self.main = main
        self.base = base
        self.plan_list = plans
        self.data: Item = data if isinstance(data, dict) else {}
        self.providers = entries(self.data.get("providers"), ("providers",))
        self.models = entries(self.data.get("models"), ("models",))
        self.keys = entries(self.data.get("keys"), ("keys",))
        self.pricing = entries(self.data.get("pricing"), ("pricing",))
        self.exchange_rates = entries(self.data.get("exchange_rates"), ("exchange_rates",))
        self.plans = entries(plans.data, plans.path) if plans is not None else []
        self.warnings: list[Fault] = []

    def run(self) -> None:
        """Add every fault to its document and collect the warnings."""
        from_main = (
            *_duplicates(self.providers, "provider"),
            *_duplicates(self.models, "model"),
            *_duplicates(self.keys, "key"),
            *self._providers(),
            *check_concurrency(self.providers),
            *self._models(),
            *check_models(self.models, self.pricing, self.providers),
            *self._cycles(),
            *self._pricing(),
            *self._exchange_rates(),
            *self._keys(),
            *self._limited(),
            *check_learned(self.data, self.models, self.base),
            *self._workers(),
            *self._stores(),
            *self._sidecar(),
            *self._telemetry(),
        )
        self._report(self.main, from_main)
        if self.plan_list is not None:
            self._report(self.plan_list.document, (*_duplicates(self.plans, "plan"), *_limits(self.plans)))
        for path, message, hint in self._doubts():
            mark = self.main.locate(path)
            self.warnings.append(
                Fault(
                    file=self.main.file,
                    line=mark.line,
                    column=mark.column,
                    path=dotted(path),
                    message=message,
                    hint=hint,
                    severity="warning",
                )
            )

    def _report(self, document: Document, findings: tuple[Finding, ...]) -> None:
        for path, message, hint in findings:
            if path not in document.faulty:
                document.fault(document.locate(path), path, message, hint)

    def _providers(self) -> Iterator[Finding]:
        for path, item in self.providers:
            ca_file = text_of(item, "ca_file")
            if ca_file and not os.path.isfile(self.base / ca_file):
                yield (*path, "ca_file"), f"there is no file {self.base / ca_file}", "a path is relative to this file"
            for name, value in as_dict(item.get("headers")).items():
                if not _HEADER_NAME.match(name):
                    yield (*path, "headers", name), "expected the name of an HTTP header", None
                elif isinstance(value, str) and not _HEADER_VALUE.match(value):
                    yield (*path, "headers", name), "expected printable characters: it is sent in an HTTP header", None
            yield from check_kind(path, item)
            if item.get("kind") == "llama_cpp":
                if not local_models(item):
                    yield path, "a provider of kind llama_cpp needs a model, or a list of models", None
                yield from weights(path, item, self.base)
                for name in ("base_url", "api_key", "headers", "proxy", "ca_file"):
                    if item.get(name):
                        yield (
                            (*path, name),
                            "a provider of kind llama_cpp runs on this machine and takes no such key",
                            None,
                        )

    def _models(self) -> Iterator[Finding]:
        known = names_of(self.providers)
        served = {
            text_of(item, "name"): local_models(item) for _, item in self.providers if item.get("kind") == "llama_cpp"
        }
        models = names_of(self.models)
        for path, item in self.models:
            targets = entries(item.get("targets"), (*path, "targets"))
            for at, target in targets:
                provider, model = text_of(target, "provider"), text_of(target, "model")
                if provider and provider not in known:
                    yield _unknown((*at, "provider"), "provider", provider, known)
                elif model and provider in served and model not in served[provider]:
                    message = f'provider {named(provider)} has no model "{named(model)}"'
                    yield (*at, "model"), message, _known(model, served[provider])
            weights = [target.get("weight", 1.0) for _, target in targets]
            if item.get("strategy") == "weighted" and weights and all(weight == 0 for weight in weights):
                yield (*path, "targets"), "at least one target needs a weight above 0", None
            fallbacks = item.get("fallbacks")
            for index, name in enumerate(fallbacks if isinstance(fallbacks, list) else ()):
                if isinstance(name, str) and name not in models:
                    yield _unknown((*path, "fallbacks", index), "model", name, models)

    def _cycles(self) -> Iterator[Finding]:
        places = {text_of(item, "name"): path for path, item in self.models}
        edges = {
            text_of(item, "name"): [name for name in as_list(item.get("fallbacks")) if isinstance(name, str)]
            for _, item in self.models
        }
        done: set[str] = set()
        for start in edges:
            cycle = find_cycle(start, edges, done)
            if cycle:
                names = " → ".join(named(name) for name in [*cycle, cycle[0]])
                yield (*places[cycle[0]], "fallbacks"), f"fallbacks lead back to where they began: {names}", None

    def _pricing(self) -> Iterator[Finding]:
        known = names_of(self.providers)
        seen: set[tuple[str, str, str]] = set()
        for path, item in self.pricing:
            pair = (text_of(item, "provider"), text_of(item, "model"))
            day = text_of(item, "effective_from")
            if pair[0] and pair[0] not in known:
                yield _unknown((*path, "provider"), "provider", pair[0], known)
            if all(pair) and (*pair, day) in seen:
                hint = "prices that follow one another differ in effective_from"
                yield path, "this provider's model is priced twice", hint if not day else None
            if _DAY.match(day) and not _is_day(day):
                yield (*path, "effective_from"), "there is no such day", None
            seen.add((*pair, day))
            yield from _price_parts(path, item)

    def _exchange_rates(self) -> Iterator[Finding]:
        seen: set[tuple[str, str]] = set()
        for path, item in self.exchange_rates:
            pair = (text_of(item, "currency"), text_of(item, "day"))
            if _DAY.match(pair[1]) and not _is_day(pair[1]):
                yield (*path, "day"), "there is no such day", None
            if all(pair) and pair in seen:
                yield path, "this currency has two rates for one day", None
            seen.add(pair)

    def _keys(self) -> Iterator[Finding]:
        plans, models = names_of(self.plans), names_of(self.models)
        seen: set[str] = set()
        yield from _limits(self.keys)
        for path, item in self.keys:
            secret, plan = text_of(item, "key"), text_of(item, "plan")
            if secret and (secret in seen or secret == self.data.get("master_key")):
                yield (*path, "key"), "this key is used for another credential already", None
            seen.add(secret)
            if plan and plan not in plans and self.plan_list is not None:
                yield _unknown((*path, "plan"), "plan", plan, plans)
            for index, name in enumerate(as_list(item.get("models"))):
                if isinstance(name, str) and name not in models:
                    yield _unknown((*path, "models", index), "model", name, models)

    def _limited(self) -> Iterator[Finding]:
        """What limits name: those of keys, of plans in this file, and those that all share."""
        holders = [((), self.data), *self.keys]
        if self.plan_list is not None and self.plan_list.document is self.main:
            holders += self.plans
        known = {"model": names_of(self.models), "provider": names_of(self.providers)}
        yield from _limits([((), self.data)])
        for path, item in holders:
            for at, limit in entries(item.get("limits"), (*path, "limits")):
                for noun, names in known.items():
                    name = text_of(limit, noun)
                    if name and name not in names:
                        yield _unknown((*at, noun), noun, name, names)

    def _workers(self) -> Iterator[Finding]:
        if self._workers_apart() and self._is_limited():
            message = (
                "without Redis limits are kept in each worker's memory, so with several workers a key gets a multiple"
                " of them"
            )
            hint = "set redis_url, use 1 worker, or say that a multiple is meant: server.limits_per_worker"
            yield ("server", "workers"), message, hint

    def _workers_apart(self) -> bool:
        server = as_dict(self.data.get("server"))
        workers = server.get("workers", 1)
        apart = isinstance(workers, int) and workers > 1 and self.data.get("redis_url") is None
        return apart and server.get("limits_per_worker") is not True

    def _is_limited(self) -> bool:
        plans = {text_of(item, "name") for _, item in self.plans if item.get("limits")}
        return bool(as_list(self.data.get("limits"))) or any(
            item.get("limits") or item.get("budget") or text_of(item, "plan") in plans for _, item in self.keys
        )

    def _stores(self) -> Iterator[Finding]:
        if text_of(self.data, "redis_url") and not _is_installed("redis"):
            yield ("redis_url",), "this needs the Redis client, which is not installed", _extra("redis")
        if text_of(self.data, "database_url").startswith("postgresql") and not _is_installed("asyncpg"):
            yield ("database_url",), "this needs the PostgreSQL driver, which is not installed", _extra("postgres")

    def _sidecar(self) -> Iterator[Finding]:
        port = text_of(as_dict(self.data.get("sidecar")), "listen").rpartition(":")[2]
        if port.isdecimal() and int(port) > 65_535:
            yield ("sidecar", "listen"), "expected a port from 0 to 65535", None

    def _telemetry(self) -> Iterator[Finding]:
        telemetry = as_dict(self.data.get("telemetry"))
        if telemetry.get("traces") is True and not _is_installed("opentelemetry.exporter.otlp.proto.http"):
            message = "traces need OpenTelemetry, which is not installed"
            yield ("telemetry", "traces"), message, _extra("otel")

    def _doubts(self) -> Iterator[Finding]:
        faults = [*self.main.faults, *(self.plan_list.document.faults if self.plan_list is not None else ())]
        if not (self.models or faults or "models" in self.data):
            yield (), "no models are configured, so every request for one is answered with 404", None
        if self._workers_apart():
            message = "without redis_url each worker counts by itself the limits of keys that are made while it runs"
            yield ("server", "workers"), message, "set redis_url, or use 1 worker"
        for name in ("listen", "url"):
            where = text_of(as_dict(self.data.get("sidecar")), name)
            if where and not where.startswith(("https:", "unix:")) and not _is_loopback(where):
                message = "what proxies and the sidecar tell each other is not encrypted on its way"
                yield ("sidecar", name), message, "use it in a private network, or put a TLS proxy before the sidecar"
        for path, item in self.providers:
            yield from doubt_kind(path, item)
            if re.search(r"/(chat/completions|completions|embeddings)/?\Z", text_of(item, "base_url")):
                yield (*path, "base_url"), "the gateway adds the endpoint's path itself", "usually it ends in /v1"
            if text_of(item, "api_key").lower().startswith("bearer "):
                yield (*path, "api_key"), "the gateway adds Bearer itself", "give the key alone"
        yield from doubt_concurrency(self.providers)
        priced = {(text_of(item, "provider"), text_of(item, "model")) for _, item in self.pricing}
        for path, item in self.keys:
            if item.get("budget"):
                allowed = as_list(item.get("models"))
                for name in self._unpriced(allowed, priced):
                    message = f"this key has a budget, but the model {named(name)} has a target without a price here"
                    yield (
                        (*path, "budget"),
                        message,
                        "such requests are refused with 403 where the sidecar knows none either",
                    )
        targets = {pair for _, item in self.models for pair in _pairs(item)}
        for path, item in self.pricing:
            pair = (text_of(item, "provider"), text_of(item, "model"))
            if all(pair) and pair not in targets:
                yield path, "no model has this target, so this price is never used", None

    def _unpriced(self, allowed: list[Any], priced: set[tuple[str, str]]) -> Iterator[str]:
        local = {text_of(item, "name") for _, item in self.providers if item.get("kind") == "llama_cpp"}
        for _, item in self.models:
            name = text_of(item, "name")
            if allowed and name not in allowed:
                continue
            pairs = [
                (text_of(target, "provider"), text_of(target, "model"))
                for _, target in entries(item.get("targets"), ())
            ]
            if any(pair not in priced and pair[0] not in local for pair in pairs):
                yield name


def _price_parts(path: Path, item: dict[str, Any]) -> Iterator[Finding]:
    """What a price tells: something, the two sides of tokens together, and tiers that rise."""
    told = {key for key in RATE_KEYS if item.get(key) is not None}
    if not told:
        hint = f"give input_per_1k and output_per_1k, or one of {', '.join(_OTHER_UNITS)}"
        yield path, "this price tells nothing", hint
    elif len(told & {"input_per_1k", "output_per_1k"}) == 1:
        missing = "output_per_1k" if "input_per_1k" in told else "input_per_1k"
        yield path, f"{missing} is missing, so such tokens would cost nothing", f"give {missing}, 0 where it is free"
    above = 0
    for place, tier in entries(item.get("tiers"), (*path, "tiers")):
        value = tier.get("above_prompt_tokens")
        if isinstance(value, int) and value <= above:
            yield (*place, "above_prompt_tokens"), "tiers must rise: each begins above the one before it", None
        above = max(above, value) if isinstance(value, int) else above
        if not any(tier.get(key) is not None for key in RATE_KEYS):
            yield place, "this tier tells no price", None


_OTHER_UNITS = ("per_request", "per_image", "per_audio_second")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_loopback(where: str) -> bool:
    """Whether ``host:port``, or a URL of it, is an address that only this machine reaches."""
    host = where.removeprefix("http://").rpartition(":")[0]
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


def _extra(name: str) -> str:
    return f".venv/bin/python -m pip install -e '.[{name}]' in the gateway's checkout"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _unknown(path: Path, noun: str, name: str, known: list[str]) -> Finding:
    return path, f'there is no {noun} "{named(name)}"', _known(name, known)


def _known(name: str, known: list[str]) -> str | None:
    hint = nearest(name, known)
    return hint or (f"known: {', '.join(named(item) for item in known[:10])}" if known else None)


def _duplicates(items: list[tuple[Path, Item]], noun: str) -> Iterator[Finding]:
    seen: dict[str, Path] = {}
    for path, item in items:
        name = text_of(item, "name")
        if name and name in seen:
            yield (*path, "name"), f'there is already a {noun} named "{named(name)}"', f"at {dotted(seen[name])}"
        seen.setdefault(name, path)


def _limits(items: list[tuple[Path, Item]]) -> Iterator[Finding]:
    for path, item in items:
        for at, limit in entries(item.get("limits"), (*path, "limits")):
            window, metric = limit.get("window"), limit.get("metric")
            if metric == "concurrency" and window is not None:
                yield (*at, "window"), "concurrency is counted at each moment and takes no window", "remove the window"
            elif metric in ("requests", "tokens", "cost", "ai_requests") and window is None:
                yield at, f"a limit on {metric} needs a window", "such as 10s, minute, hour, day or month"


def _pairs(model: Item) -> list[tuple[str, str]]:
    """Provider and model of each target."""
    targets = entries(model.get("targets"), ())
    return [(text_of(target, "provider"), text_of(target, "model")) for _, target in targets]
