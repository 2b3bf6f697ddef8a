"""Output items that grow while an answer streams.

Each tells its own events, from ``response.output_item.added`` to ``response.output_item.done``, and keeps what it said
for the final Response. Source: OpenAI API reference, "Streaming events".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import msgspec

from gateway.protocols.base import Json
from gateway.protocols.responses import thoughts
from gateway.protocols.responses.begun import BegunMessageItem
from gateway.protocols.responses.content import refusal_part, text_part
from gateway.protocols.responses.events import Events, delta_head, encode
from gateway.protocols.responses.response import Memo, custom_item, function_item, message_item

_NO_LOGPROBS: Final = b',"logprobs":[]'
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Item(ABC):
    """What all items have in common. ``index`` is the item's place in ``output``; ``done`` is its final form once it is
    closed.
    """

    __slots__ = ("_events", "_memo", "_pieces", "done", "index")

    def __init__(self, events: Events, memo: Memo, index: int) -> None:
        self._events = events
        self._memo = memo
        self._pieces: list[str] = []
        self.index = index
        self.done: Json | None = None

    @abstractmethod
    def shown(self, status: str) -> Json:
        """The item as it is now."""

    @abstractmethod
    def _end_parts(self) -> None:
        """Tell the ends of the item's parts."""

    def close(self, status: str) -> None:
        """Tell the item's end. ``status`` is ``completed`` or ``incomplete``."""
        self._end_parts()
        self.done = self.shown(status)
        self._events.add("response.output_item.done", {"output_index": self.index, "item": self.done})

    def _add(self) -> None:
        item = self.shown("in_progress")
        self._events.add("response.output_item.added", {"output_index": self.index, "item": item})

    def _text(self) -> str:
        pieces = self._pieces
        if len(pieces) > 1:
            pieces[:] = ["".join(pieces)]
        return pieces[0] if pieces else ""


class ReasoningItem(Item):
    """Thoughts, shown as a summary where one was asked for."""

    __slots__ = ("_blocks", "_calls", "_head", "_id", "_provider_blocks")

    def __init__(self, events: Events, memo: Memo, index: int) -> None:
        super().__init__(events, memo, index)
        self._id = memo.item_id("rs", index)
        self._head = b""
        self._blocks: list[Json] = []
        self._provider_blocks: Json | None = None
        self._calls: dict[str, Json] = {}
        self._add()

    def think(self, text: str) -> None:
        """The next piece of the text."""
        if not self._head:
            self._begin()
        self._events.delta(self._head, text)
        self._pieces.append(text)

    def keep(self, blocks: list[Json], provider_blocks: Json | None) -> None:
        """What the vendor signed: it goes into ``encrypted_content``."""
        self._blocks += blocks
        self._provider_blocks = _joined(self._provider_blocks, provider_blocks)

    def sign(self, calls: dict[str, Json]) -> None:
        """What it signed of calls to come, by their ids: it goes there too."""
        self._calls |= calls

    @property
    def _kind(self) -> str:
        return "reasoning_summary_text" if self._memo.summarized else "reasoning_text"

    def _place(self) -> Json:
        index = "summary_index" if self._memo.summarized else "content_index"
        return {"item_id": self._id, "output_index": self.index, index: 0}

    def _part(self, word: str, text: str) -> None:
        kind = "reasoning_summary_part" if self._memo.summarized else "content_part"
        part = thoughts.part(text, self._memo.summarized)
        self._events.add(f"response.{kind}.{word}", {**self._place(), "part": part})

    def _begin(self) -> None:
        self._part("added", "")
        self._head = delta_head(f"response.{self._kind}.delta", self._place())

    def _end_parts(self) -> None:
        if self._head:
            text = self._text()
            self._events.add(f"response.{self._kind}.done", {**self._place(), "text": text})
            self._part("done", text)

    def shown(self, status: str) -> Json:
        """See :class:`Item`."""
        sealed = thoughts.seal(self._blocks, self._provider_blocks, self._calls)
        summarized = self._memo.summarized
        return thoughts.item(self._id, self._text(), summarized=summarized, sealed=sealed, status=status)


def _joined(before: Json | None, more: Json | None) -> Json | None:
    if before is None or not more:
        return more or before
    return {**before, "blocks": [*before.get("blocks", ()), *more.get("blocks", ())]}


