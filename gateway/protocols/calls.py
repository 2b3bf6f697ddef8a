"""Which tool call a piece of a stream belongs to."""

from __future__ import annotations

from hashlib import blake2b

from gateway.protocols.base import Json


class CallNumbers:
    """Numbers for the tool calls of one answer: Chat's ``index``, where that tells them apart."""

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}

    def find(self, call: Json, name: str) -> int:
        """The call that a piece belongs to. A second call under an index that is taken, which some providers send, gets
        one of its own.
        """
        index = call.get("index")
        call_id = call.get("id")
        number = index if isinstance(index, int) else max(0, len(self._ids) - 1)
        known = self._ids.get(number)
        if known and call_id and call_id != known and name:
            number = next((n for n, each in self._ids.items() if each == call_id), max(self._ids) + 1)
        if call_id or number not in self._ids:
            self._ids[number] = call_id or known or ""
        return number

    def id_of(self, number: int) -> str | None:
        """The id that the provider gave the call."""
        return self._ids.get(number) or None


def made_id(prefix: str, answer: object, number: int) -> str:
    """An id for a call to which the provider gave none; always the same one for the same answer."""
    return prefix + blake2b(f"{answer} {number}".encode(), digest_size=12).hexdigest()
