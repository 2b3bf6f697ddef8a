"""Credentials learnt from the sidecar: a bounded cache that its feed of changes keeps true.

A credential that is held costs a dict access. One that is not is asked for once, however many requests wait for it. An
answer that was on its way while the credential changed is not kept, so that an old record never outlives a newer one.
While the feed is not heard, what is held stays good for a configured grace; so does, after a restart, what is kept in
a file (:mod:`gateway.dataplane.known`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from gateway.bus.policy import PolicySource, PolicyUnavailable, Query
from gateway.contract.policy import Change, CredentialPolicy, Resolution
from gateway.contract.standing import unknown
from gateway.dataplane.admission.registry import Limiter, Registry
from gateway.dataplane.auth import Credential
from gateway.dataplane.known import Known
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import Seal, digest_of
from gateway.settings.model import Settings

logger = logging.getLogger("gateway.credentials")

UNKNOWN_KEPT = 60.0  # seconds a credential that nobody knows is answered without asking again
UNKNOWN_MOST = 50_000
ASKING_MOST = 10_000
"""Look-ups at a time. They are real keys but for the few doubtful ones, and wait for each other: the sidecar tells some
thousand keys a second."""
DOUBTFUL_RATE = 20.0
DOUBTFUL_BURST = 200.0
"""Look-ups a second, and at once, of credentials that do not carry this deployment's mark."""
KNOWN_WAIT = 3.0
"""Seconds that a credential in the file waits for a sidecar that was not heard of yet since the start."""
_TRIES = 3
_LOOK = 0.05  # seconds


