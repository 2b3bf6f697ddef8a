"""What is checked of the models of a ``llama_cpp`` provider."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path as FilePath
from pathlib import PurePath

from gateway.settings.faults import Finding, Path, named, nearest
from gateway.settings.known_models import KNOWN
from gateway.settings.view import Item, as_list


def local_models(item: Item) -> list[str]:
    """The names a llama_cpp provider serves: a file goes by its name without the ending."""
    names = [name for name in (item.get("model"), *as_list(item.get("models"))) if isinstance(name, str)]
    return [PurePath(name).stem if name.endswith(".gguf") else name for name in names]


def weights(path: Path, item: Item, base: FilePath) -> Iterator[Finding]:
    """Models of a llama_cpp provider that can never answer. ``base`` is the directory that paths start at."""
    places: list[tuple[Path, object]] = [((*path, "model"), item.get("model"))]
    places += [((*path, "models", index), name) for index, name in enumerate(as_list(item.get("models")))]
    for at, name in places:
        if not isinstance(name, str) or not name or name in KNOWN:
            continue
        if not name.endswith(".gguf"):
            hint = nearest(name, KNOWN) or f"known: {', '.join(sorted(KNOWN))}; or a path ending in .gguf"
            yield at, f'there is no local model "{named(name)}"', hint
        elif not os.path.isfile(file := base / os.path.expanduser(name)):
            yield at, f"there is no file {file}", "a path is relative to this file"
