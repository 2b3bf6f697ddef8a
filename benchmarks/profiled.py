"""Run the gateway with a profiler that two signals switch: SIGUSR1 on, SIGUSR2 off and write.

``python -m benchmarks.profiled OUT proxy --config X --json``: what follows ``OUT`` goes to the gateway's command line.
Start-up stays out of the profile, and no clean shut-down is needed to get it.
"""

from __future__ import annotations

import cProfile
import os
import signal
import sys
from types import FrameType

from gateway.cli.main import main as gateway


def main() -> None:
    """Set the signals and become the gateway."""
    out = sys.argv[1]
    sys.argv = ["gateway", *sys.argv[2:]]
    profiler = cProfile.Profile()

    def begin(_number: int, _frame: FrameType | None) -> None:
        profiler.enable()

    def end(_number: int, _frame: FrameType | None) -> None:
        profiler.disable()
        profiler.dump_stats(out + ".part")
        os.replace(out + ".part", out)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    gateway()


if __name__ == "__main__":
    main()
