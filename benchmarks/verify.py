"""Before anything is timed: does the peer answer, whole and right, and does the gateway govern?"""

from __future__ import annotations

import json

import httpx

from benchmarks import answers, payloads
from benchmarks.peers.base import Peer


class WrongAnswerError(Exception):
    """A peer's answer is not the upstream's: timing it would compare different work."""


def peer(peer: Peer, *, exact: bool = True) -> None:
    """Ask once for an answer and once for a stream. ``exact``: every event must come through, no more and no less."""
    with httpx.Client(headers={"Content-Type": "application/json", **peer.headers}, timeout=30) as http:
        reply = http.post(peer.chat(), content=payloads.chat())
        _expect(peer, reply.status_code == 200, f"chat answered {reply.status_code}: {reply.text[:300]}")
        told = reply.json()["choices"][0]["message"]["content"]
        _expect(peer, told == answers.TEXT, f"the answer is not the upstream's: {told[:100]!r}")
        reply = http.post(peer.chat(stream=True), content=payloads.chat(stream=True))
        _expect(peer, reply.status_code == 200, f"stream answered {reply.status_code}: {reply.text[:300]}")
        _stream(peer, reply.text, exact=exact)


def _stream(peer: Peer, text: str, *, exact: bool) -> None:
    data = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    _expect(peer, data[-1:] == ["[DONE]"], "the stream does not end with [DONE]")
    chunks = [json.loads(item) for item in data[:-1]]
    expected = [json.loads(event.removeprefix(b"data: ")) for event in answers.events(answers.EVENTS)]
    _expect(peer, _words(chunks) == _words(expected), "the stream's words are not the upstream's")
    if exact:
        _expect(peer, len(chunks) == len(expected), f"{len(chunks)} events came, {len(expected)} were sent")


def _words(chunks: list[dict[str, object]]) -> str:
    found = []
    for chunk in chunks:
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            found.append(choice["delta"].get("content") or "")
    return "".join(found)


def governed(peer: Peer) -> None:
    """Does the gateway refuse a wrong and a missing key, and count what it serves?"""
    with httpx.Client(headers={"Content-Type": "application/json"}, timeout=30) as http:
        for headers in ({}, {"Authorization": "Bearer gw_test_wrong0000000000000000000000"}):
            status = http.post(peer.chat(), content=payloads.chat(), headers=headers).status_code
            _expect(peer, status == 401, f"a request without a valid key was answered {status}, expected 401")
        metrics = http.get(peer.url + "/metrics")
        _expect(peer, metrics.status_code == 200 and "request" in metrics.text, "no metrics at /metrics")


def _expect(peer: Peer, held: bool, told: str) -> None:
    if not held:
        raise WrongAnswerError(f"{peer.name}: {told}")
