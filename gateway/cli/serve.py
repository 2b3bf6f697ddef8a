"""``gateway serve`` and ``gateway proxy``: read, bind, start, and supervise until told to stop.

========  ==========================================
exit code  meaning
========  ==========================================
0         stopped as asked, nothing was cut off
1         the configuration is faulty
2         the command line is faulty
3         the address cannot be listened on, or ``data_dir`` cannot be used
4         a worker ended before it was ready
5         a process did not finish in time and was killed
130       a second Ctrl-C stopped everything at once
========  ==========================================
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

import click

from gateway.cli.banner import Started, banner, ready_line, wants_color
from gateway.cli.config import config_option, config_path, json_option, read_or_exit
from gateway.cli.listen import ListenError, listen
from gateway.cli.rundir import socket_path
from gateway.cli.supervisor import Launch, Supervisor
from gateway.kernel import logs
from gateway.settings.load import Loaded
from gateway.settings.master_key import MasterKeyError, ensure

CANNOT_START = 3


@click.command()
@config_option
@json_option
def serve(config: Path | None, as_json: bool) -> None:
    """Run the gateway with everything it needs."""
    sys.exit(_run(config, as_json))


@click.command()
@config_option
@json_option
def proxy(config: Path | None, as_json: bool) -> None:
    """Run the data plane alone; in this version the same processes as serve."""
    sys.exit(_run(config, as_json))


def _run(config: Path | None, as_json: bool) -> int:
    path = config_path(config)
    if path is None:
        click.echo("There is no gateway.yaml here; serving the model that runs on this machine.", err=True)
    loaded = read_or_exit(path)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    settings = loaded.settings
    try:
        # The port first: a start that fails because of it must not leave a key nobody has seen.
        sockets = listen(settings.server.host, settings.server.port)
        master_key, made = (settings.master_key, False) if settings.master_key else ensure(settings.data_dir)
        local_socket = socket_path(settings.data_dir)
    except (ListenError, MasterKeyError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        return CANNOT_START
    logs.configure()
    launch = Launch(
        loaded=loaded,
        config_path=path.absolute() if path is not None else None,
        env=os.environ,
        sockets=sockets,
        master_key=master_key,
        local_socket=local_socket,
    )
    started = _started(loaded, sockets, master_key if made else None)
    try:
        return Supervisor(launch, lambda: _announce(started, as_json)).run()
    finally:
        Path(local_socket).unlink(missing_ok=True)


def _started(loaded: Loaded, sockets: list[socket.socket], new_key: str | None) -> Started:
    return Started(
        settings=loaded.settings,
        port=sockets[0].getsockname()[1],
        new_key=new_key,
        key_given=loaded.settings.master_key is not None,
        key_variable=loaded.master_key_variable,
    )


def _announce(started: Started, as_json: bool) -> None:
    # Whoever started the gateway may have closed its standard output; it serves all the same.
    with contextlib.suppress(OSError):
        print(ready_line(started) if as_json else banner(started, color=wants_color()), flush=True)
