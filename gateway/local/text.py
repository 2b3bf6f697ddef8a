"""Text that comes token by token: whole characters only, and nothing that may be the start of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Released:
    """What may be shown. ``matched`` is the mark that was met; ``rest`` is the text behind it."""

    text: str
    matched: str | None = None
    rest: str = ""


class HeldText:
    """Decodes bytes and holds back what may turn out to be one of ``marks``."""

    def __init__(self, marks: Sequence[str]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._marks = list(marks)
        self._held = ""

    def feed(self, data: bytes) -> Released:
        """Add a token's bytes."""
        return self._release(self._decoder.decode(data), final=False)

    def finish(self) -> Released:
        """The text still held, at the end."""
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, text: str, *, final: bool) -> Released:
        self._held += text
        found = [(position, mark) for mark in self._marks if (position := self._held.find(mark)) >= 0]
        if found:
            position, mark = min(found)
            held, self._held = self._held, ""
            return Released(held[:position], mark, held[position + len(mark) :])
        keep = 0 if final else self._partial()
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return Released(text)

    def _partial(self) -> int:
        longest = max((len(mark) for mark in self._marks), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(mark.startswith(self._held[-size:]) for mark in self._marks):
                return size
        return 0
