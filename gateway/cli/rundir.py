"""Where the processes of one gateway meet: a Unix socket in a directory only its user can enter."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

# sun_path of unix(7) holds 108 bytes on Linux and 104 on macOS, including the final NUL.
LONGEST = 100

_SOCKET = re.compile(r"local-([0-9]+)\.sock\Z")


def socket_path(data_dir: str) -> str:
    """The path of the local engine's socket, named for this process, in ``data_dir/run`` or a private directory.

    Sockets that gateways killed earlier have left are removed. Raises OSError where no directory can be made.
    """
    directory = Path(data_dir) / "run"
    name = f"local-{os.getpid()}.sock"
    if len(os.fsencode(directory / name)) > LONGEST:
        directory = Path(tempfile.gettempdir()) / f"llm-gateway-{os.getuid()}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.getuid() or directory.is_symlink():
        raise PermissionError(f"{directory} belongs to another user")
    directory.chmod(0o700)
    for left in directory.iterdir():
        match = _SOCKET.match(left.name)
        if match and not _alive(int(match.group(1))):
            left.unlink(missing_ok=True)
    path = directory / name
    path.unlink(missing_ok=True)
    return str(path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
