"""Finding and replacing patterns in text that arrives in pieces, with the same result as for the whole text.

After each piece the shortest tail that could still become part of a match is held back. Which tail that is, the
``regex`` package tells by partial matching: the leftmost position from which the text to its end is a beginning of
some match. A match that starts before that position cannot change any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import regex

Decide: TypeAlias = "Callable[[regex.Match[str]], tuple[int, str] | None]"
"""What to do with a match: ``(end, replacement)`` replaces the text from its start to ``end``; None leaves it alone
and goes on one character further."""

MAX_HELD = 1024
"""Characters held back at most. A text that could go on matching for longer is decided as if it ended there."""

_CONTEXT = 64
"""Characters before the undecided text that are kept for look-behinds."""

_SLICE = 131_072
"""Characters of a whole text that are looked at in one go."""


class TextFilter(Protocol):
    """A text transformation that takes its text in pieces."""

    def feed(self, text: str) -> str:
        """Take a piece; return what is decided."""

    def flush(self) -> str:
        """The text has ended; return the rest. The filter can then be used for another text."""


class Scanner:
    """Compiled patterns. Raises :class:`ValueError` for one that is invalid or matches the empty text.

    The leftmost match counts, at one place that of the pattern named first. They are searched for one by one, because a
    literal that a pattern requires lets its search skip most of a text, which an alternation cannot.

    The end of the text is ``\\Z``; ``$`` would also match before a last line feed, of which a piece cannot know that it
    is the last.

    ``timeout`` bounds one search in seconds where the patterns are not known to be safe; a search that takes longer
    raises :class:`TimeoutError`.
    """

    def __init__(self, patterns: Sequence[str], timeout: float | None = None) -> None:
        try:
            self.finds = tuple(regex.compile(pattern, regex.V0) for pattern in patterns)
            joined = "|".join(f"(?:{pattern})" for pattern in patterns)
            # One character beyond the end: never a match, and a partial one exactly where the text could go on.
            self.tail = regex.compile(rf"(?:{joined})\Z(?s:.)", regex.V0)
        except regex.error as error:
            raise ValueError(f"invalid regular expression: {error}") from None
        if any(find.search("") is not None for find in self.finds):
            raise ValueError("the regular expression matches the empty text")
        self.timeout = timeout

    def next_match(self, text: str, position: int, found: list[regex.Match[str] | None]) -> regex.Match[str] | None:
        """The leftmost match from a position on. ``found`` keeps each pattern's next match between calls."""
        if not found:
            found += [find.search(text, position, timeout=self.timeout) for find in self.finds]
        first: regex.Match[str] | None = None
        for index, match in enumerate(found):
            if match is not None and match.start() < position:
                match = found[index] = self.finds[index].search(text, position, timeout=self.timeout)
            if match is not None and (first is None or match.start() < first.start()):
                first = match
        return first

    def filter(self, decide: Decide) -> ScanFilter:
        """A filter for one text."""
        return ScanFilter(self, decide)

    def sub(self, text: str, decide: Decide) -> str:
        """The whole of a text with its matches replaced."""
        scan = ScanFilter(self, decide)
        if len(text) <= _SLICE:
            return scan.whole(text)
        pieces = [scan.feed(text[start : start + _SLICE]) for start in range(0, len(text), _SLICE)]
        return "".join(pieces) + scan.flush()


class ScanFilter:
    """A :class:`TextFilter` over one scanner."""

    __slots__ = ("_buffer", "_decide", "_scanner", "_start")

    def __init__(self, scanner: Scanner, decide: Decide) -> None:
        self._scanner = scanner
        self._decide = decide
        self._buffer = ""
        self._start = 0

    def feed(self, text: str) -> str:
        self._buffer += text
        return self._decided(final=False)

    def flush(self) -> str:
        out = self._decided(final=True)
        self._buffer = ""
        self._start = 0
        return out

    def whole(self, text: str) -> str:
        """A whole text at once, on a fresh filter."""
        self._buffer = text
        return self.flush()

    def _decided(self, *, final: bool) -> str:
        scanner, buffer, position = self._scanner, self._buffer, self._start
        found: list[regex.Match[str] | None] = []
        out: list[str] = []
        hold = -1
        while True:
            if hold < position:
                hold = len(buffer) if final else self._held_from(position)
            match = scanner.next_match(buffer, position, found)
            if match is None or match.start() >= hold:
                out.append(buffer[position:hold])
                break
            start = match.start()
            decision = self._decide(match)
            end, replacement = (start + 1, buffer[start]) if decision is None else decision
            out += (buffer[position:start], replacement)
            position = end
        keep = max(0, hold - _CONTEXT)
        self._buffer = buffer[keep:]
        self._start = hold - keep
        return "".join(out)

    def _held_from(self, position: int) -> int:
        buffer = self._buffer
        window = max(position, len(buffer) - MAX_HELD)
        partial = self._scanner.tail.search(buffer, window, partial=True, timeout=self._scanner.timeout)
        return len(buffer) if partial is None else partial.start()


class Pipe:
    """Filters one after another, as one filter."""

    __slots__ = ("_filters",)

    def __init__(self, *filters: TextFilter) -> None:
        self._filters = filters

    def feed(self, text: str) -> str:
        for each in self._filters:
            text = each.feed(text)
        return text

    def flush(self) -> str:
        text = ""
        for each in self._filters:
            text = each.feed(text) + each.flush()
        return text
