"""Upstreams and clients of chat streams that break off."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.settings.model import Breaker, Model, Provider, Retry, Settings, Target, Timeouts
from tests.support.raw_upstream import LAST_CHUNK, STREAM_HEAD, Peer, Received, Script, chunk
from tests.support.wire import Answer, chat, post, wire
from tests.support.worker import RunningWorker, settings_for

QUICK = Timeouts(connect=5, first_token=5, stall=1, total=30)
"""An upstream that falls silent is waited for as briefly as a busy machine, on which all of a test runs, allows."""
NEVER = Breaker(failures=1_000_000)


def event(delta: dict[str, Any], finish: str | None = None, *, id: str = "c1", index: int = 0) -> bytes:
    """A chunk of a chat's stream."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    document = {"id": id, "object": "chat.completion.chunk", "created": 7, "model": id, "choices": [choice]}
    return b"data: " + orjson.dumps(document) + b"\n\n"


def role(id: str = "c1") -> bytes:
    """The chunk that begins a stream."""
    return event({"role": "assistant", "content": ""}, id=id)


def text(words: str, id: str = "c1") -> bytes:
    """A piece of the answer."""
    return event({"content": words}, id=id)


def usage(prompt: int, completion: int, id: str = "c1") -> bytes:
    """The chunk with the usage."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return b"data: " + orjson.dumps({"id": id, "choices": [], "usage": counts}) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def breaks(*events: bytes, reset: bool = True) -> Script:
    """Says ``events`` in one write and breaks off; with ``reset`` by the connection, else by silence."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, *map(chunk, events))
        if reset:
            peer.close()
        else:
            await peer.gone()

    return script


def says(*events: bytes) -> Script:
    """Says ``events`` and ends its answers well."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(STREAM_HEAD, *map(chunk, events), LAST_CHUNK)

    return script


def whole(*words: str, id: str = "c2", prompt: int = 20) -> tuple[bytes, ...]:
    """A good stream of pieces."""
    pieces = [text(word, id) for word in words]
    return (role(id), *pieces, event({}, "stop", id=id), usage(prompt, len(words), id), DONE)


def two(first: str, second: str, *, prefill: str | None = "message", **model: Any) -> Settings:
    """The model ``m``: ``x`` at the provider ``up``, then ``y`` at ``spare``, which takes a prefill."""
    shared: dict[str, Any] = {"timeouts": QUICK, "retry": Retry(attempts=1, backoff=0), "breaker": NEVER}
    providers = (
        Provider(name="up", base_url=first, **shared),
        Provider(name="spare", base_url=second, **shared),
    )
    targets = (Target(provider="up", model="x"), Target(provider="spare", model="y", prefill=prefill))  # type: ignore[arg-type]
    return settings_for(*providers, models=(Model(name="m", targets=targets, **model),))


class Stream:
    """What a client got: the events' documents, ``text``, ``code`` of an error at the end, ``done`` for the mark."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        assert answer.complete, "the stream's framing is broken"
        assert answer.body.endswith(b"\n\n"), "an event reached the client half-way"
        payloads = [event.removeprefix(b"data: ") for event in answer.body.removesuffix(b"\n\n").split(b"\n\n")]
        self.done = payloads[-1] == b"[DONE]"
        self.documents = [orjson.loads(payload) for payload in payloads if payload != b"[DONE]"]
        assert len(self.documents) == len(payloads) - self.done, "something follows the end"
        last = self.documents[-1]
        self.code = str(last["error"]["code"]) if "error" in last else ""

    @property
    def deltas(self) -> list[dict[str, Any]]:
        """The deltas of the first choice."""
        return [
            choice["delta"]
            for document in self.documents
            for choice in document.get("choices", ())
            if "delta" in choice
        ]

    @property
    def text(self) -> str:
        """The answer as a client puts it together."""
        return "".join(delta.get("content") or "" for delta in self.deltas)

    def all(self, name: str) -> set[Any]:
        """The values of a field over all chunks."""
        return {document[name] for document in self.documents if name in document}


async def ask(gateway: RunningWorker, *headers: bytes, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
    """One request for a stream on a connection of its own."""
    async with wire(gateway.address) as client:
        body = {"stream": True, **(chat(**fields) if path.endswith("chat/completions") else {"model": "m", **fields})}
        await client.send(post(path, body, *headers))
        return await client.answer()


async def stream(gateway: RunningWorker, *headers: bytes, **fields: Any) -> Stream:
    """The same as a client reads it."""
    return Stream(await ask(gateway, *headers, **fields))


def sent(request: Received) -> Any:
    """The body that an upstream was sent."""
    return orjson.loads(request.body)