class MessageItem(Item):
    """Text and refusals, each a content part. ``begun`` is one that the client has the beginning of."""

    __slots__ = ("_annotations", "_content", "_head", "_id", "_logprobs", "_refuses")

    def __init__(self, events: Events, memo: Memo, index: int, begun: BegunMessageItem | None = None) -> None:
        super().__init__(events, memo, index)
        self._id = memo.item_id("msg", index)
        self._content: list[Json] = []  # the parts that have ended
        self._head = b""  # of the open part's deltas
        self._refuses = False
        self._annotations: list[Json] = []
        self._logprobs: list[Json] = []
        if begun is None:
            self._add()
            return
        self._id = begun.id
        self._content += begun.content
        if begun.text is not None:
            self._head = delta_head("response.output_text.delta", self._place())
            self._pieces.append(begun.text)

    def say(self, text: str) -> None:
        """The next piece of the text."""
        if not self._head or self._refuses:
            self._begin(refuses=False)
        self._events.delta(self._head, text, _NO_LOGPROBS)
        self._pieces.append(text)

    def say_with(self, text: str, logprobs: list[Json]) -> None:
        """The next piece of the text, with its log probabilities."""
        if not self._head or self._refuses:
            self._begin(refuses=False)
        self._events.delta(self._head, text, b',"logprobs":' + encode(logprobs))
        self._pieces.append(text)
        self._logprobs += logprobs

    def refuse(self, text: str) -> None:
        """The next piece of a refusal."""
        if not self._head or not self._refuses:
            self._begin(refuses=True)
        self._events.delta(self._head, text)
        self._pieces.append(text)

    def annotate(self, annotations: list[Json]) -> None:
        """Citations of the text so far."""
        if not self._head or self._refuses:
            self._begin(refuses=False)
        for each in annotations:
            place = {**self._place(), "annotation_index": len(self._annotations)}
            self._events.add("response.output_text.annotation.added", {**place, "annotation": each})
            self._annotations.append(each)

    def _place(self) -> Json:
        return {"item_id": self._id, "output_index": self.index, "content_index": len(self._content)}

    def _begin(self, refuses: bool) -> None:
        self._end_parts()
        self._refuses = refuses
        self._events.add("response.content_part.added", {**self._place(), "part": self._open_part()})
        kind = "refusal" if refuses else "output_text"
        self._head = delta_head(f"response.{kind}.delta", self._place())

    def _open_part(self) -> Json:
        text = self._text()
        return refusal_part(text) if self._refuses else text_part(text, self._annotations, self._logprobs)

    def _end_parts(self) -> None:
        if not self._head:
            return
        part, place = self._open_part(), self._place()
        if self._refuses:
            self._events.add("response.refusal.done", {**place, "refusal": part["refusal"]})
        else:
            self._events.add("response.output_text.done", place | {name: part[name] for name in ("text", "logprobs")})
        self._events.add("response.content_part.done", {**place, "part": part})
        self._content.append(part)
        self._head = b""
        self._pieces = []
        self._annotations, self._logprobs = [], []

    def shown(self, status: str) -> Json:
        """See :class:`Item`."""
        content = [*self._content, self._open_part()] if self._head else list(self._content)
        return message_item(self._id, content, status)


class CallItem(Item):
    """A tool call, whose arguments (of a custom tool: whose input) come in pieces."""

    __slots__ = ("_call_id", "_custom", "_head", "_name")

    def __init__(
        self, events: Events, memo: Memo, index: int, call_id: str | None, name: str, *, custom: bool = False
    ) -> None:
        super().__init__(events, memo, index)
        self._call_id = call_id
        self._name = name
        self._custom = custom
        self._add()
        self._head = delta_head(f"response.{self._kind}.delta", self._place())

    def give(self, text: str) -> None:
        """The next piece of the arguments."""
        self._events.delta(self._head, text)
        self._pieces.append(text)

    @property
    def is_whole(self) -> bool:
        """Whether nothing can follow: the arguments are a JSON object."""
        if self._custom or not self._pieces or not self._pieces[-1].rstrip().endswith("}"):
            return False
        try:
            _decode_object(self._text())
        except msgspec.MsgspecError:
            return False
        return True

    @property
    def _kind(self) -> str:
        return "custom_tool_call_input" if self._custom else "function_call_arguments"

    def _place(self) -> Json:
        return {"item_id": self._memo.item_id("ctc" if self._custom else "fc", self.index), "output_index": self.index}

    def _end_parts(self) -> None:
        told = {"input": self._text()} if self._custom else {"name": self._name, "arguments": self._text()}
        self._events.add(f"response.{self._kind}.done", self._place() | told)

    def shown(self, status: str) -> Json:
        """See :class:`Item`."""
        make = custom_item if self._custom else function_item
        return make(self._memo, self.index, self._call_id, self._name, self._text(), status)


class ToldItem(Item):
    """An item that is complete: the client has it."""

    __slots__ = ("_told",)

    def __init__(self, events: Events, memo: Memo, index: int, told: Json) -> None:
        super().__init__(events, memo, index)
        self._told = self.done = told

    def shown(self, status: str) -> Json:
        """See :class:`Item`."""
        return self._told

    def _end_parts(self) -> None:
        """They have ended."""
