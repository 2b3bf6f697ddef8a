"""Where the sidecar listens: stale sockets are replaced, others' are left, and a crash blocks nobody."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.sidecar.sockets import SocketError, UnixListener, listen_tcp


def test_one_process_at_a_time_listens(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    first = UnixListener(str(path))
    with pytest.raises(SocketError, match="another sidecar is already listening"):
        UnixListener(str(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    first.close()
    assert not path.exists()
    UnixListener(str(path)).close()


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    listener = UnixListener(str(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    path.write_text("mine")
    with pytest.raises(SocketError, match="is not a socket"):
        UnixListener(str(path))
    assert path.read_text() == "mine"


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SocketError, match="No such file"):
        UnixListener(str(tmp_path / "none" / "s.sock"))


def test_it_listens_on_every_address_of_a_name() -> None:
    made = listen_tcp("localhost:0")
    assert made
    for item in made:
        assert item.getsockname()[0] in ("127.0.0.1", "::1")
        item.close()


@pytest.mark.parametrize("where", ["192.0.2.1:9090", "name.invalid:9090"])
def test_an_address_that_is_not_ours_is_told(where: str) -> None:
    with pytest.raises(SocketError, match=rf"sidecar\.listen {where}"):
        listen_tcp(where)
