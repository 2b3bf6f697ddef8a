"""The ``gateway`` command with stand-ins for the worker and the sidecar. Run as a script: its folder is on the path."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import gateway.cli.serve
import gateway.cli.supervisor
from gateway.cli.main import main

if __name__ == "__main__":
    gateway.cli.supervisor.INTERVAL = 0.25  # type: ignore[attr-defined]
    gateway.cli.supervisor.MARGIN = float(os.environ.get("TEST_MARGIN", "20"))
    gateway.cli.serve.Supervisor = functools.partial(  # type: ignore[assignment,attr-defined]
        gateway.cli.supervisor.Supervisor, worker_module="standin_worker", sidecar_module="standin_sidecar"
    )
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    main()
