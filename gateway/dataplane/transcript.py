"""What a client has of a stream, so that another target can go on from there.

Events are kept as they came, which costs a reference each; only of a long stream are they read while it runs, to keep
the text instead. It is the upstream's own text, before plugins change it: what goes back to a provider is what a
provider has written.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from gateway.plugin.sse import DONE, data_of, split_events

KEPT: Final = 32_768
"""Bytes of events kept as they came; then their text is taken out."""
BEGINNING: Final = 8_192
"""Bytes kept of a stream that no target could go on with: enough to tell that something was said."""
LONGEST: Final = 1_048_576
"""Characters of text that are given to another target at most."""


_ABSENT: Final = Raw(b"null")


class _Delta(Struct):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: Raw = _ABSENT
    function_call: Raw = _ABSENT
    reasoning_content: str | None = None
    reasoning: Raw = _ABSENT
    audio: Raw = _ABSENT
    annotations: Raw = _ABSENT
    citations: Raw = _ABSENT
    provider_blocks: Raw = _ABSENT


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(Struct):
    id: str | None = None
    created: int | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    choices: list[_Choice] | None = None


_decode: Final = msgspec.json.Decoder(_Chunk, strict=False).decode
_NULL: Final = (b"null", b"[]", b'""')


def _is_there(part: Raw) -> bool:
    return part is not _ABSENT and bytes(part) not in _NULL


class Said:
    """``text`` is the answer so far, ``pieces`` how many events brought a part of it (about as many tokens), ``role``
    whether the client was told who speaks, ``other`` whether it got anything that no prefill can hold: a tool call, a
    refusal, a citation, thoughts without an answer, a second choice. ``finished`` is the reason the answer ended for,
    if it did.
    """

    __slots__ = ("_texts", "created", "fingerprint", "finished", "id", "length", "model", "other", "pieces", "role",
                 "several", "thought")  # fmt: skip

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.length = 0
        self.pieces = 0
        self.role = False
        self.other = False
        self.thought = False
        self.several = False
        self.finished: str | None = None
        self.id: str | None = None
        self.created: int | None = None
        self.model: str | None = None
        self.fingerprint: str | None = None

    @property
    def text(self) -> str:
        """The answer so far."""
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    @property
    def nothing(self) -> bool:
        """Whether the client has nothing of the answer yet: another target may begin it as if it were the first."""
        return not self.length and not self.other and not self.thought

    @property
    def complete(self) -> bool:
        """Whether the answer is all there, and only the end of its stream is missing."""
        return self.finished is not None and not self.several

    @property
    def continuable(self) -> bool:
        """Whether the text is all there is, so that a prefill can hold it."""
        return 0 < self.length <= LONGEST and not self.other

    def read_all(self, blocks: list[bytes]) -> None:
        """Take in blocks of whole events."""
        for block in blocks:
            for event in split_events(block):
                self.read(event)

    def read(self, event: bytes) -> None:
        """Take in one event. One that is no chunk of an answer counts as nothing."""
        payload = data_of(event)
        if payload is None or payload == DONE:
            return
        try:
            chunk = _decode(payload)
        except msgspec.DecodeError:
            return
        if self.id is None:
            self.id, self.created = chunk.id, chunk.created
            self.model, self.fingerprint = chunk.model, chunk.system_fingerprint
        for choice in chunk.choices or ():
            self._choice(choice)

    def _choice(self, choice: _Choice) -> None:
        if choice.index:
            self.other = self.several = True
        if choice.finish_reason is not None:
            self.finished = choice.finish_reason
        delta = choice.delta
        text = choice.text
        if delta is not None:
            self.role = self.role or delta.role is not None
            text = text or delta.content
            if (
                delta.refusal
                or _is_there(delta.tool_calls)
                or _is_there(delta.function_call)
                or _is_there(delta.audio)
                or _is_there(delta.annotations)
                or _is_there(delta.citations)
                or _is_there(delta.provider_blocks)
            ):
                self.other = True
            if delta.reasoning_content or _is_there(delta.reasoning):
                self.thought = True
                self.pieces += 1
        if text:
            self.say(text)

    def say(self, text: str) -> None:
        """Take in a piece of the answer's text."""
        if text:
            self.pieces += 1
            self.length += len(text)
            if self.length <= LONGEST:
                self._texts.append(text)


class Transcript:
    """Collects the events of one stream. Without ``whole`` only its beginning is kept. ``said`` knows how to read them;
    it may have a beginning already.
    """

    __slots__ = ("_events", "_last", "_said", "_size", "_whole", "full")

    def __init__(self, whole: bool, said: Said | None = None) -> None:
        self._whole = whole
        self._events: list[bytes] = []
        self._last = b""
        self._size = 0
        self._said = Said() if said is None else said
        self.full = False

    def add(self, events: bytes) -> None:
        """Whole events that the client gets."""
        if self.full:
            self._last = events  # it may hold the reason why the answer ended
            return
        self._events.append(events)
        self._size += len(events)
        if self._size > (KEPT if self._whole else BEGINNING):
            self._read()
            # Nobody needs the rest where no prefill can hold it anyway.
            self.full = not self._whole or self._said.other or self._said.length > LONGEST

    def _read(self) -> None:
        self._said.read_all(self._events)
        self._events.clear()
        self._size = 0

    def said(self) -> Said:
        """What the client has. Of a stream of which only the beginning was kept, it is no more than that."""
        self._read()
        if self.full:
            self._said.other = True
            for event in split_events(self._last):
                self._said.read(event)
            self._last = b""
        return self._said
