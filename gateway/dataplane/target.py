"""One provider's model, as a request may be sent to it."""

from __future__ import annotations

from hashlib import blake2b
from urllib.parse import quote

from gateway.dataplane.body import raw_string
from gateway.dataplane.breaker import Breaker
from gateway.dataplane.concurrency import Limit
from gateway.dataplane.endpoints.inference import ENDPOINTS
from gateway.dataplane.learned.observed import Observed
from gateway.dataplane.load import Load
from gateway.dataplane.pricing import Pricing
from gateway.dataplane.retries import RetryBudget
from gateway.dataplane.tokens import TokenSource
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.vendors import LOCAL, vendor_of
from gateway.providers.base import Upstream
from gateway.providers.registry import translator_for
from gateway.settings.kinds import IN_ENGINE, Auth, ProviderKind, fill, kind_of
from gateway.settings.known_targets import Capabilities
from gateway.settings.model import Provider

_TRANSLATED = frozenset(endpoint.name for endpoint in ENDPOINTS if endpoint.protocol is not None and endpoint.generates)
"""Endpoints that whoever serves chats serves."""
_LOCAL_ENDPOINTS = frozenset(("chat.completions", "completions", "embeddings", *_TRANSLATED))
_SAFE = "/:@+,._-~!$'()*"
_ANYTHING = Capabilities()
_NATIVE_ONLY = {
    endpoint.name: endpoint.protocol.native for endpoint in ENDPOINTS if endpoint.protocol is not None and endpoint.free
}
"""Endpoints that the named kind of provider alone serves."""


