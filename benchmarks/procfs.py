"""CPU time and memory of a process tree, read from /proc (see proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")


class Stat(Struct, frozen=True):
    """What the benchmark needs of ``/proc/<pid>/stat``. Times are seconds, reaped children included."""

    pid: int
    parent: int
    cpu: float


def parse_stat(text: str) -> Stat:
    """Read one ``/proc/<pid>/stat`` line. The command's name may hold spaces and parentheses."""
    pid, _, rest = text.partition(" (")
    fields = rest.rpartition(") ")[2].split(" ")
    # Fields 14 to 17 of proc(5): utime, stime, cutime, cstime; `fields` starts with field 3.
    return Stat(pid=int(pid), parent=int(fields[1]), cpu=sum(int(field) for field in fields[11:15]) * TICK)


def parse_rss(text: str) -> int:
    """Bytes resident by the ``VmRSS`` line of ``/proc/<pid>/status``; 0 for a process without memory."""
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def processes() -> dict[int, Stat]:
    """Every process now."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = parse_stat((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[stat.pid] = stat
    return found


def tree(root: int) -> list[Stat]:
    """The process ``root`` and all that descend from it."""
    every = processes()
    children: dict[int, list[int]] = {}
    for stat in every.values():
        children.setdefault(stat.parent, []).append(stat.pid)
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in every:
            found.append(every[pid])
        waiting.extend(children.get(pid, ()))
    return found


def cpu(root: int) -> float:
    """User and system seconds of a tree, its dead and reaped members included."""
    return sum(stat.cpu for stat in tree(root))


def worker(root: int) -> tuple[int, int]:
    """The process of a tree that has computed most, and the bytes resident in it: of a gateway that is its worker.

    It need not be the largest: the one that counts tokens for those who leave holds its tables for a minute.
    """
    busiest = max(tree(root), key=lambda stat: stat.cpu, default=None)
    if busiest is None:
        return root, 0
    try:
        return busiest.pid, parse_rss((PROC / str(busiest.pid) / "status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return busiest.pid, 0


def rss(root: int) -> int:
    """Bytes resident in the worker of a tree."""
    return worker(root)[1]
