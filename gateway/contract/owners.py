"""Which reference owns a path, and so decides what an error there looks like.

Five published API references and OpenAI's share one port. ``operations.json`` lists every operation of the five;
a path none of them names belongs to the reference of the longest prefix that is known, and otherwise to OpenAI.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct, json

Reference = Literal["gatewayz", "llm_cost_ops", "ai_marketplace", "leanvibe", "ops_center", "openai"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)

# Prefixes that operations of several references begin with, or that an inference path does (docs/architecture.md).
# Each says who owns what lies below it and is no operation; OpenAI's own paths are OpenAI's in any case.
_DECIDED: dict[str, Reference] = {
    "/": "openai",
    "/admin": "gatewayz",
    "/api/v1": "llm_cost_ops",
    "/api/v1/auth/login": "llm_cost_ops",
    "/api/v1/billing": "ops_center",
    "/api/v1/llm": "openai",
    "/health": "gatewayz",
    "/v1": "openai",
    "/v1/billing": "leanvibe",
    "/v1/billing/usage": "leanvibe",
}
_INFERENCE = (
    "chat/completions",
    "completions",
    "embeddings",
    "moderations",
    "rerank",
    "responses",
    "responses/compact",
    "responses/input_tokens",
    "messages",
    "messages/count_tokens",
    "audio",
    "models",
)
_IMAGES = ("images/generations", "images/edits", "images/variations")
_INFERENCE_PREFIXES = ("/v1/", "/", "/api/v1/llm/")


class Operation(Struct, frozen=True):
    """One operation of a reference. ``method`` is an HTTP method or ``WS``; ``path`` has names in braces."""

    reference: Reference
    method: str
    path: str
    state: Literal["served", "planned"]


@cache
def operations() -> tuple[Operation, ...]:
    """Every operation of the five references, in their order."""
    return json.decode(Path(__file__).with_name("operations.json").read_bytes(), type=tuple[Operation, ...])


class _Node:
    """A segment of known paths: the segments below it, and who owns what is here or unknown below it."""

    __slots__ = ("any", "below", "owner", "owners")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.any: _Node | None = None  # below it by a name in braces
        self.owners: set[Reference] = set()  # of the operations at and below it
        self.owner: Reference = "openai"

    def at(self, path: str) -> list[_Node]:
        """The nodes along a path template, made where they are missing."""
        along = [self]
        for segment in filter(None, path.split("/")):
            node = along[-1]
            if segment.startswith("{"):
                node.any = found = node.any or _Node()
            else:
                found = node.below.setdefault(segment, _Node())
            along.append(found)
        return along

    def inherit(self, owner: Reference) -> None:
        """Settle the owner of each node that was not decided: the only one there is, or that of the node above."""
        if len(self.owners) == 1:
            (self.owner,) = self.owners
        elif not self.owners:
            self.owner = owner
        for node in (*self.below.values(), *([self.any] if self.any is not None else ())):
            node.inherit(self.owner)


def _tree() -> _Node:
    root = _Node()
    inference = {prefix + path for prefix in _INFERENCE_PREFIXES for path in (*_INFERENCE, *_IMAGES)}
    for operation in operations():
        if operation.path not in inference:
            for node in root.at(operation.path):
                node.owners.add(operation.reference)
    for node in _every(root):
        if len(node.owners) > 1:
            node.owners.clear()  # shared: decided below, or as the prefix above it
    for path, owner in _DECIDED.items():
        root.at(path)[-1].owners = {owner}
    for path in inference:
        root.at(path)[-1].owners = {"openai"}
    root.inherit("openai")
    return root


def _every(node: _Node) -> list[_Node]:
    found = [node]
    for below in (*node.below.values(), *([node.any] if node.any is not None else ())):
        found += _every(below)
    return found


_ROOT = _tree()


def owner_of(method: str, path: str, *, app: bool = False) -> Reference:
    """The reference that owns a path, known or not.

    ``path`` is decoded and without a query. ``app`` says that the credential is an ``app_…:sk_…``, which decides
    ``GET /v1/billing/usage``: AI Marketplace's for those, LeanVibe's for all others.
    """
    node = _ROOT
    for segment in path.split("/"):
        if not segment:
            continue
        following = node.below.get(segment) or node.any
        if following is None:
            break
        node = following
    if app and method == "GET" and path.rstrip("/") == "/v1/billing/usage":
        return "ai_marketplace"
    return node.owner
