"""A stream that broke off goes on: another target takes it up from what the client has, as one stream.

``docs/resilience.md`` says what happens when, and what it costs. Nothing here runs for a stream that ends well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.contract.usage import Tokens
from gateway.dataplane import answers
from gateway.dataplane.admission.limiter import BYTES_PER_TOKEN
from gateway.dataplane.admitting import enter
from gateway.dataplane.breaker import CLOSED
from gateway.dataplane.choosing import choose
from gateway.dataplane.envelope import event_of, upstream_failure
from gateway.dataplane.native_said import NativeSaid
from gateway.dataplane.prefill import continued
from gateway.dataplane.recounting import Part, Parts
from gateway.dataplane.refusal import as_envelope
from gateway.dataplane.seam import Seam, restart_event
from gateway.dataplane.sending import attempt_once
from gateway.dataplane.streaming import END_MARK
from gateway.dataplane.transcript import Said, Transcript
from gateway.kernel.errors import GatewayError
from gateway.plugin.api import Route as RouteView
from gateway.plugin.sse import data_of
from gateway.providers.base import Unsupported

if TYPE_CHECKING:
    from gateway.dataplane.attempt import Attempt
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target

ROUNDS: Final = 4
"""Targets that are asked to go on with one stream, at most."""


async def resume(exchange: Exchange, broken: Attempt, route: Route) -> None:
    """Go on with a stream of which the client has a part, or end it with one clear error."""
    recovery = _Recovery(exchange, broken, route)
    if broken.native and recovery.mode != "error":
        recovery.translate()
    recovery.keep(broken)
    if recovery.said.complete:
        recovery.end_complete(broken)
        return
    loop = exchange.wire.loop
    assert exchange.caller is not None
    limited = exchange.caller.limiter.at_providers
    rounds = 0
    for target in recovery.targets():
        if rounds >= ROUNDS or loop.time() >= exchange.deadline:
            break
        how = recovery.way_to(target)
        is_closed = target.breaker.state == CLOSED
        if not how or not target.breaker.passes(loop.time()):
            continue
        try:
            if limited and await enter(exchange, target) is not None:
                continue
            rounds += 1
            if await recovery.go_on_at(target, how):
                return
            refused = how == "prefill" and recovery.way_to(target) == "restart"
            if refused and await recovery.go_on_at(target, "restart"):
                return
        except Unsupported:
            continue  # another may be able to say it
        finally:
            if not is_closed:
                target.breaker.release(loop.time())
    recovery.end_in_error()


class _Recovery:
    """One broken stream. ``kept`` are the tokens of the parts that the client keeps, by ``prompt`` and ``completion``,
    ``pieces`` the events that brought a part of it, ``first`` what a provider told of the prompt first, ``served`` who
    gave the last part. ``native`` is what was said in the client's own protocol, until another goes on with it.
    """

    def __init__(self, exchange: Exchange, broken: Attempt, route: Route) -> None:
        transcript = exchange.transcript
        assert transcript is not None
        self.exchange = exchange
        self.broken = broken
        self.route = route
        self.mode = exchange.recovery or route.recovery
        self.transcript: Transcript = transcript
        self.said: Said = transcript.said()
        self.native = self.said if isinstance(self.said, NativeSaid) else None
        if self.native is not None:
            self.said = self.native.as_chat()
            self.transcript = exchange.transcript = Transcript(route.resumable, self.said)
        self.prompt: int | None = None
        self.completion = 0
        self.pieces = 0
        self.first = Tokens()
        self.kept = Tokens()
        self.estimated = False
        self.served = broken.target
        self.parts = Parts([])

    def translate(self) -> None:
        """Make the request of a stream that was relayed one that can be gone on with. Where that can't be, nobody is
        asked to.
        """
        interpreter = self.exchange.interpreter
        assert interpreter is not None
        try:
            interpreter.to_chat(self.exchange)
        except GatewayError:
            self.mode = "error"

    def targets(self) -> list[Target]:
        """Whom to ask: every other target first, and at last the one that broke off."""
        exchange = self.exchange
        try:
            found = choose(exchange, self.route, exchange.wire.loop.time())
        except GatewayError:
            found = []
        others = [target for target in found if target is not self.broken.target]
        return [*others, self.broken.target]

    def way_to(self, target: Target) -> str:
        """How a target can take the stream up: ``fresh``, ``prefill``, ``restart``, or not at all."""
        exchange = self.exchange
        if self.mode == "error":
            return ""
        if self.said.nothing:
            return "fresh"
        style = "message" if exchange.spec.prompt == "prompt" else target.prefill
        if self.said.continuable and style != "none" and exchange.fields is not None:
            made = continued(exchange.fields, self.said.text, style, self.said.pieces)
            if made is not None:
                return "prefill"
        # Plugins that keep a part of the text back would bring the old answer's end into the new one.
        # Other protocols have no event that says so.
        may_restart = not exchange.runtime.chain.on_chunk and exchange.interpreter is None
        return "restart" if self.mode == "restart" and may_restart else ""

    async def go_on_at(self, target: Target, how: str) -> bool:
        """Ask one target. Whether the client has its end now."""
        exchange = self.exchange
        chain = exchange.runtime.chain
        if chain.on_route:
            await chain.route(exchange, RouteView(self.route.name, target.provider.name, target.model))
        exchange.check()
        if how == "restart":
            self._start_anew()
        exchange.seam = Seam(self.said, how, self.prompt, self.completion, self.parts)
        if self.native is not None:
            assert exchange.interpreter is not None
            exchange.interpreter.go_on(self.native.begun)
            self.native = None
        attempt = await attempt_once(exchange, target)
        if attempt.cancelled:
            self._count(attempt)
            answers.conclude(exchange, attempt)
            return True
        if exchange.refusal is not None or (attempt.error is None and attempt.events is not None):
            self._end_well(attempt)
            return True
        if how == "prefill" and attempt.error is None and attempt.status in (400, 422):
            target.prefill = "none"  # whatever was thought of it
        self.keep(attempt)
        if self.said.complete:
            self.end_complete(attempt)
            return True
        return False

    def _start_anew(self) -> None:
        exchange = self.exchange
        exchange.write(restart_event(self.said, self.broken.error))
        self.transcript = exchange.transcript = Transcript(self.route.resumable)
        told = self.said
        self.said = self.transcript.said()
        self.said.id, self.said.created = told.id, told.created
        self.said.model, self.said.fingerprint = told.model, told.fingerprint
        # The client throws the first part away, and is not billed for it.
        self.prompt, self.completion, self.pieces = None, 0, 0
        self.first = self.kept = Tokens()
        for part in self.parts.parts:
            part.kept = False

    def keep(self, attempt: Attempt) -> None:
        """Record an attempt that broke off, with the tokens of what the client has of it."""
        answers.note_failure(self.exchange, attempt, self._count(attempt))
        self._recorded()

    def _count(self, attempt: Attempt) -> Tokens | None:
        if attempt.events is None:
            self._bill()  # the attempt has set them anew
            return None
        self.said = self.transcript.said()
        pieces = self.said.pieces - self.pieces
        self.pieces = self.said.pieces
        told = attempt.events.tokens
        # Messages tell the prompt's tokens at the beginning, and those of the answer at its end. A sum that came behind
        # what broke the stream is of more than the client has.
        summed = attempt.events.summed
        half = told is not None and (not self.said.complete if summed else attempt.native)
        if told is not None and half:
            told = structs.replace(told, completion=0, reasoning=0)
        prompt = len(self.exchange.raw) // BYTES_PER_TOKEN if told is None else told.prompt
        completion = pieces if told is None or half else told.completion
        if told is None or half:
            self.estimated = self.estimated or told is None or pieces > 0
            unread = attempt.events.unread()
            if unread is not None:
                self.parts.parts.append(Part(self.exchange, attempt.target, unread, pieces, told))
        if pieces:
            self.served = attempt.target
        if told is not None and self.prompt is None:
            self.prompt = max(0, told.prompt - self.completion)
            self.first = told
        self.completion += completion
        tokens = structs.replace(told or Tokens(), prompt=prompt, completion=completion)
        kept = prompt if self.prompt is None else self.prompt
        self.kept = structs.replace(self.first, prompt=kept, completion=self.completion)
        self._bill()
        return tokens

    def _recorded(self) -> None:
        """The attempt that was counted last has its record."""
        parts = self.parts.parts
        if parts and parts[-1].record is None:
            parts[-1].record = self.exchange.attempts[-1]

    def _bill(self) -> None:
        exchange = self.exchange
        if exchange.seam is None:
            return  # one part alone is counted like any other answer
        self.parts.prompt_from = "size" if self.prompt is None else "told"
        exchange.tokens = self.kept
        exchange.uncounted = None
        exchange.estimated = self.estimated
        exchange.target = self.served

    def _end_well(self, attempt: Attempt) -> None:
        exchange = self.exchange
        events = attempt.events
        own = None if events is None else events.tokens
        seam = exchange.seam
        assert seam is not None
        attempt.target.breaker.succeeded()
        if own is None:
            own = self._count(attempt)
        else:
            exchange.tokens = seam.total(own)
            self.parts.prompt_from = seam.prompt_from
            exchange.uncounted = None
            exchange.estimated = self.estimated
        self.served = exchange.target = attempt.target
        exchange.attempts.append(attempt.record("ok", own))
        self._recorded()
        exchange.outcome = "error" if exchange.refusal is not None else "ok"
        exchange.hold_end(attempt.tail)

    def end_complete(self, attempt: Attempt) -> None:
        """The answer has said that it is finished. Where only the end mark was missing, the client gets it; of
        anything else that went wrong behind the answer it is told.
        """
        self.broken = attempt
        error, events = attempt.error, attempt.events
        if error is None or error.reason != "reset" or events is None or events.partial:
            self.end_in_error()
            return
        self.exchange.outcome = "ok"
        # Relayed in the client's own protocol, the stream has an end mark of its own.
        self.exchange.hold_end(events.end_mark if self.native is not None else END_MARK)

    def end_in_error(self) -> None:
        """Nobody goes on: the client is told why the answer ends here."""
        exchange = self.exchange
        error = self.broken.error
        assert error is not None
        self._bill()
        exchange.outcome = "cut"
        told = self.broken.told
        if told and self.broken.native and self.native is None:
            # Others have gone on since: what its provider said is told in the client's protocol like errors of ours.
            told = b"data: %b\n\n" % as_envelope(data_of(told) or b"")
        exchange.hold_end(told or event_of(upstream_failure(error)), intact=exchange.chunked)
