"""Holds what a fake says against the types of the vendor's SDK, which reads more than its vendor says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
from pydantic import BaseModel

from tests.support.fake_vendors import KEY, FakeVendors


def said_again(vendors: FakeVendors) -> httpx.Response:
    """The answer to the last request, which is asked once more to see the answer itself."""
    asked = vendors.asked[-1]
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"{vendors.root}{asked.path}?{asked.query}"
    if asked.body is None:
        return httpx.get(url, headers=headers, timeout=30)
    return httpx.post(url, json=asked.body, headers=headers, timeout=30)


def events_of(answer: httpx.Response) -> list[Any]:
    """The events of a stream that are JSON."""
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def unread(told: Any, read: Any, at: str = "") -> Iterator[str]:
    """Where what is told was not read as it was told."""
    if isinstance(told, dict) and isinstance(read, dict):
        for name, value in told.items():
            if name in read:
                yield from unread(value, read[name], f"{at}.{name}")
            else:
                yield f"{at}.{name}"
    elif isinstance(told, list) and isinstance(read, list) and len(told) == len(read):
        for place, (value, other) in enumerate(zip(told, read, strict=True)):
            yield from unread(value, other, f"{at}[{place}]")
    elif told != read:
        yield f"{at}: {told!r} was read as {read!r}"


def unknown(read: Any, at: str = "") -> Iterator[str]:
    """The members that a model of the SDK has, and its type has not."""
    if isinstance(read, BaseModel):
        yield from (f"{at}.{name}" for name in read.model_extra or ())
        for name in type(read).model_fields:
            yield from unknown(getattr(read, name), f"{at}.{name}")
    elif isinstance(read, list):
        for place, each in enumerate(read):
            yield from unknown(each, f"{at}[{place}]")
