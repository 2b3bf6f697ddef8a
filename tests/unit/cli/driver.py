"""The ``gateway`` command with the stand-in worker. Run as a script, so that its folder is importable in the worker."""

from __future__ import annotations

import functools
import os

import gateway.cli.serve
import gateway.cli.supervisor
from gateway.cli.main import main

if __name__ == "__main__":
    gateway.cli.supervisor.MARGIN = float(os.environ.get("TEST_MARGIN", "20"))
    gateway.cli.serve.Supervisor = functools.partial(  # type: ignore[assignment,attr-defined]
        gateway.cli.supervisor.Supervisor, worker_module="standin_worker"
    )
    main()
