"""The request bodies of the benchmark."""

from __future__ import annotations

import json
from typing import Any

MODEL = "bench-chat"
"""The name apps ask the gateway for; its target has another name, so that the gateway must change the body."""

SYSTEM = (
    "You are a careful assistant. Answer briefly, in plain words, and say so when you do not know. "
    "Never invent a source, and keep to the question that was asked."
)
QUESTION = (
    "Our team runs several models behind one address and would like to know what each request costs us in time and "
    "in money. What would you measure first, and how would you make sure that the figures can be trusted?"
)


def chat(*, model: str = MODEL, stream: bool = False, prompt: str = QUESTION) -> bytes:
    """A chat completion request, about 0.5 KB with the default prompt."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    body: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0.7, "max_tokens": 256}
    if stream:
        body["stream"] = True
    return json.dumps(body).encode()


def large(size: int = 400 * 1024) -> bytes:
    """A chat request with a prompt of ``size`` bytes: words, line breaks and quotes, as documents have them."""
    line = 'Clause {n}: the "Supplier" shall, within thirty (30) days, deliver what was agreed in section {n}.\n'
    lines = [line.format(n=number) for number in range(size // len(line) + 1)]
    return chat(prompt="".join(lines)[:size])


def slow(events: int, interval_ms: int) -> str:
    """The model name that makes the mock upstream stream ``events`` events ``interval_ms`` apart."""
    return f"slow-{events}-{interval_ms}"
