"""``WS /v1/stream``: costs and usage as they are entered, alerts and forecasts as they are made ("WebSocket API").

The credential comes in the header, or as ``?token=``; without a valid one the offer is refused with status 401, in the
envelope of this reference. Each caller is told of its own organisation alone, the platform's administrators of any.

==========  ==========================================================================================
closed by   when
==========  ==========================================================================================
1008        the credential is no longer valid, or may no longer listen; too many messages
1009        a message has more than 64 KiB
1011        a ping went unanswered for twenty seconds
1012        the gateway stops, or starts again: come back
==========  ==========================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from gateway.contract.envelopes import render
from gateway.dialects.common.authentication import secret_of
from gateway.dialects.common.context import context_of, origin_of
from gateway.dialects.common.faults import not_json, of_validation
from gateway.dialects.common.routing import make_router
from gateway.dialects.llm_cost_ops import stream_wire as wire
from gateway.domain.authentication.principal import Principal
from gateway.domain.fields import invalid
from gateway.domain.live.hub import EVERY, Listener, Topic, listening
from gateway.kernel.errors import GatewayError, Kind

CHECK = 60.0  # seconds after which a credential is looked at again, whether or not a change named it
POLICY, RESTART = 1008, 1012  # RFC 6455 §7.4.1 and its registry
_BURST, _PER_SECOND = 100.0, 20.0  # messages of a client
_LONGEST_REASON = 123  # bytes, RFC 6455 §5.5

router = make_router()


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """Tell a client what is entered and noticed, for as long as it listens and may."""
    session = _Session(socket)
    async with AsyncExitStack() as stack:
        try:
            principal = await session.resolve()
            live = listening(context_of(socket).live, principal.policy.organization, _depends(principal))
            listener = await stack.enter_async_context(live)
        except GatewayError as error:
            await socket.send_denial_response(_refusal(socket, error))
            return
        with contextlib.suppress(WebSocketDisconnect):  # the client has left
            await socket.accept(headers=[(b"x-request-id", (origin_of(socket).request_id or "").encode())])
            await session.run(principal, listener)


@router.get("/v1/stream")
async def offered_nothing(request: Request) -> Response:
    """The path is for WebSocket alone (RFC 9110 §15.5.22)."""
    message = "This path speaks WebSocket: connect with ws:// or wss://, and subscribe to channels."
    body = {"error": {"code": "UPGRADE_REQUIRED", "message": message}, "request_id": origin_of(request).request_id}
    return JSONResponse(body, 426, {"upgrade": "websocket", "connection": "upgrade"})


class _Session:
    """One client. What it sends is answered in order; what it is told comes in between."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._hub = context_of(socket).live
        self._allowed, self._at = _BURST, time.monotonic()

    async def resolve(self) -> Principal:
        """Whose credential it is. Raises what :meth:`Authenticator.resolve` raises."""
        secret = secret_of(self._socket) or self._socket.query_params.get("token")
        return await context_of(self._socket).authenticator.resolve(secret, origin_of(self._socket))

    async def run(self, principal: Principal, listener: Listener) -> None:
        """Serve until either side ends it."""
        self._principal, self._listener = principal, listener
        tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._tell())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            error = next((task.exception() for task in done if task.exception() is not None), None)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(error, GatewayError):
            await self._end(error)
        elif error is not None:
            raise error
        elif self._listener.over:
            await self._close(RESTART, "The gateway is stopping; connect again.")

    async def _hear(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            self._take()
            try:
                await self._answer(_read(message.get("text") or message.get("bytes") or b""))
            except GatewayError as error:
                await self._complain(error)

    def _take(self) -> None:
        """Raise RATE_LIMITED for a client that sends too much."""
        now = time.monotonic()
        self._allowed = min(_BURST, self._allowed + (now - self._at) * _PER_SECOND) - 1
        self._at = now
        if self._allowed < 0:
            raise _TooMuch(Kind.RATE_LIMITED, "too_many_messages", "Send at most 20 messages a second.")

    async def _answer(self, asked: wire.Message) -> None:
        if asked.action == "ping":
            await self._send(wire.acted("pong", _now()))
            return
        if not asked.channels:
            raise invalid("channels must name at least one.", "channels")
        added: list[Topic] = []
        if asked.action == "subscribe":
            added = await self._subscribe(asked.channels)
        else:
            # By name, whether or not one may listen to it: that is nobody's secret.
            held = {wire.channel_of(topic): topic for topic in self._listener.topics}
            self._hub.unsubscribe(self._listener, [held[name] for name in asked.channels if name in held])
        channels = [wire.channel_of(topic) for topic in self._listener.topics]
        await self._send(wire.acted(f"{asked.action}d", _now(), channels=channels))
        for topic in added:
            if topic.stream == "forecasts" and topic.organization != EVERY:
                # Who listens from now on need not wait for tomorrow's; where it can't be made now, they have to.
                with contextlib.suppress(GatewayError):
                    await context_of(self._socket).notices.forecast_today(topic.organization)

    async def _subscribe(self, channels: list[str]) -> list[Topic]:
        """All of the channels, or none; gives their topics."""
        async with context_of(self._socket).works.read(self._principal.actor) as work:
            named = enumerate(channels)
            topics: list[Topic] = [await wire.topic_of(work, name, f"channels[{index}]") for index, name in named]
        if len({*self._listener.topics, *topics}) > wire.MOST_CHANNELS:
            raise invalid(f"channels may be {wire.MOST_CHANNELS} at most on one connection.", "channels")
        await self._hub.subscribe(self._listener, topics)
        return topics

    async def _tell(self) -> None:
        listener = self._listener
        due = time.monotonic()
        while not listener.over:
            if listener.doubted or time.monotonic() >= due:
                listener.doubted = False
                due = time.monotonic() + await self._check()
            while listener.queue and not listener.doubted and not listener.over:
                await self._send(listener.take())
            if listener.missed and not listener.queue:
                count, listener.missed = listener.missed, 0
                await self._send(wire.acted("missed", _now(), count=count))
            if listener.queue or listener.doubted:
                continue
            listener.news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await listener.news.wait()

    async def _check(self) -> float:
        """Look at the credential; gives in how many seconds again. Raises where it may not listen any more."""
        try:
            self._principal = await self.resolve()
        except GatewayError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise
            return 1.0  # nobody can tell just now
        for topic in self._listener.topics:
            wire.may_listen(self._principal.actor, topic)
        expires = self._principal.policy.expires_at
        return CHECK if expires is None else max(0.1, min(CHECK, expires - time.time() + 0.1))

    async def _complain(self, error: GatewayError) -> None:
        if isinstance(error, _TooMuch):
            raise error
        body = _body(self._socket, error)
        await self._send(wire.written({"action": "error", **body}))

    async def _end(self, error: GatewayError) -> None:
        body = _body(self._socket, error)
        with contextlib.suppress(WebSocketDisconnect):
            await self._send(wire.written({"action": "error", **body}))
        await self._close(POLICY, f"{body['error']['code']}: {error.message}")

    async def _close(self, code: int, reason: str) -> None:
        if self._socket.client_state is WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self._socket.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))

    async def _send(self, text: str) -> None:
        # Waits while the client does not read.
        await self._socket.send_text(text)


