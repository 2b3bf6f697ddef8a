"""The faults by name. A module of a family registers its own when it is imported; :func:`every` imports them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import NamedTuple

from tests.faults.upstream.call import Call

Serve = Callable[[Call], Awaitable[None]]

FAMILIES = ("healthy", "connections", "silence", "busy", "failing", "streams", "bodies", "refusals")


class Fault(NamedTuple):
    """``about`` completes "The upstream …"."""

    name: str
    family: str
    about: str
    serve: Serve


_faults: dict[str, Fault] = {}


def fault(name: str, about: str) -> Callable[[Serve], Serve]:
    """Register what serves the model ``name``."""

    def register(serve: Serve) -> Serve:
        assert name not in _faults, name
        _faults[name] = Fault(name, serve.__module__.rpartition(".")[2], about, serve)
        return serve

    return register


def every() -> dict[str, Fault]:
    """All faults, in the order of their families."""
    for family in FAMILIES:
        import_module(f"tests.faults.upstream.{family}")
    return _faults
