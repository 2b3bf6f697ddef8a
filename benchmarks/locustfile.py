"""Locust scenarios: chat, streams and mixed load, as the harnesses of a gateway's users drive it.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080 [Chat] [Streams] [Mixed]

The key is read from ``GATEWAY_KEY``, the model from ``GATEWAY_MODEL``, the embeddings model from
``GATEWAY_EMBEDDINGS_MODEL`` (without it no embeddings are asked for). Streams report two entries of their own: the time
to the first token and, as ``between tokens``, the mean pause from one event to the next.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from locust import HttpUser, between, constant_throughput, tag, task

MODEL = os.environ.get("GATEWAY_MODEL", "bench-chat")
EMBEDDINGS_MODEL = os.environ.get("GATEWAY_EMBEDDINGS_MODEL", "")
PROMPT = "In two sentences: why measure latency from the moment a request was meant to be sent?"


class GatewayUser(HttpUser):
    """What every user does: sends the key, and fails a request whose answer is not what was asked for."""

    abstract = True

    def on_start(self) -> None:
        """Authenticate every request of this user."""
        self.client.headers["Authorization"] = f"Bearer {os.environ.get('GATEWAY_KEY', '')}"

    def ask(self) -> None:
        """One whole answer."""
        with self.client.post("/v1/chat/completions", json=body(), catch_response=True, name="chat") as reply:
            if reply.status_code != 200:
                reply.failure(f"status {reply.status_code}: {reply.text[:200]}")
            elif not reply.json()["choices"][0]["message"]["content"]:
                reply.failure("an empty answer")

    def follow(self) -> None:
        """One stream, read to its end."""
        asked = time.perf_counter()
        arrivals: list[float] = []
        options: dict[str, Any] = {"json": body(stream=True), "stream": True, "catch_response": True, "name": "stream"}
        with self.client.post("/v1/chat/completions", **options) as reply:
            if reply.status_code != 200:
                reply.failure(f"status {reply.status_code}: {reply.text[:200]}")
                return
            ended = False
            for data in events(reply.iter_lines()):
                ended = data == "[DONE]"
                if not ended and json.loads(data).get("choices"):
                    arrivals.append(time.perf_counter())
            if not ended or not arrivals:
                reply.failure("the stream was cut short")
                return
        self.report("first token", arrivals[0] - asked)
        if len(arrivals) > 1:
            self.report("between tokens", (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1))

    def embed(self) -> None:
        """One embedding."""
        asked = {"model": EMBEDDINGS_MODEL, "input": PROMPT}
        self.client.post("/v1/embeddings", json=asked, name="embeddings")

    def report(self, name: str, seconds: float) -> None:
        """Add a time to Locust's statistics as an entry of its own."""
        self.environment.events.request.fire(
            request_type="SSE", name=name, response_time=seconds * 1e3, response_length=0, exception=None, context={}
        )


class Chat(GatewayUser):
    """Asks, reads, asks again."""

    wait_time = between(0.05, 0.2)

    @tag("chat")
    @task
    def chat(self) -> None:
        """A whole answer."""
        self.ask()


class Streams(GatewayUser):
    """Follows one stream after the other."""

    wait_time = between(0.05, 0.2)

    @tag("streams")
    @task
    def stream(self) -> None:
        """A stream."""
        self.follow()


class Mixed(GatewayUser):
    """Twice a second: mostly streams, some whole answers, now and then an embedding."""

    wait_time = constant_throughput(2)

    @tag("streams")
    @task(6)
    def stream(self) -> None:
        """A stream."""
        self.follow()

    @tag("chat")
    @task(3)
    def chat(self) -> None:
        """A whole answer."""
        self.ask()

    if EMBEDDINGS_MODEL:

        @tag("embeddings")
        @task(1)
        def embedding(self) -> None:
            """An embedding."""
            self.embed()


def body(*, stream: bool = False) -> dict[str, Any]:
    """A chat request."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 64,
        "stream": stream,
    }


def events(lines: Iterator[bytes]) -> Iterator[str]:
    """The data of each server-sent event."""
    for line in lines:
        if line.startswith(b"data:"):
            yield line.removeprefix(b"data:").strip().decode()
