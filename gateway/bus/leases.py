"""Limits shared through Redis: the store that processes lease slices of limits from.

Import this module only where ``redis_url`` is set: it needs the ``redis`` extra and loads its library.

What is kept under which key is told at the top of ``lua/common.lua``. All keys carry the hash tag ``{gateway}``, so
that a script finds all its keys in one slot; a deployment uses one Redis (or one shard of a cluster) for its limits.
Redis 5 or later is needed. What it keeps is as safe as its persistence: with ``appendonly yes`` a power cut takes at
most a second. What it lost, processes that still run declare again (see ``lua/exchange.lua``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from importlib.resources import files
from typing import Any, Literal

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from gateway.bus.backoff import Backoff
from gateway.contract.leases import Call, Claim, Notice, Reply, StoreUnavailable, Verdict, Want, Window

logger = logging.getLogger("gateway.limits")

PREFIX = "{gateway}"
CHANNELS: dict[str, Literal["recall", "told"]] = {"gateway:recall": "recall", "gateway:told": "told"}
LISTEN_SECONDS = 5.0
LATE_SECONDS = 0.02
_BATCH = 500


class _Answer(msgspec.Struct, array_like=True):
    status: str
    now_ms: int = 0
    recalled: tuple[str, ...] = ()
    leased: tuple[int, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


_answer = msgspec.json.Decoder(_Answer)
_notice = msgspec.json.Decoder(tuple[str, ...])


class Tuning(msgspec.Struct, frozen=True):
    """How the store lends. Milliseconds, but ``divisor``: a slice is at most that part of what is free."""

    expiry: int = 5_000
    """A node that was not heard of for so long is dead: its unspent leases and its slots are free again."""
    grace: int = 60_000
    """How long a window's count outlives it."""
    divisor: int = 8
    recall_every: int = 10
    """Unspent slices of one counter are called back at most once in this time."""
    recovery: int = 1_500
    """How long nothing is lent after Redis lost its memory: time for every node to declare what it spent."""


class _Exchange(msgspec.Struct):
    prefix: str
    node: str
    now: int
    seq: int
    acked: int
    since: int
    leave: bool
    expiry: int
    grace: int
    divisor: int
    recall_every: int
    recovery: int
    claims: Sequence[Claim]
    groups: Sequence[Sequence[Want]]


class _Retire(msgspec.Struct):
    prefix: str
    node: str
    now: int
    grace: int
    spends: Sequence[tuple[str, str, int, int, int]]


