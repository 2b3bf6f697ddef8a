"""Text inside a JSON document that arrives in pieces, such as the arguments of a tool call.

Strings are decoded, filtered and encoded again, so that an escape is neither missed nor torn. Numbers, which can be
PII too, are filtered as wholes and become strings where the filter changed them. Whatever else there is passes as it
is, valid JSON or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from gateway.plugin.scan import TextFilter

_SPECIAL = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'[0-9+\-.]+|"|[^0-9+\-."]+')
_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")
_NUMBER = re.compile(r"[0-9+\-.]+")
_MAX_NUMBER = 64
"""Characters of a number outside strings that is still looked at; a longer one passes as it is."""


def _escape(text: str) -> str:
    encoded = json.dumps(text, ensure_ascii=False)[1:-1]
    return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", encoded)


class ArgumentsFilter:
    """A :class:`TextFilter` over JSON text; ``make`` gives the filter for each string in it."""

    __slots__ = ("_escape", "_inner", "_long", "_make", "_number")

    def __init__(self, make: Callable[[], TextFilter]) -> None:
        self._make = make
        self._inner: TextFilter | None = None
        self._escape = ""
        self._number = ""
        self._long = False

    def feed(self, text: str) -> str:
        out: list[str] = []
        position = 0
        while position < len(text):
            if self._inner is None:
                position = self._outside(text, position, out)
            elif self._escape:
                position = self._escaped(text, position, out, self._inner)
            else:
                position = self._inside(text, position, out, self._inner)
        return "".join(out)

    def flush(self) -> str:
        out = [self._end_number()]
        if self._inner is not None:
            if self._escape:
                self._decode(out, self._inner)
            out.append(_escape(self._inner.flush()))
        self._inner = None
        self._long = False
        return "".join(out)

    def _outside(self, text: str, position: int, out: list[str]) -> int:
        token = _OUTSIDE.match(text, position)
        assert token is not None
        if token.group()[0] in "0123456789+-.":
            self._number += token.group()
            if self._long or len(self._number) > _MAX_NUMBER:
                out.append(self._number)
                self._number = ""
                self._long = True
            return token.end()
        self._long = False
        out += (self._end_number(), token.group())
        if token.group() == '"':
            self._inner = self._make()
        return token.end()

    def _end_number(self) -> str:
        number, self._number = self._number, ""
        if not number:
            return ""
        whole = self._make()
        filtered = whole.feed(number) + whole.flush()
        return number if filtered == number else json.dumps(filtered, ensure_ascii=False)

    def _inside(self, text: str, position: int, out: list[str], inner: TextFilter) -> int:
        special = _SPECIAL.search(text, position)
        end = len(text) if special is None else special.start()
        out.append(_escape(inner.feed(text[position:end])))
        if special is None:
            return end
        if special.group() == "\\":
            self._escape = "\\"
        else:
            out += (_escape(inner.flush()), '"')
            self._inner = None
        return end + 1

    def _escaped(self, text: str, position: int, out: list[str], inner: TextFilter) -> int:
        held = self._escape
        if len(held) == 6 and text[position] != "\\":
            self._decode(out, inner)  # a high surrogate that nothing follows
            return position
        if len(held) == 7 and text[position] != "u":
            self._escape = held[:6]
            self._decode(out, inner)
            self._escape = "\\"
            return position
        held = self._escape = held + text[position]
        wanted = 12 if _HIGH.match(held) else 6 if held.startswith("\\u") else 2
        if len(held) == wanted:
            self._decode(out, inner)
        return position + 1

    def _decode(self, out: list[str], inner: TextFilter) -> None:
        held, self._escape = self._escape, ""
        try:
            decoded = json.loads(f'"{held}"')
        except ValueError:
            out += (_escape(inner.flush()), held)
        else:
            out.append(_escape(inner.feed(decoded)))
