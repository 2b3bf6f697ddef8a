"""The hooks of ``response_cache``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Answer, Plugin, PluginContext, Request, Response
from gateway.plugin.sse import DONE, data_of
from plugins.response_cache.keys import Wish, key_of, wish_of
from plugins.response_cache.memory import BoundedMemoryCache
from plugins.response_cache.store import Entry, Store

if TYPE_CHECKING:
    from gateway.contract.usage import UsageEvent

HEADER = "x-gateway-cache"

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class CacheConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """See the README for each field."""

    ttl: Annotated[float, Meta(ge=0.001, le=31_536_000)] = 300.0
    backend: Literal["memory", "redis"] = "memory"
    max_entries: Positive = 10_000
    max_bytes: Positive = 67_108_864
    max_body_bytes: Positive = 1_048_576
    namespace: Annotated[str, Meta(min_length=1, max_length=64)] = "gateway-cache"
    endpoints: tuple[str, ...] = ("chat.completions", "completions", "embeddings", "moderations", "rerank")
    coalesce: bool = True
    wait: Seconds = 60.0
    timeout: Seconds = 0.25
    connections: Positive = 32


class _Turn(Struct):
    """What is known of one request that missed.

    ``events`` is None once its stream cannot be stored any more, or is whole and waits, as ``stream``, for its usage.
    """

    key: str
    write: bool
    events: list[bytes] | None
    stream: Entry | None = None
    size: int = 0
    leads: bool = False


class ResponseCache(Plugin):
    """Stores complete successful answers and gives them again to the same request of the same organisation."""

    name = "response_cache"
    Config = CacheConfig

    def __init__(self, config: CacheConfig, context: PluginContext) -> None:
        super().__init__(config, context)
        self._endpoints = frozenset(config.endpoints)
        self._leaders: dict[str, asyncio.Future[Entry | None]] = {}
        self.store = Store(self._make_cache(config, context), config.ttl)

    def _make_cache(self, config: CacheConfig, context: PluginContext) -> object:
        if config.backend == "memory":
            return BoundedMemoryCache(
                max_entries=config.max_entries, max_bytes=config.max_bytes, namespace=f"{config.namespace}:"
            )
        if context.redis_url is None:
            message = "backend redis needs redis_url at the top of gateway.yaml"
            raise GatewayError(Kind.INVALID, "plugin_config", message, "backend")
        try:
            # Only here: the memory backend must not need the redis extra.
            from plugins.response_cache.redis import UrlRedisCache  # noqa: PLC0415
        except ImportError:
            # aiocache turns the missing module into an ImportError of its own.
            message = (
                "backend redis needs the package redis, which is not installed: "
                ".venv/bin/python -m pip install -e '.[redis]' in the gateway's checkout"
            )
            raise GatewayError(Kind.INVALID, "plugin_config", message, "backend") from None
        return UrlRedisCache(
            context.redis_url, namespace=config.namespace, deadline=config.timeout, connections=config.connections
        )

    async def stop(self) -> None:
        await self.store.close()

    async def on_request(self, request: Request) -> Answer | None:
        if not request.is_json or request.endpoint not in self._endpoints:
            return None
        wish = wish_of(request.headers.get("cache-control"))
        key = key_of(request)
        entry = await self._find(key, wish, shared=not request.stream)
        if entry is not None:
            request.response_headers[HEADER] = "hit"
            request.response_headers["age"] = str(_age(entry))
            return Answer(
                entry.body,
                status=entry.status,
                content_type=entry.content_type,
                events=entry.events,
                cached=True,
                tokens=entry.tokens,
            )
        if wish.only_cached:
            raise GatewayError(Kind.TIMEOUT, "not_cached", "The answer is not in the cache, as only-if-cached asks.")
        request.response_headers[HEADER] = "miss" if wish.read else "bypass"
        turn = _Turn(key, wish.write, events=[] if request.stream else None)
        if self.config.coalesce and wish.read and not request.stream and key not in self._leaders:
            self._leaders[key] = asyncio.get_running_loop().create_future()
            turn.leads = True
        request.state[self.name] = turn
        return None

    async def _find(self, key: str, wish: Wish, *, shared: bool) -> Entry | None:
        if not wish.read:
            return None
        entry = await self.store.get(key)
        # A stream is not waited for: its first token would come when the other's last one does.
        leader = self._leaders.get(key) if shared and entry is None and not wish.only_cached else None
        if leader is not None:
            # Waiting for the future itself would cancel it for all when one client leaves.
            await asyncio.wait({leader}, timeout=self.config.wait)
            entry = leader.result() if leader.done() else None
        if entry is not None and wish.max_age is not None and _age(entry) > wish.max_age:
            return None
        return entry

    def on_response(self, request: Request, response: Response) -> None:
        turn: _Turn | None = request.state.get(self.name)
        if turn is None:
            return
        entry = None
        if turn.write and self._is_complete(response):
            entry = Entry(time.time(), response.status, response.content_type, response.body)
            self.store.put(turn.key, entry)
        self._release(turn, entry)

    def _is_complete(self, response: Response) -> bool:
        body = response.body
        if response.status != 200 or len(body) > self.config.max_body_bytes or "json" not in response.content_type:
            return False
        try:
            document = response.json
        except orjson.JSONDecodeError:
            return False
        return isinstance(document, dict) and document.get("error") is None

    def on_chunk(self, request: Request, event: bytes) -> bytes:
        turn: _Turn | None = request.state.get(self.name)
        if turn is None or turn.events is None:
            return event
        data = data_of(event)
        if data is None:
            return event  # a comment keeps a connection alive and is no part of the answer
        turn.size += len(event)
        if not turn.write or turn.size > self.config.max_body_bytes or _is_error(event, data):
            turn.events = None
            return event
        turn.events.append(event)
        if data.strip() == DONE:
            turn.stream = Entry(time.time(), 200, "text/event-stream", events=turn.events)
            turn.events = None
        return event

    def on_usage(self, request: Request, event: UsageEvent) -> None:
        turn: _Turn | None = request.state.get(self.name)
        if turn is not None and turn.stream is not None:
            # Only now is known what it used: the events are without, unless the client asked for it.
            self.store.put(turn.key, replace(turn.stream, tokens=event.tokens))
        self._end(request)

    def on_error(self, request: Request, error: GatewayError) -> None:
        self._end(request)

    def _end(self, request: Request) -> None:
        turn: _Turn | None = request.state.get(self.name)
        if turn is not None:
            self._release(turn, None)

    def _release(self, turn: _Turn, entry: Entry | None) -> None:
        if turn.leads:
            turn.leads = False
            self._leaders.pop(turn.key).set_result(entry)


def _age(entry: Entry) -> int:
    return max(0, int(time.time() - entry.stored))


def _is_error(event: bytes, data: bytes) -> bool:
    if b"error" not in event:
        return False
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return True
    return b"event: error" in event or (isinstance(document, dict) and document.get("error") is not None)
