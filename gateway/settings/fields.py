"""What the values of ``gateway.yaml`` may be: each kind with its bounds, and how a fault report names it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

# Python's $ also matches before a final line break, which would end up in a header or a path.
END = r"$(?!\n)"


def expect(words: str) -> dict[str, Any]:
    """What a text must be, in words, for the fault report: a pattern alone tells a person little."""
    return {"x-expected": words}


def about(text: str) -> Meta:
    """What a key is for, as editors show it."""
    return Meta(description=text)


Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\s\x00-\x1f]+" + END,
        extra_json_schema=expect("a name without spaces"),
    ),
]
# A day is the longest a deadline can be: timers of the event loop take no more than a few weeks.
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
Dollars = Annotated[float, Meta(ge=0)]
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}" + END
Day = Annotated[str, Meta(pattern=_DAY, extra_json_schema=expect("a day such as 2026-01-31"))]

Secret = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=512,
        pattern=r"^[\x21-\x7e]+" + END,
        extra_json_schema=expect("printable characters without spaces"),
    ),
]

# No NUL: no system call takes one in a path.
FilePath = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00]+" + END, extra_json_schema=expect("a path"))]
Host = Annotated[
    str, Meta(min_length=1, pattern=r"^[^\s\x00/]+" + END, extra_json_schema=expect("a host name or an IP address"))
]
ApiKey = Annotated[
    str, Meta(min_length=1, pattern=r"^[\x20-\x7e]+" + END, extra_json_schema=expect("printable characters"))
]
BaseUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?://[^\s/]|unix:/)\S*" + END,
        extra_json_schema=expect("an http:// or https:// URL, or unix:/path"),
    ),
]
CollectorUrl = Annotated[
    str, Meta(pattern=r"^https?://[^\s/]\S*" + END, extra_json_schema=expect("an http:// or https:// URL"))
]
ProxyUrl = Annotated[str, Meta(pattern=r"^http://[^\s/]\S*" + END, extra_json_schema=expect("an http:// URL"))]
RedisUrl = Annotated[str, Meta(pattern=r"^(rediss?|unix)://", extra_json_schema=expect("a redis:// or rediss:// URL"))]
DatabaseUrl = Annotated[
    str, Meta(pattern=r"^(postgresql|sqlite)(\+[a-z]+)?://", extra_json_schema=expect("a postgresql:// URL"))
]

SidecarUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?://[^\s/]+|unix:/\S+)" + END,
        extra_json_schema=expect("http://host:port, or unix:/path"),
    ),
]
Listen = Annotated[
    str, Meta(pattern=r"^[^\s/]+:[0-9]{1,5}" + END, extra_json_schema=expect("host:port, such as 0.0.0.0:9090"))
]
Environment = Literal["live", "test", "staging", "development"]
Catalog = Literal["gatewayz", "llm_cost_ops", "ai_marketplace", "leanvibe", "ops_center"]

Strategy = Literal["priority", "weighted", "least_latency", "least_cost", "ml"]
Metric = Literal["requests", "tokens", "cost", "concurrency", "ai_requests"]
Window = Annotated[
    str,
    Meta(
        pattern=r"^([1-9][0-9]{0,5})?(s|m|h|d|second|minute|hour|day|month)" + END,
        extra_json_schema=expect("a window such as 10s, minute, hour, day or month"),
    ),
]


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: immutable, and an unknown key is a fault."""
