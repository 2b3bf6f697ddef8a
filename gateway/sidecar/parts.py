"""What a running sidecar is made of, opened in order and closed in reverse."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from sqlalchemy.exc import DBAPIError

from gateway.bus.policy import Query
from gateway.contract.catalogue import Details
from gateway.contract.policy import CredentialPolicy, Resolution
from gateway.contract.prices import Priced, Prices
from gateway.dialects.llm_cost_ops.stream_wire import event_of
from gateway.domain.actor import SYSTEM
from gateway.domain.alerts.budgets import of_settings
from gateway.domain.alerts.service import Notices
from gateway.domain.authentication.service import Authenticator
from gateway.domain.authentication.sessions import Sessions
from gateway.domain.authentication.start import ensure_accounts
from gateway.domain.catalogue.file import Watched
from gateway.domain.catalogue.service import KnownModels
from gateway.domain.ledger.rating import BookRater, Rater
from gateway.domain.live.hub import Hub
from gateway.domain.oidc.kept import FILE as KEPT_KEYS
from gateway.domain.oidc.kept import KeptKeys
from gateway.domain.oidc.service import Issuers
from gateway.domain.plans.service import PlanService
from gateway.domain.pricing import sync as pricing
from gateway.domain.pricing.book import PriceBook, bases_of
from gateway.domain.pricing.outlook import outlook
from gateway.domain.tokens.service import Tokens
from gateway.domain.usage.counters import Counters, open_counters
from gateway.domain.users.attempts import Attempts
from gateway.domain.work import Works
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.shipped import shipped
from gateway.settings.model import Plan, Settings
from gateway.sidecar.changes import StoredLog
from gateway.sidecar.feed import Feed
from gateway.sidecar.ingesting import ingester
from gateway.sidecar.learning import Learning
from gateway.sidecar.metrics import Counts, Measured, Numbers
from gateway.sidecar.rerating import Rerater
from gateway.sidecar.retention import Retention
from gateway.sidecar.trimming import Trimming
from gateway.sidecar.watching import Watching
from gateway.store.engine import Store

_TRIES = 3
# Each data plane knows these by its own configuration, with their limits.
_CONFIGURED = ("master", "static")


class NotNow(Exception):
    """The database can't be used at present; another time it may be. The message says why."""


