"""A sidecar's process that does as it is told, so that the supervisor can be tested alone.

``STANDIN_SIDECAR`` is ``fault`` to end with the exit code of a faulty configuration, ``quick`` to end at once.
"""

from __future__ import annotations

import os
import signal
import sys


def told(text: str) -> None:
    """Write a line to the log."""
    os.write(2, f"sidecar: {text}\n".encode())


def main() -> int:
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP))
    told(f"started with {sorted(arguments)}")
    how = os.environ.get("STANDIN_SIDECAR")
    if how == "fault":
        return 78
    if how == "quick":
        return 3
    ready = int(arguments["--ready-fd"])
    os.write(ready, b"1")
    os.close(ready)
    while signal.sigwait((signal.SIGTERM, signal.SIGHUP)) == signal.SIGHUP:
        told("reloaded")
    told("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
