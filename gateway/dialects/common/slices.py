"""A JSON object in a file, taken apart with no more of it in memory than an item of its long list.

Every value is read as ``json.loads`` would; of the items of the list that is sliced only where they are is kept.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

WINDOW = 262_144  # bytes
MOST = 10_000
"""Items that are told. No operation takes as many: what is behind them is not looked at."""
_SPACE = re.compile(r"[ \t\n\r]*")
_scan = json.JSONDecoder().raw_decode


class Text(NamedTuple):
    """An item of a list in a file, as JSON that nobody has kept; ``size`` is in bytes."""

    file: IO[bytes]
    begin: int
    size: int

    def read(self) -> Any:
        """The value. Raises RecursionError where it is too deep."""
        self.file.seek(self.begin)
        return json.loads(self.file.read(self.size))


def members_of(file: IO[bytes], sliced: str, window: int = WINDOW) -> dict[str, Any]:
    """The members of an object; the one named ``sliced``, where it is a list, as a list of :class:`Text`.

    Raises ValueError where the file holds anything else than one JSON object in UTF-8, RecursionError where that is
    too deep.
    """
    text = _Window(file, window)
    members: dict[str, Any] = {}
    text.take("{")
    if text.peek() == "}":
        text.take("}")
    else:
        while True:
            name = text.value() if text.peek() == '"' else text.fault()
            text.take(":")
            if name == sliced and text.peek() == "[":
                members[name] = items = list(_items(text))
                if len(items) == MOST:
                    return members
            else:
                members[name] = text.value()
            if text.take(",}") == "}":
                break
    if text.peek():
        text.fault()
    return members


def _items(text: _Window) -> Iterator[Text]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    for _ in range(MOST):
        text.peek()
        begin = text.position()
        text.value()
        yield Text(text.file, begin, text.position() - begin)
        if text.take(",]") == "]":
            return


class _Window:
    """The text of a file from where it was read to, as far as it was looked at."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        file.seek(0)
        self.file = file
        self._size = size
        self._decode = getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._at = 0
        self._counted = 0  # characters of the text, up to which bytes were counted
        self._passed = 0
        self._ended = False

    def position(self) -> int:
        """Where it is, in bytes of the file."""
        behind = self._text[self._counted : self._at]
        self._passed += len(behind) if behind.isascii() else len(behind.encode())
        self._counted = self._at
        return self._passed

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = self._at if found is None else found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """The next character, which must be one of those ``expected``."""
        found = self.peek()
        if not found or found not in expected:
            self.fault()
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                found, end = _scan(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            # A number may go on behind what was read: after "1e+" as well, of which it takes the first character.
            if end + 2 < len(self._text) or not self._more():
                self._at = end
                return found

    def fault(self) -> Any:
        """Raises ValueError."""
        raise ValueError("not the JSON that was expected")

    def _more(self) -> bool:
        """Read on; gives whether there was anything. The more of it belongs together, the more at once."""
        if self._ended:
            return False
        self.position()
        read = self.file.read(max(self._size, len(self._text) - self._at))
        self._ended = not read
        more = self._decode(read, not read)
        if read:
            self._text = self._text[self._at :] + more
            self._at = self._counted = 0
        return bool(read)
