"""Every counter of a process, each once: limits of several credentials can share one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from gateway.contract.policy import LimitPolicy
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.admission.limiter import CounterSet, Era


class Kept(Protocol):
    """Where counters are kept over a restart."""

    def load(self, counters: Sequence[Counter]) -> None:
        """Restore what is known of counters that are new in this process."""

    def touched(self, counter: Counter) -> None:
        """A counter's settled use has changed."""


class Registry:
    """Counters by the key of their limit; one goes when the last credential it holds for goes.

    With ``leased`` the limits are shared with other processes, and a counter holds only what this one has leased.
    """

    def __init__(self, kept: Kept | None = None, *, leased: bool = False) -> None:
        self.kept = kept
        self.leased = leased
        self.era = Era(kept.touched if kept is not None else _forget)
        self._counters: WeakValueDictionary[str, Counter] = WeakValueDictionary()

    def counters(self, policies: Iterable[LimitPolicy], *, overtaken: bool = False) -> list[Counter]:
        """The counters of these limits. Of two limits that are counted as one the smaller holds.

        ``overtaken``: something newer than these may be known, so a counter that is in use keeps its limit.
        """
        smallest: dict[str, LimitPolicy] = {}
        for policy in policies:
            known = smallest.get(policy.key)
            if known is None or policy.limit < known.limit:
                smallest[policy.key] = policy
        found, new = [], []
        for key, policy in smallest.items():
            counter = self._counters.get(key)
            if counter is None:
                counter = self._counters[key] = Counter(policy, leased=self.leased)
                new.append(counter)
            elif counter.policy != policy and not overtaken:
                counter.govern(policy)
            found.append(counter)
        if new and self.kept is not None:
            try:
                self.kept.load(new)
            except BaseException:
                for counter in new:
                    self._counters.pop(counter.key, None)  # or the next would find a count that was never read
                raise
        return found

    def living(self) -> list[Counter]:
        """The counters in use."""
        return list(self._counters.values())


def _forget(counter: Counter) -> None:
    counter.count.dirty = True  # nobody keeps it: once marked, it is asked no more


class Shared:
    """The limits of one configuration that hold for all callers: the gateway's, its models' and its providers'."""

    def __init__(self, policies: tuple[LimitPolicy, ...], registry: Registry) -> None:
        self.registry = registry
        self.everywhere = tuple(registry.counters(p for p in policies if p.provider is None))
        self.at_providers = tuple(registry.counters(p for p in policies if p.provider is not None))


class Limiter:
    """The limits of one credential, as sets of counters ready to be checked."""

    __slots__ = ("_by_model", "_by_provider", "_counters", "_requests", "_shared", "at_providers")

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = tuple(counters)
        self._shared: Shared | None = None
        self._by_model: dict[str, CounterSet] = {}
        self._by_provider: dict[tuple[str, str], CounterSet | None] = {}
        self._requests: CounterSet | None = None
        self.at_providers = False
        """Whether a limit depends on the provider; known once :meth:`for_model` was called."""

    @property
    def counters(self) -> tuple[Counter, ...]:
        """The credential's own counters, those it has in common with others included."""
        return self._counters

    def for_model(self, model: str, shared: Shared) -> CounterSet:
        """What a request for ``model``, a configured one, is held to wherever it is served."""
        if self._shared is not shared:
            self._adopt(shared)
        found = self._by_model.get(model)
        if found is None:
            found = self._by_model[model] = self._set(
                c for c in self._all(shared) if c.policy.provider is None and c.policy.model in (None, model)
            )
        return found

    def for_provider(self, provider: str, model: str, shared: Shared) -> CounterSet | None:
        """What it is held to at ``provider`` besides; None where nothing is."""
        if self._shared is not shared:
            self._adopt(shared)
        pair = (provider, model)
        if pair not in self._by_provider:
            held = [c for c in self._all(shared) if c.policy.provider == provider and c.policy.model in (None, model)]
            self._by_provider[pair] = self._set(held) if held else None
        return self._by_provider[pair]

    def for_requests(self, shared: Shared) -> CounterSet:
        """What a request that reaches no model is held to: the limits on requests."""
        if self._shared is not shared:
            self._adopt(shared)
        if self._requests is None:
            self._requests = self._set(
                c
                for c in self._all(shared)
                if c.metric == "requests" and c.policy.model is None and c.policy.provider is None
            )
        return self._requests

    def _adopt(self, shared: Shared) -> None:
        # Another configuration: the sets hold limits of the one before.
        self._shared = shared
        self._by_model = {}
        self._by_provider = {}
        self._requests = None
        self.at_providers = bool(shared.at_providers) or any(c.policy.provider is not None for c in self._counters)

    def _all(self, shared: Shared) -> tuple[Counter, ...]:
        return (*self._counters, *shared.everywhere, *shared.at_providers)

    def _set(self, counters: Iterable[Counter]) -> CounterSet:
        assert self._shared is not None
        found = tuple(counters)
        # An equal set is taken over: most models share all their limits.
        for known in self._by_model.values():
            if known.all == found:
                return known
        return CounterSet(found, self._shared.registry.era)
