"""The tool calls of a streamed answer, whose blocks must come one after another whatever the order of their pieces."""

from __future__ import annotations

import msgspec

from gateway.protocols.base import Json
from gateway.protocols.calls import CallNumbers

_decode_object = msgspec.json.Decoder(dict[str, object]).decode


class Call(msgspec.Struct):
    """One call. ``arguments`` are what came of its JSON; ``begun`` and ``ended`` say how far its block is."""

    number: int
    id: str = ""
    name: str = ""
    arguments: list[str] = []
    begun: bool = False
    ended: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing can follow: the arguments are a JSON object."""
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            _decode_object("".join(self.arguments))
        except msgspec.MsgspecError:
            return False
        return True


class Calls:
    """All calls of an answer, ``known`` by their numbers in the order they came. ``open`` is the one whose block is."""

    __slots__ = ("_numbers", "known", "open")

    def __init__(self) -> None:
        self._numbers = CallNumbers()
        self.known: dict[int, Call] = {}
        self.open: Call | None = None

    def take(self, call: Json) -> str | None:
        """Keep a piece of a call. It is given back where it goes on with the open block.

        Raises :class:`ValueError` for more of a call whose block has ended.
        """
        function = call.get("function") or {}
        name, piece = function.get("name") or "", function.get("arguments") or ""
        if type(name) is not str or type(piece) is not str:
            raise ValueError("a tool call's name and arguments are texts")
        number = self._numbers.find(call, name)
        known = self.known.get(number)
        if known is None:
            known = self.known[number] = Call(number)
        if known.ended:
            if piece.strip():
                raise ValueError("a tool call goes on that was complete")
            return ""
        known.id = self._numbers.id_of(number) or ""
        known.name = known.name or name
        if piece:
            known.arguments.append(piece)
        return piece if known is self.open else None

    @property
    def may_go_on(self) -> bool:
        """Whether a block is open that is not whole yet."""
        return self.open is not None and not self.open.is_whole

    def next(self, *, at_end: bool) -> Call | None:
        """The call whose block is to begin now: none while another may go on, or while nobody waits whose name and id
        are here. At the end all that have a name go.
        """
        for call in self.known.values():
            if not call.begun and call.name and (call.id or at_end):
                if self.may_go_on and not at_end:
                    return None
                call.begun = True
                return call
        return None

    def close(self) -> None:
        """The open block has ended."""
        if self.open is not None:
            self.open.ended = True
            self.open = None