class _TooMuch(GatewayError):
    """What ends the connection instead of being answered."""


def _depends(principal: Principal) -> set[str]:
    """The ids whose changes concern a caller."""
    policy = principal.policy
    return {policy.id, policy.organization, *filter(None, (policy.user, policy.app, principal.actor.user))}


def _read(text: str | bytes) -> wire.Message:
    try:
        return wire.Message.model_validate(json.loads(text))
    except ValidationError as error:
        lines = [{**line, "loc": ("body", *line["loc"])} for line in error.errors()]
        raise of_validation(RequestValidationError(lines)) from None
    except (ValueError, RecursionError):
        raise not_json() from None


def _body(socket: WebSocket, error: GatewayError) -> dict[str, dict[str, str]]:
    body: dict[str, dict[str, str]] = render(
        "llm_cost_ops", error, request_id=origin_of(socket).request_id or "", now=_now()
    ).body
    return body


def _refusal(socket: WebSocket, error: GatewayError) -> Response:
    request_id = origin_of(socket).request_id or ""
    rendered = render("llm_cost_ops", error, request_id=request_id, now=_now())
    headers = {"cache-control": "no-store", "x-api-version": "v1", **rendered.headers, "x-request-id": request_id}
    return JSONResponse(rendered.body, rendered.status, headers)


def _now() -> datetime:
    return datetime.now(UTC)
