"""The small parts of ``serve``: sockets, the run directory, the watch, the banner and the logs."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import stat
from pathlib import Path

import pytest

from gateway.cli.banner import Started, banner, ready_line
from gateway.cli.listen import ListenError, listen
from gateway.cli.rundir import LONGEST, find_sidecar, sidecar_socket, socket_path
from gateway.cli.url import base_url
from gateway.cli.watch import Watch
from gateway.kernel import logs
from gateway.settings.default import embedded
from gateway.settings.model import Model, Provider, Server, Settings, Target


def close(sockets: list[socket.socket]) -> None:
    for item in sockets:
        item.close()


def test_port_zero_takes_a_free_port() -> None:
    first, second = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    assert first[0].getsockname()[1] != second[0].getsockname()[1]
    with socket.create_connection(first[0].getsockname()):
        pass
    close(first + second)


def test_every_address_of_a_name_gets_the_same_port() -> None:
    sockets = listen("localhost", 0)
    assert len({item.getsockname()[1] for item in sockets}) == 1
    close(sockets)


def test_a_taken_port_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}: the port is taken"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "not an address of this machine"),
        ("name.invalid", "cannot be resolved"),
        ("a\0b", "cannot be resolved"),
        ("x" * 300, "cannot be resolved"),
    ],
)
def test_a_host_that_is_not_ours_is_explained(host: str, message: str) -> None:
    with pytest.raises(ListenError, match=message):
        listen(host, 0)


def test_the_socket_is_in_a_private_directory(tmp_path: Path) -> None:
    data = tmp_path / "d"
    path = Path(socket_path(str(data)))
    assert path.parent == data / "run"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert str(os.getpid()) in path.name


def test_sockets_of_the_dead_are_removed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir(mode=0o755)
    # No process has the highest number a process could have.
    dead = run / f"local-{2**22 + 1}.sock"
    alive = run / "local-1.sock"
    other = run / "notes"
    for path in (dead, alive, other):
        path.touch()
    socket_path(str(tmp_path))
    assert not dead.exists()
    assert alive.exists()
    assert other.exists()
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


def test_a_long_path_falls_back_to_a_private_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = tmp_path / "t"
    short.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(short))
    path = socket_path(str(tmp_path / ("x" * LONGEST)))
    assert Path(path).parent.parent == short
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        socket_path(str(tmp_path))


def test_every_process_of_a_data_dir_finds_the_same_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(tmp_path / "d")
    assert find_sidecar(data) is None
    path = sidecar_socket(data)
    assert path == str(tmp_path / "d" / "run" / "sidecar.sock")
    assert find_sidecar(data) is None
    Path(path).write_text("no socket")
    assert find_sidecar(data) is None
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
    assert find_sidecar(data) == path
    # Whose directory it is decides: the master key's code is shown to who listens there.
    monkeypatch.setattr(os, "getuid", lambda: 2**22)
    assert find_sidecar(data) is None


def test_the_sidecars_of_long_paths_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = tmp_path / "t"
    short.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(short))
    one, two = (sidecar_socket(str(tmp_path / (letter * LONGEST))) for letter in "ab")
    assert one != two
    assert Path(one).parent == Path(two).parent
    assert stat.S_IMODE(Path(one).parent.stat().st_mode) == 0o700


def test_a_change_counts_once_it_has_come_to_rest(tmp_path: Path) -> None:
    path = tmp_path / "a"
    watch = Watch([path, path])
    assert watch.files == (path,)
    assert not watch.changed()
    path.write_text("1")
    assert not watch.changed()
    path.write_text("12")
    assert not watch.changed()
    assert watch.changed()
    assert watch.changed()
    watch.reset([path])
    assert not watch.changed()
    path.unlink()
    assert not watch.changed()
    assert watch.changed()


def test_a_change_that_came_while_it_was_read_counts(tmp_path: Path) -> None:
    path, added = tmp_path / "a", tmp_path / "b"
    watch = Watch([path])
    before = watch.signatures()
    path.write_text("as it is after it was read")
    watch.reset([path, added], before)
    assert watch.changed()
    watch.reset([path, added], watch.signatures())
    assert not watch.changed()


def test_a_change_that_is_undone_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a"
    watch = Watch([path])
    path.write_text("1")
    assert not watch.changed()
    path.unlink()
    assert not watch.changed()
    assert not watch.changed()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1/v1"),
        ("0.0.0.0", "http://127.0.0.1:1/v1"),
        ("::", "http://[::1]:1/v1"),
        ("::1", "http://[::1]:1/v1"),
        ("gateway.example", "http://gateway.example:1/v1"),
    ],
)
def test_the_base_url(host: str, url: str) -> None:
    assert base_url(host, 1) == url


def started(**changes: object) -> Started:
    settings = Settings(
        server=Server(port=1),
        providers=(Provider(name="p", base_url="http://h/v1"),),
        models=(Model(name="it's", targets=(Target(provider="p", model="x"),)),),
        data_dir=str(Path.cwd() / "data"),
    )
    fields = {"settings": settings, "port": 8080, "new_key": None, "key_given": False, "key_variable": None}
    return Started(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_banner_tells_where_the_key_is() -> None:
    assert "key       in data/master_key" in banner(started(), color=False)
    assert '"Authorization: Bearer $(cat data/master_key)"' in banner(started(), color=False)
    made = banner(started(new_key="gw_live_x"), color=False)
    assert made.count("gw_live_x") == 2
    assert "data/master_key" in made
    given = banner(started(key_given=True, key_variable="GATEWAY_MASTER_KEY"), color=False)
    assert '"Authorization: Bearer $GATEWAY_MASTER_KEY"' in given
    assert "YOUR_MASTER_KEY" in banner(started(key_given=True), color=False)


def test_the_banner_is_plain_unless_colour_is_wanted() -> None:
    assert "\033" not in banner(started(), color=False)
    assert "\033[1m" in banner(started(), color=True)


def test_the_banner_without_models_has_nothing_to_try() -> None:
    assert "curl" not in banner(started(settings=Settings(data_dir="data")), color=False)


def test_the_banner_tells_of_the_local_model() -> None:
    text = banner(started(settings=embedded()), color=False)
    assert "\n  local     " in text
    assert json.loads(ready_line(started(settings=embedded())))["local"]
    assert json.loads(ready_line(started()))["local"] is None


def test_logs_are_json_lines() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.configure(stream=stream)
        logger = logging.getLogger("gateway.test")
        logger.info("it is %s", "so", extra={"faults": ["a"], "path": Path("x"), "level": "not overridden"})
        logger.debug("not shown")
        logging.getLogger("httpx").info("HTTP Request: GET http://issuer.example/keys?secret=hush")
        logging.getLogger("httpcore.connection").info("not shown either")
        try:
            raise ValueError("told")
        except ValueError:
            logger.exception("failed")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert {name: first[name] for name in ("level", "logger", "message", "faults", "path")} == {
        "level": "info",
        "logger": "gateway.test",
        "message": "it is so",
        "faults": ["a"],
        "path": "x",
    }
    assert first["pid"] == os.getpid()
    assert second["level"] == "error"
    assert "ValueError: told" in second["exception"]