class Target:
    """One provider's model, with what a request to it needs ready made."""

    __slots__ = (
        "_logged_at",
        "adapts",
        "breaker",
        "budget",
        "capitals",
        "configured",
        "header",
        "heads",
        "kind",
        "limit",
        "load",
        "local",
        "model",
        "model_raw",
        "name",
        "offers",
        "paths",
        "pool",
        "prefill",
        "provider",
        "rate",
        "seed",
        "seen",
        "tokens",
        "translator",
        "upstream",
        "vendor",
        "watched",
    )

    def __init__(
        self, provider: Provider, model: str, pool: Pool, rate: Pricing | None, offers: Capabilities = _ANYTHING
    ) -> None:
        self.provider = provider
        self.offers = offers
        self.model = model
        self.model_raw = raw_string(model)
        self.pool = pool
        self.configured = rate
        self.rate = rate  # the sidecar's, where it tells another: see gateway.dataplane.prices
        self.local = provider.kind == "llama_cpp"
        self.kind = kind_of(provider.kind)
        self.tokens: TokenSource | None = None  # where an access token stands for the key
        self.translator = translator_for(provider.kind)
        self.upstream = Upstream(
            model, (provider.base_url or "").rstrip("/"), provider.api_key, offers.max_tokens, provider.options
        )
        self.adapts: ProviderKind | None = None  # whose parameters differ from OpenAI's
        self.paths: dict[bytes, bytes] = {}
        if self.kind is None:
            self.adapts = IN_ENGINE
        elif self.translator is None:
            differs = self.kind.renamed or self.kind.unsupported or self.kind.split
            self.adapts = self.kind if differs else None
            self.paths = _paths(self.kind, provider, model)
        self.vendor = LOCAL if self.local else vendor_of(provider.name, provider.base_url, provider.kind)
        self.name = f"{provider.name}/{model}"
        self.capitals = provider.name.upper()
        self.header = b"x-gateway-target: " + quote(self.name, safe=_SAFE).encode() + b"\r\n"
        self.heads: dict[bytes, bytes] = {}
        self.load = Load()
        self.watched = False  # whether somebody goes by the load
        self.seen: Observed | None = None  # where a learned route may choose it
        self.prefill: str = offers.prefill  # "none" once it refused one
        self.seed = int.from_bytes(blake2b(self.name.encode(), digest_size=8).digest())
        self.breaker = Breaker(provider.breaker)
        self.limit = None if provider.concurrency is None else Limit(provider.concurrency, self.name)
        self.budget = RetryBudget(provider.retry.budget)
        self._logged_at = 0.0

    def head_for(self, path: bytes) -> bytes:
        """The request line and the headers that never change, for an endpoint's path."""
        head = self.heads.get(path)
        if head is None:
            head = self.heads[path] = self._build_head(self.paths.get(path, path))
        if self.tokens is not None and self.translator is None:
            head += f"authorization: Bearer {self.tokens.value}\r\n".encode("latin-1")
        return head

    def _build_head(self, path: bytes) -> bytes:
        lines = [
            b"POST " + self.pool.request_target_prefix.encode() + path + b" HTTP/1.1",
            b"host: " + self.pool.origin.host_header.encode(),
            b"accept-encoding: identity",
        ]
        if self.provider.api_key is not None and self.translator is None and self.tokens is None:
            auth = Auth() if self.kind is None else self.kind.auth
            scheme = auth.scheme + " " if auth.scheme else ""
            lines.append(f"{auth.header}: {scheme}{self.provider.api_key}".encode())
        lines += [f"{name.lower()}: {value}".encode() for name, value in self.provider.headers.items()]
        return b"\r\n".join(lines) + b"\r\n" + self.pool.proxy_headers

    def serves(self, endpoint: str) -> bool:
        """Whether requests of this kind may go here."""
        if self.translator is not None:
            served = self.translator.endpoints
            if endpoint in _NATIVE_ONLY:
                return self.provider.kind == _NATIVE_ONLY[endpoint]
            return endpoint in served or (endpoint in _TRANSLATED and "chat.completions" in served)
        if self.local:
            return endpoint in _LOCAL_ENDPOINTS
        if self.kind is not None and self.kind.endpoints:
            asked = "chat.completions" if endpoint in _TRANSLATED else endpoint
            return asked in self.kind.endpoints
        return endpoint not in _NATIVE_ONLY or (
            self.provider.kind == _NATIVE_ONLY[endpoint] and self.provider.responses
        )

    def take_over(self, previous: Target) -> None:
        """Go on with what is known of the same target; with its breaker and its retries only by the same rules."""
        self.load = previous.load
        self.seen = previous.seen
        if self.provider.breaker == previous.provider.breaker and self.provider.base_url == previous.provider.base_url:
            self.breaker = previous.breaker
        if self.provider.retry.budget == previous.provider.retry.budget:
            self.budget = previous.budget
        settings = self.provider.concurrency
        if settings and previous.limit and self.provider.base_url == previous.provider.base_url:
            self.limit = previous.limit
            self.limit.configure(settings)

    @property
    def has_room(self) -> bool:
        """Whether a call would not have to wait for others to end."""
        return self.limit is None or self.limit.in_flight < self.limit.limit

    def ready_at(self, now: float) -> float:
        """When it is worth asking, as far as is known: 0 where it is worth it now. For sorting."""
        rests, limit = self.breaker.rests_until(now), self.limit
        if limit is None or limit.in_flight < limit.limit:
            return rests
        return max(rests, now + limit.room.expected(now))

    def log_is_due(self, now: float) -> bool:
        """Whether a failure at loop time ``now`` is worth a line in the log: at most one a second is."""
        is_due = now >= self._logged_at + 1.0
        if is_due:
            self._logged_at = now
        return is_due


def _paths(kind: ProviderKind, provider: Provider, model: str) -> dict[bytes, bytes]:
    """Where a kind has OpenAI's endpoints, where that is elsewhere."""
    by_name = {endpoint.name: endpoint.path for endpoint in ENDPOINTS}
    values = {**provider.options, "model": quote(model, safe="")}
    return {by_name[name]: fill(path, values).encode() for name, path in kind.paths.items()}
