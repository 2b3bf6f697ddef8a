"""``python -m gateway.sidecar``: what ``gateway serve`` runs beside its workers."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gateway.kernel import logs
from gateway.sidecar.run import Options, run


def main(arguments: list[str] | None = None) -> int:
    """Run until a signal; the exit codes are those of :mod:`gateway.sidecar.run`."""
    parser = argparse.ArgumentParser(prog="python -m gateway.sidecar", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, help="the gateway.yaml")
    source.add_argument("--default", action="store_true", help="use the settings of a gateway without a gateway.yaml")
    parser.add_argument("--socket", required=True, help="the Unix socket to listen on")
    parser.add_argument("--ready-fd", type=int, help="a file descriptor that gets one byte once the sidecar answers")
    given = parser.parse_args(arguments)
    logs.configure()
    return run(Options(config_path=given.config, socket_path=given.socket, env=os.environ, ready_fd=given.ready_fd))


if __name__ == "__main__":
    sys.exit(main())