class Bucket:
    """So many a second, and at most ``burst`` at once."""

    __slots__ = ("_at", "_left", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._left = burst
        self._at = time.monotonic()

    def take(self) -> bool:
        """One more, if there may be one now."""
        now = time.monotonic()
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Learnt:
    """See the module. A flood of made-up keys never reaches the sidecar: keys carry a mark that can be checked here
    (``seal``), and of credentials without it only so many a second are looked up; tokens have a share of their own.

    Counts what metrics show: ``asked``, ``doubted``, ``evicted``, ``lag`` (seconds from change to here).
    """

    def __init__(
        self,
        source: PolicySource,
        registry: Registry,
        settings: Settings,
        seal: Seal | None = None,
        known: Known | None = None,
    ) -> None:
        self._source = source
        self._known = known
        self._seal = seal
        self._tokens = Bucket(DOUBTFUL_RATE, DOUBTFUL_BURST)
        self._strangers = Bucket(DOUBTFUL_RATE, DOUBTFUL_BURST)
        self.doubted = 0
        self._registry = registry
        self._held: dict[bytes, Credential] = {}
        self._unknown: dict[bytes, float] = {}
        self._asking: dict[bytes, asyncio.Task[Credential]] = {}
        self._digests: dict[tuple[str, str], set[bytes]] = {}
        self._seq = 0
        self._generation = 0
        self._lost = False
        self.expected_by = 0.0
        """Until when (``time.monotonic()``) look-ups wait for a sidecar that was not heard of yet."""
        self.asked = 0
        self.evicted = 0
        self.changes = 0
        self.lag = 0.0
        self.on_prices: Callable[[], None] | None = None
        """Called when a price has changed, or may have."""
        self.on_routing: Callable[[Change], None] | None = None
        """Called with a change of what was learnt of routes, or of everything."""
        self.configure(settings)
        # What is in the file is as old as when changes were last heard; what is learnt from now on is not.
        age = float("inf") if known is None else known.age()
        self._is_file_good = age <= self._grace
        self._heard_at = time.monotonic() - (age if self._is_file_good else 0.0)

    def configure(self, settings: Settings) -> None:
        """Take a configuration's bounds."""
        self._most = settings.sidecar.cache
        self._grace = settings.sidecar.grace
        self.environment = settings.server.environment
        self.forget_all()

    def __len__(self) -> int:
        return len(self._held)

    # the request's way

    def get(self, digest: bytes, secret: bytes) -> Credential | None:
        """One that is held; None where it is worth asking. Raises :class:`GatewayError` for one known to be none, and
        for one not worth asking for now.
        """
        found = self._held.get(digest)
        if found is not None:
            found.hit = True
            return None if self._lost and self._is_stale() else found
        until = self._unknown.get(digest)
        if until is not None:
            if time.monotonic() < until:
                raise unknown()
            del self._unknown[digest]
        # Who waits for an answer that is on its way adds nothing to look up.
        if digest not in self._asking and not self._is_worth_asking(secret):
            self.doubted += 1
            raise _unavailable("Too many unknown credentials are being looked up.")
        return None

    async def ask(self, secret: bytes) -> Credential:
        """The credential behind a secret that is not held. Raises :class:`GatewayError`."""
        digest = digest_of(secret)
        return await self._ask_once(query_for(secret, digest), digest)

    async def again(self, digest: bytes, app: str | None) -> Credential:
        """The credential of a digest, held or not: of one that was here before and is not now. Not for tokens, which
        nobody knows by a digest. Raises :class:`GatewayError`.
        """
        found = self._held.get(digest)
        if found is not None and not (self._lost and self._is_stale()):
            found.hit = True
            return found
        if time.monotonic() < self._unknown.get(digest, 0.0):
            raise unknown()
        return await self._ask_once(Query(digest=digest.hex(), app=app), digest)

    async def _ask_once(self, query: Query, digest: bytes) -> Credential:
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(query, digest))
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._asked(digest, done))
        # Shielded: the others that wait for the same answer must not lose it with one client.
        return await asyncio.shield(task)

    def _is_worth_asking(self, secret: bytes) -> bool:
        if len(self._asking) >= ASKING_MOST:
            return False
        if self._seal is None or self._seal.holds(secret):
            return True
        return (self._tokens if _is_token(secret) else self._strangers).take()

    def _asked(self, digest: bytes, task: asyncio.Task[Credential]) -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # those who asked may all have left

    async def _ask(self, query: Query, digest: bytes) -> Credential:
        until = self.expected_by
        if until - time.monotonic() > KNOWN_WAIT and await self._in_file(digest) is not None:
            until = time.monotonic() + KNOWN_WAIT
        for _ in range(_TRIES):
            generation = self._generation
            self.asked += 1
            try:
                answer = await self._resolve(query, until)
            except PolicyUnavailable as error:
                kept = await self._from_file(digest)
                if kept is not None:
                    return kept
                logger.warning("a credential could not be looked up", extra={"reason": str(error)})
                raise _unavailable("Your API key can't be checked just now.") from None
            if generation == self._generation or answer.seq >= self._seq:
                break
        return self._keep(digest, answer)

    async def _resolve(self, query: Query, until: float) -> Resolution:
        while True:
            try:
                return await self._source.resolve(query)
            except PolicyUnavailable:
                if time.monotonic() >= min(until, self.expected_by):
                    raise
                await asyncio.sleep(_LOOK)  # it is only being started

    async def _from_file(self, digest: bytes) -> Credential | None:
        """One that was known when changes were last heard, while the grace lasts."""
        generation = self._generation
        policy = await self._in_file(digest)
        if policy is None or generation != self._generation:
            return None
        return self._hold(digest, Credential(policy, Limiter(self._registry.counters(policy.limits)), self.environment))

    async def _in_file(self, digest: bytes) -> CredentialPolicy | None:
        if self._known is None or not self._is_file_good or self._is_stale():
            return None
        return await asyncio.to_thread(self._known.find, digest)

    def _keep(self, digest: bytes, answer: Resolution) -> Credential:
        policy = answer.policy
        if policy is None:
            if answer.seq >= self._seq:
                self._unknown[digest] = time.monotonic() + UNKNOWN_KEPT
                if len(self._unknown) > UNKNOWN_MOST:
                    del self._unknown[next(iter(self._unknown))]
            raise unknown()
        overtaken = answer.seq < self._seq
        counters = self._registry.counters(policy.limits, overtaken=overtaken)
        credential = Credential(policy, Limiter(counters), self.environment)
        credential.as_of = answer.seq
        if not overtaken:
            self._hold(digest, credential)
            if self._known is not None:
                self._known.learnt(digest, policy, answer.seq)
        return credential

    def _hold(self, digest: bytes, credential: Credential) -> Credential:
        self._drop(digest)
        self._make_room()
        self._held[digest] = credential
        for name in _names(credential):
            self._digests.setdefault(name, set()).add(digest)
        return credential

    def _make_room(self) -> None:
        # Second chance: one that was used since it came to the front goes to the back again.
        while len(self._held) >= self._most:
            digest, credential = next(iter(self._held.items()))
            if credential.hit:
                credential.hit = False
                del self._held[digest]
                self._held[digest] = credential
            else:
                self._drop(digest)
                self.evicted += 1

    def _is_stale(self) -> bool:
        return time.monotonic() - self._heard_at > self._grace

    # the feed

    async def follow(self) -> None:
        """Hear changes until cancelled."""
        try:
            async for change in self._source.changes():
                self.heard(change)
        except Exception:
            self.forget_all()  # it is not known what has changed
            raise

    async def keep(self) -> None:
        """Write what is known to its file until cancelled."""
        if self._known is not None:
            await self._known.run()

    def watch(self) -> None:
        """Look whether changes are still heard; called once a second."""
        self._lost = not self._source.connected
        if not self._lost:
            self._are_heard()

    def _are_heard(self) -> None:
        self._heard_at = time.monotonic()
        if self._known is not None:
            self._is_file_good = True
            self._known.heard()

    @property
    def connected(self) -> bool:
        """Whether changes are heard."""
        return self._source.connected

    def heard(self, change: Change | None) -> None:
        """Apply a change; None says that there is none."""
        self._lost = False
        self.expected_by = 0.0
        self._are_heard()
        if change is None:
            return
        if self._known is not None:
            self._known.changed(change)
        self._generation += 1
        self._seq = max(self._seq, change.seq)
        if change.kind in ("pricing", "everything") and self.on_prices is not None:
            self.on_prices()
        if change.kind in ("routing", "everything") and self.on_routing is not None:
            self.on_routing(change)
        if change.kind == "everything":
            self.forget_all()
            # The sidecar may have begun to count anew, with another database.
            self._seq = change.seq
            return
        self.changes += 1
        self.lag = max(0.0, (time.time_ns() - change.at_ns) / 1e9)
        for digest in tuple(self._digests.get((change.kind, change.id), ())):
            self._overtake(digest, change)
        if change.digest is not None:
            digest = bytes.fromhex(change.digest)
            self._unknown.pop(digest, None)
            self._overtake(digest, change)

    def forget_all(self) -> None:
        """Hold nothing any longer."""
        self._generation += 1
        self._held.clear()
        self._unknown.clear()
        self._digests.clear()

    def _overtake(self, digest: bytes, change: Change) -> None:
        """Drop what is older than a change; the sidecar may have told of it before the change was heard."""
        credential = self._held.get(digest)
        if credential is not None and credential.as_of < change.seq:
            self._drop(digest)

    def _drop(self, digest: bytes) -> None:
        credential = self._held.pop(digest, None)
        if credential is None:
            return
        for name in _names(credential):
            digests = self._digests.get(name)
            if digests is not None:
                digests.discard(digest)
                if not digests:
                    del self._digests[name]

    async def close(self) -> None:
        """Let the connections go."""
        await self._source.close()
        if self._known is not None:
            self._known.close()


def query_for(secret: bytes, digest: bytes) -> Query:
    """How to ask for a secret: a JSON Web Token goes whole, because it has to be verified; of a key only its digest."""
    if _is_token(secret):
        return Query(token=secret.decode("latin-1"))
    app, colon, _ = secret.partition(b":")
    if colon and app.startswith(b"app_"):
        return Query(digest=digest.hex(), app=app.decode("latin-1"))
    return Query(digest=digest.hex())


def _is_token(secret: bytes) -> bool:
    return secret.startswith(b"eyJ") and secret.count(b".") == 2


def _names(credential: Credential) -> Iterable[tuple[str, str]]:
    policy = credential.policy
    yield "credential", policy.id
    yield "organization", policy.organization
    for kind, name in (("user", policy.user), ("plan", policy.plan), ("app", policy.app)):
        if name is not None:
            yield kind, name


def _unavailable(message: str) -> GatewayError:
    return GatewayError(Kind.UNAVAILABLE, "credentials_unavailable", message, retry_after=1.0)
