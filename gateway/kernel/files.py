"""Files that are replaced whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int = 0o666, lasting: bool = False) -> None:
    """Write ``content`` to ``path`` in one step: who reads meanwhile, or after a fault, finds what stood there or this.

    Any number of threads and processes may do so at once; the last one stays. ``mode`` is the permissions before the
    umask. With ``lasting`` the content is on the disk before the name is. Raises OSError, and leaves no draft then.
    """
    # A name of its own for each draft: a process's id is not enough, as a thread writes on when its task is cancelled.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
