"""The head that a connection sends again and again, known by its bytes and not parsed once more.

The requests of a client differ in their bodies, and their heads in nothing but ``Content-Length``. What llhttp has told
of one head it would tell of every other with the same bytes, as long as both stand between two messages of a connection
that is kept: only such heads are known here. Anything else goes to the parser, which has seen none of them.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.dataplane.endpoints.inference import Endpoint
    from gateway.dataplane.exchange import Exchange
    from gateway.settings.model import Recovery, Timeouts

Headers = list[tuple[bytes, bytes]]

MOST: Final = 4_096
"""Bytes of a head that is kept."""
TRIES: Final = 4
"""Heads in a row that did not come again, after which no other is kept."""
_DIGITS: Final = 10  # of a length
_LENGTH: Final = b"content-length"
_OTHERWISE: Final = frozenset((b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"))
_CREDENTIALS: Final = frozenset((b"authorization", b"x-api-key", b"api-key"))


class Repeated:
    """The head that one connection sent last, and what its requests have of it.

    ``length`` is that of the body behind the head that was found last, in bytes; ``headers`` has another.
    """

    __slots__ = (
        "_after",
        "_before",
        "_place",
        "_tries",
        "authorization",
        "content_type",
        "forwarded",
        "has_secret",
        "headers",
        "known",
        "length",
        "noted",
        "recovery",
        "spec",
        "wanted",
    )

    spec: Endpoint

    def __init__(self) -> None:
        self.known = False
        self.noted = False
        self.length = 0
        self.headers: Headers = []
        self.authorization: bytes | None = None
        self.has_secret = False
        self.content_type = self.forwarded = b""
        self.wanted: Timeouts | None = None
        self.recovery: Recovery | None = None
        self._before = self._after = b""
        self._place = 0
        self._tries = -1  # a connection of one request keeps nothing

    def find(self, data: bytes) -> int:
        """The bytes of the head that ``data`` begins with, where it is the one that is known and whole; else 0."""
        before, after = self._before, self._after
        at = len(before)
        end = data.find(b"\r", at, at + _DIGITS + 1)
        if end <= at:
            return 0
        digits = data[at:end]
        if not digits.isdigit():
            return 0
        size = end + len(after)
        # In constant time: a credential is part of it, and a connection may carry the requests of several clients.
        if not compare_digest(data[:at], before) or not compare_digest(data[end:size], after):
            return 0
        if self._tries:
            self._tries -= 1
        self.length = int(digits)
        return size

    def lines(self) -> Headers:
        """The headers of the request whose head was found."""
        headers = self.headers.copy()
        headers[self._place] = (_LENGTH, b"%d" % self.length)
        return headers

    def note(self, exchange: Exchange, headers: Headers) -> None:
        """The parser has told of a head, and an exchange was opened for it: :meth:`learn` may follow."""
        if self._tries < 0:
            self._tries = 0
            return
        if self._tries >= TRIES or exchange.refusal is not None or not (exchange.keep_alive and exchange.http11):
            return
        self.known = False
        self.has_secret = False
        self.authorization = None
        place = -1
        for index, (name, value) in enumerate(headers):
            if name in _OTHERWISE:
                return
            if name == _LENGTH:
                place = index
            elif name in _CREDENTIALS:
                self.has_secret = True
                if name == b"authorization" and self.authorization is None:
                    self.authorization = value
        if place < 0:
            return
        self.noted = True
        self._place = place
        self.headers = headers
        self.spec = exchange.spec
        self.content_type, self.forwarded = exchange.content_type, exchange.forwarded
        self.wanted, self.recovery = exchange.wanted, exchange.recovery

    def learn(self, data: bytes) -> None:
        """Keep the head that was noted: the one that ``data`` begins with, if all of it is there."""
        self.noted = False
        self._tries += 1
        size = data.find(b"\r\n\r\n", 0, MOST) + 4
        head = data[:size].lower()
        at = head.find(b"\r\ncontent-length:") + 17
        if size < 4 or at < 17:
            return
        while head[at : at + 1] == b" ":
            at += 1
        end = head.find(b"\r", at)
        if head[at:end].isdigit():
            self._before, self._after = data[:at], data[end:size]
            self.known = True
