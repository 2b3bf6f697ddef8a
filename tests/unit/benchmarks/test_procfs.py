from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks import procfs

STAT = "42 (a (b) c) S 7 42 42 0 -1 4194560 500 0 0 0 150 50 30 20 20 0 1 0 100 1000000 200"


def test_a_stat_line_is_read_whatever_the_name_holds() -> None:
    stat = procfs.parse_stat(STAT)
    assert (stat.pid, stat.parent) == (42, 7)
    assert stat.cpu == pytest.approx(250 * procfs.TICK)


def test_resident_memory_is_read_in_bytes() -> None:
    assert procfs.parse_rss("Name:\tx\nVmRSS:\t   1024 kB\nThreads:\t1\n") == 1024 * 1024


def test_a_process_without_memory_holds_none() -> None:
    assert procfs.parse_rss("Name:\tzombie\n") == 0


def test_a_tree_holds_its_children_and_charges_for_the_reaped_ones() -> None:
    before = procfs.cpu(os.getpid())
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    with subprocess.Popen([sys.executable, "-c", burn + "\ninput()"], stdin=subprocess.PIPE) as child:
        assert child.pid in {stat.pid for stat in procfs.tree(os.getpid())}
        child.communicate(b"\n")
    assert child.pid not in {stat.pid for stat in procfs.tree(os.getpid())}
    assert procfs.cpu(os.getpid()) - before >= 0.15
    assert procfs.rss(os.getpid()) > 1_000_000
