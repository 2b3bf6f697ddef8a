"""Checks of what learned routes need: the library, and models to choose from."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path as FilePath

from gateway.settings.faults import Finding, Path, named, nearest
from gateway.settings.view import Item, as_dict, as_list, names_of, text_of

INSTALL = ".venv/bin/python -m pip install -e '.[routing]' in the gateway's checkout"


def has_numpy() -> bool:
    """Whether the ``routing`` extra is installed; nothing of it is loaded."""
    return find_spec("numpy") is not None


def check_learned(data: Item, models: list[tuple[Path, Item]], base: FilePath) -> Iterator[Finding]:
    """Every fault of learned routes: NumPy, weights or models that are not there."""
    for path, item in models:
        watched = as_dict(item.get("routing")).get("shadow") is True
        if (item.get("strategy") == "ml" or watched) and not has_numpy():
            place = "strategy" if item.get("strategy") == "ml" else "routing"
            yield (*path, place), "learned routes need NumPy (extra 'routing'), which is not installed", INSTALL
        if item.get("routing") is not None and not watched and item.get("strategy") != "ml":
            message = "this is for the strategy ml, or for watching what it would do"
            yield (*path, "routing"), message, "set strategy: ml, or routing: {shadow: true}"
    routing = as_dict(data.get("routing"))
    weights = text_of(routing, "weights")
    if weights and not (base / weights).exists():
        yield ("routing", "weights"), f"there is no folder {base / weights}", "a path is relative to this file"
    known = names_of(models)
    for index, name in enumerate(as_list(as_dict(routing.get("auto")).get("models"))):
        if isinstance(name, str) and name not in known:
            hint = nearest(name, known)
            yield ("routing", "auto", "models", index), f'there is no model "{named(name)}"', hint
