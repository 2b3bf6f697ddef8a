"""One request of the Responses API: what was asked, what it goes on from, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.dataplane.stored.records import Json, Record, encode, with_ids
from gateway.protocols.base import Asked
from gateway.protocols.responses.protocol import Responses
from gateway.protocols.responses.request import Wanted, to_chat
from gateway.protocols.responses.response import Memo, blank, failed, memo_model, remember
from gateway.protocols.responses.stream import ResponseStream


class Session(Responses):
    """The protocol of one exchange. ``before`` are the items it goes on from and ``ancestors`` the Responses that said
    them.
    """

    def __init__(self, wanted: Wanted, before: Sequence[Json] = (), ancestors: tuple[str, ...] = ()) -> None:
        self.wanted = wanted
        self.before = before
        self.ancestors = ancestors
        self.memo: Memo | None = None
        self._whole: Json | None = None
        self._stream: ResponseStream | None = None

    def request(self, body: Json, before: Sequence[Json] = ()) -> Asked:
        """See :class:`gateway.protocols.base.ClientProtocol`. ``body`` was read already."""
        chat = to_chat(self.wanted, self.before)
        self.memo = remember(self.wanted, chat)
        return Asked(chat, self.memo)

    def response(self, completion: Json, memo: Any) -> Json:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        self._whole = super().response(completion, memo)
        return self._whole

    def stream(self, memo: Any) -> ResponseStream:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        self._stream = super().stream(memo)
        return self._stream

    def error(self, status: int, envelope: Json, request_id: str) -> Json:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        envelope = super().error(status, envelope, request_id)
        if self.wanted.background and self.memo is not None:
            self._whole = failed(self.memo, {}, [], status, envelope)
        return envelope

    @property
    def final(self) -> Json | None:
        """The Response as it ended, None where there was none."""
        return self._whole if self._stream is None else self._stream.final

    def queued(self) -> Json:
        """The Response that is made in the background, before it is."""
        assert self.memo is not None
        return blank(self.memo, "queued", memo_model(self.memo))

    def record(self, response: Json, status: str, alive_until: float = 0.0) -> Record:
        """What is kept of it."""
        assert self.memo is not None
        items = with_ids(self.wanted.items, self.memo.token)
        return Record(
            response["id"], self.memo.created, status, encode(response), encode(items), self.ancestors, alive_until
        )
