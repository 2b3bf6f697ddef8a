"""One inference request and its answer on the wire.

An exchange is what a plugin sees as its :class:`~gateway.plugin.api.Request`, plus what the pipeline needs. It writes
straight to the client's transport: a status line and headers as ready bytes, then a whole body, chunks (RFC 9112
§7.1), or bytes of a known length.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.contract.usage import Attempt as AttemptRecord
from gateway.contract.usage import Fallback, Outcome, Tokens
from gateway.dataplane.auth import Credential
from gateway.dataplane.deadlines import tighter
from gateway.dataplane.endpoints.inference import Endpoint
from gateway.dataplane.flow import INTO_TASK
from gateway.dataplane.interpreting import Interpreter
from gateway.dataplane.transcript import Said, Transcript
from gateway.kernel.errors import GatewayError
from gateway.plugin.api import Request

if TYPE_CHECKING:
    from gateway.dataplane.admission.limiter import Grant
    from gateway.dataplane.attempt import Attempt
    from gateway.dataplane.body import Fields
    from gateway.dataplane.flow import Flow
    from gateway.dataplane.learned.ordering import Choice
    from gateway.dataplane.places import Place
    from gateway.dataplane.routing import Route
    from gateway.dataplane.runtime import Runtime
    from gateway.dataplane.seam import Seam
    from gateway.dataplane.server import GatewayProtocol
    from gateway.dataplane.streaming import EventStream
    from gateway.dataplane.target import Target
    from gateway.dataplane.tracing import TraceContext
    from gateway.dataplane.upload import Upload
    from gateway.settings.model import Recovery, Timeouts

_SECRET_HEADERS: Final = frozenset((b"authorization", b"x-api-key", b"api-key", b"cookie", b"proxy-authorization"))
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE: Final = re.compile(r"[\r\n\0]")
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Exchange(Request):
    """See the module. Times: ``started`` is ``time.perf_counter()`` seconds, ``started_ns`` Unix nanoseconds."""

    __slots__ = (
        "_chunks",
        "_headers",
        "_held",
        "_length",
        "_size",
        "attempt",
        "attempts",
        "begun",
        "caller",
        "choice",
        "chunked",
        "complete",
        "content_type",
        "deadline",
        "declared_length",
        "disconnected",
        "estimated",
        "events_seen",
        "fallback",
        "fields",
        "first_at",
        "flow",
        "foreign",
        "forwarded",
        "grant",
        "hide_usage",
        "http11",
        "interpreter",
        "is_events",
        "keep_alive",
        "max_tokens",
        "outcome",
        "patience",
        "place",
        "provider_grant",
        "queued",
        "rate_lines",
        "raw_headers",
        "received",
        "recovery",
        "refusal",
        "response_complete",
        "response_started",
        "route",
        "runtime",
        "seam",
        "settled",
        "share",
        "spec",
        "started",
        "started_ns",
        "status",
        "target",
        "tokens",
        "trace",
        "transcript",
        "turn",
        "uncounted",
        "upload",
        "waited",
        "wanted",
        "wire",
    )

    trace: TraceContext  # set by the tracer alone
    uncounted: EventStream | bytes | None  # what the upstream has told no usage of
    transcript: Transcript | None  # of the stream that the client gets
    interpreter: Interpreter | None  # of a client that speaks another protocol
    foreign: dict[Target, Any] | None  # what reading the answers of targets takes that speak another API
    seam: Seam | None  # where another target goes on with it
    fallback: Fallback | None  # of which the client was told
    recovery: Recovery | None  # what the client wants of a stream that breaks off
    wanted: Timeouts | None  # the client's own deadlines
    place: Place | None  # at a target, for a call that has not begun
    share: float  # of its caller's weight where it waits for a provider; live requests have all of it
    deadline: float  # loop time at which the request is given up
    patience: float  # loop time until which it waits for resting targets
    choice: Choice | None  # by a learned route
    waited: float  # seconds between attempts, and those in a queue
    queued: float  # seconds in a queue for a target

    def __init__(
        self,
        wire: GatewayProtocol,
        runtime: Runtime,
        spec: Endpoint,
        raw_headers: list[tuple[bytes, bytes]],
        request_id: str,
        http11: bool,
        keep_alive: bool,
    ) -> None:
        self.wire = wire
        self.runtime = runtime
        self.spec = spec
        self.raw_headers = raw_headers
        self.id = request_id
        self.endpoint = spec.name
        self.is_json = not spec.form
        self.http11 = http11
        self.keep_alive = keep_alive
        self.started = time.perf_counter()
        self.started_ns = time.time_ns()
        self.model = ""
        self.stream = False
        self.state: dict[str, Any] = {}
        self.tags: dict[str, str] = {}
        self.response_headers: dict[str, str] = {}
        self.turns = 0
        self._raw: bytes | None = None
        self._body: dict[str, Any] | None = None
        self._headers: dict[str, str] | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self.received = 0
        self._length = -1
        self._held: bytes | None = None
        self.fields: Fields | None = None
        self.upload: Upload | None = None
        self.forwarded = self.content_type = b""
        self.declared_length: int | None = None
        self.max_tokens: int | None = None
        self.hide_usage = False
        self.is_events = False
        self.begun = False
        self.refusal: GatewayError | None = None
        self.caller: Credential | None = None
        self.grant: Grant | None = None
        self.provider_grant: Grant | None = None
        self.rate_lines = b""
        self.flow: Flow | None = None
        self.attempt: Attempt | None = None
        self.attempts: list[AttemptRecord] = []
        self.tokens: Tokens | None = None
        self.events_seen = 0
        self.estimated = False  # some of the tokens are
        self.route: Route | None = None
        self.target: Target | None = None
        self.first_at = 0.0
        self.transcript = self.seam = self.uncounted = self.foreign = self.fallback = None
        self.interpreter = None if spec.protocol is None else Interpreter(spec.protocol)
        self.recovery = self.wanted = self.place = self.choice = None
        self.deadline = self.patience = self.waited = self.queued = 0.0
        self.share = 1.0
        self.outcome: Outcome = "error"
        self.status = 0
        self.complete = self.settled = False
        self.turn = False
        self.chunked = self.disconnected = False
        self.response_started = self.response_complete = False

    # what plugins see

    @property
    def headers(self) -> dict[str, str]:
        """The client's headers by lower-case name, without credentials."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in self.raw_headers
                if name not in _SECRET_HEADERS
            }
        return self._headers

    @headers.setter
    def headers(self, value: dict[str, str]) -> None:
        self._headers = value

    @property
    def route_wish(self) -> str:
        """See :class:`gateway.plugin.request.Request`."""
        return "" if self.choice is None else self.choice.spelt

    def open_transcript(self, said: Said | None = None) -> Transcript | None:
        """Where an attempt's part of a stream is noted, for ``said`` to read; None where nobody could go on with it."""
        if self.seam is not None:
            return self.transcript
        if not self.spec.generates or self.route is None:
            return None
        return Transcript(self.route.resumable or self.spec.prompt == "prompt", said)

    # the request's body

    def feed(self, data: bytes) -> int:
        """Keep a piece of the body; returns its size so far."""
        self._chunks.append(data)
        self._size += len(data)
        return self._size

    def take_body(self) -> bytes:
        """What has arrived of the body, joined; it is not kept here any longer."""
        chunks = self._chunks
        self._chunks = []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def drop_body(self) -> None:
        """Forget what has arrived: the request is refused."""
        self._chunks.clear()

    # an upload's body, relayed as it arrives

    @property
    def repeatable(self) -> bool:
        """Whether the request can be sent once more: what is relayed while it arrives can't."""
        return self.upload is None or bool(self.upload.whole)

    def upload_more(self, data: bytes) -> bool:
        """Pass a piece on. False: no upstream takes it yet."""
        if self.attempt is None:
            return False
        if self.declared_length is None:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.attempt.send_more(data)
        return True

    def upload_ended(self) -> None:
        """The body is complete."""
        if self.attempt is not None:
            self.attempt.send_more(_LAST_CHUNK if self.declared_length is None else b"", last=True)

    def begin(self) -> None:
        """The pipeline runs. Raises as :meth:`check`."""
        self.begun = True
        seconds = self.runtime.settings.server.request_timeout
        if self.wanted is not None and self.wanted.total < seconds:
            seconds = self.wanted.total
        self.deadline = self.wire.loop.time() + seconds
        self.check()

    def timeouts_at(self, target: Target) -> Timeouts:
        """The deadlines of a call to a target: its provider's, or the client's where they are shorter."""
        timeouts = target.provider.timeouts
        return timeouts if self.wanted is None else tighter(timeouts, self.wanted)

    def check(self) -> None:
        """Raise what has happened to the request meanwhile: it was refused, or its client has left."""
        if self.refusal is not None:
            raise self.refusal
        if self.disconnected:
            raise asyncio.CancelledError

    @property
    def by_hand(self) -> bool:
        """Whether the pipeline is not in a task yet: see :mod:`gateway.dataplane.flow`."""
        return self.flow is not None and self.flow.by_hand

    async def before_waiting(self) -> None:
        """What plugins await may need a task: time limits do, and HTTP clients have them."""
        if self.by_hand:
            await INTO_TASK

    def refuse(self, error: GatewayError) -> None:
        """Refuse a request that is being served already: what was begun upstream is given up."""
        self.refusal = error
        self._interrupt()

    def _interrupt(self) -> None:
        if self.attempt is not None:
            self.attempt.cancel()
        elif self.begun and self.flow is not None:  # a task cancelled before it begins would never end its request
            self.flow.cancel()

    # the answer

    def _common(self) -> bytes:
        lines = b"%bx-request-id: %b\r\n%b" % (self.wire.clock.date_line, self.id.encode(), self.rate_lines)
        given: Any = self.response_headers  # a plugin may have put anything here
        if given and isinstance(given, dict):
            for name, value in given.items():
                lines += _line(str(name), value)
        if self.interpreter is not None:
            lines += b"request-id: " + self.id.encode() + b"\r\n"
        if not self.keep_alive:
            lines += b"connection: close\r\n"
        elif not self.http11:
            lines += b"connection: keep-alive\r\n"
        return lines

    def hold(self, status: int, lines: bytes, body: bytes) -> None:
        """Make a whole answer ready; :meth:`release` sends it."""
        if self.response_started:
            return
        if not self.complete:
            self.keep_alive = False
        if self.interpreter is not None:
            body = self.interpreter.whole(self, status, body)
        self._held = b"%b%bcontent-length: %d\r\n%b\r\n%b" % (
            _status_line(status), lines, len(body), self._common(), body
        )  # fmt: skip
        self.response_started = True
        self.status = status

    def start(self, status: int, lines: bytes, length: int | None, data: bytes) -> None:
        """Send the head and the first piece of a body that comes in pieces. ``length`` is in bytes, where known."""
        self.is_events = b"text/event-stream" in lines
        if self.interpreter is not None and self.is_events:
            data = self.interpreter.events(self, data)
        if not self.complete:
            self.keep_alive = False
        if length is not None:
            lines += b"content-length: %d\r\n" % length
            self._length = length
        elif self.http11:
            self.chunked = True
            lines += b"transfer-encoding: chunked\r\n"
        else:
            self.keep_alive = False
        head = _status_line(status) + lines + self._common() + b"\r\n"
        self.response_started = True
        self.status = status
        if self.chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if not self.disconnected:
            self.wire.write(head + data)

    def write(self, data: bytes) -> None:
        """Send a piece of the body before the turn of the event loop ends."""
        if self.disconnected or not data:
            return
        if self.interpreter is not None and self.is_events:
            data = self.interpreter.events(self, data)
            if not data:
                return
        if self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.wire.write(data)

    def hold_end(self, data: bytes, *, intact: bool = True) -> None:
        """Make the last piece ready. Not ``intact``: the client must be able to tell that the body was cut."""
        if self.interpreter is not None and self.is_events:
            data = self.interpreter.events(self, data)
        if self.chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if not intact:
            self.keep_alive = False  # the promised length, or the last chunk, is missing at the connection's end
        elif self.chunked:
            data += _LAST_CHUNK
        self._held = data

    @property
    def held(self) -> bytes:
        """What :meth:`release` will send."""
        return self._held or b""

    def release(self) -> None:
        """Send what is held and finish. Called once, when the request's usage event is safe."""
        if self.response_complete:
            return
        self.response_complete = True
        held, self._held = self._held, None
        self._raw = self._body = self.fields = self.uncounted = None  # an idle connection keeps its last request
        self.transcript = self.seam = self.interpreter = self.foreign = None
        self._chunks.clear()
        if self.upload is not None:
            self.upload.body = b""
        self.raw_headers = []
        self.state = {}
        if not self.disconnected:
            if held:
                self.wire.write(held)
            self.wire.answered(self)

    def abandon(self) -> None:
        """The answer can't be finished: close the connection so that the client sees it."""
        self.keep_alive = False
        self.release()

    # what the transport tells

    def on_disconnect(self) -> None:
        """The client is gone: close the upstream connection at once and stop whatever is being waited for."""
        self.disconnected = True
        if not self.response_complete:
            self._interrupt()

    def on_writable(self, writable: bool) -> None:
        """The client's send buffer filled up or drained: the upstream is read no faster than the client reads."""
        if self.attempt is not None:
            self.attempt.on_client_writable(writable)


def _status_line(status: int) -> bytes:
    return STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status


def _line(name: str, value: object) -> bytes:
    # A plugin's header must not be able to split the head.
    if not _HEADER_NAME.fullmatch(name):
        return b""
    return f"{name}: {_UNSAFE.sub(' ', str(value))}\r\n".encode("latin-1", "replace")
