"""Child processes of the supervisor: forked workers, and the executed sidecar and engine of local models.

A child is in a process group of its own, so that Ctrl-C in a terminal reaches the supervisor alone, which then stops
the children in order. On Linux the kernel kills a child whose parent is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from time import monotonic

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
# Seconds a process must have been up for its next death to count as a first one.
STEADY = 60.0

_PR_SET_PDEATHSIG = 1
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


class Child:
    """One supervised process: ``main`` runs in the child and gives its exit code.

    ``main`` gets a file descriptor to which it writes one byte when it is ready; ``ready_fd`` is the other end.
    ``pid`` is None while the process is not running; ``restart_at`` is then the monotonic time to start it again.
    """

    def __init__(self, name: str, main: Callable[[int], int]) -> None:
        self.name = name
        self.main = main
        self.pid: int | None = None
        self.ready = False
        self.ready_fd: int | None = None
        self.restart_at: float | None = None
        self.generation = 0
        self._started = 0.0
        self._pause = FIRST_PAUSE

    def spawn(self, generation: int) -> None:
        """Start the process. Must be called before this process has threads or an event loop."""
        self.ready_fd, write_fd = os.pipe()
        self.ready = False
        self.restart_at = None
        self.generation = generation
        self._started = monotonic()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal between the fork and the child's own handlers waits; the parent's handlers must not run in the child.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        self.pid = os.fork()
        if self.pid == 0:
            _child(self.main, write_fd, parent, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(write_fd)

    def read_ready(self) -> None:
        """Read the ready pipe, which the caller found readable."""
        if self.ready_fd is None:
            return
        self.ready = bool(os.read(self.ready_fd, 1))
        os.close(self.ready_fd)
        self.ready_fd = None

    def reap(self) -> int | None:
        """The wait status if the process has ended since, else None."""
        if self.pid is None:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None
        self.pid = None
        self.ready = False
        return status

    def plan_restart(self) -> float:
        """Set when to start the process again, later after each death in a row; gives the pause in seconds."""
        now = monotonic()
        if now - self._started > STEADY:
            self._pause = FIRST_PAUSE
        pause = self._pause
        self.restart_at = now + pause
        self._pause = min(pause * 2, LONGEST_PAUSE)
        return pause

    def signal(self, number: int) -> None:
        """Send a signal if the process is running."""
        if self.pid is not None:
            # Not reaped yet, so the id cannot belong to another process.
            os.kill(self.pid, number)


def ended(status: int) -> str:
    """How a process ended, in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def execute(arguments: list[str], env: Mapping[str, str], keep: int | None = None) -> int:
    """Replace this process, a child, by a program that reads nothing from standard input.

    The program gets the file descriptor ``keep``, and of the others only standard output and error.
    """
    if keep is not None:
        os.set_inheritable(keep, True)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.execve(arguments[0], arguments, env)  # noqa: S606 - no shell is meant


def _child(main: Callable[[int], int], ready_fd: int, parent: int, mask: set[signal.Signals] | set[int]) -> None:
    """The child's side of the fork. Never returns."""
    code = 1
    try:
        _settle(parent, mask)
        code = main(ready_fd)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        logging.getLogger("gateway.supervisor").exception("the process failed")
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            logging.shutdown()
        # Not sys.exit: what the parent registered to run at its end is not for the child.
        os._exit(code)


def _settle(parent: int, mask: set[signal.Signals] | set[int]) -> None:
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Until the child handles these itself they must not end it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # Standard output belongs to the supervisor: programs read its ready line there.
    os.dup2(2, 1)
