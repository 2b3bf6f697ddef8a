"""Where the processes of one gateway meet: Unix sockets in a directory only its user can enter."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from gateway.kernel.processes import is_alive

# sun_path of unix(7) holds 108 bytes on Linux and 104 on macOS, including the final NUL.
LONGEST = 100

_SOCKET = re.compile(r"local-([0-9]+)\.sock\Z")


def socket_path(data_dir: str) -> str:
    """The path of the local engine's socket, named for this process, in ``data_dir/run`` or a private directory.

    Sockets that gateways killed earlier have left are removed. Raises OSError where no directory can be made.
    """
    path = _place(data_dir, f"local-{os.getpid()}.sock")
    directory = _made(path.parent)
    for left in directory.iterdir():
        match = _SOCKET.match(left.name)
        if match and not is_alive(int(match.group(1))):
            left.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return str(path)


def sidecar_socket(data_dir: str) -> str:
    """The path of the sidecar's socket: the same for every process with this ``data_dir``.

    The directory is made where there is none. Raises OSError where it cannot be.
    """
    path = _sidecar(data_dir)
    _made(path.parent)
    return str(path)


def find_sidecar(data_dir: str) -> str | None:
    """The path of the sidecar's socket if one of this user is there, answering or not."""
    path = _sidecar(data_dir)
    try:
        found = path.lstat()
    except OSError:
        return None
    ours = found.st_uid == path.parent.lstat().st_uid == os.getuid()
    return str(path) if ours and stat.S_ISSOCK(found.st_mode) else None


def _sidecar(data_dir: str) -> Path:
    path = _place(data_dir, "sidecar.sock")
    if path.parent == _private():
        # That directory is shared by every data_dir of this user.
        path = path.with_name(f"sidecar-{hashlib.sha256(os.fsencode(os.path.abspath(data_dir))).hexdigest()[:16]}.sock")
    return path


def _place(data_dir: str, name: str) -> Path:
    path = Path(data_dir) / "run" / name
    return path if len(os.fsencode(path)) <= LONGEST else _private() / name


def _private() -> Path:
    return Path(tempfile.gettempdir()) / f"llm-gateway-{os.getuid()}"


def _made(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.getuid() or directory.is_symlink():
        raise PermissionError(f"{directory} belongs to another user")
    directory.chmod(0o700)
    return directory
