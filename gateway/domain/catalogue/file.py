"""Where the providers' lists are kept: one JSON file in ``data_dir``, replaced as a whole."""

from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from gateway.domain.catalogue.model import Catalogue
from gateway.kernel.files import replace

NAME: Final = "catalogue.json"
LARGEST: Final = 67_108_864
"""Bytes of the file at most: a larger one is neither written nor read."""
_decode = msgspec.json.Decoder(Catalogue).decode
_encode = msgspec.json.Encoder().encode


class CatalogueError(Exception):
    """The file can't be used. The message says why."""


def read(data_dir: str | Path) -> Catalogue:
    """What is kept; nothing where there is no file yet. Raises :class:`CatalogueError`."""
    path = Path(data_dir) / NAME
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise CatalogueError(f"{path} is larger than {LARGEST} bytes")
        return _decode(raw)
    except FileNotFoundError:
        return Catalogue()
    except OSError as error:
        raise CatalogueError(f"{path} can't be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path} can't be read: {error}") from None


@contextlib.contextmanager
def held(data_dir: str | Path) -> Iterator[None]:
    """Keep others from replacing the file meanwhile. Raises :class:`CatalogueError`."""
    directory = Path(data_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / f"{NAME}.lock").open("wb")
    except OSError as error:
        raise CatalogueError(f"{directory} can't be written to: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(data_dir: str | Path, catalogue: Catalogue) -> None:
    """Replace the file: readers see the one before or this one, whole. Within :func:`held`. Raises
    :class:`CatalogueError`.
    """
    path = Path(data_dir) / NAME
    body = _encode(catalogue)
    if len(body) > LARGEST:
        raise CatalogueError(f"{path} would be larger than {LARGEST} bytes")
    try:
        replace(path, body, lasting=True)
    except OSError as error:
        raise CatalogueError(f"{path} can't be written: {error.strerror}") from None


class Watched:
    """The file as it is now, read again when it was replaced. One that can't be read leaves what was read before."""

    def __init__(self, data_dir: str | Path) -> None:
        self._data_dir = Path(data_dir)
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._catalogue = Catalogue()
        self.fault: str | None = None
        """Why the file as it is can't be read; None where it can."""

    def now(self) -> Catalogue:
        """What is kept now. Any thread may ask."""
        with self._lock:
            seen = self._look()
            if seen != self._seen:
                self._seen, self.fault = seen, None
                try:
                    self._catalogue = read(self._data_dir)
                except CatalogueError as error:
                    self.fault = str(error)
            return self._catalogue

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = (self._data_dir / NAME).stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