def _lua(name: str) -> str:
    folder = files("gateway.bus") / "lua"
    return (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()


class RedisLeases:
    """A :class:`~gateway.contract.leases.LeaseStore` for the process ``node``.

    ``deadline`` is seconds for a call. ``clock`` gives Unix milliseconds; None takes the clock of Redis, so that the
    clocks of machines don't matter.
    """

    def __init__(
        self,
        redis_url: str,
        node: str,
        *,
        deadline: float = 0.25,
        tuning: Tuning | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.node = node
        self.hearing = asyncio.Event()
        """Set while recalls are heard."""
        self.tuning = tuning if tuning is not None else Tuning()
        self._deadline = deadline
        self._clock = clock
        self._seq = 0
        self._acked = 0
        self._redis: Redis = Redis.from_url(
            redis_url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # `_within` keeps the time
            socket_connect_timeout=deadline,
        )
        self._ears: Redis = Redis.from_url(
            redis_url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=2 * LISTEN_SECONDS,
            socket_connect_timeout=LISTEN_SECONDS,
            health_check_interval=LISTEN_SECONDS,
        )
        self._exchange = self._redis.register_script(_lua("exchange"))
        self._charge = self._redis.register_script(_lua("charge"))
        self._retire = self._redis.register_script(_lua("retire"))

    def _now(self) -> int:
        return self._clock() if self._clock is not None else -1

    # gateway.contract.leases.LeaseStore

    async def exchange(self, call: Call) -> Reply:
        """See :meth:`gateway.contract.leases.LeaseStore.exchange`."""
        try:
            try:
                answer = await self._within(self._turn(call))
            except RedisConnectionError:
                # A connection that was closed while nobody looked. The claims are whole: a second turn harms nothing.
                answer = await self._within(self._turn(call))
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(reason_of(error)) from error
        found = _answer.decode(answer)
        if found.status == "stale":
            raise StoreUnavailable("overtaken by a later call")
        self._acked = self._seq
        return Reply(found.now_ms, found.status == "forgotten", found.recalled, found.leased, found.verdicts)

    async def _turn(self, call: Call) -> Any:
        self._seq += 1
        tuning = self.tuning
        payload = _Exchange(
            PREFIX,
            self.node,
            self._now(),
            self._seq,
            self._acked,
            call.since_ms,
            call.leave,
            tuning.expiry,
            tuning.grace,
            tuning.divisor,
            tuning.recall_every,
            tuning.recovery,
            call.claims,
            call.groups,
        )
        keys = [counter_key(claim.counter) for claim in call.claims]
        return await self._exchange(keys, [msgspec.json.encode(payload)])

    async def _within(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task,), timeout=self._deadline)
            if not task.done():
                # If it was this process that stood still, the answer is there to be read.
                await asyncio.wait((task,), timeout=LATE_SECONDS)
            if not task.done():
                raise TimeoutError(f"no answer within {self._deadline} s")
            return task.result()
        finally:
            task.cancel()

    async def listen(self, heard: Callable[[Notice], None]) -> None:
        """See :meth:`gateway.contract.leases.LeaseStore.listen`."""
        backoff = Backoff()
        while True:
            try:
                async with self._ears.pubsub() as channels:
                    await channels.subscribe(*CHANNELS)
                    while True:
                        message = await channels.get_message(timeout=LISTEN_SECONDS)
                        backoff.reset()
                        if message is not None:
                            self._hand_on(message, heard)
            except Exception as error:  # whatever it is: recalls must be heard again
                logger.info("recalls not heard", extra={"reason": reason_of(error)})
            finally:
                self.hearing.clear()
            await asyncio.sleep(backoff.next())

    def _hand_on(self, message: dict[str, Any], heard: Callable[[Notice], None]) -> None:
        if message["type"] == "subscribe":
            if message["data"] == len(CHANNELS):
                self.hearing.set()
            return
        try:
            node, *counters = _notice.decode(message["data"])
        except (msgspec.DecodeError, ValueError):
            return  # anyone may publish to a channel
        heard(Notice(CHANNELS[_text(message["channel"])], node, tuple(counters)))

    async def close(self) -> None:
        """See :meth:`gateway.contract.leases.LeaseStore.close`."""
        await self._redis.aclose()
        await self._ears.aclose()

    # beside the leases

    async def charge(self, window: Window, amount: int, charge_id: str) -> bool:
        """Count ``amount`` as spent, once for each ``charge_id`` (remembered for seven days). Says whether it was now.

        Raises :class:`StoreUnavailable`; the charge can be repeated.
        """
        if amount < 0:
            raise ValueError(f"expected an amount of 0 or more, got {amount}")
        kind, resets, length = window.kind, *_span(window)
        arguments = (PREFIX, charge_id, amount, self._now(), kind, resets, length, self.tuning.grace)
        return bool(await self._asked(self._charge([counter_key(window.id)], arguments)))

    async def known(self, node: str) -> dict[tuple[str, int], int]:
        """What a node is known to have spent, by limit key and start of the window; for a dead one too, for seven days.

        Raises :class:`StoreUnavailable`.
        """
        client: Any = self._redis
        found: dict[str, int] = {}
        accounts = await self._asked(client.zrange(f"{PREFIX}:accounts:{node}", 0, -1))
        for start in range(0, len(accounts), _BATCH):
            some = [_text(counter) for counter in accounts[start : start + _BATCH]]
            async with client.pipeline(transaction=False) as pipe:
                for counter in some:
                    pipe.hget(counter_key(counter), f"s:{node}")
                spent = await self._asked(pipe.execute())
            found.update(zip(some, (int(amount or 0) for amount in spent), strict=True))
        for counter, amount in (await self._asked(client.hgetall(f"{PREFIX}:dead:{node}"))).items():
            if counter:
                found[_text(counter)] = int(amount)
        return {_parted(counter): spent for counter, spent in found.items()}

    async def retire(self, node: str, spends: Sequence[tuple[Window, int]] = ()) -> None:
        """End a process that is known to be gone, without waiting for its leases to expire. ``spends`` is all that it
        spent in each window, as its durable log tells: what it had not told yet is counted. Repeating harms nothing.

        Raises :class:`StoreUnavailable`.
        """
        batches = [spends[start : start + _BATCH] for start in range(0, len(spends), _BATCH)]
        for batch in batches or [()]:
            rows = [(window.id, window.kind, *_span(window), spent) for window, spent in batch]
            payload = msgspec.json.encode(_Retire(PREFIX, node, self._now(), self.tuning.grace, rows))
            keys = [counter_key(window.id) for window, _ in batch]
            while not await self._asked(self._retire(keys, [payload])):
                pass  # each turn closes some accounts

    async def _asked(self, work: Any) -> Any:
        try:
            return await self._within(work)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(reason_of(error)) from error


def counter_key(counter: str) -> str:
    """The Redis key of a counter."""
    return f"{PREFIX}:limit:{counter}"


def _span(window: Window) -> tuple[int, int]:
    """When it ends and how long it is, in milliseconds; zeros if it never ends."""
    if not window.resets_at:
        return 0, 0
    return window.resets_at * 1000, (window.resets_at - window.start) * 1000


def _parted(counter: str) -> tuple[str, int]:
    key, _, start = counter.rpartition("@")
    return key, int(start)


def _text(value: bytes) -> str:
    return value.decode()


def reason_of(error: BaseException) -> str:
    """What to tell of a failure, some of which have no words."""
    return str(error) or type(error).__name__
