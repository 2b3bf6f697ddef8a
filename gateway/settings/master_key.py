"""The master key where ``gateway.yaml`` gives none: made at first start, kept in ``data_dir``, shown once."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

PREFIX = "gw_live_"
FILE = "master_key"
_USABLE = re.compile(r"[\x21-\x7e]{8,512}\Z")


class MasterKeyError(Exception):
    """The key file cannot be read, written or used."""


def key_file(data_dir: str) -> Path:
    """Where the made key is kept."""
    return Path(data_dir) / FILE


def existing(data_dir: str) -> str | None:
    """The kept key, or None where none was made yet. Raises :class:`MasterKeyError`."""
    path = key_file(data_dir)
    try:
        text = path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"cannot read the master key in {path}: {_reason(error)}") from None
    if not _USABLE.match(text):
        raise MasterKeyError(
            f"{path} holds no usable master key: expected 8 to 512 printable characters. "
            "Delete the file to have a new key made."
        )
    return text


def ensure(data_dir: str) -> tuple[str, bool]:
    """The kept key, made first where there is none, and whether it was made now. Raises :class:`MasterKeyError`."""
    path = key_file(data_dir)
    try:
        Path(data_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        found = existing(data_dir)
        if found is not None:
            return found, False
        key = PREFIX + secrets.token_urlsafe(32)
        draft = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link fails where the name exists, so of two first starts one wins and both use its key.
            os.link(draft, path)
        except FileExistsError:
            return existing(data_dir) or key, False
        finally:
            draft.unlink()
    except OSError as error:
        raise MasterKeyError(
            f"cannot keep the master key in {path}: {_reason(error)}. Set data_dir to a directory that can be written."
        ) from None
    return key, True


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not text"
