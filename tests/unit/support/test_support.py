"""What tests themselves rest on."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx

from tests.support.ports import free_port
from tests.support.reporting import LAST, MARKED, reason


def test_the_reason_is_the_messages_beginning_and_the_end() -> None:
    log = [f"E       line {number} of a log" for number in range(1_000)]
    text = "\n".join(["def test():", ">  assert found", "E   the reason", *log, "E   4 != 5", "", "test.py:7: Error"])
    found = reason(text)
    assert found[0] == "E   the reason"
    assert found[-2:] == ["E   4 != 5", "test.py:7: Error"]
    assert len(found) <= MARKED + LAST
    assert reason("gw1 crashed") == ["gw1 crashed"]


def test_a_free_port_is_none_that_the_kernel_gives_out() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    port = free_port()
    assert not first <= port <= last
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_clients_are_patient_by_themselves() -> None:
    with httpx.Client() as client:
        assert client.timeout == httpx.Timeout(60.0)