class Sidecar:
    """The parts of one running sidecar; what handlers find as ``app.state.context``.

    ``settings``, ``tokens``, ``authenticator``, ``sessions``, ``prices`` and ``models`` are replaced when the
    configuration is read again.
    """

    def __init__(self, settings: Settings, master_key: str, store: Store, counters: Counters) -> None:
        self.master_key = master_key
        self.store = store
        self.counters = counters
        self.started = time.monotonic()
        self.ingester = ingester(settings, store, self.rater)
        self.feed = Feed(StoredLog(store))
        self.live = Hub(store, lambda: self.feed.subscribe(None), event_of)
        self.works = Works(store, master_key=master_key, on_commit=self.feed.poke)
        self.rerater = Rerater(self.works, self.rater)
        self.learning = Learning(self.works)
        self.notices = Notices(store, lambda: of_settings(self.settings))
        self.counts = Counts()
        self._calculated: Counter[str] = Counter()
        self.measured = Measured(store, self._numbers)
        self._attempts = Attempts()
        self._kept_keys = KeptKeys(Path(settings.data_dir) / KEPT_KEYS, master_key)
        self._issuers = Issuers(settings.oidc, self._kept_keys)
        self._former: Issuers | None = None
        self._synced = Watched(settings.data_dir)
        self._build(settings)

    def _build(self, settings: Settings) -> None:
        self.settings = settings
        self.tokens = Tokens(settings.jwt, self.master_key)
        self.authenticator = Authenticator(self.works, settings, self.master_key, self.tokens, self._issuers)
        self.sessions = Sessions(self.works, self.tokens, self._attempts)
        self.prices = PriceBook(bases_of(settings))
        self.prices.calculated = self._calculated
        self.models = KnownModels(settings, self.prices.defaults, self._synced)

    async def prepare(self, settings: Settings) -> None:
        """Bring the database in line with a configuration: plans, organisations, the administrator, prices."""
        for attempt in range(1, _TRIES + 1):
            try:
                async with self.works.begin(SYSTEM) as work:
                    await PlanService(work).synchronise(plans_of(settings))
                    await ensure_accounts(work, settings)
                    await pricing.synchronise(work, settings)
                return
            except GatewayError as error:
                # Another sidecar may have made the same at the same time.
                if error.kind is not Kind.CONFLICT or attempt == _TRIES:
                    raise

    async def configure(self, settings: Settings) -> None:
        """Take up a configuration that was read again."""
        await self.prepare(settings)
        if settings.oidc != self.settings.oidc:
            # Requests may still wait for the ones before: they are closed a change later.
            former, self._former = self._former, self._issuers
            self._issuers = Issuers(settings.oidc, self._kept_keys)
            if former is not None:
                await former.close()
        bases = bases_of(self.settings)
        self._build(settings)
        if bases_of(settings) != bases:
            # Other base URLs may have other default prices, by the book that was just made.
            async with self.works.begin(SYSTEM) as work:
                work.changed("pricing", "default")

    async def rater(self) -> Rater:
        """Who rates usage by the prices of now."""
        async with self.store.reading() as session:
            await self.prices.refresh(session)
        return BookRater(self.prices)

    async def resolve(self, query: Query) -> Resolution:
        """Whose credential it is, as of which change. Raises :class:`GatewayError` where that can't be told now."""
        if query.token is None:
            return (await self.resolve_all([bytes.fromhex(query.digest or "")]))[0]
        try:
            found = await self.authenticator.by_token(query.token)
        except GatewayError as error:
            if error.kind is Kind.UNAVAILABLE:
                raise
            expired = CredentialPolicy(id="", name="", kind="jwt", organization="", status="expired")
            return Resolution(self.feed.seq, expired if error.code == "token_expired" else None)
        principal = found.principal
        if principal is None or principal.actor.kind in _CONFIGURED:
            return Resolution(found.seq)
        return Resolution(found.seq, principal.policy)

    async def resolve_all(self, digests: Sequence[bytes]) -> list[Resolution]:
        """Whose opaque credentials are, in the order of their digests, all as of one moment; at most ``bulk.MOST``."""
        seq, policies = await self.authenticator.policies(digests)
        return [Resolution(seq, policies.get(digest)) for digest in digests]

    async def cost(self, targets: Sequence[Priced]) -> Prices:
        """What these targets cost from now on."""
        return await outlook(self.works, self.prices, targets)

    async def describe(self, targets: Sequence[Priced]) -> Sequence[Details]:
        """What is known of these targets beside what the configuration says."""
        # A file may have to be read, and the list of context windows to be loaded.
        return await asyncio.to_thread(self.models.describe, targets)

    def _numbers(self) -> Numbers:
        return Numbers(
            ingestion=self.ingester.state,
            batches=self.ingester.durations,
            calculated=dict(self.prices.calculated),
            rerated=self.rerater.corrected,
            requests=dict(self.counts.requests),
            durations=dict(self.counts.durations),
            listeners=len(self.live),
            told={str(stream): count for stream, count in self.live.told.items()},
            missed=self.live.missed,
            noticed=dict(self.notices.raised),
            subscribers=self.feed.subscribers,
        )

    async def close(self) -> None:
        """Let go of what is held; the store is its opener's."""
        for issuers in (self._issuers, self._former):
            if issuers is not None:
                await issuers.close()
        await self.counters.close()


def plans_of(settings: Settings) -> Sequence[Plan]:
    """The configured plans; those that ship with the gateway where none are configured."""
    if settings.plans and not isinstance(settings.plans, str):
        return settings.plans
    return msgspec.yaml.decode(shipped("plans.yaml").read_bytes(), type=tuple[Plan, ...])


@asynccontextmanager
async def opened(settings: Settings, master_key: str) -> AsyncIterator[Sidecar]:
    """A running sidecar without its server.

    Raises :class:`NotNow` where the database can't be used at present, :class:`GatewayError` where it never can be.
    """
    async with AsyncExitStack() as stack:
        store = Store.open(settings.database_url, settings.data_dir)
        stack.push_async_callback(store.close)
        sidecar = Sidecar(settings, master_key, store, open_counters(settings.redis_url, settings.data_dir))
        stack.push_async_callback(sidecar.close)
        try:
            await store.migrate()
            await sidecar.prepare(settings)
            await stack.enter_async_context(sidecar.feed)
            await stack.enter_async_context(sidecar.live)
            await stack.enter_async_context(sidecar.ingester)
            await stack.enter_async_context(Retention(store, lambda: sidecar.settings.usage.detail_days))
            await stack.enter_async_context(sidecar.rerater)
            await stack.enter_async_context(sidecar.learning)
            await stack.enter_async_context(Watching(sidecar.notices))
            await stack.enter_async_context(Trimming())
        except (DBAPIError, OSError) as error:
            raise NotNow(f"the database cannot be used: {type(error).__name__}") from error
        except GatewayError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise
            raise NotNow(error.message) from error
        if settings.redis_url is not None:
            # Only a gateway with Redis pays for this import.
            from gateway.sidecar.leftovers import Leftovers  # noqa: PLC0415
            from gateway.sidecar.publish import Publisher  # noqa: PLC0415

            await stack.enter_async_context(Publisher(settings.redis_url, sidecar.feed))
            await stack.enter_async_context(Leftovers(Path(settings.data_dir) / "usage", settings.redis_url))
        yield sidecar
