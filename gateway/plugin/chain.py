"""The plugin chain: hooks bound once at start, called in order, with each plugin's fail policy.

Each plugin owns one bit of :attr:`Request.turns`. All bits are set when the chain begins; an answer or a refusal in
``on_request`` clears the bits of the plugins behind it, and a plugin that failed open clears its own. Post hooks run
only for set bits, so the common path writes nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.kernel.errors import GatewayError
from gateway.plugin.api import Answer, Plugin, Request, Response, Route
from gateway.plugin.failures import Fail, Guard, OnFailure
from gateway.plugin.sse import split_events

if TYPE_CHECKING:
    from gateway.contract.usage import UsageEvent

Hook: TypeAlias = tuple[int, Callable[..., Any], Guard]
"""A plugin's bit, its bound method, and its fail policy."""

Chunk: TypeAlias = Callable[[Request, bytes], bytes]


class Chain:
    """Plugins in the order of ``gateway.yaml``. An empty tuple means that no plugin overrides that hook.

    Before :meth:`request` the caller sets ``request.turns = chain.turns``. Every method raises :class:`GatewayError`
    where a plugin refuses or fails closed, except :meth:`usage` and :meth:`error`, which never do.
    """

    def __init__(self, plugins: Iterable[tuple[Plugin, Fail]], on_failure: OnFailure | None = None) -> None:
        uses = list(plugins)
        self.plugins: tuple[Plugin, ...] = tuple(plugin for plugin, _ in uses)
        self.guards: tuple[Guard, ...] = tuple(Guard(plugin.name, fail, on_failure) for plugin, fail in uses)
        self.turns: int = (1 << len(uses)) - 1
        self.on_request = self._bind("on_request")
        self.on_route = self._bind("on_route")
        self.on_response = self._bind("on_response")[::-1]
        self.on_chunk = self._bind("on_chunk")[::-1]
        self.on_usage = self._bind("on_usage")[::-1]
        self.on_error = self._bind("on_error")[::-1]
        self._after = {bit: self.on_chunk[place + 1 :] for place, (bit, _, _) in enumerate(self.on_chunk)}
        self.chunk_sync: Chunk | None = _linked(self.on_chunk) if _plain(self.on_chunk) else None
        """As :meth:`chunk` without awaiting; None where some ``on_chunk`` is a coroutine function."""
        hooks = (self.on_request, self.on_route, self.on_response, self.on_chunk, self.on_usage, self.on_error)
        self.plain: bool = all(map(_plain, hooks))
        """Whether no hook is a coroutine function: then the chain never waits."""
        self._started: list[Plugin] = []

    def _bind(self, name: str) -> tuple[Hook, ...]:
        base = getattr(Plugin, name)
        return tuple(
            (1 << index, getattr(plugin, name), guard)
            for index, (plugin, guard) in enumerate(zip(self.plugins, self.guards, strict=True))
            if getattr(type(plugin), name) is not base
        )

    async def start(self) -> None:
        """Start every plugin in order; if one fails, stop those already started and raise its error."""
        try:
            for plugin in self.plugins:
                await plugin.start()
                self._started.append(plugin)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop every started plugin in reverse; one that fails is logged and the others still stop."""
        while self._started:
            plugin = self._started.pop()
            try:
                await plugin.stop()
            except Exception as error:
                self.guards[self.plugins.index(plugin)].note("stop", error)

    async def request(self, request: Request) -> Answer | None:
        """Run ``on_request`` in order up to the first :class:`Answer`, and return that one.

        The answer has already been through ``on_response`` or ``on_chunk`` of the plugins before the answering one.
        """
        for bit, call, guard in self.on_request:
            before = None if guard.closed else _snapshot(request)
            try:
                result = call(request)
                if result is None:
                    continue
                if not isinstance(result, Answer):
                    result = await _awaited(request, result)
                    if result is None:
                        continue
                    if not isinstance(result, Answer):
                        raise TypeError("on_request must return an Answer or None")
            except Exception as error:
                turns = request.turns
                request.turns = turns & ((bit << 1) - 1)
                guard.failed("on_request", error)
                request.turns = turns & ~bit
                _restore(request, before)
                continue
            except BaseException:
                request.turns &= (bit << 1) - 1
                raise
            await self._pass_back(request, result, bit)
            return result
        return None

    async def _pass_back(self, request: Request, answer: Answer, bit: int) -> None:
        turns = request.turns & ((bit << 1) - 1)
        request.turns = turns & ~bit
        try:
            if answer.events is None or not request.stream:
                if self.on_response:
                    response = Response(answer.status, answer.content_type, answer.body)
                    await self.response(request, response)
                    answer.status, answer.content_type = response.status, response.content_type
                    answer.body = response.body
            elif self.on_chunk:
                events = [await self.chunk(request, event) for event in answer.events]
                answer.events = [event for event in events if event]
        finally:
            request.turns = turns

    async def route(self, request: Request, route: Route) -> None:
        """Run ``on_route`` in order, before each attempt."""
        for bit, call, guard in self.on_route:
            if request.turns & bit:
                try:
                    result = call(request, route)
                    if result is not None:
                        await _awaited(request, result)
                except Exception as error:
                    guard.failed("on_route", error)

    async def response(self, request: Request, response: Response) -> None:
        """Run ``on_response`` in reverse over a whole answer."""
        for bit, call, guard in self.on_response:
            if request.turns & bit:
                before = None if guard.closed else (response.status, response.content_type, response.body)
                try:
                    result = call(request, response)
                    if result is not None:
                        await _awaited(request, result)
                except Exception as error:
                    guard.failed("on_response", error)
                    if before is not None:
                        response.status, response.content_type, response.body = before

    async def chunk(self, request: Request, event: bytes) -> bytes:
        """Run ``on_chunk`` in reverse over one event. ``b""``: the client gets nothing for it."""
        if self.chunk_sync is not None:
            return self.chunk_sync(request, event)
        return await self._chunk_async(request, event, self.on_chunk)

    async def _chunk_async(self, request: Request, event: bytes, hooks: tuple[Hook, ...]) -> bytes:
        turns = request.turns
        for bit, call, guard in hooks:
            if turns & bit:
                try:
                    result = call(request, event)
                    if result is event or result is None:
                        continue
                    if not isinstance(result, bytes):
                        result = await result
                        if result is event or result is None:
                            continue
                        _require_bytes(result)
                except Exception as error:
                    guard.failed("on_chunk", error)
                    continue
                rest = self._after[bit]
                if not rest or not result:
                    return result  # type: ignore[no-any-return]
                return b"".join([await self._chunk_async(request, one, rest) for one in split_events(result)])
        return event

    async def usage(self, request: Request, event: UsageEvent) -> None:
        """Run ``on_usage`` in reverse. Never raises: the event is stored whatever a plugin does."""
        for bit, call, guard in self.on_usage:
            if request.turns & bit:
                try:
                    result = call(request, event)
                    if result is not None:
                        await _awaited(request, result)
                except Exception as error:
                    guard.note("on_usage", error)

    async def error(self, request: Request, error: GatewayError) -> None:
        """Run ``on_error`` in reverse. Never raises: the client gets the first error."""
        for bit, call, guard in self.on_error:
            if request.turns & bit:
                try:
                    result = call(request, error)
                    if result is not None:
                        await _awaited(request, result)
                except Exception as failure:
                    guard.note("on_error", failure)


def _snapshot(request: Request) -> tuple[bytes | None, str]:
    return (request.raw if request.is_json else None, request.model)


def _restore(request: Request, before: tuple[bytes | None, str] | None) -> None:
    # A plugin that fails open must leave no half-made change behind.
    if before is not None:
        raw, request.model = before
        if raw is not None:
            request.raw = raw


def _unchanged(request: Request, event: bytes) -> bytes:
    return event


def _plain(hooks: tuple[Hook, ...]) -> bool:
    return not any(inspect.iscoroutinefunction(call) for _, call, _ in hooks)


def _linked(hooks: Iterable[Hook]) -> Chunk:
    """Plain ``on_chunk`` hooks as one function: each calls the next, which is cheaper than a loop over them."""
    linked: Chunk | None = None
    for hook in reversed(tuple(hooks)):
        linked = _link(hook, linked)
    return linked or _unchanged


def _link(hook: Hook, then: Chunk | None) -> Chunk:
    bit, call, guard = hook

    def chunk(request: Request, event: bytes) -> bytes:
        if request.turns & bit:
            try:
                result = call(request, event)
                if result is not event and result is not None:
                    _require_bytes(result)
            except Exception as error:
                guard.failed("on_chunk", error)
            else:
                if result is not event and result is not None:
                    if then is None or not result:
                        return result  # type: ignore[no-any-return]
                    return b"".join([then(request, one) for one in split_events(result)])
        return event if then is None else then(request, event)

    return chunk


async def _awaited(request: Request, result: Any) -> Any:
    try:
        await request.before_waiting()
    except BaseException:
        if inspect.iscoroutine(result):
            result.close()
        raise
    return await result


def _require_bytes(result: object) -> None:
    if not isinstance(result, bytes):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError("on_chunk must return bytes or None; declare it with async def to await")
